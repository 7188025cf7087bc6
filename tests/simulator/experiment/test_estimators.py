"""The estimators against closed forms, slow second implementations and simulated truth."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, isnan, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from recommenders.base import Float64
from simulator.experiment.estimators import PerUser, compare, mean_estimate, ratio_of_means
from simulator.experiment.linearised import linearise
from simulator.experiment.results import Estimate
from tests.simulator.experiment.strategies import DEGENERATE, count_metric, normals, plain, scaled, seeds

CONFIDENCE = 0.9
sizes = st.integers(3, 60)


def limits(estimate: Estimate) -> list[float]:
    return [estimate.value, estimate.low, estimate.high]


def jackknife(statistic: Callable[[Float64], float], n: int) -> float:
    """Standard error of a statistic of user weights, from the n samples that lack one user."""
    values = np.array([statistic(1.0 - (np.arange(n) == i)) for i in range(n)])
    return sqrt((n - 1) / n * np.sum((values - values.mean()) ** 2))


def level_of(arm: PerUser) -> Callable[[Float64], float]:
    return lambda w: (w @ arm.numerator) / (w @ arm.denominator)


def difference_of(treatment: PerUser, control: PerUser) -> Callable[[Float64], float]:
    new, old = level_of(treatment), level_of(control)
    return lambda w: new(w) - old(w)


def lift_of(treatment: PerUser, control: PerUser) -> Callable[[Float64], float]:
    """The lift to first order in both levels, which is how its variance is made of theirs."""
    new, old = level_of(treatment), level_of(control)
    level, base = treatment.ratio(), control.ratio()
    return lambda w: level / base - 1 + (new(w) - level) / base - level / base**2 * (old(w) - base)


def half_width(estimate: Estimate) -> float:
    return (estimate.high - estimate.low) / 2


@given(seed=seeds, n=sizes)
@settings(deadline=None, max_examples=40)
def test_paired_difference_with_unit_denominators_is_the_paired_t_test(seed: int, n: int) -> None:
    treatment, control = normals(seed, 2, n)
    got = compare(plain(treatment), plain(control), CONFIDENCE).difference
    interval = stats.ttest_rel(treatment, control).confidence_interval(CONFIDENCE)
    expected = [treatment.mean() - control.mean(), interval.low, interval.high]
    np.testing.assert_allclose(limits(got), expected, rtol=1e-9, atol=1e-12)


@given(seed=seeds, n=sizes)
@settings(deadline=None, max_examples=20)
def test_p_value_with_unit_denominators_is_the_paired_t_tests(seed: int, n: int) -> None:
    treatment, control = normals(seed, 2, n)
    expected = stats.ttest_rel(treatment, control).pvalue
    assert compare(plain(treatment), plain(control), CONFIDENCE).p_value == pytest.approx(expected, rel=1e-9)


@given(seed=seeds, n=st.integers(60, 90), factor=st.floats(1e-3, 1e3))
@settings(deadline=None, max_examples=20)
def test_the_unit_of_a_metric_scales_the_difference_alone(seed: int, n: int, factor: float) -> None:
    arms = [count_metric(seed, n, -0.2, world=1), count_metric(seed, n)]
    before, after = (compare(a, b, CONFIDENCE) for a, b in (arms, [scaled(arm, factor) for arm in arms]))
    np.testing.assert_allclose(limits(after.difference), factor * np.array(limits(before.difference)), rtol=1e-8)
    np.testing.assert_allclose(limits(after.lift), limits(before.lift), rtol=1e-8)
    assert after.p_value == pytest.approx(before.p_value, rel=1e-8)


@given(seed=seeds, n=st.integers(60, 90))
@settings(deadline=None, max_examples=20)
def test_swapping_the_arms_negates_the_difference(seed: int, n: int) -> None:
    a, b = count_metric(seed, n, -0.2, world=1), count_metric(seed, n)
    there, back = compare(a, b, CONFIDENCE), compare(b, a, CONFIDENCE)
    d = back.difference
    np.testing.assert_allclose(limits(there.difference), [-d.value, -d.high, -d.low], rtol=1e-9)
    assert there.p_value == pytest.approx(back.p_value, rel=1e-9)


@given(seed=seeds, n=sizes, spread=st.floats(0.1, 10))
@settings(deadline=None, max_examples=40)
def test_unpaired_difference_with_unit_denominators_is_welchs_t_test(seed: int, n: int, spread: float) -> None:
    treatment, control = normals(seed, 2, n)
    treatment = treatment * spread
    got = compare(plain(treatment), plain(control), CONFIDENCE).difference
    interval = stats.ttest_ind(treatment, control, equal_var=False).confidence_interval(CONFIDENCE)
    np.testing.assert_allclose([got.unpaired_low, got.unpaired_high], [interval.low, interval.high], rtol=1e-9)


@given(seed=seeds, n=sizes)
@settings(deadline=None, max_examples=20)
def test_level_with_unit_denominators_is_the_t_interval_of_a_mean(seed: int, n: int) -> None:
    values = normals(seed, n)
    interval = stats.ttest_1samp(values, 0).confidence_interval(CONFIDENCE)
    got = limits(mean_estimate(plain(values), CONFIDENCE))
    np.testing.assert_allclose(got, [values.mean(), interval.low, interval.high], rtol=1e-9, atol=1e-12)


@given(seed=seeds, n=st.integers(20, 60))
@settings(deadline=None, max_examples=20)
def test_intervals_of_ratios_are_the_jackknifes(seed: int, n: int) -> None:
    treatment, control = count_metric(seed, n, -0.2, world=1), count_metric(seed, n)
    effect = compare(treatment, control, CONFIDENCE)
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)
    for statistic, estimate in (
        (difference_of(treatment, control), effect.difference),
        (lift_of(treatment, control), effect.lift),
        (level_of(control), mean_estimate(control, CONFIDENCE)),
    ):
        assert estimate.value == pytest.approx(statistic(np.ones(n)))
        if not estimate.note:  # too few users with an event have no interval of a lift
            assert half_width(estimate) == pytest.approx(quantile * jackknife(statistic, n), rel=1e-8)


def test_in_a_large_sample_the_interval_of_a_lift_agrees_with_the_jackknife_of_the_lift_itself() -> None:
    n = 400
    treatment, control = count_metric(5, n, -0.2, world=1), count_metric(5, n)
    half = half_width(compare(treatment, control, CONFIDENCE).lift)
    new, old = level_of(treatment), level_of(control)
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)
    assert half == pytest.approx(quantile * jackknife(lambda w: new(w) / old(w), n), rel=0.01)


def test_a_user_without_whom_there_is_no_level_moves_nothing() -> None:
    alone = PerUser(np.array([0.3, 0.0, 0.0]), np.array([0.7, 0.0, 0.0]))
    assert linearise(alone).deviation.tolist() == [0.0, 0.0, 0.0]
    idle = PerUser(np.array([1.0, 3.0, 0.0]), np.array([2.0, 2.0, 0.0]))
    # Without the first the level is 3/2, without the second 1/2, in place of 1.
    assert linearise(idle).deviation.tolist() == [2 * -0.5, 2 * 0.5, 0.0]


@given(seed=seeds, n=st.integers(60, 90))  # so many that events are never too few for an interval
@settings(deadline=None, max_examples=20)
def test_unpaired_interval_has_the_sum_of_the_arms_variances(seed: int, n: int) -> None:
    treatment, control = count_metric(seed, n, -0.2, world=1), count_metric(seed, n)
    got = compare(treatment, control, CONFIDENCE).difference
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)
    errors = [half_width(mean_estimate(arm, CONFIDENCE)) / quantile for arm in (treatment, control)]
    degrees = (n - 1) * (errors[0] ** 2 + errors[1] ** 2) ** 2 / (errors[0] ** 4 + errors[1] ** 4)
    expected = stats.t.ppf((1 + CONFIDENCE) / 2, degrees) * sqrt(errors[0] ** 2 + errors[1] ** 2)
    assert (got.unpaired_high - got.unpaired_low) / 2 == pytest.approx(expected)


@given(seed=seeds, n=st.integers(5, 40), data=st.data())
@settings(deadline=None, max_examples=20)
def test_order_of_users_does_not_matter(seed: int, n: int, data: st.DataObject) -> None:
    order = np.array(data.draw(st.permutations(range(n))))
    arms = [count_metric(seed, n, -0.2, world=1), count_metric(seed, n)]
    shuffled = [PerUser(arm.numerator[order], arm.denominator[order]) for arm in arms]
    before, after = compare(arms[0], arms[1], CONFIDENCE), compare(shuffled[0], shuffled[1], CONFIDENCE)
    for estimate, other in ((before.difference, after.difference), (before.lift, after.lift)):
        np.testing.assert_allclose(
            [*limits(estimate), estimate.unpaired_low, estimate.unpaired_high],
            [*limits(other), other.unpaired_low, other.unpaired_high],
            rtol=1e-9,
            atol=1e-12,
        )


@given(seed=seeds, n=st.integers(2, 200))
@settings(deadline=None, max_examples=50)
def test_identical_arms_differ_by_exactly_zero(seed: int, n: int) -> None:
    arm = count_metric(seed, n)
    arm.numerator[0] += 1  # a level above 0, so that there is a lift
    effect = compare(arm, PerUser(arm.numerator.copy(), arm.denominator.copy()), CONFIDENCE)
    share = arm.numerator / arm.denominator
    for estimate in (effect.difference, effect.lift, ratio_of_means(share, share.copy(), CONFIDENCE)):
        assert limits(estimate) == [0.0, 0.0, 0.0]
        assert estimate.n == n
        assert effect.p_value == 1.0
        assert estimate.note == ""


def test_responsiveness_is_the_ratio_of_means_also_where_a_base_is_zero() -> None:
    got = ratio_of_means(np.tile([0.0, 0.1, 0.2], 5), np.tile([0.0, 0.4, 0.2], 5), CONFIDENCE)
    assert got.value == pytest.approx(-0.5)
    assert got.low < -0.5 < got.high


def test_values_without_spread_have_an_interval_without_width() -> None:
    assert limits(mean_estimate(plain(np.full(5, 0.25)), CONFIDENCE)) == [0.25, 0.25, 0.25]
    effect = compare(plain(np.full(5, 0.5)), plain(np.full(5, 0.25)), CONFIDENCE)
    assert limits(effect.lift) == [1.0, 1.0, 1.0]
    assert effect.p_value == 0.0


@pytest.mark.parametrize("case", DEGENERATE)
def test_what_cannot_be_estimated_is_missing_with_a_note(case: str) -> None:
    per_user, note = DEGENERATE[case]
    good = plain(np.arange(1.0, 1 + len(per_user.numerator)))
    effects = [compare(per_user, good, CONFIDENCE), compare(good, per_user, CONFIDENCE)]
    assert all(isnan(effect.p_value) for effect in effects)
    for estimate in (mean_estimate(per_user, CONFIDENCE), *(e for d in effects for e in (d.difference, d.lift))):
        assert all(isnan(number) for number in limits(estimate))
        assert isnan(estimate.unpaired_low)
        assert note in estimate.note
        assert estimate.n == len(per_user.numerator)


@pytest.mark.parametrize("control", [np.array([0.0, 0.0]), np.array([1.0, -1.0]), np.array([-1.0, -2.0])])
def test_there_is_no_lift_over_a_level_not_above_zero(control: Float64) -> None:
    effect = compare(plain(np.array([1.0, 2.0])), plain(control), CONFIDENCE)
    assert isnan(effect.lift.value)
    assert "not above 0" in effect.lift.note
    assert effect.difference.value == pytest.approx(1.5 - control.mean())


def test_arms_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="got 2 users, expected 3"):
        compare(plain(np.ones(2)), plain(np.ones(3)), CONFIDENCE)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Coverage of a true lift of exp(-0.2) - 1, over 1,000 worlds of 200 users, at 90%.

    The count of covering intervals is binomial with sd 0.0095 if coverage is exact; the bounds lie 4 of them to each
    side, a false-alarm rate of 6e-5. Unpaired intervals must cover more often than they say, since the arms correlate.
    """
    n_users, n_worlds, truth = 200, 1_000, exp(-0.2) - 1
    paired = unpaired = 0
    for world in range(n_worlds):
        lift = _simulated_lift(world, n_users)
        paired += lift.low <= truth <= lift.high
        unpaired += lift.unpaired_low <= truth <= lift.unpaired_high
    assert abs(paired / n_worlds - CONFIDENCE) < 4 * 0.0095
    assert unpaired / n_worlds > CONFIDENCE + 4 * 0.0095


