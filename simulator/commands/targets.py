"""`pushback targets`: the presets' simulated figures beside those of real platforms."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.text import Text

from recommenders.base import Recommender
from simulator.experiment.targets import FACTOR, Figure, TargetRow, TargetSheet, measure, read_sheet
from simulator.progress import StudyProgress, throttled
from simulator.report.formatting import wall
from simulator.report.terminal import add_row, new_table, show

_SCALES = {"share": (100.0, "%"), "seconds": (1.0, " s"), "minutes": (1.0, " min")}
_NUMBERS_WIDTH = 50
"""Room of the table beside the label."""


@dataclass(frozen=True)
class MeasuredPreset:
    """What the command found of one preset.

    Attributes:
        preset: its name.
        users, days, seed: of the simulation.
        seconds: wall-clock time.
        rows: one a figure.
    """

    preset: str
    users: int
    days: int
    seed: int
    seconds: float
    rows: tuple[TargetRow, ...]

    @property
    def passed(self) -> bool:
        """Whether every figure is within the tolerance."""
        return all(row.passed for row in self.rows)


def measure_presets(
    presets: Sequence[str], *, users: int | None, days: int | None, seed: int, console: Console
) -> list[MeasuredPreset]:
    """Measure presets one after the other.

    Args:
        presets: names that have a sheet.
        users, days: instead of those of the sheet.
        seed: of the worlds.
        console: shows progress if it is a terminal.
    """
    found = []
    with StudyProgress(console) as progress:
        tell = throttled(progress.update)
        for preset in presets:
            sheet = read_sheet(preset)
            clock = perf_counter()
            rows = measure(preset, sheet, _build, users=users, days=days, seed=seed, watch=partial(tell, preset))
            progress.finish(preset)
            seconds = perf_counter() - clock
            found.append(_found(preset, sheet, users, days, seed, seconds, rows))
    return found


def print_presets(found: Sequence[MeasuredPreset], console: Console) -> None:
    """Print a table for each preset, its sources beneath; whole at 80 columns."""
    for measured in found:
        title = f"{measured.preset}: {measured.users:,} users, {measured.days} days, seed {measured.seed}"
        room = max(24, console.width - _NUMBERS_WIDTH)
        table = new_table(title, ["figure", "target", "simulated", "ratio", f"within {FACTOR:g}", "source"], room)
        sources = list(dict.fromkeys(row.figure.source for row in measured.rows))
        for row in measured.rows:
            verdict = Text("yes", style="green") if row.passed else Text("NO", style="bold red")
            add_row(table, [*_cells(row), verdict, f"[{sources.index(row.figure.source) + 1}]"])
        console.print(table)
        for number, source in enumerate(sources, start=1):
            show(console, f"[{number}] {source}", "dim")
        n_passed = sum(row.passed for row in measured.rows)
        show(
            console,
            f"{measured.preset}: {n_passed} of {len(measured.rows)} figures within a factor of {FACTOR:g}, "
            f"in {wall(measured.seconds)}\n",
            "bold",
        )


def presets_as_json(found: Sequence[MeasuredPreset]) -> str:
    """The same for programs: a list of presets, each with its rows; what could not be measured is null."""
    return json.dumps([_record(measured) for measured in found], indent=2, ensure_ascii=False)


def _found(
    preset: str,
    sheet: TargetSheet,
    users: int | None,
    days: int | None,
    seed: int,
    seconds: float,
    rows: Sequence[TargetRow],
) -> MeasuredPreset:
    return MeasuredPreset(preset, users or sheet.users, days or sheet.days, seed, seconds, tuple(rows))


def _build(name: str, config: Mapping[str, Any]) -> Recommender:
    from recommenders.registry import build

    return build(name, config)


def _cells(row: TargetRow) -> list[str]:
    figure = row.figure
    ratio = f"{row.ratio:.2f}" if isfinite(row.ratio) else "-"
    simulated = _value(row.simulated, figure) if isfinite(row.simulated) else "not measured"
    return [figure.label, _target(figure), simulated, ratio]


def _target(figure: Figure) -> str:
    """A point, or both ends of a range with the unit once."""
    if figure.low == figure.high:
        return _value(figure.low, figure)
    scale, mark = _SCALES.get(figure.unit, (1.0, ""))
    return f"{scale * figure.low:.3g}-{scale * figure.high:.3g}{mark}"


def _value(value: float, figure: Figure) -> str:
    scale, mark = _SCALES.get(figure.unit, (1.0, ""))
    return f"{scale * value:.3g}{mark}"


def _record(measured: MeasuredPreset) -> dict[str, object]:
    return {
        "preset": measured.preset,
        "users": measured.users,
        "days": measured.days,
        "seed": measured.seed,
        "seconds": round(measured.seconds, 1),
        "passed": measured.passed,
        "rows": [
            {
                **row.figure.model_dump(mode="json"),
                "simulated": row.simulated if isfinite(row.simulated) else None,
                "ratio": row.ratio if isfinite(row.ratio) else None,
                "passed": row.passed,
            }
            for row in measured.rows
        ],
    }
