"""What the page shows of the counterfactual beside the responsiveness itself: rows of text and charts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from simulator.experiment.results import CourseSummary, Estimate, Responsiveness, Results
from simulator.report import charts
from simulator.report.formatting import has_interval, missing, number, percent, percent_value, signed
from simulator.report.views import Panel, arm_style

_SHARES = ("topic", "creator")
_KINDS = {
    "topic": "same topic",
    "creator": "same creator",
    "embedding": "similarity by embedding",
    "rest_of_topic": "rest of the topic",
    "liked_topics": "other topics that the user likes",
    "kept": "slate of the base branch that stays",
}


@dataclass(frozen=True)
class Detail:
    """A part of the page: a text, charts, and a table whose first column names the rows.

    Attributes:
        anchor, title: of the part.
        text: what is shown, in a sentence or two.
        panels: charts, may be empty.
        caption, headers, rows: the table.
        notes: why numbers or intervals in it are missing.
    """

    anchor: str
    title: str
    text: str
    panels: list[Panel]
    caption: str
    headers: list[str]
    rows: list[list[str]]
    notes: list[str]


def details(results: Results) -> list[Detail]:
    """The parts that the results have something for, in the order of the page."""
    makers: list[tuple[Sequence[object], Callable[[Results], Detail]]] = [
        (results.actions, _actions),
        (results.course, _course),
        (results.doses, _doses),
        (results.selectivity, _selectivity),
        (results.segments, _segments),
        (results.futures, _futures),
    ]
    return [make(results) for found, make in makers if found]


def _notes(estimates: Iterable[Estimate]) -> list[str]:
    return list(dict.fromkeys(missing(e) for e in estimates if not (math.isfinite(e.value) and has_interval(e))))


def _actions(results: Results) -> Detail:
    branches = list(dict.fromkeys(r.branch for r in results.actions))
    rows = [
        [
            arm,
            branch,
            *(_cell(_one(results.actions, arm=arm, branch=branch, similarity=s)) for s in _SHARES),
        ]
        for arm in _arms(results, results.actions)
        for branch in branches
    ]
    return Detail(
        "actions",
        "Every action",
        f"R of every action at item k, each against {results.base_action}.",
        [],
        "R by action: change of the share of the next slate",
        ["Arm", "Action", "Same topic", "Same creator"],
        rows,
        _notes(r.response for r in results.actions),
    )


def _course(results: Results) -> Detail:
    panels = []
    for similarity in _SHARES:
        lines = []
        for arm in _arms(results, results.course):
            points = [r for r in results.course if r.arm == arm and r.similarity == similarity]
            requests, values = tuple(r.request for r in points), tuple(r.response.value for r in points)
            lines.append(charts.Line(arm, arm_style(results, arm), requests, values))
        text = f"R by request after item k, same {similarity}. " + " ".join(map(_first_to_last, lines))
        chart = charts.series(lines, lambda v: f"{signed(100 * v, 0)}%", text, unit="request")
        panels.append(Panel(f"R by request, same {similarity}", _axis_hint(results.course), chart))
    rows = [[s.arm, f"same {s.similarity}", _half_life(s), _recovered(s)] for s in results.course_summaries]
    return Detail(
        "course",
        "How long the response lasts",
        "R at the requests that follow item k. Half-life: requests until half of the first response is gone.",
        panels,
        "Half-life of the response, in requests, and the first request at which it is not clear from 0",
        ["Arm", "Share", "Half-life", "Not clear from"],
        rows,
        [],
    )


def _doses(results: Results) -> Detail:
    counts = sorted({r.dose for r in results.doses})
    rows = [
        [arm, f"same {s}", *(_cell(_one(results.doses, arm=arm, similarity=s, dose=d)) for d in counts)]
        for arm in _arms(results, results.doses)
        for s in _SHARES
    ]
    return Detail(
        "doses",
        "Dose",
        f"R after {results.other_action} on several items in a row, all of the same topic or creator as item k, "
        f"against {results.base_action} on the same items. The experiment puts them on top of the slates.",
        [],
        "R by the number of actions in a row",
        ["Arm", "Share", *(f"{d} in a row" if d > 1 else "one" for d in counts)],
        rows,
        _notes(r.response for r in results.doses),
    )


def _selectivity(results: Results) -> Detail:
    kinds = list(dict.fromkeys(r.similarity for r in results.selectivity))
    rows = [
        [arm, *(_cell(_one(results.selectivity, arm=arm, similarity=kind)) for kind in kinds)]
        for arm in _arms(results, results.selectivity)
    ]
    return Detail(
        "selectivity",
        "What else changes",
        f"Relative change of the next slate with {results.other_action}. A selective response leaves the rest of the "
        "topic and the topics that the user likes alone, and replaces no more of the slate than it must.",
        [],
        "Relative change in the next slate",
        ["Arm", *(_KINDS.get(kind, kind) for kind in kinds)],
        rows,
        _notes(r.response for r in results.selectivity),
    )


def _segments(results: Results) -> Detail:
    names = list(dict.fromkeys(r.segment for r in results.segments))
    rows = []
    for arm in _arms(results, results.segments):
        for name in names:
            found = [_one(results.segments, arm=arm, segment=name, similarity=s) for s in _SHARES]
            runs = f"{found[0].response.n:,}" if found[0] else "–"
            rows.append([arm, name, runs, *(_cell(f) for f in found)])
    return Detail(
        "segments",
        "Groups of users",
        "R by group. The intervals are wider than elsewhere: they hold for all groups of an arm together (Bonferroni).",
        [],
        "R by group of users",
        ["Arm", "Group", "Runs", "Same topic", "Same creator"],
        rows,
        _notes(r.response for r in results.segments),
    )


def _futures(results: Results) -> Detail:
    columns = list(dict.fromkeys((f.arm, f.branch) for f in results.futures))
    one_action = len({branch for _, branch in columns}) == 1
    found = {(f.arm, f.branch, f.metric): f.lift for f in results.futures}
    rows = [
        [m.label, *(_change(found[(*column, m.name)]) if (*column, m.name) in found else "–" for column in columns)]
        for m in results.metrics
        if any((*column, m.name) in found for column in columns)
    ]
    return Detail(
        "futures",
        "What it does to the user's own future",
        f"Relative change of every metric for the users who act, against {results.base_action}, over the time that "
        "they live on after all have parted. One interval each, not adjusted for their number.",
        [],
        "Change of the user's own future, with paired intervals",
        ["Metric", *(arm if one_action else f"{arm}: {branch}" for arm, branch in columns)],
        rows,
        _notes(f.lift for f in results.futures),
    )


def _arms(results: Results, rows: Iterable[Responsiveness]) -> list[str]:
    there = {r.arm for r in rows}
    return [arm for arm in results.arms if arm in there]


def _one(rows: Iterable[Responsiveness], **wanted: object) -> Responsiveness | None:
    return next((r for r in rows if all(getattr(r, key) == value for key, value in wanted.items())), None)


def _cell(row: Responsiveness | None) -> str:
    return "–" if row is None else _change(row.response)


def _change(estimate: Estimate) -> str:
    """As `percent`, but short where something is missing; the reason stands beneath the table."""
    if has_interval(estimate):
        return percent(estimate)
    return f"{percent_value(estimate)} (no interval)" if math.isfinite(estimate.value) else "–"


def _half_life(summary: CourseSummary) -> str:
    return f"{summary.half_life_requests:.1f}" if math.isfinite(summary.half_life_requests) else summary.note


def _recovered(summary: CourseSummary) -> str:
    return f"request {number(summary.recovered_request)}" if summary.recovered_request else "–"


def _axis_hint(course: Sequence[Responsiveness]) -> str:
    seconds = max(course, key=lambda r: r.request).after_seconds
    return f"the last, {_time(seconds)} after the first" if 0 < seconds < math.inf else ""


def _time(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def _first_to_last(line: charts.Line) -> str:
    known = [v for v in line.value if math.isfinite(v)]
    if not known:
        return f"{line.name}: not measured."
    return f"{line.name}: {signed(100 * known[0], 1)}% to {signed(100 * known[-1], 1)}%."


def course_lines(results: Results) -> list[tuple[str, str, str, str]]:
    """Arm, share, first response and half-life, for the terminal."""
    first = {(r.arm, r.similarity): r for r in results.course if r.request == 1}
    return [
        (s.arm, s.similarity, percent_value(first[s.arm, s.similarity].response), _half_life(s))
        for s in results.course_summaries
        if (s.arm, s.similarity) in first
    ]
