"""What the page shows, made from the results: rows of text and charts, so that the templates hold no arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from statistics import median

from markupsafe import Markup

from simulator.experiment.power import variance_reduction
from simulator.experiment.results import (
    ArmFailure,
    Comparison,
    Estimate,
    Impression,
    Manifest,
    MetricInfo,
    Responsiveness,
    Results,
    TrajectoryPair,
    Verdict,
)
from simulator.report import charts
from simulator.report.ab_views import p_value, unit_of
from simulator.report.formatting import (
    clock,
    has_interval,
    is_clear,
    is_exact_zero,
    level,
    level_value,
    missing,
    number,
    percent,
    percent_interval,
    percent_value,
    times,
    wall,
)
from simulator.report.statements import pushes_back

SHOWN_SHARED = 6
SHOWN_ITEMS = 12
"""Impressions of a trajectory that the page lists; the counts above the lists are of all."""

TONES = {
    "better": "clearly better",
    "worse": "clearly worse",
    "changed": "clear change, neither better nor worse",
    "unclear": "not clear from 0",
}
HINTS = {"lower": "lower is better", "higher": "higher is better", "neither": "neither direction is better"}
_WORDS = {
    "long_dwell": "● long dwell",
    "skip": "» skip",
    "like": "▲ like",
    "dislike": "▼ dislike",
    "dismiss": "✕ dismiss",
}


@dataclass(frozen=True)
class Panel:
    """A chart with its caption."""

    title: str
    hint: str
    chart: Markup


@dataclass(frozen=True)
class ResponseRow:
    """A row of the table of responsiveness, as text."""

    arm: str
    base: str
    action: str
    response: str
    paired: str
    unpaired: str
    reading: str


@dataclass(frozen=True)
class ResponseTable:
    """Responsiveness of all arms for one kind of similarity."""

    similarity: str
    rows: list[ResponseRow]


@dataclass(frozen=True)
class LevelRow:
    """A row of the table of levels and lifts, as text."""

    arm: str
    level: str
    lift: str
    unpaired: str
    n: str
    reading: str
    p_value: str = "–"
    holm: str = "–"
    benjamini_hochberg: str = "–"


@dataclass(frozen=True)
class MetricTable:
    """Levels and lifts of all arms on one metric."""

    metric: MetricInfo
    rows: list[LevelRow]


@dataclass(frozen=True)
class Gain:
    """How many times fewer users the pairing needs, for one metric."""

    label: str
    text: str
    spread: str
    bar_percent: float


@dataclass(frozen=True)
class Item:
    """An impression as the drill-down shows it."""

    item: int
    creator: int
    topic: int
    same_creator: bool
    same_topic: bool
    feedback: str
    dwell: str


@dataclass(frozen=True)
class Slate:
    """Impressions of one request."""

    when: str
    items: list[Item]


@dataclass(frozen=True)
class Side:
    """One world of a pair: counts of all its impressions, and the first of them."""

    label: str
    summary: str
    slates: list[Slate]
    hidden: int


@dataclass(frozen=True)
class PairView:
    """A pair of trajectories."""

    title: str
    why: str
    shared: list[Slate]
    shared_hidden: int
    left: Side
    right: Side


def tone(estimate: Estimate, better: str) -> str:
    """How to colour a change: `better`, `worse`, `changed` (clear, but no direction is better) or `unclear`."""
    if not is_clear(estimate):
        return "unclear"
    if better not in ("lower", "higher"):
        return "changed"
    return "better" if (estimate.value < 0) == (better == "lower") else "worse"


def response_panels(results: Results) -> list[Panel]:
    """Charts of responsiveness, one for each kind of similarity, on one axis."""
    groups = _by_similarity(results)
    axis = charts.extent(r.response for _, rows in groups for r in rows)
    better = "lower" if pushes_back(results) else "neither"
    return [
        Panel(
            f"Same {similarity}",
            "change of the share of the next slate",
            charts.intervals(
                [_interval_row(r.arm, r.response, better, "runs") for r in rows],
                axis,
                _describe(f"Responsiveness, same {similarity}", [(r.arm, r.response) for r in rows]),
            ),
        )
        for similarity, rows in groups
    ]


def response_tables(results: Results) -> list[ResponseTable]:
    """The same numbers as text, with the shares in both branches."""
    return [ResponseTable(s, [_response_row(r) for r in rows]) for s, rows in _by_similarity(results)]


def lift_panels(results: Results) -> list[Panel]:
    """Forest plot: a chart a metric, a row an arm, each chart on its own axis."""
    panels = []
    for metric in results.metrics:
        rows = _compared(results, metric)
        if rows:
            chart = charts.intervals(
                [_interval_row(c.arm, c.lift, metric.better, unit_of(results)) for c in rows],
                charts.extent(c.lift for c in rows),
                _describe(f"{metric.label}, relative to {results.control}", [(c.arm, c.lift) for c in rows]),
            )
            panels.append(Panel(metric.label, HINTS.get(metric.better, ""), chart))
    return panels


def metric_tables(results: Results) -> list[MetricTable]:
    """Levels of all arms and their lifts against the control, by metric."""
    tables = []
    for metric in results.metrics:
        lifts = {c.arm: c for c in _compared(results, metric)}
        rows = [_level_row(m.arm, m.mean, lifts.get(m.arm), metric) for m in results.levels if m.metric == metric.name]
        if rows:
            tables.append(MetricTable(metric, rows))
    return tables


def gains(results: Results) -> list[Gain]:
    """What pairing bought: how many times fewer users than a randomised split, the median over the arms."""
    sources = [
        (f"Responsiveness, same {similarity}", [r.response for r in rows])
        for similarity, rows in _by_similarity(results)
    ]
    if results.design == "paired":
        sources += [(m.label, [c.lift for c in _compared(results, m)]) for m in results.metrics]
    every = [(label, sorted(f for e in estimates if (f := _factor(e)) is not None)) for label, estimates in sources]
    found = [(label, factors) for label, factors in every if factors]
    most = max((_middle(f) for _, f in found if math.isfinite(f[0])), default=1.0)
    return [_gain(label, factors, most) for label, factors in found]


def series_panels(results: Results) -> list[Panel]:
    """Small multiples: a chart a metric, a line an arm."""
    panels = []
    for metric in results.metrics:
        lines = [
            charts.Line(s.arm, arm_style(results, s.arm), s.day, s.value)
            for s in results.series
            if s.metric == metric.name
        ]
        if lines:
            description = f"{metric.label} by simulated day. " + " ".join(
                _first_to_last(line, metric) for line in lines
            )
            chart = charts.series(lines, lambda v, unit=metric.unit: level_value(v, unit), description.strip())  # type: ignore[misc]
            panels.append(Panel(metric.label, "", chart))
    return panels


def arm_style(results: Results, arm: str) -> int:
    """Number of an arm's line style: its place in the scenario."""
    return results.arms.index(arm) if arm in results.arms else 0


