"""Counting over replicates that are made up: normal estimates whose spread and intervals are known."""

from __future__ import annotations

from dataclasses import replace
from math import isnan, nan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from simulator.experiment.calibration import (
    COVERAGE,
    FALSE_POSITIVES,
    FIXED,
    LEVEL,
    POWER,
    WATCHING,
    Calibration,
    calibrate,
    range_p_value,
    rate,
)
from simulator.experiment.replicates import NULL, PLANTED, SWITCHBACK, Reading, Replicate, Watching

EFFECT, LEVEL_OF_CONTROL, USERS = 0.2, 2.0, 1000
ERRORS = {("paired", "t"): 0.1, ("split", "t"): 0.3, ("split", "cuped"): 0.2, ("paired", "bootstrap"): 0.1}
"""True standard errors of the lift by design and estimator."""


def made_up(
    n: int,
    *,
    seed: int = 1,
    narrow: tuple[str, str] | None = None,
    by: float = 1.0,
    ever: float = 0.02,
    reduction: float = 9.0,
) -> list[Replicate]:
    """Replicates of normal lifts with z intervals; those of one estimator may be too narrow by a factor.

    Args:
        n: how many; the made-up confidence sequence errs in a share of `ever` of them.
        seed: of the numbers.
        narrow, by: whose standard errors are divided by what.
        ever: see above.
        reduction: what paired tests say that pairing is worth.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    found = []
    for number in range(n):
        readings = [
            reading(kind, what, centre + error * rng.standard_normal(), error / (by if what == narrow else 1))
            for kind, centre in ((NULL, 0.0), (PLANTED, EFFECT))
            for what, error in ERRORS.items()
        ]
        watched = (
            Watching("paired", "m", sequence=number < ever * n, fixed=number < 0.2 * n),
            Watching("split", "m", sequence=False, fixed=number < 0.2 * n),
        )
        sums = {"m": (LEVEL_OF_CONTROL * 50, 50.0, LEVEL_OF_CONTROL * (1 + EFFECT) * 50, 50.0)}
        found.append(Replicate(number, 10, tuple(readings), watched, sums, {"m": reduction}))
    return found


def reading(kind: str, what: tuple[str, str], value: float, error: float) -> Reading:
    half = 1.96 * error
    p_value = 2 * float(stats.norm.sf(abs(value) / error))
    return Reading(kind, *what, "m", "lift", value, value - half, value + half, p_value)


def failures(found: Calibration) -> set[tuple[str, str, str]]:
    return {(r.question, r.design, r.estimator) for r in found.rates if not r.passed}


def test_the_coverage_of_a_switchback_is_counted_and_not_judged_and_its_power_is_not_foreseen() -> None:
    replicates = made_up(100)
    off = [reading(PLANTED, (SWITCHBACK, "t"), EFFECT + (5 if r.number < 30 else 0), 0.1) for r in replicates]
    biased = [replace(r, readings=(*r.readings, own)) for r, own in zip(replicates, off, strict=True)]
    found = calibrate(biased, users=USERS, confidence=0.95)
    (coverage,) = [r for r in found.rates if r.design == SWITCHBACK]
    assert (coverage.question, coverage.hits, coverage.n, coverage.judged) == (COVERAGE, 70, 100, False)
    assert found.checks == calibrate(replicates, users=USERS, confidence=0.95).checks
    (accuracy,) = [a for a in found.accuracies if a.design == SWITCHBACK]
    assert accuracy.mean - accuracy.truth == pytest.approx(0.3 * 5)


def test_counts_are_those_by_hand() -> None:
    replicates = made_up(50)
    found = calibrate(replicates, users=USERS, confidence=0.95)
    column = [r.readings[0] for r in replicates]  # A/A, paired t
    by_hand = sum(r.low > 0 or r.high < 0 for r in column)
    got = next(r for r in found.rates if r.question == FALSE_POSITIVES)
    assert (got.hits, got.n, got.share) == (by_hand, 50, by_hand / 50)
    assert (got.allowed_low, got.allowed_high) == (pytest.approx(0.05), pytest.approx(0.05))
    column = [r.readings[len(ERRORS)] for r in replicates]  # planted, paired t
    got = next(r for r in found.rates if r.question == COVERAGE)
    assert got.hits == sum(r.low <= EFFECT <= r.high for r in column)
    got = next(r for r in found.rates if r.question == POWER)
    assert got.hits == sum(r.low > 0 for r in column)


@pytest.mark.parametrize("seed", range(3))
def test_sound_estimators_pass(seed: int) -> None:
    """False alarm: at most LEVEL a question and seed, so under 15% for all; the seeds are fixed."""
    found = calibrate(made_up(500, seed=seed), users=USERS, confidence=0.95)
    assert found.failures == 0
    assert found.checks == 4 + 4 + 3 + 2 + 1  # FIXED is not judged, and no bootstrap difference has a p-value here


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("narrow", [("paired", "t"), ("split", "cuped")])
def test_intervals_too_narrow_by_root_2_are_caught_and_nothing_else(seed: int, narrow: tuple[str, str]) -> None:
    found = calibrate(made_up(500, seed=seed, narrow=narrow, by=sqrt(2)), users=USERS, confidence=0.95)
    caught = failures(found)
    assert {(FALSE_POSITIVES, *narrow), (COVERAGE, *narrow)} <= caught
    assert {(design, estimator) for _, design, estimator in caught} == {narrow}


def test_intervals_too_wide_are_caught() -> None:
    """Half a per cent of false positives instead of five."""
    found = calibrate(made_up(500, narrow=("split", "t"), by=0.7), users=USERS, confidence=0.95)
    assert (FALSE_POSITIVES, "split", "t") in failures(found)


def test_a_sequence_that_errs_twice_too_often_fails_and_the_fixed_interval_is_not_judged() -> None:
    found = calibrate(made_up(500, ever=0.10), users=USERS, confidence=0.95)
    assert failures(found) == {(WATCHING, "paired", "sequence")}
    fixed = [r for r in found.rates if r.estimator == FIXED]
    assert [r.share for r in fixed] == [0.2, 0.2]
    assert not any(r.judged for r in fixed)


def test_power_is_foreseen() -> None:
    found = calibrate(made_up(500), users=USERS, confidence=0.95)
    power = {(r.design, r.estimator): r for r in found.rates if r.question == POWER}
    closed_form = float(stats.norm.cdf(EFFECT / 0.1 - 1.96))
    middle = (power["paired", "t"].allowed_low + power["paired", "t"].allowed_high) / 2
    assert middle == pytest.approx(closed_form, abs=0.003)
    assert ("paired", "bootstrap") not in power


def test_reduction_is_the_ratio_of_variances_and_a_wrong_forecast_is_caught() -> None:
    (right,) = calibrate(made_up(500), users=USERS, confidence=0.95).reductions
    assert right.low < 9 < right.high
    assert right.passed
    (wrong,) = calibrate(made_up(500, reduction=18.0), users=USERS, confidence=0.95).reductions
    assert not wrong.passed


def test_truth_is_the_effect_of_all_users_together() -> None:
    found = calibrate(made_up(20), users=USERS, confidence=0.95)
    assert [a.truth for a in found.accuracies] == pytest.approx([EFFECT] * len(ERRORS))


def test_replicates_without_interval_do_not_count() -> None:
    replicates = made_up(2)
    lost = [Replicate(r.number, 0, tuple(without_interval(x) for x in r.readings), r.watched, r.sums, r.reductions)
            for r in replicates]  # fmt: skip
    found = calibrate(lost, users=USERS, confidence=0.95)
    coverage = [r for r in found.rates if r.question == COVERAGE]
    assert all(r.n == 0 and isnan(r.share) and not r.judged and r.passed for r in coverage)


def without_interval(r: Reading) -> Reading:
    return Reading(r.kind, r.design, r.estimator, r.metric, r.estimand, r.value, nan, nan, nan)


def test_one_replicate_is_refused() -> None:
    with pytest.raises(ValueError, match="replicates: got 1, expected at least 2"):
        calibrate(made_up(1), users=USERS, confidence=0.95)


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.01, 0.99))
def test_range_p_value_of_a_point_is_twice_the_smaller_tail(counts: tuple[int, int], share: float) -> None:
    hits, n = counts
    mass = stats.binom.pmf(np.arange(n + 1), n, share)
    smaller = min(mass[hits:].sum(), mass[: hits + 1].sum())
    assert range_p_value(hits, n, share, share) == pytest.approx(min(1.0, 2 * smaller), rel=1e-6, abs=1e-12)


@given(st.integers(0, 60), st.floats(0.0, 0.5), st.floats(0.0, 0.4))
def test_a_wider_range_is_never_rejected_sooner(hits: int, low: float, more: float) -> None:
    assert range_p_value(hits, 60, low, low + more) >= range_p_value(hits, 60, low, low) * (1 - 1e-9)


def test_limits_are_those_of_clopper_and_pearson() -> None:
    got = rate(FALSE_POSITIVES, ("paired", "t", "m", "lift"), 30, 500, 0.05, 0.05)
    assert got.low == pytest.approx(float(stats.beta.ppf(0.025, 30, 471)))
    assert got.high == pytest.approx(float(stats.beta.ppf(0.975, 31, 470)))
    assert got.p_value > LEVEL
