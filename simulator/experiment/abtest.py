"""The analysis of a paired A/B test: every metric's level, effect and course, from the arms' event logs alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan

from recommenders.base import ItemFeatures
from simulator.engine.log import EventLog
from simulator.experiment.estimators import DifferenceAndLift, compare, mean_estimate, missing
from simulator.experiment.metrics import LogView, Metric, WorldMetric, select_metrics
from simulator.experiment.results import ArmMetric, Comparison, DailySeries, Estimate, MetricInfo

ONE_NUMBER = "one number per world: no spread over users, hence no interval"


@dataclass(frozen=True)
class ABAnalysis:
    """What the A/B test found; metrics in the order asked for, arms in the order of the logs.

    Attributes:
        metrics: the metrics reported.
        levels: one for each metric and arm.
        comparisons: one for each metric and arm but the control.
        series: one for each arm and metric that is defined per user; day 0 is the first.
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
    """Estimate every metric in every arm and compare the arms, user by user, with the control.

    Args:
        logs: arm -> its event log; the same users in each. A log may begin with the warm-up, which only tells what had
            been disliked before.
        control: the arm to compare with.
        metric_names: which metrics; none for all.
        items: of the catalogue.
        n_users: number of users; ids are below it.
        start_tick, end_tick: the test's window [start, end).
        confidence: level of all intervals, in (0, 1).

    Raises:
        ValueError: the control has no log, a metric is unknown, or the window is empty.
    """
    if control not in logs:
        raise ValueError(f"control: got {control}, expected one of {', '.join(logs)}")
    if start_tick >= end_tick:
        raise ValueError(f"end_tick: got {end_tick}, expected more than start_tick {start_tick}")
    views = {arm: LogView(log, items, n_users, start_tick, end_tick) for arm, log in logs.items()}
    days = [{arm: view.day(day) for arm, view in views.items()} for day in range(views[control].n_days)]
    levels: list[ArmMetric] = []
    comparisons: list[Comparison] = []
    series: list[DailySeries] = []
    metrics = select_metrics(metric_names)
    for metric in metrics:
        name = metric.info.name
        effects = _effects(metric, views, control, confidence)
        levels += [ArmMetric(arm, name, level) for arm, level in effects.levels.items()]
        comparisons += [Comparison(arm, name, e.difference, e.lift) for arm, e in effects.against_control.items()]
        if isinstance(metric, Metric):
            series += [_series(metric, arm, [day[arm] for day in days]) for arm in views]
    return ABAnalysis(tuple(m.info for m in metrics), tuple(levels), tuple(comparisons), tuple(series))


@dataclass(frozen=True)
class _Effects:
    """One metric: arm -> level, and treatment -> effect."""

    levels: dict[str, Estimate]
    against_control: dict[str, DifferenceAndLift]


def _effects(metric: Metric | WorldMetric, views: Mapping[str, LogView], control: str, confidence: float) -> _Effects:
    treatments = [arm for arm in views if arm != control]
    if isinstance(metric, WorldMetric):
        numbers = {arm: metric.compute(view) for arm, view in views.items()}
        return _Effects(
            {arm: _one_number(number) for arm, number in numbers.items()},
            {arm: _compare_numbers(numbers[arm], numbers[control]) for arm in treatments},
        )
    parts = {arm: metric.compute(view) for arm, view in views.items()}
    return _Effects(
        {arm: mean_estimate(per_user, confidence) for arm, per_user in parts.items()},
        {arm: compare(parts[arm], parts[control], confidence) for arm in treatments},
    )


def _one_number(number: float) -> Estimate:
    if isnan(number):
        return missing("not defined in this world")
    return Estimate(number, nan, nan, n=1, note=ONE_NUMBER)


def _compare_numbers(treatment: float, control: float) -> DifferenceAndLift:
    difference = treatment - control
    lift = missing("no relative change: the level compared with is not above 0")
    return DifferenceAndLift(_one_number(difference), _one_number(difference / control) if control > 0 else lift)


def _series(metric: Metric, arm: str, days: Sequence[LogView]) -> DailySeries:
    value = tuple(metric.compute(day).ratio() for day in days)
    return DailySeries(arm, metric.info.name, tuple(range(len(days))), value)