def pair_view(pair: TrajectoryPair) -> PairView:
    """A pair of trajectories, cut to what a page can hold."""
    kind = "A/B test" if pair.kind == "ab_test" else "Counterfactual"
    shared = pair.shared[max(len(pair.shared) - SHOWN_SHARED, 0) :]
    return PairView(
        title=f"{kind}: user {pair.user}, {pair.arm}",
        why=pair.why,
        shared=_slates(shared, pair),
        shared_hidden=len(pair.shared) - len(shared),
        left=_side(pair.left_label, pair.left, pair),
        right=_side(pair.right_label, pair.right, pair),
    )


def made(manifest: Manifest) -> list[tuple[str, str, bool]]:
    """How the run was made: (what, text, whether it is code)."""
    rows = [
        ("Run", manifest.run, False),
        ("Command", manifest.command, True),
        ("Seed", str(manifest.seed), False),
        ("Started", manifest.started_utc, False),
        ("Machine", manifest.machine, False),
        ("Impressions", f"{manifest.impressions:,}", False),
    ]
    if math.isfinite(manifest.impressions_per_second):
        rows.append(("Serving speed", f"{manifest.impressions_per_second:,.0f} impressions a second", False))
    rows.append(("Time by stage", ", ".join(f"{k} {wall(v)}" for k, v in manifest.seconds.items()), False))
    rows.append(("Versions", ", ".join(f"{k} {v}" for k, v in manifest.versions.items()), False))
    rows.append(("Scenario, SHA-256", manifest.scenario_sha256, True))
    rows += [(f"Log of {arm}, SHA-256", digest, True) for arm, digest in manifest.log_sha256.items()]
    return rows


