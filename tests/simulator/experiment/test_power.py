"""Plans against the exact power of the t-test, a simulation, and each other."""

from __future__ import annotations

from math import inf, isnan, nan, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from simulator.experiment.estimators import compare, compare_independent, missing
from simulator.experiment.power import detectable_effect, foreseen_power, needed_users, variance_reduction
from simulator.experiment.results import Estimate
from tests.simulator.experiment.strategies import normals, plain

PILOT_CONFIDENCE = 0.9
powers = st.floats(0.5, 0.99)
levels = st.floats(0.5, 0.99)
effects = st.floats(1e-3, 0.5)
designs = st.booleans()


def pilot(seed: int = 0, n: int = 200) -> Estimate:
    base = 1 + 0.3 * normals(seed, n)
    return compare(plain(base + 0.1 * normals(seed + 1, n)), plain(base), PILOT_CONFIDENCE).lift


def users_for(effect: float, power: float, confidence: float, paired: bool) -> float:
    plan = needed_users(
        pilot(), effect=effect, power=power, confidence=confidence, paired=paired, pilot_confidence=PILOT_CONFIDENCE
    )
    assert plan.note == ""
    return plan.value


def effect_for(users: int, power: float, confidence: float, paired: bool) -> float:
    return detectable_effect(
        pilot(), users=users, power=power, confidence=confidence, paired=paired, pilot_confidence=PILOT_CONFIDENCE
    ).value


@given(users=st.integers(2, 10**6), power=powers, confidence=levels, paired=designs)
def test_users_for_the_effect_that_users_detect_are_those_users(
    users: int, power: float, confidence: float, paired: bool
) -> None:
    users *= 1 if paired else 2
    assert users_for(effect_for(users, power, confidence, paired), power, confidence, paired) == users


@given(effect=effects, power=powers, confidence=levels, paired=designs)
def test_needed_users_are_the_fewest_that_detect_the_effect(
    effect: float, power: float, confidence: float, paired: bool
) -> None:
    users, step = int(users_for(effect, power, confidence, paired)), 1 if paired else 2
    assert effect_for(users, power, confidence, paired) <= effect
    assert users == 2 * step or effect_for(users - step, power, confidence, paired) > effect
    assert users_for(-effect, power, confidence, paired) == users


@given(effect=effects, power=powers, confidence=levels, paired=designs, more=st.floats(0, 1))
@settings(max_examples=20)
def test_users_rise_with_power_and_confidence_and_fall_with_the_effect(
    effect: float, power: float, confidence: float, paired: bool, more: float
) -> None:
    users = users_for(effect, power, confidence, paired)
    assert users_for(effect * (1 + more), power, confidence, paired) <= users
    assert users_for(effect, power + more * (0.99 - power), confidence, paired) >= users
    assert users_for(effect, power, confidence + more * (0.99 - confidence), paired) >= users


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("effect", [0.01, 0.05, 0.1])
def test_power_is_that_of_the_exact_t_test(effect: float, paired: bool) -> None:
    """By the noncentral t distribution, at the standard deviation that the pilot's interval stands for."""
    users = users_for(effect, 0.8, 0.95, paired)
    lift, n = pilot(), 200
    low, high, n_pilot = (lift.low, lift.high, n) if paired else (lift.unpaired_low, lift.unpaired_high, 2 * n)
    error = (high - low) / 2 / stats.t.ppf((1 + PILOT_CONFIDENCE) / 2, n - 1 if paired else 2 * n - 2)
    degrees = users - (1 if paired else 2)
    shift = effect / (error * sqrt(n_pilot / users))
    critical = stats.t.ppf(0.975, degrees)
    exact = stats.nct.sf(critical, degrees, shift) + stats.nct.cdf(-critical, degrees, shift)
    assert 0.795 < exact < 0.85  # whole users; the correction is approximate where they are few


def test_planned_users_find_the_effect_as_often_as_planned() -> None:
    """1,000 paired tests with the users planned for 80% power at 95%; sd 0.0126, bounds of 4 sd, false alarms 6e-5."""
    sd, effect = 0.1, 0.03
    lift = Estimate(
        0.0, *(s * stats.t.ppf(0.975, 99) * sd / 10 for s in (-1, 1)), unpaired_low=-1, unpaired_high=1, n=100
    )
    users = int(needed_users(lift, effect=effect, power=0.8, confidence=0.95, paired=True).value)
    found = 0
    for noise in normals(7, 1_000, users):
        treated = 1 + effect + sd * noise
        found += compare(plain(treated), plain(np.ones(users)), 0.95).p_value < 0.05
    assert abs(found / 1_000 - 0.8) < 4 * 0.0126


@pytest.mark.parametrize(("paired", "n_counted", "degrees"), [(True, 6, 5), (False, 12, 10)])
def test_a_small_pilots_standard_error_is_its_half_width_over_its_own_t_quantile(
    paired: bool, n_counted: int, degrees: int
) -> None:
    """By the textbook's formula: a pilot of 6 users in both arms, 100 users planned."""
    lift = Estimate(0.0, -0.2, 0.2, -0.2, 0.2, n=6)
    deviation = 0.2 / stats.t.ppf(0.975, degrees) * sqrt(n_counted)
    planned = 100 - n_counted // 6
    expected = (stats.t.ppf(0.975, planned) + stats.t.ppf(0.8, planned)) * deviation / 10
    got = detectable_effect(lift, users=100, power=0.8, confidence=0.95, paired=paired)
    assert got.value == pytest.approx(expected, rel=1e-9)


