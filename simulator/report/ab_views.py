"""What the page and the terminal show of an A/B test's design, validity and robustness, as text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from simulator.experiment.results import EstimatorRow, GuardrailVerdict, Results, SampleRatio, SegmentEffect
from simulator.report.formatting import number, percent, percent_interval, percent_value

MISMATCH = 1e-3
"""P-value below which a sample ratio is told as a mismatch."""
N_PRIMARY = 3
"""Metrics whose watched course is shown; `results.json` has all."""
PRIMARY = ("dislike_rate", "long_view_rate", "dwell_per_user_day")
MARKS = {"holds": "✓ holds", "broken": "✗ broken", "open": "? open"}
ESTIMATORS = {
    "paired": "the design's own: differences within users",
    "unpaired": "the same values, as if the arms had had different users",
    "independent": "the design's own: between different users",
    "cuped": "less what the same metric in the warm-up predicts",
    "stratified": "as if the arms had the same shares of light and heavy users",
    "bootstrap": "limits from resampled users instead of Student's t",
}

Row = TypeVar("Row", EstimatorRow, SegmentEffect)


@dataclass(frozen=True)
class GridRow:
    """A row of a grid: an arm and a text for each column."""

    arm: str
    cells: list[str]


@dataclass(frozen=True)
class Grid:
    """The rows of one metric."""

    label: str
    rows: list[GridRow]


@dataclass(frozen=True)
class RatioRow:
    """A sample ratio: counts by arm in words, the p-value and what it says."""

    population: str
    counts: str
    p_value: str
    reading: str
    is_mismatch: bool


@dataclass(frozen=True)
class GuardrailRow:
    """A guardrail of one arm."""

    metric: str
    arm: str
    margin: str
    verdict: str
    mark: str
    lift: str
    reason: str


@dataclass(frozen=True)
class WatchedTable:
    """The lift of one arm on one metric, look by look: (days so far, lift, interval of all looks, of this one)."""

    title: str
    rows: list[tuple[str, str, str, str]]


def p_value(value: float) -> str:
    """A p-value as people read it.

    >>> p_value(0.0412), p_value(1e-9), p_value(float("nan"))
    ('0.041', '<0.001', '–')
    """
    if not math.isfinite(value):
        return "–"
    return "<0.001" if value < 1e-3 else f"{value:.3f}"


def unit_of(results: Results) -> str:
    """What the analysis of the A/B test counts."""
    return "blocks" if results.design == "switchback" else "users"


def ratio_rows(results: Results) -> list[RatioRow]:
    """Sample ratios in words."""
    return [_ratio_row(ratio) for ratio in results.sample_ratios]


def _ratio_row(ratio: SampleRatio) -> RatioRow:
    counts = ", ".join(f"{a.arm} {a.observed:,} (expected {number(a.expected)})" for a in ratio.arms)
    is_mismatch = ratio.p_value < MISMATCH
    reading = "as planned" if math.isfinite(ratio.p_value) else "too few users to tell"
    if is_mismatch and ratio.population == "assigned":
        reading = "not as planned: no effect below can be trusted"
    elif is_mismatch:
        reading = "activity differs by arm: rates compare different people"
    return RatioRow(f"{ratio.population} users", counts, p_value(ratio.p_value), reading, is_mismatch)


def guardrail_rows(results: Results) -> list[GuardrailRow]:
    """Guardrails in words."""
    return [_guardrail_row(results, verdict) for verdict in results.guardrails]


def _guardrail_row(results: Results, found: GuardrailVerdict) -> GuardrailRow:
    margin = f"{100 * found.margin:.3g}%" if math.isfinite(found.margin) else "–"
    mark = MARKS.get(found.verdict, found.verdict)
    label = metric_label(results, found.metric)
    return GuardrailRow(label, found.arm, margin, found.verdict, mark, percent(found.lift), found.reason)


def estimator_columns(results: Results) -> list[str]:
    """Estimators, in the order of the results."""
    return list(dict.fromkeys(row.estimator for row in results.estimators))


def estimator_grids(results: Results) -> list[Grid]:
    """The lift by every estimator, metric by metric."""
    return _grids(results, results.estimators, estimator_columns(results), lambda row: row.estimator)


def segment_columns(results: Results) -> list[str]:
    """Segments, in the order of the results."""
    return list(dict.fromkeys(row.segment for row in results.ab_segments))


def segment_grids(results: Results) -> list[Grid]:
    """The lift in every segment, metric by metric."""
    return _grids(results, results.ab_segments, segment_columns(results), lambda row: row.segment)


def _grids(results: Results, rows: Sequence[Row], columns: Sequence[str], column: Callable[[Row], str]) -> list[Grid]:
    found = {(row.metric, row.arm, column(row)): percent(row.lift) for row in rows}
    return [
        Grid(
            metric_label(results, metric),
            [
                GridRow(arm, [found.get((metric, arm, name), "–") for name in columns])
                for arm in dict.fromkeys(row.arm for row in rows if row.metric == metric)
            ],
        )
        for metric in dict.fromkeys(row.metric for row in rows)
    ]


def watched_tables(results: Results) -> list[WatchedTable]:
    """The course of a watched test on its primary metrics: those with guardrails first."""
    wanted = dict.fromkeys([*(g.metric for g in results.guardrails), *PRIMARY, *(p.metric for p in results.watched)])
    there = {p.metric for p in results.watched}
    tables = []
    for metric in [m for m in wanted if m in there][:N_PRIMARY]:
        for arm in dict.fromkeys(p.arm for p in results.watched if p.metric == metric):
            points = (p for p in results.watched if p.metric == metric and p.arm == arm)
            rows = [
                (
                    str(p.day + 1),
                    percent_value(p.always),
                    percent_interval(p.always.low, p.always.high),
                    percent_interval(p.fixed.low, p.fixed.high),
                )
                for p in points
            ]
            tables.append(WatchedTable(f"{metric_label(results, metric)}, {arm}", rows))
    return tables


def explained(names: Iterable[str]) -> list[tuple[str, str]]:
    """Estimators with what they are."""
    return [(name, ESTIMATORS[name]) for name in names if name in ESTIMATORS]


def metric_label(results: Results, name: str) -> str:
    """A metric in words."""
    return next((m.label for m in results.metrics if m.name == name), name)
