"""Confidence sequences: the boundary by integration, the level under continuous watching, and what they reduce to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, inf, isnan, nan, pi, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, stats

from simulator.experiment.estimators import PerUser, compare, compare_independent
from simulator.experiment.results import Estimate
from simulator.experiment.sequential import (
    best_rho,
    confidence_sequence_independent,
    confidence_sequence_paired,
    mixture_boundary,
)
from tests.simulator.experiment.strategies import DEGENERATE, count_metric, normals, picked, plain, scaled, seeds

CONFIDENCE = 0.9
N_DAYS = 30
SEQUENCES = [confidence_sequence_paired, confidence_sequence_independent]
variances = st.floats(0.01, 100)
levels = st.floats(0.001, 0.5)


def limits(estimate: Estimate) -> list[float]:
    return [estimate.value, estimate.low, estimate.high]


def half_width(estimate: Estimate) -> float:
    return (estimate.high - estimate.low) / 2


def days(seed: int, n: int, n_days: int, shift: float = 0.0, world: int = 0) -> list[PerUser]:
    """Cumulative events per impression, day by day."""
    daily = [count_metric(seed, n, shift, world=100 * day + world) for day in range(n_days)]
    return [
        PerUser(sum(d.numerator for d in daily[: t + 1]), sum(d.denominator for d in daily[: t + 1]))
        for t in range(n_days)
    ]


@given(variance=variances, rho=variances, alpha=levels)
@settings(max_examples=30)
def test_on_the_boundary_the_mixture_of_likelihoods_is_one_over_alpha(
    variance: float, rho: float, alpha: float
) -> None:
    """The mixture of exp(x S - x^2 V / 2) over x normal with variance 1 / rho, by quadrature."""
    s = mixture_boundary(variance, rho, alpha)
    centre, sd = s / (variance + rho), 1 / sqrt(variance + rho)

    def integrand(x: float) -> float:
        return exp(x * s - x**2 * (variance + rho) / 2) * sqrt(rho / (2 * pi))

    mixture, _ = integrate.quad(integrand, centre - 12 * sd, centre + 12 * sd)
    assert mixture == pytest.approx(1 / alpha, rel=1e-6)


@given(variance=variances, alpha=levels)
@settings(max_examples=30)
def test_the_best_rho_is_the_minimum_found_by_search(variance: float, alpha: float) -> None:
    found = optimize.minimize_scalar(
        lambda x: mixture_boundary(variance, variance * exp(x), alpha), bounds=(-12, 6), method="bounded"
    )
    assert mixture_boundary(variance, best_rho(variance, alpha), alpha) <= found.fun * (1 + 1e-12)
    assert best_rho(variance, alpha) == pytest.approx(variance * exp(found.x), rel=1e-2)


@pytest.mark.parametrize(("sequence", "once"), [(SEQUENCES[0], compare), (SEQUENCES[1], compare_independent)])
def test_each_look_has_the_value_of_the_plain_comparison_and_a_wider_interval(
    sequence: Callable[..., tuple], once: Callable
) -> None:
    treatment, control = days(1, 80, 10, -0.03, world=7), days(1, 80, 10)
    effects = sequence(treatment, control, CONFIDENCE, n_looks=10)
    assert len(effects) == 10
    for effect, new, old in zip(effects, treatment, control, strict=True):
        plainly = once(new, old, CONFIDENCE)
        for got, fixed in ((effect.difference, plainly.difference), (effect.lift, plainly.lift)):
            assert got.value == fixed.value
            assert got.n == fixed.n
            assert half_width(got) > 1.2 * half_width(fixed)
            assert isnan(got.unpaired_low)
        assert effect.p_value > plainly.p_value


@given(seed=seeds, confidence=st.floats(0.5, 0.99))
@settings(max_examples=15)
def test_interval_by_hand_where_every_day_counts_the_same(seed: int, confidence: float) -> None:
    """Means over user-days: with t days S = t mean(z), and V is the variance of the cumulative sums over n."""
    daily = normals(seed, 5, 40)
    cumulative = daily.cumsum(axis=0)
    arms = [[PerUser(z, np.full(40, t + 1.0)) for t, z in enumerate(part)] for part in (cumulative, 0.0 * cumulative)]
    arms[1] = [PerUser(np.full(40, 1.0), look.denominator) for look in arms[1]]
    effects = confidence_sequence_paired(*arms, confidence, n_looks=8)
    v = cumulative.var(axis=1, ddof=1) / 40
    rho, alpha = best_rho(8 * v[0], 1 - confidence), 1 - confidence
    for t, effect in enumerate(effects):
        half = sqrt((v[t] + rho) * np.log((v[t] + rho) / (rho * alpha**2))) / (t + 1)
        assert half_width(effect.difference) == pytest.approx(half, rel=1e-7)


@pytest.mark.parametrize("sequence", SEQUENCES)
@given(seed=seeds, data=st.data())
@settings(max_examples=15)
def test_p_value_is_below_alpha_just_where_the_interval_leaves_out_zero(
    sequence: Callable[..., tuple], seed: int, data: st.DataObject
) -> None:
    shift = data.draw(st.sampled_from([0.0, -0.3, -1.0]))
    for effect in sequence(days(seed, 70, 5, shift, world=7), days(seed, 70, 5), CONFIDENCE, n_looks=5):
        outside = not effect.difference.low <= 0 <= effect.difference.high
        assert outside == (effect.p_value < 1 - CONFIDENCE)


@pytest.mark.parametrize("sequence", SEQUENCES)
@given(seed=seeds, factor=st.floats(1e-2, 1e2), data=st.data())
@settings(max_examples=10)
def test_units_order_and_naming_of_the_arms_do_not_matter(
    sequence: Callable[..., tuple], seed: int, factor: float, data: st.DataObject
) -> None:
    a, b = days(seed, 70, 3, -0.3, world=7), days(seed, 70, 3)
    order = np.array(data.draw(st.permutations(range(70))))
    effects = sequence(a, b, CONFIDENCE, n_looks=3)
    others = [
        sequence([picked(x, order) for x in a], [picked(x, order) for x in b], CONFIDENCE, n_looks=3),
        sequence([scaled(x, factor) for x in a], [scaled(x, factor) for x in b], CONFIDENCE, n_looks=3),
        sequence(b, a, CONFIDENCE, n_looks=3),
    ]
    for effect, shuffled, larger, back in zip(effects, *others, strict=True):
        expected = limits(effect.difference)
        np.testing.assert_allclose(limits(shuffled.difference), expected, rtol=1e-7)
        np.testing.assert_allclose(limits(larger.difference), factor * np.array(expected), rtol=1e-7)
        np.testing.assert_allclose(limits(larger.lift), limits(effect.lift), rtol=1e-7)
        d = back.difference
        np.testing.assert_allclose([-d.value, -d.high, -d.low], expected, rtol=1e-7)
        for other in (shuffled, larger, back):
            assert other.p_value == pytest.approx(effect.p_value, rel=1e-6)


def test_the_interval_is_narrowest_at_the_look_that_was_planned_to_be_the_last() -> None:
    """Against the same data watched with other plans."""
    arms = days(3, 400, 12, -0.3, world=7), days(3, 400, 12)
    width = {
        n: half_width(confidence_sequence_paired(*arms, CONFIDENCE, n_looks=n)[-1].difference) for n in (1, 12, 200)
    }
    assert width[12] < width[1]
    assert width[12] < width[200]


@dataclass(frozen=True)
class Watched:
    """Share of tests without any effect in which some of 30 looks left out 0, and at which the last did."""

    sequence: float
    fixed: float
    lift: float


def watch(habit: float, n_users: int, n_tests: int, seed: int) -> Watched:
    """Tests of two equal arms; `habit` is the correlation between any two days of a user."""
    alarms = np.zeros(3)
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, n_users - 1)
    count = np.arange(1.0, N_DAYS + 1)
    control = np.ones(n_users)
    for test in range(n_tests):
        draws = normals(seed + test, N_DAYS + 1, n_users)
        daily = sqrt(1 - habit) * draws[1:] + sqrt(habit) * draws[0]
        contribution = daily.cumsum(axis=0)
        treatment = [PerUser(day * control + z / 3, day * control) for day, z in zip(count, contribution, strict=True)]
        looks = [PerUser(day * control, day * control) for day in count]
        effects = confidence_sequence_paired(treatment, looks, CONFIDENCE, n_looks=N_DAYS)
        error = contribution.std(axis=1, ddof=1) / sqrt(n_users)
        alarms += [
            any(effect.p_value < 1 - CONFIDENCE for effect in effects),
            bool((np.abs(contribution.mean(axis=1)) > quantile * error).any()),
            any(not effect.lift.low <= 0 <= effect.lift.high for effect in effects),
        ]
    return Watched(*(alarms / n_tests))


@pytest.mark.parametrize(("habit", "fixed_alarms"), [(0.0, 0.35), (0.3, 0.2)])
def test_watching_every_day_keeps_the_level_of_the_sequence_but_not_of_the_plain_interval(
    habit: float, fixed_alarms: float
) -> None:
    """400 tests of 100 users and 30 days without any effect, at 90%: at most 10% of sequences may ever leave out 0.

    The standard deviation of the share is at most 0.015; the bound lies 4 above, a false-alarm rate below 3e-5. The
    plain interval does so in 46% of the tests with independent days, and in 26% with correlated ones.
    """
    got = watch(habit, n_users=100, n_tests=400, seed=20_000)
    assert got.sequence < 0.1 + 4 * 0.015
    assert got.lift < 0.1 + 4 * 0.015
    assert got.fixed > fixed_alarms
    assert got.fixed > 2 * got.sequence


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_a_true_effect_is_found_and_covered_at_all_looks(sequence: Callable[..., tuple]) -> None:
    """100 tests with a true difference of 0.5 in means over user-days, users of both arms independent, at 90%.

    The share with any look that misses the truth has mean at most 0.1, sd 0.03; the bound lies 4 above.
    """
    missed = found = 0
    for test in range(100):
        arms = normals(30_000 + test, 2, 10, 60).cumsum(axis=1)
        looks = [
            [PerUser(shift * (t + 1) + z, np.full(60, t + 1.0)) for t, z in enumerate(arm)]
            for shift, arm in zip((1.5, 1.0), arms, strict=True)
        ]
        effects = sequence(*looks, CONFIDENCE, n_looks=10)
        missed += any(not e.difference.low <= 0.5 <= e.difference.high for e in effects)
        found += effects[-1].p_value < 0.1
    assert missed / 100 < 0.1 + 4 * 0.03
    assert found > 90


@pytest.mark.parametrize("sequence", SEQUENCES)
@pytest.mark.parametrize("case", DEGENERATE)
def test_what_cannot_be_estimated_is_missing_with_a_note(sequence: Callable[..., tuple], case: str) -> None:
    arm, note = DEGENERATE[case]
    good = plain(np.arange(1.0, 1 + len(arm.numerator)))
    for effect in sequence([arm, arm], [good, good], CONFIDENCE, n_looks=2):
        for estimate in (effect.difference, effect.lift):
            assert np.isnan(limits(estimate)).all()
            assert note in estimate.note
        assert isnan(effect.p_value)


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_looks_too_early_for_an_interval_leave_the_later_ones_alone(sequence: Callable[..., tuple]) -> None:
    treatment, control = days(5, 80, 4, -0.3, world=7), days(5, 80, 4)
    nothing, one = plain(np.zeros(80)), plain(np.eye(80)[0])
    effects = sequence([nothing, *treatment], [one, *control], CONFIDENCE, n_looks=5)
    assert "too few users or runs with any event" in effects[0].difference.note
    assert isnan(effects[0].p_value)
    assert [e.difference.note for e in effects[1:]] == [""] * 4
    assert [e.lift.note for e in effects[1:]] == [""] * 4


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_a_plan_begun_late_foresees_the_same_last_look(sequence: Callable[..., tuple]) -> None:
    """V grows in proportion to the days here, so the missing first look must not change the second."""
    values = 1 + normals(8, 2, 50)
    looks = [[PerUser(sqrt(t) * z, np.ones(50)) for t in (1, 2, 3)] for z in values]
    early = sequence(*looks, CONFIDENCE, n_looks=3)
    late = sequence(*([PerUser(np.zeros(50), np.zeros(50)), *arm[1:]] for arm in looks), CONFIDENCE, n_looks=3)
    assert isnan(late[0].p_value)
    for before, after in zip(early[1:], late[1:], strict=True):
        np.testing.assert_allclose(limits(after.difference), limits(before.difference), rtol=1e-9)
        np.testing.assert_allclose(limits(after.lift), limits(before.lift), rtol=1e-9)


def test_equal_arms_differ_by_exactly_zero_until_they_part() -> None:
    treatment, control = days(5, 80, 4, -0.3, world=7), days(5, 80, 4)
    effects = confidence_sequence_paired([control[0], *treatment[1:]], control, CONFIDENCE, n_looks=4)
    assert limits(effects[0].difference) == limits(effects[0].lift) == [0.0, 0.0, 0.0]
    assert effects[0].p_value == 1.0
    assert half_width(effects[1].difference) > 0


def test_values_without_spread_have_an_interval_without_width() -> None:
    effect = confidence_sequence_independent([plain(np.full(5, 0.5))], [plain(np.full(9, 0.25))], 0.9, n_looks=1)[0]
    assert limits(effect.difference) == [0.25, 0.25, 0.25]
    assert limits(effect.lift) == [1.0, 1.0, 1.0]
    assert effect.p_value == 0.0


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_looks_and_settings_that_do_not_fit_are_refused(sequence: Callable[..., tuple]) -> None:
    a, b = plain(np.ones(3)), plain(np.ones(4))
    with pytest.raises(ValueError, match="control: got no looks"):
        sequence([], [], 0.9, n_looks=3)
    with pytest.raises(ValueError, match="treatment: got 1 looks, expected 2"):
        sequence([a], [a, a], 0.9, n_looks=3)
    with pytest.raises(ValueError, match="treatment: got 4 users at look 2, expected 3"):
        sequence([a, b], [a, a], 0.9, n_looks=3)
    with pytest.raises(ValueError, match="n_looks: got 0"):
        sequence([a], [a], 0.9, n_looks=0)
    for confidence in (0.0, 1.0, nan, inf):
        with pytest.raises(ValueError, match="confidence: got"):
            sequence([a], [a], confidence, n_looks=1)


def test_paired_arms_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="treatment: got 3 users, expected 4"):
        confidence_sequence_paired([plain(np.ones(3))], [plain(np.ones(4))], 0.9, n_looks=1)
