"""Counting over replicates that are made up: what is known of them is found, and nothing is judged."""

from __future__ import annotations

from math import isnan, nan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommenders.base import Float64
from simulator.experiment.calibration import effect_of_sums
from simulator.experiment.interference import Bias, Interference, Truth, count_interference
from simulator.experiment.learning_replicates import APART, OWN, PAIRED, POOLED, LearningReplicate
from simulator.experiment.replicates import PLANTED, Reading

LEVEL, EFFECT, ERROR, USERS = 2.0, -0.4, 0.1, 200
BIAS = {PAIRED: 0.0, APART: 0.0, POOLED: 0.15, OWN: 0.05}
"""Known biases of the made-up lifts."""


def made_up(n: int, *, seed: int = 1, narrow: float = 1.0, limits: bool = True) -> list[LearningReplicate]:
    """Replicates of normal lifts: the truth's luck is in all designs, the lot's in all splits.

    Args:
        n: how many.
        seed: of the numbers.
        narrow: intervals are narrower than what they should be by this factor.
        limits: whether there are intervals.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    replicates = []
    for number in range(n):
        users, lot = ERROR * rng.standard_normal(2)
        readings = []
        for design, bias in BIAS.items():
            value = EFFECT + users + bias + (0 if design == PAIRED else lot)
            half = 1.959964 * (ERROR if design == PAIRED else sqrt(2) * ERROR) / narrow if limits else nan
            readings.append(Reading(PLANTED, design, "t", "m", "lift", value, value - half, value + half, nan))
        sums = {"m": (LEVEL * USERS, float(USERS), LEVEL * (1 + EFFECT + users) * USERS, float(USERS))}
        replicates.append(LearningReplicate(number, 10, tuple(readings), sums))
    return replicates


def counted(n: int, **settings: float) -> tuple[Interference, dict[str, Bias]]:
    found = count_interference(made_up(n, **settings), users=USERS, confidence=0.95)  # type: ignore[arg-type]
    return found, {b.design: b for b in found.biases}


def test_biases_are_found_to_the_precision_that_pairing_within_replicates_gives() -> None:
    found, by_design = counted(400)
    assert found.impressions == 4000
    for design, bias in BIAS.items():
        b = by_design[design]
        assert b.truth == pytest.approx(EFFECT, abs=4 * b.truth_error)
        assert b.truth_error == pytest.approx(ERROR / sqrt(400), rel=0.2)
        if design == PAIRED:
            assert (b.bias, b.bias_error) == (pytest.approx(0, abs=1e-12), pytest.approx(0, abs=1e-12))
        else:
            assert b.bias == pytest.approx(bias, abs=4 * b.bias_error)  # false alarm 1 in 16,000
            assert b.bias_error == pytest.approx(ERROR / sqrt(400), rel=0.2)  # the lot's, without the users'
            assert b.mean_error == pytest.approx(sqrt(2) * ERROR / sqrt(400), rel=0.2)


def test_what_training_does_is_told_without_the_luck_of_users_and_lot() -> None:
    _, by_design = counted(5)
    for design in (POOLED, OWN):
        assert by_design[design].training == pytest.approx(BIAS[design])
        assert by_design[design].training_error == pytest.approx(0, abs=1e-12)
    assert isnan(by_design[PAIRED].training)
    assert isnan(by_design[APART].training)


@pytest.mark.parametrize("narrow", [1.0, 2.0])
def test_spread_is_what_intervals_are_too_narrow_by(narrow: float) -> None:
    _, by_design = counted(400, narrow=narrow)
    for b in by_design.values():
        assert b.spread == pytest.approx(narrow, rel=0.15)  # its standard error is 3.5%
        assert b.spread_low < b.spread < b.spread_high
        assert (b.spread_high - b.spread_low) / b.spread == pytest.approx(4 / sqrt(2 * 400), rel=0.1)


def test_coverage_is_counted_by_hand_and_nothing_is_judged() -> None:
    replicates = made_up(100)
    found = count_interference(replicates, users=USERS, confidence=0.95)
    truth = found.biases[0].truth
    for place, rate in enumerate(found.coverage):
        column = [r.readings[place] for r in replicates]
        assert rate.hits == sum(r.low <= truth <= r.high for r in column)
        assert (rate.n, rate.judged) == (100, False)
    shares = {r.design: r.share for r in found.coverage}
    assert shares[POOLED] < shares[OWN] < 1
    assert (found.checks, found.failures) == (0, 0)


def test_replicates_without_interval_have_a_bias_and_no_coverage() -> None:
    found, by_design = counted(10, limits=False)
    assert all(r.n == 0 and isnan(r.share) for r in found.coverage)
    assert all(isnan(b.spread) and isnan(b.claimed) for b in found.biases)
    assert by_design[POOLED].bias > 0


def test_one_replicate_is_refused() -> None:
    with pytest.raises(ValueError, match="replicates: got 1, expected at least 2"):
        counted(1)


@st.composite
def sums(draw: st.DrawFn) -> Float64:
    rows = st.tuples(*(st.floats(0.5, 100) for _ in range(4)))
    return np.array(draw(st.lists(rows, min_size=2, max_size=20)))


@given(sums(), st.sampled_from(["difference", "lift"]))
def test_the_truth_is_that_of_all_users_together(parts: Float64, estimand: str) -> None:
    truth = Truth.of(parts, estimand)
    old, new = parts[:, 0].sum() / parts[:, 1].sum(), parts[:, 2].sum() / parts[:, 3].sum()
    assert truth.level == pytest.approx(old)
    assert truth.value == pytest.approx(new - old if estimand == "difference" else new / old - 1)
    assert truth.value == effect_of_sums(parts.sum(axis=0), estimand)


@given(sums())
def test_with_equal_denominators_each_replicate_says_its_own_difference(parts: Float64) -> None:
    """The closed form of the jackknife: a mean's pseudo-values are the values."""
    parts[:, [1, 3]] = 7.0
    truth = Truth.of(parts, "difference")
    assert truth.share == pytest.approx((parts[:, 2] - parts[:, 0]) / 7, rel=1e-6, abs=1e-9)
