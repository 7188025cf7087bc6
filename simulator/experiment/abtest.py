"""The analysis of an A/B test of any design: every metric's level, effect and course, from event logs alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan

import numpy as np

from recommenders.base import ItemFeatures
from simulator.engine.log import EventLog
from simulator.experiment.estimators import DifferenceAndLift, mean_estimate, missing
from simulator.experiment.metrics import METRICS, AnyMetric, LogView, Metric, WorldMetric, select_metrics
from simulator.experiment.metrics.base import protected
from simulator.experiment.metrics.contract import measure, measure_world
from simulator.experiment.multiplicity import benjamini_hochberg, holm
from simulator.experiment.readings import Readings, TwinReadings
from simulator.experiment.results import ArmMetric, Comparison, DailySeries, Estimate, MetricInfo

OTHER_SIZES = "a number of all users together: it depends on how many users an arm has"
ONE_NUMBER = "one number per world: no spread over users, hence no interval"


@dataclass(frozen=True)
class ABAnalysis:
    """What the A/B test found; metrics in the order asked for, arms in the order of the logs.

    Attributes:
        metrics: the metrics reported.
        levels: one for each metric and arm.
        comparisons: one for each metric and arm but the control, with p-values adjusted over the arm's metrics.
        series: one for each arm and metric that is defined per user; day 0 is the first. None from a switchback, whose
            days belong to different arms.
    """

    metrics: tuple[MetricInfo, ...]
    levels: tuple[ArmMetric, ...]
    comparisons: tuple[Comparison, ...]
    series: tuple[DailySeries, ...]


def analyse(
    logs: Mapping[str, EventLog],
    control: str,
    metric_names: Sequence[str],
    items: ItemFeatures,
    *,
    n_users: int,
    start_tick: int,
    end_tick: int,
    confidence: float,
) -> ABAnalysis:
    """Estimate every metric in every arm of a paired test and compare the arms, user by user, with the control.

    Args:
        logs: arm -> its event log; the same users in each. A log may begin with the warm-up, which only tells what had
            been disliked before.
        control: the arm to compare with.
        metric_names: which metrics, by registered name or `module:object`; none for all built-in ones.
        items: of the catalogue.
        n_users: number of users; ids are below it.
        start_tick, end_tick: the test's window [start, end).
        confidence: level of all intervals, in (0, 1).

    Raises:
        ValueError: the control has no log, or the window is empty.
        MetricError: a metric is unknown, failed, or broke its contract.
    """
    if start_tick >= end_tick:
        raise ValueError(f"end_tick: got {end_tick}, expected more than start_tick {start_tick}")
    views = {arm: LogView(protected(log), items, n_users, start_tick, end_tick) for arm, log in logs.items()}
    return analyse_readings(TwinReadings(views), control, metric_names, confidence)


def analyse_readings(readings: Readings, control: str, metric_names: Sequence[str], confidence: float) -> ABAnalysis:
    """Estimate every metric in every arm and compare the arms with the control as the design has it.

    Args:
        readings: of the test's window.
        control: the arm to compare with.
        metric_names: which metrics; none for all.
        confidence: level of all intervals, in (0, 1).

    Raises:
        ValueError: the control is no arm.
        MetricError: a metric is unknown, failed, or broke its contract.
    """
    if control not in readings.arms:
        raise ValueError(f"control: got {control}, expected one of {', '.join(readings.arms)}")
    levels: list[ArmMetric] = []
    comparisons: list[Comparison] = []
    series: list[DailySeries] = []
    metrics = select_metrics(metric_names)
    for metric in metrics:
        name = metric.info.name
        effects = _effects(metric, readings, control, confidence)
        levels += [ArmMetric(arm, name, level) for arm, level in effects.levels.items()]
        comparisons += [
            Comparison(arm, name, e.difference, e.lift, e.p_value) for arm, e in effects.against_control.items()
        ]
        if isinstance(metric, Metric):
            series += [DailySeries(arm, name, tuple(range(len(v))), v) for arm, v in readings.daily(metric).items()]
    return ABAnalysis(tuple(m.info for m in metrics), tuple(levels), adjusted(comparisons), tuple(series))


def adjusted(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """The same comparisons in the same order, with p-values adjusted over all metrics of each arm."""
    found = list(comparisons)
    for arm in dict.fromkeys(c.arm for c in comparisons):
        places = [i for i, c in enumerate(comparisons) if c.arm == arm]
        p_value = np.array([comparisons[i].p_value for i in places])
        for i, family, rate in zip(places, holm(p_value), benjamini_hochberg(p_value), strict=True):
            found[i] = replace(comparisons[i], holm=float(family), benjamini_hochberg=float(rate))
    return tuple(found)


def rehearse(
    metric_names: Sequence[str], warm_up: EventLog, items: ItemFeatures, *, n_users: int, end_tick: int
) -> None:
    """Try the metrics that are not built in on the warm-up and on an empty log, before the arms take their time.

    Args:
        metric_names: as for `analyse`.
        warm_up: the log that the arms will have in common.
        items: of the catalogue.
        n_users: number of users; ids are below it.
        end_tick: where the warm-up ends.

    Raises:
        MetricError: a metric is unknown, failed, or broke its contract.
    """
    views = [LogView(protected(log), items, n_users, 0, end_tick) for log in (EventLog.empty(), warm_up)]
    for metric in select_metrics(metric_names):
        if metric.info.name not in METRICS:
            for view in views:
                if isinstance(metric, Metric):
                    measure(metric, view)
                else:
                    measure_world(metric, view)


@dataclass(frozen=True)
class _Effects:
    """One metric: arm -> level, and treatment -> effect."""

    levels: dict[str, Estimate]
    against_control: dict[str, DifferenceAndLift]


def _effects(metric: AnyMetric, readings: Readings, control: str, confidence: float) -> _Effects:
    treatments = [arm for arm in readings.arms if arm != control]
    if isinstance(metric, WorldMetric):
        numbers = readings.numbers(metric)
        if not readings.worlds_compare:
            unlike = DifferenceAndLift(missing(OTHER_SIZES), missing(OTHER_SIZES))
            return _Effects({arm: _one_number(n) for arm, n in numbers.items()}, dict.fromkeys(treatments, unlike))
        return _Effects(
            {arm: _one_number(number) for arm, number in numbers.items()},
            {arm: _compare_numbers(numbers[arm], numbers[control]) for arm in treatments},
        )
    parts = readings.parts(metric)
    return _Effects(
        {arm: mean_estimate(per_user, confidence) for arm, per_user in parts.items()},
        {arm: readings.compare(parts[arm], parts[control], confidence) for arm in treatments},
    )


def _one_number(number: float) -> Estimate:
    if isnan(number):
        return missing("not defined in this world")
    return Estimate(number, nan, nan, n=1, note=ONE_NUMBER)


def _compare_numbers(treatment: float, control: float) -> DifferenceAndLift:
    difference = treatment - control
    lift = missing("no relative change: the level compared with is not above 0")
    return DifferenceAndLift(_one_number(difference), _one_number(difference / control) if control > 0 else lift)
