"""The same effects in other ways: by other estimators, among some of the users, and watched day by day.

All of it is by user, so a switchback has none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recommenders.base import Bool, Feedback, Float64, Int32
from simulator.experiment.adjusted import compare_cuped, compare_stratified
from simulator.experiment.bootstrap import bootstrap_independent, bootstrap_paired
from simulator.experiment.estimators import DifferenceAndLift, PerUser, compare
from simulator.experiment.metrics import LogView, Metric
from simulator.experiment.metrics.contract import measure
from simulator.experiment.multiplicity import bonferroni_confidence
from simulator.experiment.readings import UserReadings, rows_of
from simulator.experiment.results import Estimate, EstimatorRow, SegmentEffect, WatchedPoint
from simulator.experiment.sequential import confidence_sequence_independent, confidence_sequence_paired
from simulator.scenario.durations import TICKS_PER_DAY

MAX_RESAMPLES, MIN_RESAMPLES = 1000, 200
RESAMPLED_USERS = 20_000_000
"""Users drawn for one interval of the bootstrap: large populations, whose intervals hardly need it, get fewer
resamples, since hundreds of intervals must not take longer than the simulation."""
N_QUANTILES = 4
"""Strata among the users whom the warm-up saw."""


@dataclass(frozen=True, eq=False)
class WarmUp:
    """What was known of the users before the test.

    Attributes:
        parts: a metric's, of all users in the warm-up; only a split asks for them.
        impressions: float64[n_users], examined in the warm-up.
        dislikes: float64[n_users], pressed in the warm-up.
    """

    parts: Callable[[Metric], PerUser]
    impressions: Float64
    dislikes: Float64


def warm_up_of(view: LogView) -> WarmUp:
    """What a window tells of the users."""
    dislikes = view.count((view.rows.feedback & Feedback.DISLIKE) != 0)
    return WarmUp(lambda metric: measure(metric, view), view.impressions, dislikes)


def strata(impressions: Float64) -> Int32:
    """int32[n_users], 0 for users without impressions, else 1 to 4 by the quartiles of those with any."""
    seen = impressions > 0
    stratum = np.zeros(len(impressions), np.int32)
    if seen.any():
        limits = np.quantile(impressions[seen], np.arange(1, N_QUANTILES) / N_QUANTILES)
        stratum[seen] = 1 + np.searchsorted(limits, impressions[seen], side="left")
    return stratum


def segments(warm_up: WarmUp) -> dict[str, Bool]:
    """Segment -> bool[n_users]; heavy users had more impressions in the warm-up than the median user."""
    heavy, pressed = warm_up.impressions > np.median(warm_up.impressions), warm_up.dislikes > 0
    return {"heavy users": heavy, "light users": ~heavy, "disliked before": pressed, "did not dislike before": ~pressed}


def estimator_rows(
    readings: UserReadings, control: str, metrics: Sequence[Metric], warm_up: WarmUp, confidence: float, *, seed: int
) -> tuple[EstimatorRow, ...]:
    """Every effect by every estimator that the design allows.

    Args:
        readings: of the test's window.
        control: the arm to compare with.
        metrics: those defined per user.
        warm_up: what was known of the users before.
        confidence: level of the intervals.
        seed: of the bootstrap.

    Returns:
        For twins `paired`, `unpaired` (the paired values, as if the arms had had different users) and `bootstrap`;
        for a split `independent`, `cuped` (by the same metric in the warm-up), `stratified` (by quartiles of the
        warm-up's impressions, users without any apart) and `bootstrap`.
    """
    rows: list[EstimatorRow] = []
    stratum = strata(warm_up.impressions)
    for metric in metrics:
        parts = readings.parts(metric)
        before = None if readings.is_paired else warm_up.parts(metric)
        for arm in _treatments(readings, control):
            effects = (
                _of_twins(parts[arm], parts[control], confidence, seed)
                if before is None
                else _of_split(readings, arm, control, parts, before, stratum, confidence, seed)
            )
            rows += [EstimatorRow(arm, metric.info.name, name, e.difference, e.lift) for name, e in effects.items()]
    return tuple(rows)


def segment_effects(
    readings: UserReadings, control: str, metrics: Sequence[Metric], warm_up: WarmUp, confidence: float
) -> tuple[SegmentEffect, ...]:
    """Every effect among some of the users; the intervals of an arm and metric hold together (Bonferroni)."""
    chosen = segments(warm_up)
    level = bonferroni_confidence(confidence, len(chosen))
    found: list[SegmentEffect] = []
    for metric in metrics:
        parts = readings.parts(metric)
        for arm in _treatments(readings, control):
            for name, members in chosen.items():
                treatment, base = (rows_of(parts[a], members[readings.users(a)]) for a in (arm, control))
                effect = readings.compare(treatment, base, level)
                found.append(SegmentEffect(name, arm, metric.info.name, effect.difference, effect.lift))
    return tuple(found)


def watched_points(
    readings: UserReadings, control: str, metrics: Sequence[Metric], confidence: float
) -> tuple[WatchedPoint, ...]:
    """The lift over all days so far, day by day, with the interval that holds at all looks and that of one look.

    Each look sees what was known by then: a metric that looks ahead waits for its days.
    """
    window = readings.view
    ends = [min(window.start_tick + day * TICKS_PER_DAY, window.end_tick) for day in range(1, window.n_days + 1)]
    looks = [readings.between(window.start_tick, end) for end in ends]
    sequence = confidence_sequence_paired if readings.is_paired else confidence_sequence_independent
    found: list[WatchedPoint] = []
    for metric in metrics:
        parts = [look.parts(metric) for look in looks]
        for arm in _treatments(readings, control):
            treatment, base = [p[arm] for p in parts], [p[control] for p in parts]
            always = sequence(treatment, base, confidence, n_looks=len(looks))
            for day, (t, c, at_all) in enumerate(zip(treatment, base, always, strict=True)):
                fixed = readings.compare(t, c, confidence)
                found.append(WatchedPoint(arm, metric.info.name, day, at_all.lift, fixed.lift))
    return tuple(found)


def _treatments(readings: UserReadings, control: str) -> Iterator[str]:
    return (arm for arm in readings.arms if arm != control)


def _of_twins(treatment: PerUser, control: PerUser, confidence: float, seed: int) -> dict[str, DifferenceAndLift]:
    paired = compare(treatment, control, confidence)
    return {
        "paired": paired,
        "unpaired": DifferenceAndLift(_unpaired(paired.difference), _unpaired(paired.lift)),
        "bootstrap": bootstrap_paired(
            treatment, control, confidence, seed=seed, resamples=_resamples(treatment, control)
        ),
    }


def _of_split(
    readings: UserReadings,
    arm: str,
    control: str,
    parts: Mapping[str, PerUser],
    before: PerUser,
    stratum: Int32,
    confidence: float,
    seed: int,
) -> dict[str, DifferenceAndLift]:
    treatment, base = parts[arm], parts[control]
    users, base_users = readings.users(arm), readings.users(control)
    known = rows_of(before, users), rows_of(before, base_users)
    return {
        "independent": readings.compare(treatment, base, confidence),
        "cuped": compare_cuped(treatment, base, *known, confidence),
        "stratified": compare_stratified(treatment, base, stratum[users], stratum[base_users], confidence),
        "bootstrap": bootstrap_independent(
            treatment, base, confidence, seed=seed, resamples=_resamples(treatment, base)
        ),
    }


def _resamples(*arms: PerUser) -> int:
    largest = max(len(arm.numerator) for arm in arms)
    return min(MAX_RESAMPLES, max(MIN_RESAMPLES, RESAMPLED_USERS // max(largest, 1)))


def _unpaired(estimate: Estimate) -> Estimate:
    return Estimate(estimate.value, estimate.unpaired_low, estimate.unpaired_high, n=estimate.n, note=estimate.note)
