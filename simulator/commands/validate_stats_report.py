"""What `pushback validate-stats` shows and writes: tables in the terminal, JSON, and an HTML page."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from rich.console import Console
from rich.text import Text

from recommenders.storage import unwritable
from simulator.commands.validate_stats import Validation
from simulator.experiment.calibration import (
    COVERAGE,
    FALSE_POSITIVES,
    LEVEL,
    POWER,
    WATCHING,
    Accuracy,
    Rate,
    Reduction,
)
from simulator.report import manifest_to_json
from simulator.report.formatting import number, times
from simulator.report.terminal import add_row, new_table, show

_DASH = "–"


@dataclass(frozen=True)
class Cell:
    """A figure as people read it: the number, its Monte Carlo limits, whether its check fails."""

    value: str
    limits: str
    failed: bool


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


def answer(validation: Validation) -> str:
    """In a line: whether the statistics can be trusted."""
    found = validation.found
    verdict = f"all {found.checks} checks hold"
    if found.failures:
        verdict = f"{found.failures} of {found.checks} checks FAIL"
    parts = [f"{verdict} over {found.replicates} replicates"]
    parts += [_range(found.rates, FALSE_POSITIVES, "false positives in A/A"), _range(found.rates, COVERAGE, "coverage")]
    reductions = [times(r.observed) for r in found.reductions if math.isfinite(r.observed)]
    if reductions:
        parts.append(f"pairing needs {', '.join(reductions)} fewer users")
    return "; ".join(part for part in parts if part)


def _range(rates: Sequence[Rate], question: str, words: str) -> str:
    """Where the shares of a question lie; how many are in the allowed range as they stand, where that is no point."""
    counted = [r for r in rates if r.question == question and math.isfinite(r.share)]
    if not counted:
        return ""
    low, mean, high = (_percent(f([r.share for r in counted])) for f in (min, _mean, max))
    text = f"{words} {mean}% on average ({low} to {high}"
    allowed_low, allowed_high = counted[0].allowed_low, counted[0].allowed_high
    if allowed_low < allowed_high:
        n_inside = sum(allowed_low <= r.share <= allowed_high for r in counted)
        text += f"; {n_inside} of {len(counted)} within {_percent(allowed_low)} to {_percent(allowed_high)}"
    return text + ")"


def print_validation(validation: Validation, console: Console) -> None:
    """Print a table for each question; a failed check is marked with !."""
    headers = ["", *(metric.name for metric in validation.metrics)]
    for view in views(validation):
        table = new_table(view.title, headers)
        for name, cells in view.rows:
            add_row(table, [name, *(_marked(cell, with_limits=not view.error) for cell in cells)])
        console.print(table)
        show(console, f"{view.remark} {view.error}".strip() + "\n", "dim")


def write_validation(validation: Validation, folder: Path) -> None:
    """Write `validity.json`, `validity.html` and `manifest.json` into a folder that is there.

    Raises:
        StorageError: it cannot be written.
    """
    texts = {
        "validity.json": as_json(validation),
        "validity.html": as_html(validation),
        "manifest.json": manifest_to_json(validation.manifest),
    }
    try:
        for file, text in texts.items():
            (folder / file).write_bytes(text.encode("utf-8", "xmlcharrefreplace"))
    except OSError as error:
        raise unwritable(folder, error) from error


def as_json(validation: Validation) -> str:
    """Everything counted, for programs; what could not be is null."""
    found = validation.found
    record = {
        "answer": answer(validation),
        **{name: getattr(found, name) for name in ("replicates", "users", "confidence", "checks", "failures")},
        "level": LEVEL,
        "impressions": found.impressions,
        "rates": [{**asdict(r), "judged": r.judged, "passed": r.passed} for r in found.rates],
        "accuracies": [asdict(a) for a in found.accuracies],
        "variance_reductions": [{**asdict(r), "passed": r.passed} for r in found.reductions],
    }
    return json.dumps(_without_nan(record), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_html(validation: Validation) -> str:
    """A page that works offline: no script, no external reference, every string escaped."""
    return (
        _environment()
        .get_template("validate_stats.html.j2")
        .render(
            validation=validation, found=validation.found, manifest=validation.manifest, answer=answer(validation),
            views=views(validation), level=_percent(LEVEL),
        )
    )  # fmt: skip


def views(validation: Validation) -> list[View]:
    """The tables, in the order of the questions."""
    found, metrics = validation.found, [m.name for m in validation.metrics]
    alpha, confidence = _percent(1 - found.confidence), _percent(found.confidence)
    titles = {
        FALSE_POSITIVES: (
            f"A/A: false positives, % of {found.replicates} replicates",
            f"Share of replicates whose {confidence}% interval leaves out the true 0. Expected: {alpha}.",
        ),
        COVERAGE: (
            "A/B with a planted effect: coverage, %",
            f"Share of replicates whose {confidence}% interval holds the true effect. Expected: within 2 points of "
            f"{confidence}.",
        ),
        POWER: (
            "A/B: power, % found (% foreseen)",
            "Share of replicates whose interval of the lift shows the planted effect; foreseen by power planning from "
            "the average interval. Expected: within 5 points.",
        ),
        WATCHING: (
            "A/A looked at every day: ever a false positive, %",
            f"Expected of a confidence sequence: at most {alpha}. An interval for one look is there to compare.",
        ),
    }
    by_question = {question: [r for r in found.rates if r.question == question] for question in titles}
    tables = [
        View(title, remark, _rate_rows(by_question[question], metrics), _error(by_question[question]))
        for question, (title, remark) in titles.items()
    ]
    return [*tables, _reduction_view(found.reductions, metrics), _accuracy_view(found.accuracies, metrics)]


def _rate_rows(rates: Sequence[Rate], metrics: Sequence[str]) -> tuple[tuple[str, tuple[Cell, ...]], ...]:
    keys = dict.fromkeys((r.design, r.estimator, r.statement) for r in rates)
    by_key = {(r.design, r.estimator, r.statement, r.metric): r for r in rates}
    return tuple((_row_name(*key), tuple(_rate_cell(by_key.get((*key, m))) for m in metrics)) for key in keys)


def _row_name(design: str, estimator: str, statement: str) -> str:
    return f"{design}, {estimator}: {statement}"


def _error(rates: Sequence[Rate]) -> str:
    halves = [(r.high - r.low) / 2 for r in rates if r.n]
    return f"Monte Carlo error up to {_percent(max(halves))} points (95%)." if halves else "Nothing has an interval."


def _rate_cell(rate: Rate | None) -> Cell:
    if rate is None or rate.n == 0:
        return Cell(_DASH, "", False)
    value = _percent(rate.share)
    if rate.question == POWER:
        value += f" ({_foreseen(rate)})"
    return Cell(value, f"[{_percent(rate.low)}, {_percent(rate.high)}]", not rate.passed)


def _foreseen(rate: Rate) -> str:
    """The middle of the allowed range, or its end where that is the end of all shares."""
    if rate.allowed_high == 1:
        return f">{_percent(rate.allowed_low)}"
    return _percent((rate.allowed_low + rate.allowed_high) / 2)


def _reduction_view(reductions: Sequence[Reduction], metrics: Sequence[str]) -> View:
    by_metric = {r.metric: r for r in reductions}
    observed = tuple(_reduction_cell(by_metric[m]) for m in metrics)
    foreseen = tuple(Cell(_number(by_metric[m].foreseen), "", False) for m in metrics)
    return View(
        "How many times fewer users pairing needs than a split",
        "Variance of the split's lift over that of the paired one, over replicates; below, what the paired tests "
        "themselves say on average.",
        (("observed", observed), ("foreseen", foreseen)),
    )


def _reduction_cell(r: Reduction) -> Cell:
    return Cell(_number(r.observed), f"[{_number(r.low)}, {_number(r.high)}]", not r.passed)


def _accuracy_view(accuracies: Sequence[Accuracy], metrics: Sequence[str]) -> View:
    lifts = [a for a in accuracies if a.estimand == "lift"]
    by_key = {(a.design, a.estimator, a.metric): a for a in lifts}
    rows = [("truth", tuple(_truth_cell(by_key["paired", "t", m]) for m in metrics))]
    for design, estimator in dict.fromkeys((a.design, a.estimator) for a in lifts):
        rows.append((f"{design}, {estimator}", tuple(_mean_cell(by_key[design, estimator, m]) for m in metrics)))
    return View(
        "Lift of the planted effect, %: the truth, and the mean of the estimates",
        "Truth: all replicates' users together. In brackets two Monte Carlo standard errors to either side.",
        tuple(rows),
    )


def _truth_cell(a: Accuracy) -> Cell:
    return _spread(a.truth, a.truth_error)


def _mean_cell(a: Accuracy) -> Cell:
    return _spread(a.mean, a.mean_error)


def _spread(value: float, error: float) -> Cell:
    if not math.isfinite(value):
        return Cell(_DASH, "", False)
    return Cell(f"{100 * value:+.2f}", f"[{100 * (value - 2 * error):+.2f}, {100 * (value + 2 * error):+.2f}]", False)


def _marked(cell: Cell, *, with_limits: bool) -> Text:
    text = f"{cell.value} {cell.limits}".strip() if with_limits else cell.value
    return Text(f"! {text}", style="bold red") if cell.failed else Text(text)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _percent(share: float) -> str:
    """Without the sign: `5`, `93.4`."""
    return f"{100 * share:.1f}".removesuffix(".0")


def _number(value: float) -> str:
    return number(value, 3) if math.isfinite(value) else _DASH


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@lru_cache(maxsize=1)
def _environment() -> Environment:
    templates = [PackageLoader("simulator.commands", "templates"), PackageLoader("simulator.report", "templates")]
    return Environment(
        loader=ChoiceLoader(templates),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
