"""What the commands share: how errors are told, how a scenario is read, the options that several have."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from simulator.finished import FinishedRun
    from simulator.running import Labour
    from simulator.scenario.loader import LoadedScenario

INTERRUPTED = 130
ARM_FAILED = 3
SCENARIO_HELP = "SCENARIO is a file, or the bare name of a shipped scenario (`pushback list scenarios`)."

set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Replace a setting; the value is YAML. Repeatable, such as --set world.population.users=500 "
    "--set arms[1].config.epochs=3.",
)


jobs_option = click.option(
    "--jobs",
    type=click.IntRange(1, 1024),
    default=lambda: len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
    show_default="the cores that there are",
    help="Arms that run at the same time, each in a process of its own: for many arms of a small population.",
)
workers_option = click.option(
    "--workers",
    type=click.IntRange(1, 4096),
    default=1,
    show_default=True,
    help="Processes in which the users of each arm live: for a large population. Arms then run one after the other.",
)
ray_option = click.option(
    "--ray",
    metavar="ADDRESS",
    help="Let the workers be actors of this Ray cluster; `local` starts one here. Needs pushback[ray].",
)


class Seconds(click.ParamType):  # type: ignore[type-arg]  # generic in later versions of click
    """A length of wall-clock time, such as `90s`, `5m` or `1h`; `0` and `never` are None."""

    name = "DURATION"
    _UNITS: ClassVar[dict[str, int]] = {"s": 1, "m": 60, "h": 3600}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        """Seconds, or None."""
        if value is None or isinstance(value, float):
            return value
        text = str(value)
        if text in ("0", "never"):
            return None
        unit = self._UNITS.get(text[-1:])
        if unit is None or not text[:-1].isascii() or not text[:-1].isdecimal() or int(text[:-1]) == 0:
            self.fail(f"got {text!r}, expected a duration such as 90s, 5m or 1h, or never", param, ctx)
        return float(int(text[:-1]) * unit)


checkpoint_option = click.option(
    "--checkpoint-every",
    "checkpoint_seconds",
    type=Seconds(),
    default="5m",
    show_default=True,
    metavar="DURATION",
    help="Wall clock between two checkpoints of a long stage, such as 90s, 5m or 1h; `never`: finished stages alone "
    "are kept. A stopped run goes on with `pushback resume`.",
)


class UserError(click.ClickException):
    """Something that the user can mend: its message is printed as it is, and the command exits with 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """Print the message to the standard error, without a prefix: the first line may name a file and line."""
        # Names and texts from a file must not steer the terminal.
        shown = "".join(c if c.isprintable() or c == "\n" else " " for c in self.message)
        click.echo(shown, file=file, err=file is None)


class Shell(click.Group):
    """A group of commands in which errors of the user's making print a message, and all others a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("\ninterrupted", err=True)
            ctx.exit(INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if isinstance(error, user_errors()):
                raise UserError(str(error)) from error
            raise


def user_errors() -> tuple[type[Exception], ...]:
    """Exceptions whose message says all that a user needs; imported late, as this is asked only after a failure."""
    from recommenders.base import RecommenderError
    from recommenders.offline.faults import LogError
    from recommenders.storage import StorageError
    from simulator.engine.log_files import LogFileError
    from simulator.engine.packing import CheckpointError
    from simulator.engine.serving import EngineError
    from simulator.experiment.metrics import MetricError
    from simulator.experiment.replay import ReplayError
    from simulator.report.serialize import ReportError
    from simulator.running import RunStoppedError
    from simulator.scenario.faults import ScenarioErrors
    from simulator.unfinished import ResumeError
    from simulator.workers.process import WorkerDiedError
    from simulator.world.behaviour import BehaviourError
    from simulator.world.item_table import CatalogueError

    return (
        ReplayError,
        WorkerDiedError,
        BehaviourError,
        LogFileError,
        CheckpointError,
        ResumeError,
        RunStoppedError,
        ScenarioErrors, RecommenderError, EngineError, MetricError, ReportError, CatalogueError, LogError, StorageError,
    )  # fmt: skip


def tell_run(ctx: click.Context, make: Callable[[], FinishedRun]) -> None:
    """Do a run and print what it found; the command's exit code says how it went.

    Args:
        ctx: of the command.
        make: does the run.
    """
    from rich.console import Console

    from simulator.report import answer_line, print_results
    from simulator.running import RunInterruptedError

    try:
        made = make()
    except RunInterruptedError as interruption:
        click.echo(f"\n{interruption}", err=True)
        ctx.exit(interruption.exit_code)
    print_results(made.results, made.manifest, Console())
    click.echo(f"Report: {made.folder / 'report.html'}")
    click.echo(answer_line(made.results))
    if made.results.failures:
        ctx.exit(ARM_FAILED)
    if not all(verdict.passed for verdict in made.results.verdicts):
        ctx.exit(1)


def labour(ctx: click.Context, jobs: int, workers: int, ray: str | None) -> Labour:
    """What `--jobs`, `--workers` and `--ray` ask for.

    Raises:
        UserError: two of them exclude each other.
    """
    from simulator.running import Labour

    if jobs > 1 and (workers > 1 or ray is not None):
        if ctx.get_parameter_source("jobs") is ParameterSource.COMMANDLINE:
            fail(f"--jobs: got {jobs} with workers, expected one or the other: arms that share workers take turns")
        jobs = 1
    return Labour(jobs, workers, ray)


def load(scenario: str, overrides: tuple[str, ...], seed: int | None) -> LoadedScenario:
    """Read a scenario, by file or shipped name.

    Raises:
        UserError: with all that is wrong with it.
    """
    from simulator.commands import components
    from simulator.scenario.faults import ScenarioErrors

    try:
        return components.load(scenario, overrides, seed)
    except LookupError as error:
        fail(str(error.args[0]))
    except ScenarioErrors as error:
        count = len(error.faults)
        fail(f"{error}\n{scenario}: {count} fault{'s' if count > 1 else ''}")


def write(path: Path, text: str) -> None:
    """Write a text and a line's end.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        fail(f"{path}: got {error.strerror}, expected a file that can be written")


def fail(message: str) -> NoReturn:
    """End the command with a message.

    Raises:
        UserError: always.
    """
    raise UserError(message)


def command_line() -> str:
    """What was typed, for the manifest."""
    return shlex.join(["pushback", *sys.argv[1:]])
