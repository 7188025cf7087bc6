"""Two runs side by side: what differs in the scenario, and which estimates came out differently."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from rich.console import Console

from simulator.experiment.results import Estimate, Results
from simulator.report.formatting import level, level_value, percent, signed
from simulator.report.runs import SCENARIO_FILE, Run, load_run
from simulator.report.serialize import ReportError
from simulator.report.terminal import add_row, new_table, show

_ABSENT = "–"


@dataclass(frozen=True)
class _Figure:
    """An estimate as text, and how to print a difference of two."""

    value: float
    text: str
    difference: Callable[[float], str]


def compare_runs(run_dir_a: str | Path, run_dir_b: str | Path, console: Console) -> None:
    """Print what differs between two runs; equal settings and equal estimates are only counted.

    Raises:
        ReportError: a run is missing, incomplete or corrupt.
    """
    a, b = load_run(run_dir_a), load_run(run_dir_b)
    show(console, f"A: {run_dir_a}")
    show(console, f"B: {run_dir_b}")
    console.print()
    settings_a, settings_b = (_settings(run, folder) for run, folder in ((a, run_dir_a), (b, run_dir_b)))
    _print_settings(settings_a, settings_b, console)
    _print_figures(_figures(a.results), _figures(b.results), console)
    _print_logs(a, b, console)


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
    try:
        return {**flatten(yaml.safe_load(run.scenario_yaml)), "seed": str(run.manifest.seed)}
    except (yaml.YAMLError, RecursionError) as error:
        raise ReportError(f"{Path(folder) / SCENARIO_FILE}: not readable as YAML: {error}") from error


def _print_settings(a: Mapping[str, str], b: Mapping[str, str], console: Console) -> None:
    keys = list(dict.fromkeys([*a, *b]))
    differing = [k for k in keys if a.get(k) != b.get(k)]
    if differing:
        table = new_table("Settings that differ", ["setting", "A", "B"])
        for key in differing:
            add_row(table, [key, a.get(key, _ABSENT), b.get(key, _ABSENT)])
        console.print(table)
    show(console, _equal(len(keys) - len(differing), len(differing), "setting"))
    console.print()


def _print_figures(a: Mapping[str, _Figure], b: Mapping[str, _Figure], console: Console) -> None:
    keys = list(dict.fromkeys([*a, *b]))
    differing = [k for k in keys if k not in a or k not in b or a[k].text != b[k].text]
    if differing:
        table = new_table("Estimates that differ", ["estimate", "A", "B", "B - A"])
        for key in differing:
            left, right = a.get(key), b.get(key)
            texts = [f.text if f else _ABSENT for f in (left, right)]
            add_row(table, [key, *texts, _difference(left, right)])
        console.print(table)
    show(console, _equal(len(keys) - len(differing), len(differing), "estimate"))


def _print_logs(a: Run, b: Run, console: Console) -> None:
    shared = [arm for arm in a.manifest.log_sha256 if arm in b.manifest.log_sha256]
    same = [arm for arm in shared if a.manifest.log_sha256[arm] == b.manifest.log_sha256[arm]]
    if shared:
        show(console, f"Event logs: identical in {len(same)} of {len(shared)} shared logs.")


def _equal(equal: int, differing: int, noun: str) -> str:
    nouns = noun if equal == 1 else f"{noun}s"
    if not differing:
        return f"All {equal} {nouns} are equal." if equal else f"Neither run has {noun}s."
    return f"{equal} other {nouns} {'is' if equal == 1 else 'are'} equal."


def _figures(results: Results) -> dict[str, _Figure]:
    """Every estimate by the name that thresholds give it."""
    figures = {f"responsiveness.{r.similarity}[{r.arm}]": _change(r.response) for r in results.responsiveness}
    figures |= {f"lift.{c.metric}[{c.arm}]": _change(c.lift) for c in results.comparisons}
    units = {m.name: m.unit for m in results.metrics}
    for row in results.levels:
        figures[f"level.{row.metric}[{row.arm}]"] = _level(row.mean, units.get(row.metric, "score"))
    return figures


def _change(estimate: Estimate) -> _Figure:
    return _Figure(estimate.value, percent(estimate), lambda d: f"{signed(100 * d, 1)}pp")


def _level(estimate: Estimate, unit: str) -> _Figure:
    return _Figure(estimate.value, level(estimate, unit), lambda d: f"{'+' if d > 0 else ''}{level_value(d, unit)}")


def _difference(a: _Figure | None, b: _Figure | None) -> str:
    if a is None or b is None or not math.isfinite(b.value - a.value):
        return _ABSENT
    return b.difference(b.value - a.value)
