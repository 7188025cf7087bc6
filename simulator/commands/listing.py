"""What `pushback list` shows: parts, scenarios, presets and runs, as plain records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from recommenders.files import read_bounded
from recommenders.plugins import OWN, Entry, Loaded
from simulator.scenario.faults import ScenarioErrors, Sources
from simulator.scenario.presets import preset_names, preset_summary
from simulator.scenario.shipped import shipped_scenarios
from simulator.scenario.yaml_nodes import decode, parse_yaml

if TYPE_CHECKING:
    from simulator.experiment.metrics import AnyMetric
    from simulator.experiment.results import Manifest

Record = Mapping[str, object]
"""One entry of a list; `name` and `summary` are what a person reads."""


def list_recommenders() -> list[Record]:
    """Every registered recommender."""
    from recommenders import registry

    return [_entry(entry) for entry in registry.describe_all()]


def list_metrics() -> list[Record]:
    """Every registered metric, with its definition, unit, better direction and provider."""
    from simulator.experiment.metrics import registry

    return [_metric(loaded) for loaded in registry.describe_all()]


def list_behaviours() -> list[Record]:
    """Every registered user model."""
    from simulator.world import registry

    return [_entry(entry) for entry in registry.describe_all()]


def list_reports() -> list[Record]:
    """Every registered report, beside the HTML one that each run has."""
    from simulator.report import registry

    return [_entry(entry) for entry in registry.describe_all()]


def _entry(entry: Entry) -> Record:
    summary = entry.summary + _brought_by(entry)
    return {"name": entry.name, "summary": summary, "provider": entry.provider}


def _metric(loaded: Loaded[AnyMetric]) -> Record:
    entry = loaded.entry
    if loaded.part is None:
        return _entry(replace(entry, summary=loaded.problem))
    info = loaded.part.info
    better = "" if info.better == "neither" else f", {info.better} is better"
    summary = f"{info.label} ({info.unit}{better}): {info.definition}{_brought_by(entry)}"
    return {**asdict(info), "provider": entry.provider, "summary": summary}


def _brought_by(entry: Entry) -> str:
    return "" if entry.provider == OWN else f" [{entry.provider}]"


def list_scenarios() -> list[Record]:
    """Every shipped scenario, with the question it asks."""
    return [{"name": name, "summary": _question(p), "path": str(p)} for name, p in shipped_scenarios().items()]


def list_presets() -> list[Record]:
    """Every preset of `world`."""
    return [{"name": name, "summary": preset_summary(name)} for name in preset_names()]


def list_runs(results: Path) -> list[Record]:
    """Every run beneath a folder of results, as `<scenario>/<run>/`, oldest first within a scenario by folder name.

    Returns:
        Records whose `state` is `complete`, `running`, `resumable`, `incomplete` or `unreadable`.
    """
    folders = sorted(f for f in results.glob("*/*") if f.is_dir() and not f.name.startswith("."))
    return [_run(folder) for folder in folders if not _holds_backtests(folder)]


def _holds_backtests(folder: Path) -> bool:
    """Whether a folder is `backtest/<log>`, whose runs lie one level deeper and are no runs of a scenario."""
    return folder.parent.name == "backtest" and not (folder / "manifest.json").exists()


def list_all(results: Path) -> dict[str, Callable[[], list[Record]]]:
    """Kind -> what lists it."""
    return {
        "recommenders": list_recommenders,
        "metrics": list_metrics,
        "behaviours": list_behaviours,
        "reports": list_reports,
        "scenarios": list_scenarios,
        "presets": list_presets,
        "runs": lambda: list_runs(results),
    }


def format_records(heading: str, records: Sequence[Record]) -> str:
    """Records as two columns under a heading, as wide as the terminal."""
    formatter = click.HelpFormatter()
    with formatter.section(heading.capitalize()):
        if records:
            formatter.write_dl([(_printable(r["name"]), _printable(r["summary"])) for r in records])
        else:
            formatter.write_text("none")
    return formatter.getvalue()


def _question(path: Path) -> str:
    sources = Sources(str(path))
    try:
        data = parse_yaml(decode(path.read_bytes(), sources), sources)
    except (ScenarioErrors, OSError) as error:
        return f"cannot be read: {error}"
    question = data.get("question") if isinstance(data, dict) else None
    return question if isinstance(question, str) else "asks no question"


def _run(folder: Path) -> Record:
    from simulator.report.runs import MOST_BYTES
    from simulator.report.serialize import ReportError, manifest_from_json

    record = {"name": str(folder), "scenario": folder.parent.name}
    file = folder / "manifest.json"
    try:
        manifest = manifest_from_json(read_bounded(file, MOST_BYTES).decode("utf-8"), str(file))
    except FileNotFoundError:
        return {**record, "state": "incomplete", "summary": "incomplete: it has no manifest.json"}
    except (OSError, UnicodeDecodeError, ReportError) as error:
        return {**record, "state": "unreadable", "summary": f"unreadable: {error}"}
    state = _state(folder, manifest)
    seconds = manifest.seconds.get("total")  # the other stages may run side by side
    lasted = "" if seconds is None else f", {seconds:.0f} s"
    failed = [failure.arm for failure in manifest.failures]
    without = f" without {', '.join(failed)}, which failed" if failed else ""
    summary = f"{state}{without}: seed {manifest.seed}, {manifest.impressions:,} impressions{lasted}"
    facts = {"seed": manifest.seed, "started_utc": manifest.started_utc, "seconds": seconds, "failed_arms": failed}
    return {**record, "state": state, **facts, "summary": f"{summary}, started {manifest.started_utc}"}


def _state(folder: Path, manifest: Manifest) -> str:
    from simulator.unfinished import PARTIAL, is_locked

    if folder.suffix != PARTIAL:
        return "complete" if manifest.complete else "incomplete"
    return "running" if is_locked(folder) else "resumable"


def _printable(text: object) -> str:
    return "".join(c if c.isprintable() else " " for c in str(text))
