"""Arms with users of their own, against Welch's t-test, the jackknife and simulated truth."""

from __future__ import annotations

from math import exp, isnan, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from recommenders.base import Float64
from simulator.experiment.estimators import DifferenceAndLift, PerUser, compare, compare_independent
from simulator.experiment.results import Estimate
from tests.simulator.experiment.strategies import DEGENERATE, count_metric, normals, picked, plain, scaled, seeds

CONFIDENCE = 0.9
sizes = st.integers(3, 60)
large = st.integers(60, 90)


def limits(estimate: Estimate) -> list[float]:
    return [estimate.value, estimate.low, estimate.high]


def count_effect(seed: int, n_treated: int, n_controls: int) -> tuple[PerUser, PerUser]:
    return count_metric(seed, n_treated, -0.2), count_metric(seed + 7, n_controls)


@given(seed=seeds, n_treated=sizes, n_controls=sizes, spread=st.floats(0.1, 10))
@settings(max_examples=40)
def test_a_difference_of_means_is_welchs_t_test(seed: int, n_treated: int, n_controls: int, spread: float) -> None:
    treatment, control = spread * normals(seed, n_treated), normals(seed + 1, n_controls)
    got = compare_independent(plain(treatment), plain(control), CONFIDENCE)
    test = stats.ttest_ind(treatment, control, equal_var=False)
    interval = test.confidence_interval(CONFIDENCE)
    expected = [treatment.mean() - control.mean(), interval.low, interval.high]
    np.testing.assert_allclose(limits(got.difference), expected, rtol=1e-9, atol=1e-12)
    assert got.p_value == pytest.approx(test.pvalue, rel=1e-9)
    assert got.difference.n == n_treated + n_controls
    assert isnan(got.difference.unpaired_low)


@given(seed=seeds, n=large)
@settings(max_examples=20)
def test_with_arms_of_one_size_it_is_the_unpaired_interval_of_the_paired_experiment(seed: int, n: int) -> None:
    treatment, control = count_metric(seed, n, -0.2, world=1), count_metric(seed, n)
    beside, alone = compare(treatment, control, CONFIDENCE), compare_independent(treatment, control, CONFIDENCE)
    for estimate, other in ((beside.difference, alone.difference), (beside.lift, alone.lift)):
        assert limits(other) == [estimate.value, estimate.unpaired_low, estimate.unpaired_high]


@given(seed=seeds, n_treated=large, n_controls=large)
@settings(max_examples=10)
def test_the_variance_of_a_lift_is_made_of_the_levels_jackknifes(seed: int, n_treated: int, n_controls: int) -> None:
    new, old = count_effect(seed, n_treated, n_controls)
    got = compare_independent(new, old, CONFIDENCE).lift
    # d(lift) = d(new) / old - new d(old) / old^2
    slope = 1 / old.ratio(), new.ratio() / old.ratio() ** 2
    variance = [s**2 * jackknife_variance(arm) for s, arm in zip(slope, (new, old), strict=True)]
    sizes_less_one = n_treated - 1, n_controls - 1
    degrees = sum(variance) ** 2 / sum(v**2 / d for v, d in zip(variance, sizes_less_one, strict=True))
    expected = stats.t.ppf((1 + CONFIDENCE) / 2, degrees) * sqrt(sum(variance))
    assert (got.high - got.low) / 2 == pytest.approx(expected, rel=1e-8)


def jackknife_variance(arm: PerUser) -> float:
    """Variance of a level, from the samples that lack one user."""
    n = len(arm.numerator)
    levels = np.array([picked(arm, np.delete(np.arange(n), i)).ratio() for i in range(n)])
    return float((n - 1) / n * np.sum((levels - levels.mean()) ** 2))


@given(seed=seeds, n_treated=large, n_controls=large, factor=st.floats(1e-3, 1e3), data=st.data())
@settings(max_examples=20)
def test_unit_order_and_naming_of_the_arms_do_not_matter(
    seed: int, n_treated: int, n_controls: int, factor: float, data: st.DataObject
) -> None:
    a, b = count_effect(seed, n_treated, n_controls)
    effect = compare_independent(a, b, CONFIDENCE)
    shuffled = picked(a, np.array(data.draw(st.permutations(range(n_treated)))))
    assert_alike(compare_independent(shuffled, b, CONFIDENCE), effect)
    assert_alike(compare_independent(scaled(a, factor), scaled(b, factor), CONFIDENCE), effect, factor)
    back = compare_independent(b, a, CONFIDENCE)
    d = back.difference
    np.testing.assert_allclose([-d.value, -d.high, -d.low], limits(effect.difference), rtol=1e-8)
    assert back.p_value == pytest.approx(effect.p_value, rel=1e-8)


