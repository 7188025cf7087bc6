"""A run that is whole, as scripts and notebooks hold it: what it found, how it was made, its folder and its tables."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import escape

from recommenders.base import Feedback
from recommenders.files import open_regular
from recommenders.parquet_files import read_parquet
from simulator.engine.log import EventLog
from simulator.engine.log_files import LogFileError
from simulator.engine.log_parts import stored_cells
from simulator.experiment.results import Manifest, Results
from simulator.report.frame import Frame
from simulator.report.runs import REPORT_FILE, SCENARIO_FILE
from simulator.report.serialize import ReportError
from simulator.report.statements import answer_line
from simulator.report.tables import daily_frame, lift_frame, metric_frame, responses_frame, responsiveness_frame
from simulator.scenario.faults import one_of

_EVENTS = "events"


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A run that is whole.

    Attributes:
        folder: where everything is.
        results: what was found.
        manifest: how it was made.
    """

    folder: Path
    results: Results
    manifest: Manifest

    def responsiveness(self) -> Frame:
        """R of each arm at the first slate after the action; `report.tables.responsiveness_frame` names the columns."""
        return responsiveness_frame(self.results)

    def responses(self) -> Frame:
        """All that the counterfactual measured: other actions, the course by request, doses, segments."""
        return responses_frame(self.results)

    def lifts(self) -> Frame:
        """Each arm against the control, by metric; `report.tables.lift_frame` names the columns."""
        return lift_frame(self.results)

    def metrics(self) -> Frame:
        """The level of each metric in each arm, with its interval."""
        return metric_frame(self.results)

    def daily(self) -> Frame:
        """Each metric by arm and simulated day of the A/B test."""
        return daily_frame(self.results)

    def logs(self) -> list[str]:
        """Names of the event logs: `warm_up`, the arms, and for a counterfactual its prefixes and branches."""
        return list(self.manifest.log_sha256)

    def events(self, *names: str) -> Frame:
        """Event logs, one row an impression: docs/log.md says what the columns are.

        A column for each kind of feedback, such as `dislike`, says which flags are in `feedback`. All rows are held in
        memory: of a log that is streamed, `engine.log_parts.read_cells` reads a cell at a time.

        Args:
            names: of `logs()`; without any, what each arm served in the A/B test.

        Raises:
            LookupError: there is no such log; the message names those that there are.
            ReportError: the file of a log is missing or corrupt.
        """
        known = self.logs()
        chosen = names or tuple(arm for arm in self.results.arms if arm in known)
        for name in chosen:
            if name not in known:
                raise LookupError(f"events: got {name!r}, expected {one_of(known, name)}")
        tables = [_read(path) for name in chosen for path in _files(self.folder / _EVENTS, name)]
        return Frame(pa.concat_tables(tables).combine_chunks() if tables else pa.table({}))

    @property
    def report(self) -> Path:
        """The HTML report: one file, to open in a browser."""
        return self.folder / REPORT_FILE

    @property
    def scenario_yaml(self) -> str:
        """The resolved scenario: running this text gives the same results."""
        return (self.folder / SCENARIO_FILE).read_text(encoding="utf-8")

    @property
    def passed(self) -> bool:
        """Whether no arm failed and all thresholds of the scenario hold: the command would exit with 0."""
        return not self.results.failures and all(verdict.passed for verdict in self.results.verdicts)

    def save(self, folder: str | Path) -> FinishedRun:
        """Copy everything to a new folder, such as that of a run which would go with its object.

        Raises:
            ReportError: the folder is there already.
            OSError: it cannot be written.
        """
        if Path(folder).exists():
            raise ReportError(f"{folder}: got a folder that is there already, expected a new one")
        shutil.copytree(self.folder, folder)
        return FinishedRun(Path(folder), self.results, self.manifest)

    def __repr__(self) -> str:
        return f"<run of {self.results.scenario} in {self.folder}>\n{answer_line(self.results)}"

    def _repr_html_(self) -> str:
        """What a notebook shows: the answer, responsiveness and lifts."""
        parts = [f"<h3>{escape(self.results.question)}</h3><p>{escape(self.results.answer)}</p>"]
        for title, frame in (("Responsiveness", self.responsiveness()), ("Lifts", self.lifts())):
            if len(frame):
                parts.append(f"<h4>{title}</h4>{frame._repr_html_()}")
        return "".join([*parts, f"<p>Report: <code>{escape(self.report)}</code></p>"])


def _files(events: Path, name: str) -> list[Path]:
    """The file of a log, or the parts of one that is streamed, by cell."""
    if not (events / name).is_dir():
        return [events / f"{name}.parquet"]
    try:
        return [part for cell in stored_cells(events / name) for part in cell.parts()]
    except LogFileError as error:
        raise ReportError(str(error)) from error


def _read(path: Path) -> pa.Table:
    try:
        with open_regular(path) as file:
            table = read_parquet(file, ["arm", *EventLog.DTYPES])
        table = table.set_column(0, "arm", table["arm"].cast(pa.string()))
    except (OSError, pa.ArrowException, KeyError) as error:
        raise ReportError(f"{path}: got {error}, expected an event log written by pushback") from error
    if "feedback" not in table.column_names:  # the scenario wanted other columns
        return table
    flags = table["feedback"]

    def with_flag(so_far: pa.Table, flag: Feedback) -> pa.Table:
        is_set = pc.not_equal(pc.bit_wise_and(flags, pa.scalar(int(flag), pa.uint8())), pa.scalar(0, pa.uint8()))
        return so_far.append_column(str(flag.name).lower(), is_set)

    return reduce(with_flag, Feedback, table)