def _simulated_lift(world: int, n_users: int) -> Estimate:
    """A paired experiment whose true lift is exp(-0.2) - 1: expected events are proportional to impressions."""
    draws = normals(1_000 + world, 6, n_users)
    impressions = [np.exp(3 + 0.6 * draws[0] + 0.2 * draws[i]) for i in (1, 2)]
    rate = np.exp(-2.5 + 0.5 * draws[3])
    arms = [
        PerUser(seen * rate * exp(shift) * (1 + 0.2 * noise), seen)
        for seen, shift, noise in zip(impressions, (-0.2, 0.0), draws[4:], strict=True)
    ]
    return compare(arms[0], arms[1], CONFIDENCE).lift


def events(n_with: int, n: int = 50) -> PerUser:
    """The first users have one event each."""
    return plain((np.arange(n) < n_with).astype(np.float64))


@pytest.mark.parametrize(("treated", "controlled", "fewest"), [(0, 5, 0), (0, 30, 0), (3, 30, 3), (30, 9, 9)])
def test_where_few_have_an_event_a_contrast_has_a_value_but_no_interval(
    treated: int, controlled: int, fewest: int
) -> None:
    effect = compare(events(treated), events(controlled), CONFIDENCE)
    assert effect.lift.value == pytest.approx(treated / controlled - 1)
    assert effect.difference.value == pytest.approx((treated - controlled) / 50)
    for estimate in (effect.lift, effect.difference):
        numbers = [estimate.low, estimate.high, estimate.unpaired_low, estimate.unpaired_high]
        assert np.isnan([*numbers, effect.p_value]).all()
        assert estimate.note == f"too few users or runs with any event for an interval: {fewest} of 50"


