"""All that the counterfactual branches of one arm tell: the response, its course, its dose, its side effects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isfinite, nan

import numpy as np

from recommenders.base import Bool, Feedback, ItemFeatures
from simulator.engine.log import EventLog
from simulator.experiment.branches import Branch, Branches
from simulator.experiment.estimators import compare
from simulator.experiment.metrics import LogView, Metric, select_metrics
from simulator.experiment.metrics.contract import measure
from simulator.experiment.multiplicity import bonferroni_confidence
from simulator.experiment.readings import rows_of
from simulator.experiment.responsiveness import (
    PAPER_KINDS,
    SELECTIVITY_KINDS,
    Runs,
    liked_topics,
    respond,
)
from simulator.experiment.results import CourseSummary, FutureEffect, Responsiveness
from simulator.world.catalogue import Catalogue

NOT_DELIVERED = "the action had not been delivered by then"


@dataclass(frozen=True)
class ArmResponses:
    """What one arm's branches tell; see the attributes of the same names of `Results`."""

    responsiveness: tuple[Responsiveness, ...]
    selectivity: tuple[Responsiveness, ...]
    actions: tuple[Responsiveness, ...]
    course: tuple[Responsiveness, ...]
    course_summaries: tuple[CourseSummary, ...]
    doses: tuple[Responsiveness, ...]
    segments: tuple[Responsiveness, ...]


def analyse_branches(
    arm: str,
    branches: Branches,
    before: EventLog,
    catalogue: Catalogue,
    *,
    ingestion_delay: int,
    confidence: float,
    segmented: bool,
) -> ArmResponses:
    """Estimate one arm's responses.

    Args:
        arm: its name.
        branches: its runs.
        before: what the users did before the prefix.
        catalogue: its items.
        ingestion_delay: ticks until the arm sees feedback.
        confidence: level of all intervals, in (0, 1).
        segmented: whether users have a past by which they can be told apart.
    """
    past = EventLog.concatenate([before, branches.prefix])
    items = catalogue.features
    runs = Runs(branches.focus_item, liked_topics(past, branches.run, items), items, catalogue.embedding)
    labels = list(branches.others)
    main = branches.others[labels[0]]

    def rows(kinds: Sequence[str], branch: Branch, request: int = 0) -> Iterator[Responsiveness]:
        for row in _rows(arm, kinds, branches.base, branch, runs, request, confidence):
            yield _undelivered(row) if _on_the_way(branch, request, ingestion_delay) else row

    course = [row for request in range(main.slates.shape[1]) for row in rows(PAPER_KINDS, main, request)]
    course = course if main.slates.shape[1] > 1 else []
    actions = [
        replace(row, branch=label) for label, branch in branches.others.items() for row in rows(PAPER_KINDS, branch)
    ]
    doses = [
        replace(respond(arm, d.alike, d.base_slates, d.action_slates, runs, confidence), dose=d.count)
        for d in branches.doses
    ]
    if _on_the_way(main, 0, ingestion_delay):  # a dose is measured as long after its last action
        doses = [_undelivered(dose) for dose in doses]
    headline = tuple(rows(PAPER_KINDS, main))
    return ArmResponses(
        responsiveness=headline,
        selectivity=tuple(rows(SELECTIVITY_KINDS, main)),
        actions=tuple(actions) if len(labels) > 1 else (),
        course=tuple(course),
        course_summaries=tuple(course_summary([r for r in course if r.similarity == k]) for k in PAPER_KINDS if course),
        doses=tuple([r for r in headline if doses] + doses),
        segments=tuple(_segments(arm, branches, past, runs, confidence)) if segmented else (),
    )


def _on_the_way(branch: Branch, request: int, delay: int) -> bool:
    """Whether no run's action at item k had been delivered by a request."""
    made = branch.tick[:, request] >= 0
    return bool(made.any()) and not (branch.done_tick[made] + delay <= branch.tick[made, request]).any()


def _undelivered(row: Responsiveness) -> Responsiveness:
    return replace(row, response=replace(row.response, note=row.response.note or NOT_DELIVERED))


