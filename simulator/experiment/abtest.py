"""The analysis of a paired A/B test: every metric's level, effect and course, from the arms' event logs alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan

from recommenders.base import ItemFeatures
from simulator.engine.log import EventLog
from simulator.experiment.estimators import DifferenceAndLift, compare, mean_estimate, missing
from simulator.experiment.metrics import METRICS, AnyMetric, LogView, Metric, WorldMetric, select_metrics
from simulator.experiment.metrics.base import protected
from simulator.experiment.metrics.contract import measure, measure_world
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
        metric_names: which metrics, by registered name or `module:object`; none for all built-in ones.
        items: of the catalogue.
        n_users: number of users; ids are below it.
        start_tick, end_tick: the test's window [start, end).
        confidence: level of all intervals, in (0, 1).

    Raises:
        ValueError: the control has no log, or the window is empty.
        MetricError: a metric is unknown, failed, or broke its contract.
    """
    if control not in logs:
        raise ValueError(f"control: got {control}, expected one of {', '.join(logs)}")
    if start_tick >= end_tick:
        raise ValueError(f"end_tick: got {end_tick}, expected more than start_tick {start_tick}")
    views = {arm: LogView(protected(log), items, n_users, start_tick, end_tick) for arm, log in logs.items()}
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
            series += [_series(metric, arm, view.days) for arm, view in views.items()]
    return ABAnalysis(tuple(m.info for m in metrics), tuple(levels), tuple(comparisons), tuple(series))


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


def _effects(metric: AnyMetric, views: Mapping[str, LogView], control: str, confidence: float) -> _Effects:
    treatments = [arm for arm in views if arm != control]
    if isinstance(metric, WorldMetric):
        numbers = {arm: measure_world(metric, view) for arm, view in views.items()}
        return _Effects(
            {arm: _one_number(number) for arm, number in numbers.items()},
            {arm: _compare_numbers(numbers[arm], numbers[control]) for arm in treatments},
        )
    parts = {arm: measure(metric, view) for arm, view in views.items()}
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
    value = tuple(measure(metric, day).ratio() for day in days)
    return DailySeries(arm, metric.info.name, tuple(range(len(days))), value)
