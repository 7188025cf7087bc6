"""What a run prints on the terminal: thresholds, responsiveness, lifts. Plain when piped, whole at 80 columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from simulator.experiment.failures import sentence
from simulator.experiment.results import Comparison, Estimate, Manifest, Results
from simulator.report.ab_views import guardrail_rows, ratio_rows
from simulator.report.formatting import (
    has_interval,
    is_clear,
    missing,
    number,
    percent_half_width,
    percent_interval,
    percent_value,
)
from simulator.report.views import observed, tone

_LABEL_WIDTH = 26
_CELL_WIDTH = 16
_NUMBERS_WIDTH = 62
"""Room of the table of responsiveness beside the arms' names."""
_GUARDRAIL_STYLES = {"holds": "green", "broken": "bold red"}
_STYLES = {"better": "green", "worse": "red", "changed": "cyan", "unclear": ""}


def print_results(results: Results, manifest: Manifest, console: Console) -> None:
    """Print a run's findings: arms that failed first, thresholds, then responsiveness, then the A/B test.

    Of the A/B test the design comes first, then whether it can be trusted, guardrails, and lifts against the control.

    The caller prints where the report is, and as the last line `answer_line(results)`.
    """
    heading = f"{results.scenario}, run {manifest.run}, seed {manifest.seed}: {manifest.impressions:,} impressions"
    show(console, heading, "bold")
    _print_failures(manifest, console)
    _print_verdicts(results, console)
    _print_responsiveness(results, console)
    _print_design(results, console)
    _print_lifts(results, console)


def show(console: Console, text: str, style: str = "") -> None:
    """Print text as it is: no markup, no highlighting, no control characters, words kept whole where they fit."""
    console.print(Text(printable(text), style=style), highlight=False)


def printable(text: str) -> str:
    """Text whose control characters are gone, so that a name in a scenario cannot steer the terminal.

    >>> printable("a\\x1b[31mb")
    'a [31mb'
    """
    return "".join(c if c.isprintable() else " " for c in text)


def new_table(title: str, headers: Sequence[str], first_width: int | None = None, width: int | None = None) -> Table:
    """A table whose first column is text, left-aligned, and whose others are numbers, right-aligned.

    Args:
        title: printed above; may be empty.
        headers: one a column.
        first_width, width: most characters of the first column, and of each other column; None for as many as fit.
    """
    heading = Text(printable(title)) if title else None
    table = Table(title=heading, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, header in enumerate(headers):
        most = width if i else first_width
        table.add_column(Text(printable(header)), justify="right" if i else "left", overflow="fold", max_width=most)
    return table


def add_row(table: Table, cells: Sequence[str | Text]) -> None:
    """Add a row of plain text; strings are never read as markup."""
    table.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in cells))


def _print_failures(manifest: Manifest, console: Console) -> None:
    if not manifest.failures:
        return
    show(console, "Arms that failed and were given up", "bold red")
    for failure in manifest.failures:
        show(console, f"  {sentence(failure)}")
    console.print()


def _print_verdicts(results: Results, console: Console) -> None:
    if not results.verdicts:
        return
    show(console, "Thresholds", "bold")
    for verdict in results.verdicts:
        mark = Text("  pass  " if verdict.passed else "  FAIL  ", style="green" if verdict.passed else "bold red")
        line = Text(printable(f"{verdict.condition}  ({observed(verdict)})"))
        console.print(mark + line, highlight=False)
    console.print()


def _print_responsiveness(results: Results, console: Console) -> None:
    if not results.responsiveness:
        return
    title = f"Responsiveness: {results.base_action} against {results.other_action}, {results.runs:,} trajectories"
    # The arm's name gives way where the table is too wide: an interval broken over two lines misleads.
    table = new_table(title, ["arm", "same", "R", "interval", "unpaired"], max(console.width - _NUMBERS_WIDTH, 10))
    for r in results.responsiveness:
        e = r.response
        value = Text(percent_value(e) if math.isfinite(e.value) else "–", style="bold" if is_clear(e) else "")
        intervals = [percent_interval(e.low, e.high), percent_interval(e.unpaired_low, e.unpaired_high)]
        add_row(table, [r.arm, r.similarity, value, *intervals])
    console.print(table)
    _print_notes([r.response for r in results.responsiveness], console)


def _print_notes(estimates: Iterable[Estimate], console: Console) -> None:
    """Why numbers or intervals are missing, each reason once."""
    for note in dict.fromkeys(missing(e) for e in estimates if not (math.isfinite(e.value) and has_interval(e))):
        show(console, f"– {note}", "dim")


def _print_design(results: Results, console: Console) -> None:
    """The A/B test in words, its sample ratios and its guardrails."""
    if results.design_words:
        show(console, results.design_words)
    for ratio in ratio_rows(results):
        line = f"Sample ratio, {ratio.population}: {ratio.reading} (p {ratio.p_value})"
        show(console, f"{line}: {ratio.counts}" if ratio.is_mismatch else line, "bold red" if ratio.is_mismatch else "")
    if results.guardrails:
        show(console, "Guardrails", "bold")
    for rail in guardrail_rows(results):
        mark = Text(printable(f"  {rail.mark:<8}  "), style=_GUARDRAIL_STYLES.get(rail.verdict, ""))
        reason = f"; {rail.reason}" if rail.reason else ""
        line = f"{rail.metric}, {rail.arm}: {rail.lift}, margin {rail.margin}{reason}"
        console.print(mark + Text(printable(line)), highlight=False)
    if results.design_words:
        console.print()


def _print_lifts(results: Results, console: Console) -> None:
    arms = [a for a in results.arms if a != results.control and any(c.arm == a for c in results.comparisons)]
    if not arms:
        return
    per_block = max((console.width - _LABEL_WIDTH) // (_CELL_WIDTH + 2), 1)
    blocks = [arms[i : i + per_block] for i in range(0, len(arms), per_block)]
    for i, block in enumerate(blocks):
        title = f"Change against {results.control} in the A/B test, {results.users:,} users" if i == 0 else ""
        console.print(_lift_table(results, title, block))
    _print_notes([c.lift for c in results.comparisons if c.arm in arms], console)
    confidence = number(100 * results.confidence)
    paired = "paired " if results.design == "paired" else ""
    show(console, f"± is half the width of the {paired}{confidence}% interval; * marks intervals clear of 0.", "dim")
    console.print()


def _lift_table(results: Results, title: str, arms: Sequence[str]) -> Table:
    table = new_table(title, ["metric", *arms], _LABEL_WIDTH, _CELL_WIDTH)
    found = {(c.arm, c.metric): c for c in results.comparisons}
    for metric in results.metrics:
        cells = [_lift_cell(found.get((arm, metric.name)), metric.better) for arm in arms]
        add_row(table, [metric.label, *cells])
    return table


def _lift_cell(comparison: Comparison | None, better: str) -> Text:
    if comparison is None:
        return Text("–")
    return Text(percent_half_width(comparison.lift), style=_STYLES[tone(comparison.lift, better)])
