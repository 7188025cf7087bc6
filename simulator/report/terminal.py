"""What a run prints on the terminal: thresholds, responsiveness, lifts. Plain when piped, whole at 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from simulator.experiment.results import Comparison, Manifest, Results
from simulator.report.formatting import is_clear, missing, number, percent, percent_half_width, percent_interval, ratio
from simulator.report.views import tone

_LABEL_WIDTH = 26
_CELL_WIDTH = 16
_STYLES = {"better": "green", "worse": "red", "changed": "cyan", "unclear": ""}


def print_results(results: Results, manifest: Manifest, console: Console) -> None:
    """Print a run's findings: thresholds first, then responsiveness, then lifts against the control.

    The caller prints where the report is, and as the last line `answer_line(results)`.
    """
    heading = f"{results.scenario}, run {manifest.run}, seed {manifest.seed}: {manifest.impressions:,} impressions"
    show(console, heading, "bold")
    _print_verdicts(results, console)
    _print_responsiveness(results, console)
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


def new_table(title: str, headers: Sequence[str], widths: Sequence[int | None] = ()) -> Table:
    """A table whose first column is left-aligned text and whose others are right-aligned numbers."""
    table = Table(
        title=Text(printable(title)), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for i, header in enumerate(headers):
        justify = "left" if i == 0 else "right"
        width = widths[i] if widths else None
        table.add_column(Text(printable(header)), justify=justify, overflow="fold", max_width=width)  # type: ignore[arg-type]
    return table


def add_row(table: Table, cells: Sequence[str | Text]) -> None:
    """Add a row of plain text; strings are never read as markup."""
    table.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in cells))


def _print_verdicts(results: Results, console: Console) -> None:
    if not results.verdicts:
        return
    show(console, "Thresholds", "bold")
    for verdict in results.verdicts:
        mark = Text("  pass  " if verdict.passed else "  FAIL  ", style="green" if verdict.passed else "bold red")
        line = Text(printable(f"{verdict.condition}  (observed {number(verdict.observed)})"))
        console.print(mark + line, highlight=False)
    console.print()


def _print_responsiveness(results: Results, console: Console) -> None:
    if not results.responsiveness:
        return
    title = f"Responsiveness: {results.base_action} against {results.other_action}, {results.runs:,} trajectories"
    table = new_table(title, ["arm", "same", "R", "interval", "unpaired", "times as much"])
    for r in results.responsiveness:
        e = r.response
        if e.value != e.value:  # NaN
            add_row(table, [r.arm, r.similarity, "–", "–", "–", missing(e)])
            continue
        value, _, interval = percent(e).partition(" ")
        style = "bold" if is_clear(e) else ""
        unpaired = percent_interval(e.unpaired_low, e.unpaired_high).rstrip("%")
        add_row(table, [r.arm, r.similarity, Text(value, style=style), interval, unpaired, ratio(e).split(" ")[0]])
    console.print(table)


def _print_lifts(results: Results, console: Console) -> None:
    arms = [a for a in results.arms if a != results.control and any(c.arm == a for c in results.comparisons)]
    if not arms:
        return
    per_block = max((console.width - _LABEL_WIDTH) // (_CELL_WIDTH + 2), 1)
    blocks = [arms[i : i + per_block] for i in range(0, len(arms), per_block)]
    for i, block in enumerate(blocks):
        title = f"Change against {results.control} in the A/B test, {results.users:,} users" if i == 0 else ""
        console.print(_lift_table(results, title, block))
    confidence = number(100 * results.confidence)
    show(console, f"± is half the width of the paired {confidence}% interval; * marks intervals clear of 0.", "dim")
    console.print()


def _lift_table(results: Results, title: str, arms: Sequence[str]) -> Table:
    table = new_table(title, ["metric", *arms], [_LABEL_WIDTH, *[_CELL_WIDTH] * len(arms)])
    found = {(c.arm, c.metric): c for c in results.comparisons}
    for metric in results.metrics:
        cells = [_lift_cell(found.get((arm, metric.name)), metric.better) for arm in arms]
        add_row(table, [metric.label, *cells])
    return table


def _lift_cell(comparison: Comparison | None, better: str) -> Text:
    if comparison is None:
        return Text("–")
    return Text(percent_half_width(comparison.lift), style=_STYLES[tone(comparison.lift, better)])