def _rows(
    arm: str, kinds: Sequence[str], base: Branch, other: Branch, runs: Runs, request: int, confidence: float
) -> Iterator[Responsiveness]:
    """Responses at one request, over the runs that made it in both branches."""
    made = (base.slates[:, request, 0] >= 0) & (other.slates[:, request, 0] >= 0)
    chosen = runs.take(made)
    base_item, other_item = base.slates[made, request], other.slates[made, request]
    waited = other.tick[made, request] - base.tick[made, 0]
    for kind in kinds:
        row = respond(arm, kind, base_item, other_item, chosen, confidence)
        seconds = float(np.median(waited)) / 1000 if len(waited) else nan
        yield replace(row, request=request + 1, after_seconds=seconds)


def course_summary(course: Sequence[Responsiveness]) -> CourseSummary:
    """When half of the first response is gone, between requests by a straight line, and when none is clear any more.

    Requests whose response is missing are passed over. A response without limits, such as one that left nothing of the
    kind in any slate, is taken at its value, but never counts as recovery.
    """
    first = course[0]
    clear_first = first.response.low > 0 or first.response.high < 0 or first.response.value == -1.0
    known = [(row.request, row.response.value) for row in course if isfinite(row.response.value)]
    if not clear_first:
        return CourseSummary(first.arm, first.similarity, nan, 0, first.response.note or "no clear first response")
    half_life, note = nan, f"more than half is left after {course[-1].request} requests"
    for (request, value), (later, next_value) in pairwise(known):
        share, left = value / first.response.value, next_value / first.response.value
        if left <= 0.5:
            half_life, note = request - 1 + (later - request) * (share - 0.5) / (share - left), ""
            break
    recovered = [row.request for row in course if row.response.low <= 0 <= row.response.high]
    return CourseSummary(first.arm, first.similarity, half_life, recovered[0] if recovered else 0, note)


def _segments(arm: str, branches: Branches, past: EventLog, runs: Runs, confidence: float) -> Iterator[Responsiveness]:
    """Responses of heavy and light, of expressive and silent users, at a level that holds for all four together."""
    seen = (past.feedback & np.uint8(Feedback.EXAMINED)) > 0
    size = int(branches.run.max(initial=-1)) + 1
    impressions = np.bincount(past.user[seen & (past.user < size)], minlength=size)[branches.run]
    pressed = (past.feedback & np.uint8(Feedback.DISLIKE)) > 0
    dislikes = np.bincount(past.user[pressed & (past.user < size)], minlength=size)[branches.run]
    heavy = impressions > np.median(impressions) if len(impressions) else np.zeros(0, np.bool_)
    groups: list[tuple[str, Bool]] = [
        ("heavy users", heavy), ("light users", ~heavy),
        ("users who disliked before", dislikes > 0), ("users who never disliked", dislikes == 0),
    ]  # fmt: skip
    simultaneous = bonferroni_confidence(confidence, len(groups))
    for name, chosen in groups:
        part = runs.take(chosen)
        base, other = branches.base.slates[chosen, 0], branches.action.slates[chosen, 0]
        made = (base[:, 0] >= 0) & (other[:, 0] >= 0)
        for kind in PAPER_KINDS:
            row = respond(arm, kind, base[made], other[made], part.take(made), simultaneous)
            yield replace(row, segment=name)


def future_effects(
    arm: str,
    branches: Branches,
    before: EventLog,
    metric_names: Sequence[str],
    items: ItemFeatures,
    *,
    n_users: int,
    start_tick: int,
    confidence: float,
) -> tuple[FutureEffect, ...]:
    """What an action does to the user's own future, by every metric that is defined per user.

    The window begins when the last run may have parted: everybody's item k and the action itself lie before it.

    Args:
        arm: its name.
        branches: of a lived prefix.
        before: the warm-up's log, which tells what had been disliked before.
        metric_names: which metrics; none for all.
        items: of the catalogue.
        n_users: number of users of the world.
        start_tick: when the time begins in which users live on after item k.
        confidence: level of all intervals, in (0, 1).
    """

    def view(branch: Branch) -> LogView:
        log = EventLog.merge([before, branches.prefix, branch.log])
        return LogView(log, items, n_users, start_tick, branches.end_tick)

    base = view(branches.base)
    found = []
    for label, branch in branches.others.items():
        other = view(branch)
        for metric in select_metrics(metric_names):
            if isinstance(metric, Metric):
                treated, control = (rows_of(measure(metric, v), branches.run) for v in (other, base))
                effect = compare(treated, control, confidence)
                found.append(FutureEffect(arm, label, metric.info.name, effect.difference, effect.lift))
    return tuple(found)
