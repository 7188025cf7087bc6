"""Reports that people bring: functions that write further files of a finished run.

Two ways to name one: a name that an installed package offers by an entry point of the group `pushback.reports`, or
`module:function`. What every run has - `report.html` - is no such report.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from recommenders.plugins import Entry, Kind, blaming
from simulator.report.runs import EVENTS_FOLDER, MANIFEST_FILE, REPORT_FILE, RESULTS_FILE, SCENARIO_FILE, Run, load_run
from simulator.report.serialize import ReportError

Report = Callable[[Run, Path], None]
"""Called as `report(run, folder)`; what it writes into the empty folder is moved into the run's folder."""

KIND = Kind("report", "function", (), ReportError)

_OF_EVERY_RUN = {RESULTS_FILE, MANIFEST_FILE, SCENARIO_FILE, REPORT_FILE, EVENTS_FOLDER}


def find_report(name: str) -> Report:
    """The report of a name.

    Raises:
        ReportError: no such name, it cannot be imported, or it is not a function.
    """
    return _load(KIND.find(name))


def describe_all() -> list[Entry]:
    """All reports with a name, by name."""
    return KIND.describe_installed(_load)


def write_reports(names: Sequence[str], run_dir: str | Path) -> tuple[Path, ...]:
    """Write what reports make of a finished run into its folder, each report's files whole or not at all.

    Files of an earlier time are replaced.

    Args:
        names: registered names or `module:function`.
        run_dir: the run's folder.

    Returns:
        What was written: files, or folders of them.

    Raises:
        ReportError: the run cannot be read; a report cannot be had, failed, or wrote nothing, or what every run has.
    """
    reports = [(name, find_report(name)) for name in names]
    run = load_run(run_dir)
    return tuple(path for name, report in reports for path in _write(name, report, run))


def _write(name: str, report: Report, run: Run) -> list[Path]:
    what = f"report {name!r}"
    try:
        with TemporaryDirectory(dir=run.folder, prefix=".report-") as scratch:
            with blaming(f"{what}: {run.folder}:", ReportError):
                report(run, Path(scratch))
            made = sorted(Path(scratch).iterdir())
            if not made:
                raise ReportError(f"{what}: got no file, expected at least one in the folder that it is given")
            for path in made:
                if path.name in _OF_EVERY_RUN:
                    raise ReportError(f"{what}: got {path.name}, expected a name that no file of every run has")
                if path.is_dir() or (run.folder / path.name).is_dir():
                    raise ReportError(f"{what}: got the folder {path.name}, expected files only")
            for path in made:
                os.replace(path, run.folder / path.name)
            return [run.folder / path.name for path in made]
    except OSError as error:
        raise ReportError(
            f"{what}: {run.folder}: got {error.strerror}, expected a folder that can be written"
        ) from error


def _load(entry: Entry) -> Report:
    found = KIND.load(entry)
    if not callable(found):
        raise ReportError(f"report {entry.name!r}: {entry.target!r}: got {found!r}, expected a function")
    report: Report = found
    return report