@pytest.mark.parametrize("n_with", [0, 1, 9])
def test_where_few_have_an_event_a_level_has_a_value_but_no_interval(n_with: int) -> None:
    got = mean_estimate(events(n_with), CONFIDENCE)
    assert got.value == n_with / 50
    assert isnan(got.low)
    assert isnan(got.high)
    assert got.note.endswith(f": {n_with} of 50")


def test_ten_with_an_event_are_enough_and_negative_values_are_events() -> None:
    for arm in (events(10), PerUser(-events(10).numerator, np.ones(50))):
        assert mean_estimate(arm, CONFIDENCE).note == ""
        assert compare(arm, events(30), CONFIDENCE).lift.note == ""


def test_a_metric_that_every_user_has_is_not_sparse_however_few_they_are() -> None:
    values = np.array([0.2, 0.5, 0.3, 0.0])
    idle = PerUser(values, np.array([1.0, 1.0, 1.0, 0.0]))  # the last user had no occasion
    assert mean_estimate(idle, CONFIDENCE).note == ""
    assert mean_estimate(plain(values), CONFIDENCE).note != ""


def test_equal_sparse_arms_still_differ_by_exactly_zero_but_not_if_their_occasions_differ() -> None:
    effect = compare(events(3), events(3), CONFIDENCE)
    assert limits(effect.difference) == limits(effect.lift) == [0.0, 0.0, 0.0]
    other = PerUser(events(3).numerator, np.ones(50) + np.arange(50))
    assert isnan(compare(other, events(3), CONFIDENCE).difference.low)


@pytest.mark.parametrize(("n_runs", "most_missing"), [(50, 0.0), (500, 0.05 + 4 * 0.0069)])
def test_responses_to_rare_events_are_not_claimed_too_sure(n_runs: int, most_missing: float) -> None:
    """Share of 1,000 experiments with an interval at 95% that misses R = -0.9, at a base share of 2% of slates of 10.

    If coverage is exact the count is binomial with sd 0.0069; the bound lies 4 of them above, a false-alarm rate of
    3e-5. With 50 runs no interval may be given: ten runs with an event in the treated branch (chance of one 0.02) have
    a chance of 5e-8 in each experiment, 5e-5 in all.
    """
    missing = 0
    for world in range(1_000):
        chance = stats.norm.cdf(normals(50_000 + world, 2, n_runs))
        base, action = (stats.binom.ppf(u, 10, p) / 10 for u, p in zip(chance, (0.02, 0.002), strict=True))
        got = ratio_of_means(action, base, 0.95)
        missing += got.low > -0.9 or got.high < -0.9
    assert missing / 1_000 <= most_missing