def finished_arms(results: Results) -> list[str]:
    """The arms that did not fail."""
    failed = {failure.arm for failure in results.failures}
    return [arm for arm in results.arms if arm not in failed]


def failures_heading(results: Results) -> str:
    """How many arms failed."""
    return f"{_plural(len(results.failures), 'arm')} failed"


def failures(results: Results, manifest: Manifest) -> list[ArmFailure]:
    """The arms that failed, each with the request at which it did, as far as the manifest has it."""
    where = {failure.arm: failure.where for failure in manifest.failures}
    return [replace(failure, where=where.get(failure.arm, "")) for failure in results.failures]


def observed(verdict: Verdict) -> str:
    """What a threshold met."""
    if math.isfinite(verdict.observed):
        return f"observed {number(verdict.observed)}"
    return f"not measured: {verdict.reason}" if verdict.reason else "not measured"


def _by_similarity(results: Results) -> list[tuple[str, list[Responsiveness]]]:
    names = dict.fromkeys(r.similarity for r in results.responsiveness)
    return [(name, [r for r in results.responsiveness if r.similarity == name]) for name in names]


def _compared(results: Results, metric: MetricInfo) -> list[Comparison]:
    return [c for c in results.comparisons if c.metric == metric.name and c.arm != results.control]


def _interval_row(arm: str, estimate: Estimate, better: str, unit: str) -> charts.IntervalRow:
    text = percent(estimate)
    unpaired = percent_interval(estimate.unpaired_low, estimate.unpaired_high)
    hover = f"{arm}, {estimate.n:,} {unit}, unpaired {unpaired}"
    if not (_measured(estimate) and has_interval(estimate)):
        hover = f"{arm}: {text}"
    if _measured(estimate) and not has_interval(estimate):
        text = f"{percent_value(estimate)} (no interval)"  # the reason is too long for a row; hover and table have it
    return charts.IntervalRow(arm, text, tone(estimate, better), estimate, hover)


def _response_row(row: Responsiveness) -> ResponseRow:
    r = row.response
    return ResponseRow(
        arm=row.arm,
        base=level(row.base, "share"),
        action=level(row.action, "share"),
        response=percent_value(r),
        paired=percent_interval(r.low, r.high),
        unpaired=percent_interval(r.unpaired_low, r.unpaired_high),
        reading=_response_reading(r),
    )


def _response_reading(response: Estimate) -> str:
    if not _measured(response):
        return "–"
    if is_clear(response):
        return "shows less" if response.value < 0 else "shows more"
    if not has_interval(response):
        return f"not clear: {missing(response)}"
    return (response.note or "no response") if is_exact_zero(response) else "not clear"


def _level_row(arm: str, mean: Estimate, comparison: Comparison | None, metric: MetricInfo) -> LevelRow:
    text = level(mean, metric.unit)
    if comparison is None:
        return LevelRow(arm, text, "–", "–", f"{mean.n:,}", "")
    lift = comparison.lift
    words = {"better": "better", "worse": "worse", "changed": "changed", "unclear": "not clear"}
    reading = words[tone(lift, metric.better)] if _measured(lift) else "–"
    unpaired = percent_interval(lift.unpaired_low, lift.unpaired_high)
    p_values = (p_value(p) for p in (comparison.p_value, comparison.holm, comparison.benjamini_hochberg))
    return LevelRow(arm, text, percent(lift), unpaired, f"{mean.n:,}", reading, *p_values)


