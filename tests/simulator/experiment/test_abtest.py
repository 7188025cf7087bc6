"""The analysis of an A/B test from its logs."""

from __future__ import annotations

from math import isnan, nan

import numpy as np
import pytest
from hypothesis import given, settings

from recommenders.base import Feedback
from simulator.engine.log import EventLog
from simulator.experiment.abtest import ONE_NUMBER, ABAnalysis, analyse
from simulator.experiment.estimators import compare, mean_estimate
from simulator.experiment.metrics import METRICS, LogView, Metric
from simulator.scenario.durations import TICKS_PER_DAY
from tests.simulator.experiment.strategies import HOUR, MAX_USERS, Row, items, log_of, logs

ITEMS = items()
DAYS = 3
DISLIKE = int(Feedback.EXAMINED | Feedback.DISLIKE)


def analysis_of(arms: dict[str, EventLog], *names: str, n_users: int = MAX_USERS, days: int = DAYS) -> ABAnalysis:
    return analyse(
        arms,
        "control",
        names,
        ITEMS,
        n_users=n_users,
        start_tick=0,
        end_tick=days * TICKS_PER_DAY,
        confidence=0.95,
    )


@given(log=logs(n_days=DAYS))
@settings(deadline=None, max_examples=25)
def test_identical_arms_differ_by_exactly_zero_or_are_missing_with_a_note(log: EventLog) -> None:
    for c in analysis_of({"control": log, "same": log.take(slice(None))}).comparisons:
        for estimate in (c.difference, c.lift):
            if isnan(estimate.value):
                assert estimate.note
            elif estimate.note == ONE_NUMBER:
                assert estimate.value == 0.0
            else:
                assert (estimate.value, estimate.low, estimate.high) == (0.0, 0.0, 0.0)


@given(control=logs(n_days=DAYS), treatment=logs(n_days=DAYS))
@settings(deadline=None, max_examples=10)
def test_every_metric_and_arm_has_its_estimates(control: EventLog, treatment: EventLog) -> None:
    arms = {"control": control, "a": treatment, "b": EventLog.empty()}
    found = analysis_of(arms)
    views = {arm: LogView(log, ITEMS, MAX_USERS, 0, DAYS * TICKS_PER_DAY) for arm, log in arms.items()}
    assert [m.name for m in found.metrics] == list(METRICS)
    assert [(x.metric, x.arm) for x in found.levels] == [(m, arm) for m in METRICS for arm in arms]
    assert [(x.metric, x.arm) for x in found.comparisons] == [(m, arm) for m in METRICS for arm in ("a", "b")]
    levels = {(x.metric, x.arm): x.mean for x in found.levels}
    effects = {x.metric: x for x in found.comparisons if x.arm == "a"}
    for name, metric in METRICS.items():
        if isinstance(metric, Metric):
            parts = {arm: metric.compute(view) for arm, view in views.items()}
            effect = compare(parts["a"], parts["control"], 0.95)
            np.testing.assert_equal(levels[name, "a"], mean_estimate(parts["a"], 0.95))
            np.testing.assert_equal(effects[name].difference, effect.difference)
            np.testing.assert_equal(effects[name].lift, effect.lift)


def test_the_series_has_each_days_own_value_and_nan_where_there_is_none() -> None:
    log = log_of([Row(0, 0, feedback=DISLIKE), Row(HOUR, 1), Row(2 * TICKS_PER_DAY, 0)])
    found = {s.metric: s for s in analysis_of({"control": log}, "dislike_rate", "return_1d", n_users=2).series}
    assert found["dislike_rate"].day == (0, 1, 2)
    np.testing.assert_equal(found["dislike_rate"].value, (0.5, nan, 0.0))
    np.testing.assert_equal(found["return_1d"].value, (0.0, nan, nan))


def test_coverage_is_one_number_without_an_interval_or_a_series() -> None:
    control, wide = log_of([Row(0, 0, item=0)]), log_of([Row(0, 0, item=0), Row(HOUR, 0, item=1)])
    found = analysis_of({"control": control, "wide": wide}, "catalogue_coverage", n_users=1, days=1)
    level, comparison = found.levels[1].mean, found.comparisons[0]
    assert (level.value, level.note) == (1.0, ONE_NUMBER)
    assert isnan(level.low)
    assert (comparison.difference.value, comparison.lift.value) == (0.5, 1.0)
    assert isnan(comparison.lift.unpaired_high)
    assert found.series == ()


def test_coverage_of_nothing_has_no_lift() -> None:
    found = analysis_of({"control": EventLog.empty(), "a": log_of([Row(0, 0)])}, "catalogue_coverage")
    assert isnan(found.comparisons[0].lift.value)
    assert "not above 0" in found.comparisons[0].lift.note


def test_what_makes_no_sense_is_refused() -> None:
    log = EventLog.empty()
    with pytest.raises(ValueError, match="control: got control, expected one of a, b"):
        analysis_of({"a": log, "b": log})
    with pytest.raises(ValueError, match="end_tick: got 0, expected more than start_tick 0"):
        analysis_of({"control": log}, days=0)