def test_a_split_pilot_plans_the_split_as_the_paired_one_does_but_not_the_pairs() -> None:
    base = 1 + 0.3 * normals(1, 400)
    arms = plain(base + 0.1 * normals(2, 400)), plain(base)
    split, both = compare_independent(*arms, 0.95).lift, compare(*arms, 0.95).lift
    plans = [needed_users(p, effect=0.05, power=0.8, confidence=0.95, paired=False).value for p in (split, both)]
    assert plans[0] == pytest.approx(plans[1], rel=0.005)
    assert "lived in one arm each" in needed_users(split, effect=0.05, power=0.8, confidence=0.95, paired=True).note


@pytest.mark.parametrize(
    ("lift", "note"),
    [
        (missing("nobody came"), "nobody came"),
        (missing("an interval needs at least 2 users or runs, got 1", 1), "got 1"),
        (Estimate(0.1, nan, nan, n=50, note="too few"), "too few"),
        (Estimate(0.0, 0.0, 0.0, 0.0, 0.0, 50), "no width"),
    ],
)
@pytest.mark.parametrize("paired", [True, False])
def test_a_pilot_that_tells_nothing_gives_a_note_and_no_number(lift: Estimate, note: str, paired: bool) -> None:
    for plan in (
        needed_users(lift, effect=0.1, power=0.8, confidence=0.9, paired=paired),
        detectable_effect(lift, users=100, power=0.8, confidence=0.9, paired=paired),
    ):
        assert isnan(plan.value)
        assert note in plan.note


def test_an_effect_too_small_for_any_platform_gives_a_note() -> None:
    plan = needed_users(pilot(), effect=1e-12, power=0.8, confidence=0.9, paired=True)
    assert isnan(plan.value)
    assert "more than 1e+15 users" in plan.note


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"effect": 0.0}, "effect"),
        ({"effect": nan}, "effect"),
        ({"power": 0.4}, "power"),
        ({"power": 1.0}, "power"),
        ({"confidence": 1.0}, "confidence"),
        ({"pilot_confidence": 0.0}, "pilot_confidence"),
    ],
)
def test_a_setting_outside_its_range_is_refused(change: dict[str, float], where: str) -> None:
    with pytest.raises(ValueError, match=f"^{where}: got"):
        needed_users(pilot(), **{"effect": 0.1, "power": 0.8, "confidence": 0.9, "paired": True, **change})


@pytest.mark.parametrize(("users", "paired"), [(1, True), (3, False)])
def test_too_few_users_for_any_variance_are_refused(users: int, paired: bool) -> None:
    with pytest.raises(ValueError, match=r"^users: got"):
        detectable_effect(pilot(), users=users, power=0.8, confidence=0.9, paired=paired)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_variance_reduction_is_that_of_the_correlation_between_a_users_arms(correlation: float) -> None:
    """2 / (1 - correlation) for arms of equal variance; the ratio's standard error at 20,000 users is below 2%."""
    a, b = 0.01 * normals(5, 2, 20_000)
    treated = 1 + correlation * a + sqrt(1 - correlation**2) * b
    got = variance_reduction(compare(plain(treated), plain(1 + a), 0.95).lift)
    assert got == pytest.approx(2 / (1 - correlation), rel=0.06)


def test_the_paired_plan_needs_so_many_times_fewer_users() -> None:
    ratio = users_for(0.001, 0.8, 0.95, False) / users_for(0.001, 0.8, 0.95, True)
    assert ratio == pytest.approx(variance_reduction(pilot()), rel=0.02)


@pytest.mark.parametrize(
    ("lift", "expected"),
    [
        (Estimate(0.0, 0.0, 0.0, -1.0, 1.0), inf),
        (Estimate(0.0, -1.0, 1.0), nan),
        (missing("nobody came"), nan),
        (Estimate(0.0, 0.0, 0.0, 0.0, 0.0), nan),
    ],
)
def test_variance_reduction_where_a_width_is_zero_or_missing(lift: Estimate, expected: float) -> None:
    np.testing.assert_equal(variance_reduction(lift), expected)


@given(users=st.integers(4, 10**6), power=powers, paired=designs)
def test_the_effect_detected_with_some_power_is_foreseen_with_that_power(
    users: int, power: float, paired: bool
) -> None:
    effect = effect_for(users, power, PILOT_CONFIDENCE, paired)
    for sign in (1, -1):
        plan = foreseen_power(pilot(), effect=sign * effect, users=users, confidence=PILOT_CONFIDENCE, paired=paired)
        assert plan.value == pytest.approx(power, abs=1e-9)


def test_no_effect_is_found_on_one_side_in_half_of_the_false_positives() -> None:
    plan = foreseen_power(pilot(), effect=0.0, users=10**6, confidence=0.95, paired=True)
    assert plan.value == pytest.approx(0.025, abs=1e-4)


def test_power_of_nothing_is_not_foreseen() -> None:
    plan = foreseen_power(missing("no pilot"), effect=0.1, users=100, confidence=0.95, paired=True)
    assert isnan(plan.value)
    assert plan.note == "no pilot"
    with pytest.raises(ValueError, match="effect: got nan"):
        foreseen_power(pilot(), effect=nan, users=100, confidence=0.95, paired=True)
    with pytest.raises(ValueError, match="users: got 3, expected at least 4"):
        foreseen_power(pilot(), effect=0.1, users=3, confidence=0.95, paired=False)