def _factor(estimate: Estimate) -> float | None:
    """How many times fewer users; None where a width is missing or nothing varies; infinite where pairing is exact."""
    widths = (estimate.high - estimate.low, estimate.unpaired_high - estimate.unpaired_low)
    if not (_measured(estimate) and all(map(math.isfinite, widths))) or widths[1] <= 0:
        return None
    return variance_reduction(estimate)


def _gain(label: str, factors: Sequence[float], most: float) -> Gain:
    finite = [f for f in factors if math.isfinite(f)]
    exact = len(factors) - len(finite)
    arms = f"{exact} {'arm' if exact == 1 else 'arms'} exact" if exact else ""
    if not finite:
        return Gain(label, "exact", "no difference for any user", 100.0)
    ends = times(finite[0]), times(finite[-1])
    spread = f"{ends[0]} to {ends[1]} over arms" if ends[0] != ends[1] else ""
    middle = _middle(factors)
    return Gain(label, times(middle), ", ".join(filter(None, (spread, arms))), round(100 * middle / most, 1))


def _middle(factors: Sequence[float]) -> float:
    return median(f for f in factors if math.isfinite(f))


def _measured(estimate: Estimate) -> bool:
    return math.isfinite(estimate.value)


def _describe(opening: str, rows: Sequence[tuple[str, Estimate]]) -> str:
    return f"{opening}: " + "; ".join(f"{arm} {percent(e) if _measured(e) else missing(e)}" for arm, e in rows)


def _first_to_last(line: charts.Line, metric: MetricInfo) -> str:
    known = [v for v in line.value if math.isfinite(v)]
    if not known:
        return f"{line.name}: not measured."
    return f"{line.name}: {level_value(known[0], metric.unit)} to {level_value(known[-1], metric.unit)}."


def _side(label: str, impressions: Sequence[Impression], pair: TrajectoryPair) -> Side:
    shown = impressions[:SHOWN_ITEMS]
    counts = [_plural(len(impressions), "item")]
    if pair.focus_creator >= 0:
        counts.append(f"{sum(i.creator == pair.focus_creator for i in impressions)} ◆ same creator")
    if pair.focus_topic >= 0:
        counts.append(f"{sum(i.topic == pair.focus_topic for i in impressions)} ◇ same topic")
    dislikes = sum("dislike" in i.feedback for i in impressions)
    if any(i.feedback for i in impressions):
        counts.append(_plural(dislikes, "dislike"))
    return Side(label, ", ".join(counts), _slates(shown, pair), len(impressions) - len(shown))


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _slates(impressions: Sequence[Impression], pair: TrajectoryPair) -> list[Slate]:
    grouped = groupby(impressions, key=lambda i: (i.tick, i.session, i.step))
    return [
        Slate(f"{clock(tick)} · session {session}, request {step}", [_item(i, pair) for i in rows])
        for (tick, session, step), rows in grouped
    ]


def _item(impression: Impression, pair: TrajectoryPair) -> Item:
    words = [_WORDS[f] if f in _WORDS else f.replace("_", " ") for f in impression.feedback if f != "examined"]
    if impression.feedback == ("examined",):
        words = ["short dwell"]
    return Item(
        item=impression.item,
        creator=impression.creator,
        topic=impression.topic,
        same_creator=pair.focus_creator >= 0 and impression.creator == pair.focus_creator,
        same_topic=pair.focus_topic >= 0 and impression.topic == pair.focus_topic,
        feedback=" ".join(words),
        dwell=f"{impression.dwell_seconds:.1f} s" if 0 < impression.dwell_seconds < math.inf else "",
    )
