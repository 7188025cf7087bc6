"""Tables of `pushback validate-stats`, and how their figures are written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simulator.experiment.calibration import Rate
from simulator.report.formatting import number

DASH = "–"


@dataclass(frozen=True)
class Cell:
    """A figure as people read it: the number, its Monte Carlo limits, whether its check fails."""

    value: str
    limits: str = ""
    failed: bool = False


@dataclass(frozen=True)
class View:
    """A table of estimators by metrics.

    Attributes:
        title, remark: what is shown, and how to read it.
        rows: what is estimated and how, with a cell for each metric.
        error: the largest Monte Carlo error in words, which the terminal shows in place of limits; empty if it has
            room for these.
    """

    title: str
    remark: str
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    error: str = ""


@dataclass(frozen=True)
class Telling:
    """What a validation says, in words and tables.

    Attributes:
        answer: in a line.
        views: the tables, in the order of the questions.
        notes: how to read them.
        counted: everything, for programs.
    """

    answer: str
    views: tuple[View, ...]
    notes: tuple[str, ...]
    counted: Mapping[str, object]


def percent(share: float) -> str:
    """Without the sign: `5`, `93.4`."""
    return f"{100 * share:.1f}".removesuffix(".0")


def percent_cell(value: float, error: float) -> Cell:
    """A change in percent, two standard errors to either side."""
    if not math.isfinite(value):
        return Cell(DASH)
    return Cell(f"{100 * value:+.2f}", f"[{100 * (value - 2 * error):+.2f}, {100 * (value + 2 * error):+.2f}]")


def figure(value: float) -> str:
    """Three digits."""
    return number(value, 3) if math.isfinite(value) else DASH


def largest_error(rates: Sequence[Rate]) -> str:
    """Of shares, in words."""
    halves = [(r.high - r.low) / 2 for r in rates if r.n]
    return f"Monte Carlo error up to {percent(max(halves))} points (95%)." if halves else "Nothing has an interval."