def assert_alike(got: DifferenceAndLift, expected: DifferenceAndLift, factor: float = 1.0) -> None:
    np.testing.assert_allclose(limits(got.difference), factor * np.array(limits(expected.difference)), rtol=1e-8)
    np.testing.assert_allclose(limits(got.lift), limits(expected.lift), rtol=1e-8)
    assert got.p_value == pytest.approx(expected.p_value, rel=1e-8)


@pytest.mark.parametrize("case", DEGENERATE)
def test_what_cannot_be_estimated_is_missing_with_a_note(case: str) -> None:
    arm, note = DEGENERATE[case]
    good = count_metric(1, 60)
    for effect in (compare_independent(arm, good, CONFIDENCE), compare_independent(good, arm, CONFIDENCE)):
        for estimate in (effect.difference, effect.lift):
            assert np.isnan(limits(estimate)).all()
            assert note in estimate.note
        assert isnan(effect.p_value)


def test_without_any_event_there_is_a_value_and_a_reason_but_no_interval() -> None:
    effect = compare_independent(plain(np.zeros(40)), plain(np.zeros(50)), CONFIDENCE)
    assert effect.difference.value == 0
    assert "too few users or runs with any event" in effect.difference.note
    assert "not above 0" in effect.lift.note
    assert np.isnan([effect.difference.low, effect.lift.value, effect.p_value]).all()


@pytest.mark.parametrize(("treated", "p_value"), [(0.25, 1.0), (0.5, 0.0)])
def test_values_without_spread_have_an_interval_without_width(treated: float, p_value: float) -> None:
    effect = compare_independent(plain(np.full(5, treated)), plain(np.full(9, 0.25)), CONFIDENCE)
    assert limits(effect.difference) == [treated - 0.25] * 3
    assert limits(effect.lift) == [treated / 0.25 - 1] * 3
    assert effect.p_value == p_value


def skewed_arm(world: int, n: int, shift: float) -> PerUser:
    """Events in proportion to impressions, at a rate that differs over users; exp(shift) moves the true level."""
    trait: Float64 = normals(world, 3, n)
    impressions = np.exp(3 + 0.6 * trait[0])
    return PerUser(impressions * np.exp(-2.5 + shift + 0.5 * trait[1]) * (1 + 0.2 * trait[2]), impressions)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Coverage of a true lift of exp(-0.2) - 1, over 1,000 experiments of 150 and 300 users, at 90%.

    The bounds lie 4 standard deviations (0.0095 each) to either side of 0.9, a false-alarm rate of 6e-5.
    """
    truth = exp(-0.2) - 1
    covered = 0
    for world in range(1_000):
        arms = skewed_arm(80_000 + 2 * world, 150, -0.2), skewed_arm(80_001 + 2 * world, 300, 0.0)
        lift = compare_independent(*arms, CONFIDENCE).lift
        covered += lift.low <= truth <= lift.high
    assert abs(covered / 1_000 - CONFIDENCE) < 4 * 0.0095


def test_skewed_activity_does_not_raise_false_alarms() -> None:
    """A/A tests of 40 users an arm whose log activity has an sd of 1.2, 3,000 of them, at 5%.

    The count is binomial with sd 0.004 if the level is exact; the bound lies 4 of them above, a false-alarm rate of
    3e-5. The delta method without the jackknife's correction finds something in 8.2%.
    """
    n, trials, found = 40, 3_000, 0
    draws = normals(17, 4, trials * n).reshape(4, trials, n)
    for new_activity, old_activity, new_trait, old_trait in draws.transpose(1, 0, 2):
        new, old = (
            PerUser(np.exp(3 + 1.2 * activity) * np.exp(-1 + 0.5 * trait), np.exp(3 + 1.2 * activity))
            for activity, trait in ((new_activity, new_trait), (old_activity, old_trait))
        )
        found += compare_independent(new, old, 0.95).p_value < 0.05
    assert found / trials < 0.05 + 4 * 0.004
