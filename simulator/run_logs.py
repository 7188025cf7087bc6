"""The event logs in a run's folder, `events/`: what is written of each, and what of an arm that was given up is not."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from simulator.draws import Draws
from simulator.engine.checkpoints import Stages
from simulator.engine.log import EventLog
from simulator.engine.log_sample import LogSample
from simulator.experiment.study import ArmOutcome
from simulator.report.runs import EVENTS_FOLDER
from simulator.scenario.schema import Scenario


def logs_of(outcome: ArmOutcome) -> dict[str, EventLog]:
    """Name -> log of all that an arm's simulations recorded in memory."""
    logs = {outcome.name: outcome.log} if len(outcome.log) else {}
    if outcome.branches is not None:
        b = outcome.branches
        logs |= {
            f"{outcome.name}.prefix": b.prefix,
            f"{outcome.name}.base": b.base.log,
            f"{outcome.name}.action": b.action.log,
        }
        further = list(b.others.items())[1:]
        logs |= {f"{outcome.name}.{label.replace(' + ', '_and_')}": branch.log for label, branch in further}
    return logs


def write_logs(part: Path, outcome: ArmOutcome, stages: Stages, scenario: Scenario) -> None:
    """Write what is wanted of all logs of an arm.

    Raises:
        OSError: they cannot be written.
    """
    for name, log in logs_of(outcome).items():
        write_event_log(part, name, outcome.name, log, stages, scenario)


def write_event_log(part: Path, name: str, arm: str, log: EventLog, stages: Stages, scenario: Scenario) -> None:
    """Write what is wanted of an event log, or give one that a stage has written a second name.

    Args:
        part: folder of the unfinished run.
        name: of the log.
        arm: whose it is.
        log: all of it.
        stages: of the run.
        scenario: says what is wanted.

    Raises:
        OSError: it cannot be written.
    """
    path = part / EVENTS_FOLDER / f"{name}.parquet"
    sample = _sample(scenario)
    written = None if stages.files is None or not sample.is_everything else stages.files.file_of(log, arm)
    if written is not None:
        path.unlink(missing_ok=True)
        with suppress(OSError):  # a file system without hard links
            os.link(written, path)
            return
    sample.write(path, arm, log)


def remove_logs(part: Path, arm: str, stages: Stages) -> None:
    """Remove all that an arm which was given up has left of itself.

    Its checkpoints go first: should the run be stopped here and go on, the arm begins anew, and does not go on with a
    log whose first rows are gone.

    Args:
        part: folder of the unfinished run.
        arm: its name.
        stages: those of the arm.

    Raises:
        OSError: something cannot be removed.
    """
    events = part / EVENTS_FOLDER
    kept = [] if stages.files is None else [stages.files.folder / stages.place]
    for folder in (*kept, events / arm):
        if folder.is_dir():
            shutil.rmtree(folder)
    for path in (events / f"{arm}.parquet", *events.glob(f"{arm}.*.parquet")):
        path.unlink(missing_ok=True)


def thin_logs(part: Path, scenario: Scenario) -> None:
    """Leave of streamed logs what the scenario wants, now that all is computed; it may be done again.

    Raises:
        OSError: they cannot be written.
    """
    for folder in sorted((part / EVENTS_FOLDER).iterdir()):
        if folder.is_dir():
            _sample(scenario).thin(folder, folder.name)


def _sample(scenario: Scenario) -> LogSample:
    """What of the logs a scenario wants to be written."""
    return LogSample(Draws(scenario.seed), scenario.log.user_share, scenario.log.columns)
