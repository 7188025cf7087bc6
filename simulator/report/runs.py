"""A run's folder: read it with clear errors, and write its report."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from recommenders.files import read_bounded
from simulator.experiment.results import Manifest, Results
from simulator.report.html import render_html
from simulator.report.serialize import ReportError, manifest_from_json, results_from_json

RESULTS_FILE = "results.json"
MANIFEST_FILE = "manifest.json"
SCENARIO_FILE = "scenario.yaml"
REPORT_FILE = "report.html"
EVENTS_FOLDER = "events"
MOST_BYTES = 1 << 24
"""Of a file that is read here: ten times what the largest runs write, and as JSON still a fraction of the memory."""


@dataclass(frozen=True)
class Run:
    """A run as its folder holds it.

    Attributes:
        folder: where everything of it is; the event logs are `events/*.parquet`.
        results: what it found.
        manifest: how it was made.
        scenario_yaml: the resolved scenario's text.
    """

    folder: Path
    results: Results
    manifest: Manifest
    scenario_yaml: str


def load_run(run_dir: str | Path) -> Run:
    """Read a finished run.

    Raises:
        ReportError: no such folder, a file is missing or corrupt, or the run was interrupted.
    """
    run = _read_run(Path(run_dir))
    if not run.manifest.complete:
        raise _interrupted(Path(run_dir))
    return run


def write_report(run_dir: str | Path) -> Path:
    """Write `report.html` into a run's folder: whole or not at all.

    The manifest need not say `complete` yet, since the report belongs to what a run writes before it says so.

    Returns:
        The report's path.

    Raises:
        ReportError: no such folder, a file is missing or corrupt, or the report cannot be written.
    """
    folder = Path(run_dir)
    run = _read_run(folder)
    page = render_html(run.results, run.manifest, run.scenario_yaml)
    report = folder / REPORT_FILE
    try:
        # A lone surrogate (YAML can spell one) has no UTF-8 form; a character reference shows as a replacement mark.
        _replace(report, page.encode("utf-8", "xmlcharrefreplace"))
    except OSError as error:
        raise ReportError(f"{report}: got {error.strerror}, expected a file that can be written") from error
    return report


def _replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("xb") as file:  # a link of that name would lead elsewhere
            file.write(content)
        os.replace(temporary, path)
    finally:
        # Raises too on a read-only file system, even where there is nothing to remove.
        temporary.unlink(missing_ok=True)


def _read_run(folder: Path) -> Run:
    if not folder.is_dir():
        raise ReportError(f"{folder}: no such folder, expected the folder of a run")
    manifest = manifest_from_json(_text(folder / MANIFEST_FILE), str(folder / MANIFEST_FILE))
    if not manifest.complete and not (folder / RESULTS_FILE).exists():
        raise _interrupted(folder)
    results = results_from_json(_text(folder / RESULTS_FILE), str(folder / RESULTS_FILE))
    _check(results, folder / RESULTS_FILE)
    return Run(folder, results, manifest, _text(folder / SCENARIO_FILE))


def _check(results: Results, file: Path) -> None:
    """Refuse what is of the right types and what no run writes."""
    if not 0 < results.confidence < 1:
        raise ReportError(f"{file}: confidence: got {results.confidence}, expected a number between 0 and 1")
    for i, series in enumerate(results.series):
        if len(series.day) != len(series.value):
            got = f"{len(series.value)} values for {len(series.day)} days"
            raise ReportError(f"{file}: series[{i}]: got {got}, expected one a day")


def _interrupted(folder: Path) -> ReportError:
    return ReportError(
        f"{folder}: the run was interrupted before it was complete ({MANIFEST_FILE}: complete is false); to go on: "
        f"pushback resume {shlex.quote(str(folder))}"
    )


def _text(path: Path) -> str:
    try:
        return read_bounded(path, MOST_BYTES).decode("utf-8")
    except FileNotFoundError:
        raise ReportError(f"{path}: missing, expected in the folder of a run") from None
    except UnicodeDecodeError as error:
        raise ReportError(f"{path}: not UTF-8 text at byte {error.start}, expected a text file") from None
    except OSError as error:
        raise ReportError(f"{path}: cannot be read: {error.strerror}") from None
