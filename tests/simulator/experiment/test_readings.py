"""How the designs read a log, against the same sums by hand."""

from __future__ import annotations

from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.engine.log import EventLog
from simulator.experiment.abtest import OTHER_SIZES, adjusted, analyse, analyse_readings
from simulator.experiment.estimators import compare, compare_independent, mean_estimate
from simulator.experiment.metrics import METRICS, LogView, Metric
from simulator.experiment.multiplicity import benjamini_hochberg, holm
from simulator.experiment.readings import BlockReadings, SplitReadings, TwinReadings, rows_of
from simulator.experiment.results import Comparison, Estimate
from simulator.scenario.durations import TICKS_PER_DAY
from tests.simulator.experiment.strategies import HOUR, MAX_USERS, items, logs

ITEMS = items()
DAYS = 4
PER_USER = [metric for metric in METRICS.values() if isinstance(metric, Metric)]
memberships = st.lists(st.sampled_from(["control", "a"]), min_size=MAX_USERS, max_size=MAX_USERS)


def split_of(log: EventLog, arms: list[str]) -> SplitReadings:
    members = {arm: np.array([a == arm for a in arms]) for arm in ("control", "a")}
    return SplitReadings(LogView(log, ITEMS, MAX_USERS, 0, DAYS * TICKS_PER_DAY), members)


@given(logs(n_days=DAYS), memberships)
@settings(max_examples=25)
def test_a_split_reads_of_each_arm_what_a_log_of_its_users_alone_has(log: EventLog, arms: list[str]) -> None:
    readings = split_of(log, arms)
    for arm in readings.arms:
        mine = np.isin(log.user, readings.users(arm))
        alone = LogView(log.take(mine), ITEMS, MAX_USERS, 0, DAYS * TICKS_PER_DAY)
        for metric in PER_USER:
            expected = rows_of(metric.compute(alone), readings.users(arm))
            found = readings.parts(metric)[arm]
            np.testing.assert_array_equal(found.numerator, expected.numerator)
            np.testing.assert_array_equal(found.denominator, expected.denominator)


@given(logs(n_days=DAYS), memberships)
@settings(max_examples=10)
def test_a_split_is_analysed_between_different_users(log: EventLog, arms: list[str]) -> None:
    readings = split_of(log, arms)
    found = analyse_readings(readings, "control", [], 0.9)
    for metric in PER_USER:
        parts = readings.parts(metric)
        effect = compare_independent(parts["a"], parts["control"], 0.9)
        comparison = next(c for c in found.comparisons if c.metric == metric.info.name)
        np.testing.assert_equal(comparison.difference, effect.difference)
        np.testing.assert_equal(comparison.lift, effect.lift)
        np.testing.assert_equal(comparison.p_value, effect.p_value)
        levels = {x.arm: x.mean for x in found.levels if x.metric == metric.info.name}
        np.testing.assert_equal(levels, {arm: mean_estimate(p, 0.9) for arm, p in parts.items()})


@given(logs(n_days=DAYS), memberships)
@settings(max_examples=10)
def test_coverage_is_not_compared_between_arms_of_a_split(log: EventLog, arms: list[str]) -> None:
    found = analyse_readings(split_of(log, arms), "control", ["catalogue_coverage"], 0.95)
    assert found.comparisons[0].lift.note == OTHER_SIZES
    assert isnan(found.comparisons[0].difference.value)


@given(logs(n_days=DAYS), st.sampled_from([0, HOUR, 5 * HOUR]))
@settings(max_examples=25)
def test_a_switchback_sums_over_users_and_pairs_by_block(log: EventLog, washout: int) -> None:
    """Four blocks of two periods of 12 hours each, the control first in every other one."""
    first = [("control", "a"), ("a", "control")] * 2
    views: dict[str, list[LogView]] = {"control": [], "a": []}
    for block, order in enumerate(first):
        for place, arm in enumerate(order):
            begin = (2 * block + place) * 12 * HOUR
            views[arm].append(LogView(log, ITEMS, MAX_USERS, begin + washout, begin + 12 * HOUR))
    readings = BlockReadings({arm: tuple(found) for arm, found in views.items()})
    found = analyse_readings(readings, "control", [], 0.95)
    assert found.series == ()
    for metric in PER_USER:
        parts = readings.parts(metric)
        for arm, per_block in parts.items():
            sums = [metric.compute(view) for view in views[arm]]
            np.testing.assert_array_equal(per_block.numerator, [p.numerator.sum() for p in sums])
            np.testing.assert_array_equal(per_block.denominator, [p.denominator.sum() for p in sums])
        effect = compare(parts["a"], parts["control"], 0.95)
        comparison = next(c for c in found.comparisons if c.metric == metric.info.name)
        np.testing.assert_equal(comparison.lift, effect.lift)


@given(logs(n_days=DAYS), logs(n_days=DAYS))
@settings(max_examples=10)
def test_twins_cut_in_time_are_twins_of_that_time(control: EventLog, treatment: EventLog) -> None:
    arms = {"control": control, "a": treatment}
    whole = TwinReadings({a: LogView(log, ITEMS, MAX_USERS, 0, DAYS * TICKS_PER_DAY) for a, log in arms.items()})
    cut = analyse_readings(whole.between(TICKS_PER_DAY, 3 * TICKS_PER_DAY), "control", [], 0.95)
    expected = analyse(
        arms, "control", [], ITEMS, n_users=MAX_USERS, start_tick=TICKS_PER_DAY, end_tick=3 * TICKS_PER_DAY,
        confidence=0.95,
    )  # fmt: skip
    assert repr(cut) == repr(expected)  # exact, and NaN is like NaN


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.floats(0, 1) | st.just(float("nan"))), max_size=8))
def test_p_values_are_adjusted_within_each_arm(found: list[tuple[str, float]]) -> None:
    nothing = Estimate(0.0, 0.0, 0.0)
    before = [Comparison(arm, str(i), nothing, nothing, p) for i, (arm, p) in enumerate(found)]
    after = adjusted(before)
    assert [(c.arm, c.metric) for c in after] == [(c.arm, c.metric) for c in before]
    for arm in ("a", "b"):
        p_value = np.array([p for a, p in found if a == arm])
        np.testing.assert_array_equal([c.holm for c in after if c.arm == arm], holm(p_value))
        np.testing.assert_array_equal(
            [c.benjamini_hochberg for c in after if c.arm == arm], benjamini_hochberg(p_value)
        )


def test_a_control_that_is_no_arm_is_refused() -> None:
    with pytest.raises(ValueError, match="control: got c, expected one of control, a"):
        analyse_readings(split_of(EventLog.empty(), ["a"] * MAX_USERS), "c", [], 0.95)
