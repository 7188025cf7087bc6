"""What `pushback validate-stats` says of arms that learn: how far each design is off the effect of a change for all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict

from simulator.commands.validate_stats_views import (
    DASH,
    Cell,
    Telling,
    View,
    largest_error,
    percent,
    percent_cell,
)
from simulator.experiment.calibration import Rate
from simulator.experiment.interference import Bias, Interference
from simulator.experiment.learning_replicates import APART, OWN, PAIRED, POOLED

DESIGNS = (PAIRED, APART, POOLED, OWN)
"""Rows of tables."""
MIXED = (POOLED, OWN)
"""Designs whose arms share a world."""
ESTIMANDS = ("difference", "lift")
NOTES = (
    "A replicate is a world of its own, with new users on the same catalogue, that is lived through four times: with "
    "each arm alone, and with half of the users (by lot) in either arm, where the arms train on everybody's feedback "
    "(split pooled) or on that of their own users (split own).",
    "Truth: the effect of a change for everybody. Each arm is alone in the world and trains on all its users; all "
    "replicates' users count together.",
    "Paired: the same users in the arms' own worlds. Split apart: the halves of the split as they lived in the arms' "
    "own worlds, which no live test can see; the other splits differ from it by what their models have learnt from, "
    "and by nothing else.",
    "In brackets: two Monte Carlo standard errors to either side, of biases from differences within replicates; of "
    "coverage exact limits (Clopper and Pearson), of spreads limits by chi-square, both at 95%.",
    "Nothing is judged: intervals are of the effect given the trained models and what taught them, so that neither a "
    "bias nor a spread above 1 is a fault of their arithmetic. Both are what a reader has to add to an interval.",
)

Table = dict[tuple[str, str, str], Bias]
"""Design, metric, estimand -> what was counted."""


def tell_interference(found: Interference, metrics: Sequence[str]) -> Telling:
    """In words and tables, a column for each of the metrics."""
    by_key = {(b.design, b.metric, b.estimand): b for b in found.biases}
    views = (
        _lift_view(by_key, metrics),
        _bias_view(by_key, metrics),
        _training_view(by_key, metrics),
        _coverage_view(found, metrics),
        _spread_view(by_key, metrics),
    )
    counted = {
        "coverage": [{**asdict(r), "judged": r.judged} for r in found.coverage],
        "biases": [asdict(b) for b in found.biases],
    }
    return Telling(_answer(found, by_key, metrics[0]), views, NOTES, counted)


def _answer(found: Interference, by_key: Table, metric: str) -> str:
    """Of the lift of the scenario's first metric."""
    coverage = {r.design: r for r in found.coverage if (r.metric, r.statement) == (metric, "lift")}
    paired = by_key[PAIRED, metric, "lift"]
    true = _signed(paired.truth, "%", paired.truth_error)
    biases = [(d, by_key[d, metric, "lift"]) for d in MIXED]
    off = ", ".join(f"{design} {_signed(b.bias, '', b.bias_error)}" for design, b in biases)
    shares = ", ".join(f"{design} {_share_cell(coverage[design]).value}" for design in (PAIRED, *MIXED))
    return (
        f"{metric} over {found.replicates} replicates: true change {true}; bias in points: {off}; share of "
        f"{percent(found.confidence)}% intervals that hold the truth, in %: {shares}; nothing is judged"
    )


def _signed(value: float, unit: str, error: float) -> str:
    return f"{100 * value:+.1f}{unit} (standard error {100 * error:.1f})" if math.isfinite(value) else DASH


def _lift_view(by_key: Table, metrics: Sequence[str]) -> View:
    return View(
        "Lift, %: the truth, and the mean of the estimates",
        "Truth: a change for everybody, all replicates' users together.",
        (
            ("truth", _cells(by_key, PAIRED, "lift", metrics, lambda b: percent_cell(b.truth, b.truth_error))),
            *_rows(by_key, "lift", metrics, lambda b: percent_cell(b.mean, b.mean_error)),
        ),
    )


def _bias_view(by_key: Table, metrics: Sequence[str]) -> View:
    return View(
        "Bias, points",
        "The mean of the estimates less the truth. A point is a hundredth of the control's level, of differences, too.",
        _rows_by_estimand(by_key, DESIGNS, metrics, lambda b: _points_cell(b, b.bias, b.bias_error)),
    )


def _training_view(by_key: Table, metrics: Sequence[str]) -> View:
    return View(
        "Bias by what the models have learnt from, points",
        "The mean of the estimates less those of the split apart, which has the same users in the same arms.",
        _rows_by_estimand(by_key, MIXED, metrics, lambda b: _points_cell(b, b.training, b.training_error)),
    )


def _points_cell(b: Bias, value: float, error: float) -> Cell:
    unit = 1.0 if b.estimand == "lift" else b.level
    return percent_cell(value / unit, error / unit) if unit > 0 else Cell(DASH)


def _coverage_view(found: Interference, metrics: Sequence[str]) -> View:
    by_key = {(r.design, r.metric, r.statement): r for r in found.coverage}
    rows = tuple(
        (f"{design}: {estimand}", tuple(_share_cell(by_key[design, m, estimand]) for m in metrics))
        for design in DESIGNS
        for estimand in ESTIMANDS
    )
    confidence = percent(found.confidence)
    return View(
        f"Coverage of the truth, % of {found.replicates} replicates",
        f"Share of replicates whose {confidence}% interval holds the effect of a change for everybody. It would be "
        f"{confidence} if the models were given; no interval knows what others would have taught them.",
        rows,
        largest_error(found.coverage),
    )


def _share_cell(r: Rate) -> Cell:
    return Cell(percent(r.share), f"[{percent(r.low)}, {percent(r.high)}]") if r.n else Cell(DASH)


def _spread_view(by_key: Table, metrics: Sequence[str]) -> View:
    return View(
        "Spread of the lift over replicates, as a multiple of what intervals claim",
        "Standard deviation of the estimates over the one behind the intervals. Above 1: users are not all that "
        "varies, as the models of each replicate have learnt anew, from others.",
        _rows(by_key, "lift", metrics, _spread_cell),
    )


def _spread_cell(b: Bias) -> Cell:
    if not math.isfinite(b.spread):
        return Cell(DASH)
    return Cell(f"{b.spread:.2f}", f"[{b.spread_low:.2f}, {b.spread_high:.2f}]")


def _rows(
    by_key: Table, estimand: str, metrics: Sequence[str], cell: Callable[[Bias], Cell]
) -> tuple[tuple[str, tuple[Cell, ...]], ...]:
    return tuple((design, _cells(by_key, design, estimand, metrics, cell)) for design in DESIGNS)


def _rows_by_estimand(
    by_key: Table, designs: Sequence[str], metrics: Sequence[str], cell: Callable[[Bias], Cell]
) -> tuple[tuple[str, tuple[Cell, ...]], ...]:
    return tuple(
        (f"{design}: {estimand}", _cells(by_key, design, estimand, metrics, cell))
        for design in designs
        for estimand in ESTIMANDS
    )


def _cells(
    by_key: Table, design: str, estimand: str, metrics: Sequence[str], cell: Callable[[Bias], Cell]
) -> tuple[Cell, ...]:
    return tuple(cell(by_key[design, m, estimand]) for m in metrics)
