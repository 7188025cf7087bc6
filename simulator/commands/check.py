"""`pushback check`: a recommender against the laws of the conformance kit."""

from __future__ import annotations

import contextlib
import faulthandler
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from hypothesis.configuration import set_hypothesis_home_dir
from pydantic import ValidationError
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from recommenders.base import RecommenderError
from recommenders.conformance import Outcome, Report, Subject, run_checks
from recommenders.conformance.laws import Check
from recommenders.conformance.report import HEADER
from recommenders.registry import config_class
from simulator.commands.components import search_working_folder
from simulator.commands.models import parse_model, set_settings
from simulator.report.terminal import printable, show
from simulator.scenario.faults import Sources, describe, format_path, one_of
from simulator.scenario.validation import model_at
from simulator.scenario.yaml_nodes import MAX_BYTES, decode, parse_yaml

_STYLES = {"passed": "green", "failed": "bold red", "known": "yellow", "skipped": "dim"}
_EXAMPLES_A_CHECK = 5
"""So many times the limit of an example, a check can only be stuck in a call that no signal interrupts."""


@dataclass
class _Settings:
    """Settings from several places.

    Attributes:
        config: all of them, later ones on top.
        places: where each was written, by its path.
    """

    config: dict[str, Any] = field(default_factory=dict)
    places: dict[tuple[str | int, ...], str] = field(default_factory=dict)

    def place(self, path: tuple[str | int, ...]) -> str:
        """Where a setting was written, or the nearest one around it; empty if nowhere."""
        around = [path[:depth] for depth in range(len(path), 0, -1)]
        return next((self.places[p] for p in around if p in self.places), "")


def find_subject(recommender: str, configs: Sequence[str]) -> Subject:
    """The recommender to check.

    Args:
        recommender: a name, `module:Class`, or either with `:key=value,...`; modules may lie in the working folder.
        configs: further settings, each a file in YAML or JSON, or `key=value,...`.

    Raises:
        ScenarioErrors: a file is wrong, with line and column.
        RecommenderError: the recommender cannot be found, imported or built; with all that is wrong with its settings.
    """
    search_working_folder()
    spec = parse_model(recommender, "RECOMMENDER")
    settings = _Settings(dict(spec.config), {(key,): f"RECOMMENDER {recommender}" for key in spec.config})
    for text in configs:
        if "=" in text and not Path(text).is_file():
            place = f"--config {text}"
            settings.places |= dict.fromkeys(set_settings(settings.config, text, place), place)
        else:
            _read_settings(Path(text), settings)
    try:
        return Subject(spec.recommender, settings.config)
    except RecommenderError:
        raise
    except ValidationError as error:
        raise RecommenderError("\n".join(_settings_faults(spec.recommender, error, settings))) from error
    except (Exception, SystemExit) as error:  # somebody's module and class may raise whatever they like
        raise RecommenderError(
            f"recommender {spec.recommender!r}: {type(error).__name__} while building it, {_where(error)}: {error}"
        ) from error


def check_recommender(
    subject: Subject, checks: Sequence[Check], *, seed: int, example_seconds: float, console: Console
) -> Report:
    """Try the checks.

    What the recommender prints goes to the standard error, so that the report stays clean.

    Args:
        subject: the recommender.
        checks: at least one.
        seed: which examples are tried.
        example_seconds: how long one may take.
        console: shows progress if it is a terminal.
    """
    names = [*(check.name for check in checks), ""]
    who, now = (TextColumn(f"{{task.fields[{name}]}}", markup=False) for name in ("who", "now"))
    columns = who, BarColumn(bar_width=24), MofNCompleteColumn(), now
    progress = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
    with (
        _no_folder_of_hypothesis(),
        contextlib.redirect_stdout(sys.stderr),
        progress,
        _watchdog(example_seconds) as rearm,
    ):
        task = progress.add_task("", total=len(checks), who=subject.name, now=names[0])

        def tell(done: int, outcome: Outcome) -> None:
            rearm()
            progress.update(task, completed=done, now=names[done])

        return run_checks(subject, checks, search_seed=seed, example_seconds=example_seconds, tell=tell)


