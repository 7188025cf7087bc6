"""All that an A/B test of any design tells, from the logs of its arms and the plan by which they served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recommenders.base import ItemFeatures
from simulator.engine.log import EventLog
from simulator.experiment.abtest import ABAnalysis, analyse_readings
from simulator.experiment.assignment import Assignment
from simulator.experiment.cell_readings import CellReadings
from simulator.experiment.metrics import LogView, Metric, select_metrics
from simulator.experiment.metrics.base import protected
from simulator.experiment.readings import BlockReadings, SplitReadings, TwinReadings, UserReadings
from simulator.experiment.results import EstimatorRow, GuardrailVerdict, SampleRatio, SegmentEffect, WatchedPoint
from simulator.experiment.robustness import WarmUp, estimator_rows, segment_effects, warm_up_of, watched_points
from simulator.experiment.validity import judge_guardrails, sample_ratio
from simulator.scenario.ab_tests import PairedABTest, SplitABTest, SwitchbackABTest
from simulator.scenario.schema import Scenario


@dataclass(frozen=True)
class ABFindings:
    """The analysis, and what stands beside it.

    Attributes:
        analysis: levels, effects and courses.
        estimators, segments, watched: the effects in other ways; none from a switchback, whose units are no users.
        sample_ratios: of a split.
        guardrails: the scenario's, for each treatment.
    """

    analysis: ABAnalysis
    estimators: tuple[EstimatorRow, ...]
    sample_ratios: tuple[SampleRatio, ...]
    guardrails: tuple[GuardrailVerdict, ...]
    watched: tuple[WatchedPoint, ...]
    segments: tuple[SegmentEffect, ...]


def find(
    scenario: Scenario,
    settings: PairedABTest | SplitABTest | SwitchbackABTest,
    plan: Assignment | None,
    logs: Mapping[str, EventLog],
    warm_up: EventLog,
    items: ItemFeatures,
    *,
    n_users: int,
    start_tick: int,
    seed: int,
) -> ABFindings:
    """Analyse an A/B test as its design asks for.

    Args:
        scenario: metrics, control and level of the intervals.
        settings: its A/B test.
        plan: who was served by whom; None for a paired test.
        logs: arm -> what it served in the test, the control's and the holdout's included.
        warm_up: the log before the test.
        items: of the catalogue.
        n_users: number of users; ids are below it.
        start_tick: when the test began.
        seed: of the bootstrap.

    Returns:
        The findings over the test without its `exclude_first`; of a switchback without blocks that begin in it.
    """
    begin, end = start_tick + settings.exclude_first, start_tick + settings.duration
    control, confidence = scenario.control, scenario.confidence
    by_user: UserReadings | None = None
    ratios: tuple[SampleRatio, ...] = ()
    if plan is None:
        by_user = _twins(logs, warm_up, items, n_users, begin, end)
        analysis = analyse_readings(by_user, control, scenario.metrics, confidence)
    else:
        log = EventLog.concatenate([warm_up, EventLog.merge(list(logs.values()))])
        if isinstance(settings, SwitchbackABTest):
            blocks = _blocks(settings, plan, LogView(protected(log), items, n_users, begin, end))
            analysis = analyse_readings(blocks, control, scenario.metrics, confidence)
        else:
            members = {arm: plan.is_assigned(arm) for arm in plan.arms}
            by_user = SplitReadings(LogView(protected(log), items, n_users, begin, end), members)
            ratios = _ratios(plan, by_user, _active(by_user))
            analysis = analyse_readings(by_user, control, scenario.metrics, confidence)
    known = warm_up_of(LogView(protected(warm_up), items, n_users, 0, start_tick))
    return _findings(scenario, settings, analysis, by_user, known, ratios, seed)


def find_streamed(
    scenario: Scenario,
    settings: PairedABTest | SplitABTest | SwitchbackABTest,
    plan: Assignment | None,
    readings: CellReadings,
    *,
    seed: int,
) -> ABFindings:
    """The same of a test whose logs are on the disk, from what its cells told.

    Args:
        scenario: control and level of the intervals.
        settings: its A/B test; not watched.
        plan: who was served by whom; None for a paired test.
        readings: all of the scenario's metrics.
        seed: of the bootstrap.
    """
    analysis = analyse_readings(readings, scenario.control, scenario.metrics, scenario.confidence)
    known = WarmUp(lambda metric: readings.warm_up.parts[metric.info.name], readings.impressions, readings.dislikes)
    if isinstance(settings, SwitchbackABTest):
        return _findings(scenario, settings, analysis, None, known, (), seed)
    active = {arm: found.n_active for arm, found in readings.by_arm.items()}
    return _findings(scenario, settings, analysis, readings, known, _ratios(plan, readings, active), seed)


def _findings(
    scenario: Scenario,
    settings: PairedABTest | SplitABTest | SwitchbackABTest,
    analysis: ABAnalysis,
    by_user: UserReadings | None,
    known: WarmUp,
    ratios: tuple[SampleRatio, ...],
    seed: int,
) -> ABFindings:
    """The analysis and what stands beside it, which a switchback without users has little of."""
    control, confidence = scenario.control, scenario.confidence
    treatments = [arm.name for arm in scenario.arms]  # the holdout is none: it is how things were
    judged = [comparison for comparison in analysis.comparisons if comparison.arm in treatments]
    guardrails = judge_guardrails(settings.guardrails, judged, analysis.metrics)
    if by_user is None or isinstance(settings, SwitchbackABTest):
        return ABFindings(analysis, (), (), guardrails, (), ())
    metrics = [metric for metric in select_metrics(scenario.metrics) if isinstance(metric, Metric)]
    return ABFindings(
        analysis,
        estimator_rows(by_user, control, metrics, known, confidence, seed=seed),
        ratios,
        guardrails,
        watched_points(by_user, control, metrics, confidence) if settings.watch else (),
        segment_effects(by_user, control, metrics, known, confidence),
    )


def _twins(
    logs: Mapping[str, EventLog], warm_up: EventLog, items: ItemFeatures, n_users: int, begin: int, end: int
) -> TwinReadings:
    whole = {arm: protected(EventLog.concatenate([warm_up, log])) for arm, log in logs.items()}
    return TwinReadings({arm: LogView(log, items, n_users, begin, end) for arm, log in whole.items()})


def _blocks(settings: SwitchbackABTest, plan: Assignment, view: LogView) -> BlockReadings:
    """The periods of whole blocks in the window, without their washout."""
    periods = plan.periods(view.start_tick, settings.washout)
    return BlockReadings({arm: tuple(view.window(*period) for period in found) for arm, found in periods.items()})


def _active(readings: SplitReadings) -> dict[str, int]:
    """Arm -> how many of its users the window saw."""
    served = np.zeros(readings.view.n_users, np.bool_)
    served[readings.view.rows.user] = True
    return {arm: int(served[readings.users(arm)].sum()) for arm in readings.arms}


def _ratios(plan: Assignment | None, readings: UserReadings, active: Mapping[str, int]) -> tuple[SampleRatio, ...]:
    """Of all users and of the active ones; twins are the same users, so that there is nothing to check."""
    if plan is None:
        return ()
    shares = dict(zip(plan.arms, plan.shares, strict=True))
    return (
        sample_ratio("assigned", {arm: len(readings.users(arm)) for arm in plan.arms}, shares),
        sample_ratio("active", {arm: active[arm] for arm in plan.arms}, shares),
    )
