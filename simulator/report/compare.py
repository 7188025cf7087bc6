"""Two runs side by side: what differs in the scenario, and which estimates came out differently."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
from markupsafe import escape
from rich.console import Console

from simulator.experiment.failures import sentence
from simulator.experiment.results import Estimate, Results
from simulator.report.formatting import level, level_value, percent, signed
from simulator.report.frame import Frame
from simulator.report.runs import SCENARIO_FILE, Run, load_run
from simulator.report.serialize import ReportError
from simulator.report.terminal import add_row, new_table, show
from simulator.scenario.faults import ScenarioErrors, Sources
from simulator.scenario.yaml_nodes import parse_yaml

_ABSENT = "–"
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Figure:
    """An estimate as text, and how to print a difference of two."""

    value: float
    text: str
    difference: Callable[[float], str]


@dataclass(frozen=True)
class RunDifferences:
    """In what two runs differ.

    Attributes:
        settings: setting -> text in A and in B, None where one has it not; those that differ.
        equal_settings: how many do not.
        figures: estimate -> what A and B found, None where one has it not; those that print differently.
        equal_figures: how many do not.
        shared_logs, identical_logs: event logs by a name that both runs have, and those whose rows are all equal.
        failures: a sentence for each arm that failed in A or B.
    """

    settings: Mapping[str, tuple[str | None, str | None]]
    equal_settings: int
    figures: Mapping[str, tuple[Figure | None, Figure | None]]
    equal_figures: int
    shared_logs: int
    identical_logs: int
    failures: tuple[str, ...] = ()

    def setting_frame(self) -> Frame:
        """The settings that differ. Columns: setting, a, b."""
        return Frame.of(dict.fromkeys(("setting", "a", "b"), pa.string()), ((k, *v) for k, v in self.settings.items()))

    def estimate_frame(self) -> Frame:
        """The estimates that differ, named as in thresholds. Columns: estimate, a, b, difference (b - a)."""
        columns = {"estimate": pa.string()} | dict.fromkeys(("a", "b", "difference"), pa.float64())
        values = {name: [f.value if f else math.nan for f in pair] for name, pair in self.figures.items()}
        return Frame.of(columns, ((name, a, b, b - a) for name, (a, b) in values.items()))

    def __repr__(self) -> str:
        parts = [repr(frame) for frame in (self.setting_frame(), self.estimate_frame()) if len(frame)]
        return "\n\n".join([*parts, "\n".join([*self.failures, *self.summary()])])

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        parts = [frame._repr_html_() for frame in (self.setting_frame(), self.estimate_frame()) if len(frame)]
        lines = [*self.failures, *self.summary()]
        return "".join([*parts, *(f"<p>{escape(line)}</p>" for line in lines)])

    def summary(self) -> list[str]:
        """What is equal, in sentences."""
        lines = [
            _equal(self.equal_settings, len(self.settings), "setting"),
            _equal(self.equal_figures, len(self.figures), "estimate"),
        ]
        if self.shared_logs:
            lines.append(f"Event logs: identical in {self.identical_logs} of {self.shared_logs} shared logs.")
        return lines


def differences(run_dir_a: str | Path, run_dir_b: str | Path) -> RunDifferences:
    """What differs between two runs, by what would be printed; equal settings and equal estimates are only counted.

    Raises:
        ReportError: a run is missing, incomplete or corrupt.
    """
    a, b = load_run(run_dir_a), load_run(run_dir_b)
    settings = _side_by_side(_settings(a, run_dir_a), _settings(b, run_dir_b))
    figures = _side_by_side(_figures(a.results), _figures(b.results))
    differing = {k: (x, y) for k, (x, y) in settings.items() if x != y}
    found = {k: (x, y) for k, (x, y) in figures.items() if x is None or y is None or x.text != y.text}
    hashes = _side_by_side(a.manifest.log_sha256, b.manifest.log_sha256)
    shared = [pair for pair in hashes.values() if None not in pair]
    return RunDifferences(
        settings=differing,
        equal_settings=len(settings) - len(differing),
        figures=found,
        equal_figures=len(figures) - len(found),
        shared_logs=len(shared),
        identical_logs=sum(x == y for x, y in shared),
        failures=tuple(
            f"In {run}, arm {sentence(failure)}."
            for run, results in (("A", a.results), ("B", b.results))
            for failure in results.failures
        ),
    )


def compare_runs(run_dir_a: str | Path, run_dir_b: str | Path, console: Console) -> None:
    """Print what differs between two runs; equal settings and equal estimates are only counted.

    Raises:
        ReportError: a run is missing, incomplete or corrupt.
    """
    found = differences(run_dir_a, run_dir_b)
    about_settings, about_estimates, *about_logs = found.summary()
    show(console, f"A: {run_dir_a}")
    show(console, f"B: {run_dir_b}")
    for line in found.failures:
        show(console, line, "bold red")
    console.print()
    if found.settings:
        table = new_table("Settings that differ", ["setting", "A", "B"])
        for key, pair in found.settings.items():
            add_row(table, [key, *(_ABSENT if text is None else text for text in pair)])
        console.print(table)
    show(console, about_settings)
    console.print()
    if found.figures:
        table = new_table("Estimates that differ", ["estimate", "A", "B", "B - A"])
        for key, (left, right) in found.figures.items():
            add_row(table, [key, *(f.text if f else _ABSENT for f in (left, right)), _difference(left, right)])
        console.print(table)
    show(console, about_estimates)
    for line in about_logs:
        show(console, line)


def _side_by_side(a: Mapping[str, _Value], b: Mapping[str, _Value]) -> dict[str, tuple[_Value | None, _Value | None]]:
    """Key -> what each has; the keys of A first."""
    return {key: (a.get(key), b.get(key)) for key in dict.fromkeys([*a, *b])}


def flatten(value: object, path: str = "") -> dict[str, str]:
    """Every leaf of nested data by its path; the members of a list go by their `name` where all have one.

    >>> flatten({"seed": 1, "arms": [{"name": "ntr", "weight": 4}]})
    {'seed': '1', 'arms[ntr].name': 'ntr', 'arms[ntr].weight': '4'}
    """
    if isinstance(value, dict) and value:
        members = [(f"{path}.{key}" if path else str(key), item) for key, item in value.items()]
    elif isinstance(value, list) and value:
        members = [(f"{path}[{name}]", item) for name, item in zip(_member_names(value), value, strict=True)]
    else:
        return {path: "none" if value is None else str(value)}
    return {leaf: text for key, item in members for leaf, text in flatten(item, key).items()}


def _member_names(members: list[object]) -> list[str]:
    names = [str(m["name"]) for m in members if isinstance(m, dict) and "name" in m]
    if len(set(names)) == len(members):
        return names
    return [str(i) for i in range(len(members))]


def _settings(run: Run, folder: str | Path) -> dict[str, str]:
    sources = Sources(str(Path(folder) / SCENARIO_FILE))
    try:
        data = parse_yaml(run.scenario_yaml, sources)
        sources.raise_if_any()
    except ScenarioErrors as error:
        raise ReportError(str(error)) from error
    return {**flatten(data), "seed": str(run.manifest.seed)}


def _equal(equal: int, differing: int, noun: str) -> str:
    nouns = noun if equal == 1 else f"{noun}s"
    if not differing:
        return f"All {equal} {nouns} are equal." if equal else f"Neither run has {noun}s."
    return f"{equal} other {nouns} {'is' if equal == 1 else 'are'} equal."


def _figures(results: Results) -> dict[str, Figure]:
    """Every estimate by the name that thresholds give it."""
    figures = {f"responsiveness.{r.similarity}[{r.arm}]": _change(r.response) for r in results.responsiveness}
    figures |= {f"lift.{c.metric}[{c.arm}]": _change(c.lift) for c in results.comparisons}
    units = {m.name: m.unit for m in results.metrics}
    for row in results.levels:
        figures[f"level.{row.metric}[{row.arm}]"] = _level(row.mean, units.get(row.metric, "score"))
    return figures


def _change(estimate: Estimate) -> Figure:
    return Figure(estimate.value, percent(estimate), lambda d: f"{signed(100 * d, 1)}pp")


def _level(estimate: Estimate, unit: str) -> Figure:
    return Figure(estimate.value, level(estimate, unit), lambda d: f"{'+' if d > 0 else ''}{level_value(d, unit)}")


def _difference(a: Figure | None, b: Figure | None) -> str:
    if a is None or b is None or not math.isfinite(b.value - a.value):
        return _ABSENT
    return b.difference(b.value - a.value)