def print_report(report: Report, console: Console) -> None:
    """Print the table, each failure with its code to paste, and the verdict as the last line."""
    _show_line(console, HEADER, "bold")
    _show_line(console, "─" * len(HEADER), "")
    for kind, outcomes in groupby(report.outcomes, lambda outcome: outcome.kind):
        _show_line(console, kind, "bold")
        for outcome in outcomes:
            first, *below = outcome.lines
            row = Text(first)
            row.highlight_words([f" {outcome.status}"], _STYLES[outcome.status])
            console.print(row, soft_wrap=True, highlight=False)
            for line in below:
                _show_line(console, line, "dim")
    console.print()
    for remark in report.remarks:
        show(console, remark, "dim")
    for outcome in report.broken:
        console.print()
        for i, line in enumerate(outcome.explanation.splitlines()):
            _show_line(console, line, "" if i else "bold red")
    console.print()
    _show_line(console, report.verdict, "green" if report.passed else "bold red")


def list_checks(checks: Sequence[Check], console: Console) -> None:
    """Print laws, by kind."""
    for kind, found in groupby(checks, lambda check: check.kind):
        show(console, kind, "bold")
        for check in found:
            show(console, f"  {check.name}")
            console.print(Padding(Text(check.law), (0, 0, 0, 4)))


def _show_line(console: Console, line: str, style: str) -> None:
    """Print a line that stays one, however narrow the console: to be pasted, or found by other programs."""
    console.print(Text(printable(line), style=style), soft_wrap=True, highlight=False)


def _read_settings(path: Path, settings: _Settings) -> None:
    """Add the settings of a file."""
    sources = Sources(str(path))
    try:
        with open(path, "rb") as file:
            data = parse_yaml(decode(file.read(MAX_BYTES + 1), sources), sources)
    except OSError as error:
        raise RecommenderError(
            f"--config {path}: got {error.strerror or error}, expected a file of settings, or key=value"
        ) from error
    sources.raise_if_any()
    if not isinstance(data, dict):
        raise RecommenderError(f"{path}: got {describe(data)}, expected a mapping of settings")
    settings.config.update(data)
    settings.places |= {key: f"{path}:{at.line}:{at.column}" for key, at in sources.keys.items()}


def _settings_faults(name: str, error: ValidationError, settings: _Settings) -> Iterator[str]:
    """All that is wrong with settings, each with where it was written."""
    model = config_class(name)
    for detail in error.errors(include_url=False):
        path = detail["loc"]
        place = settings.place(path) or f"recommender {name!r}"
        parent = model_at(model, path[:-1], settings.config)
        if detail["type"] == "extra_forbidden" and parent is not None:
            fault = f"got an unknown key, expected {one_of(sorted(parent.model_fields), path[-1])}"
        elif detail["type"] == "missing":
            fault = "got nothing, expected a value"
        else:
            fault = f"got {describe(detail['input'])}: {detail['msg']}"
        yield f"{place}: config.{format_path(path)}: {fault}"


def _where(error: BaseException) -> str:
    """File and line of what raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "nowhere"


@contextlib.contextmanager
def _no_folder_of_hypothesis() -> Iterator[None]:
    """Hypothesis would leave a folder of its own in the working folder."""
    with tempfile.TemporaryDirectory() as folder:
        set_hypothesis_home_dir(folder)
        try:
            yield
        finally:
            set_hypothesis_home_dir(None)


@contextlib.contextmanager
def _watchdog(example_seconds: float) -> Iterator[Any]:
    """End the process, with a traceback of where it is, where a check is stuck in a call that nothing interrupts.

    Yields:
        To be called when a check is done.
    """

    def rearm() -> None:
        faulthandler.dump_traceback_later(_EXAMPLES_A_CHECK * example_seconds, exit=True, file=2)

    rearm()
    try:
        yield rearm
    finally:
        faulthandler.cancel_dump_traceback_later()
