"""Runs a scenario from file to report. Below the command line and `api.py`, the place that meets recommenders."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from multiprocessing.queues import Queue
from pathlib import Path
from threading import Thread
from time import perf_counter

from rich.console import Console

from recommenders.base import Recommender
from recommenders.registry import build
from simulator.allocator import keep_freed_memory
from simulator.engine.cells import Executor
from simulator.engine.checkpoints import Period, Stages, StoppedError
from simulator.engine.log_files import log_hash
from simulator.engine.serving import BUILDING, EngineError, build_recommender
from simulator.executors.processes import in_processes
from simulator.executors.ray_actors import imported_ray, in_ray
from simulator.experiment.cell_readings import CellReadings, read_test
from simulator.experiment.failures import check_treatments_left, give_up, sentence
from simulator.experiment.results import ArmFailure, Manifest, Results
from simulator.experiment.study import (
    ArmOutcome,
    Build,
    Study,
    Watch,
    estimate,
    in_words,
    prepare,
    run_arm,
    run_mixed,
)
from simulator.finished import FinishedRun
from simulator.histories import histories_of
from simulator.interruption import Asked, Interruption, interruptible
from simulator.measuring import side_by_side
from simulator.progress import StudyProgress, throttled
from simulator.report import (
    ReportError,
    answer_sentence,
    manifest_to_json,
    results_to_json,
    write_report,
    write_reports,
)
from simulator.report.runs import EVENTS_FOLDER, MANIFEST_FILE, RESULTS_FILE
from simulator.report.terminal import show
from simulator.run_logs import logs_of, remove_logs, thin_logs, write_event_log, write_logs
from simulator.scenario.ab_tests import PairedABTest
from simulator.scenario.loader import LoadedScenario, resolved_yaml
from simulator.scenario.schema import Policy, Scenario
from simulator.unfinished import (
    Lock,
    begin,
    checkpoint_files,
    finish,
    locked,
    new_folder,
    read_manifest,
    read_scenario,
    resumed,
)
from simulator.workers.pool import done_by_workers
from simulator.workers.process import SPAWN, WorkerDiedError

_PACKAGES = ("pushback", "numpy", "scipy", "torch", "simpy", "pydantic", "pyarrow")
_SIMULATING = ("warm-up", "A/B test", "counterfactual")
"""Stages whose seconds count for the speed in the manifest."""
_ONE_WORLD = "one world"
"""Who is working where all arms share a world."""
_Tell = Callable[[str, str, float, float, int], None]


CHECKPOINT_SECONDS = 300.0
"""Wall clock between two checkpoints of a stage that takes long, where nothing else is asked for."""


@dataclass(frozen=True)
class Labour:
    """How many processes do the work, and where; it never changes a result.

    Attributes:
        jobs: arms that run at the same time, each in a process of its own; 1 runs them one after the other.
        workers: processes in which the users of an arm live; if more than one, arms run one after the other.
        ray: address of a Ray cluster on which the workers are, or `local` to start one here; None: on this machine.
    """

    jobs: int = 1
    workers: int = 1
    ray: str | None = None

    def check(self) -> None:
        """Refuse what cannot be, before a folder is made.

        Raises:
            EngineError: Ray is not installed.
        """
        if self.ray is not None:
            imported_ray(self.ray)

    @property
    def processes(self) -> int:
        """How many of this machine do what arms do not, such as computing metrics from streamed logs."""
        return max(self.jobs, min(self.workers, os.cpu_count() or 1))

    @contextmanager
    def executor(self, lock: Lock) -> Iterator[Executor | None]:
        """Where users live as long as the block lasts; None: wherever their arm runs.

        Args:
            lock: of the folder that they write.

        Raises:
            EngineError: Ray is not there.
        """
        if self.ray is not None:
            with in_ray(self.ray, self.workers) as executor:
                yield executor
        elif self.workers > 1:
            with in_processes(self.workers, lock) as executor:
                yield executor
        else:
            yield None


class RunInterruptedError(Exception):
    """The user stopped a run; the message says what is left of it.

    Attributes:
        exit_code: of a command: 130 after Ctrl-C, 143 after a SIGTERM.
    """

    def __init__(self, message: str, exit_code: int = 130) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class RunStoppedError(Exception):
    """A run could not go on, such as on a full disk; the message says why, and how to go on once that is mended."""


def run_scenario(
    loaded: LoadedScenario,
    *,
    out: Path,
    labour: Labour,
    console: Console,
    command: str,
    checkpoint_seconds: float | None = CHECKPOINT_SECONDS,
) -> FinishedRun:
    """Run a scenario and write its folder `out/<scenario>/<run>/`.

    The folder has the suffix `.partial` until everything in it is written.

    Args:
        loaded: the scenario.
        out: the folder of all runs.
        labour: how many processes do the work.
        console: shows progress if it is a terminal.
        command: the command line or the call, for the manifest.
        checkpoint_seconds: wall clock between two checkpoints of a stage; None: only finished stages are kept, and how
            far a stage has come when the run is asked to stop.

    Raises:
        EngineError, RecommenderError, CatalogueError: the scenario cannot be run.
        ReportError: a report that the scenario names failed; the run itself is whole.
        OSError: the folder cannot be written.
        RunInterruptedError: the user pressed Ctrl-C, or the process got a SIGTERM.
        RunStoppedError, WorkerDiedError: the disk is full, or a process died; `resume_run` goes on.
    """
    labour.check()
    scenario = loaded.scenario
    started = datetime.now(UTC)
    folder = new_folder(out / loaded.name, f"{started:%Y%m%d-%H%M%S}-seed{scenario.seed}")
    yaml = resolved_yaml(scenario)
    manifest = Manifest(
        run=folder.name,
        scenario=loaded.name,
        seed=scenario.seed,
        scenario_sha256=hashlib.sha256(yaml.encode()).hexdigest(),
        log_sha256={},
        versions=_versions(),
        machine=f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        started_utc=started.isoformat(timespec="seconds"),
        seconds={},
        impressions=0,
        impressions_per_second=0.0,
        command=command,
        complete=False,
        directory=str(loaded.path.parent.resolve()),
    )
    part = begin(folder, yaml, manifest)
    with locked(part) as lock:
        return _complete(loaded, part, manifest, lock, labour, console, checkpoint_seconds)


def resume_run(
    part: Path, *, labour: Labour, console: Console, checkpoint_seconds: float | None = CHECKPOINT_SECONDS
) -> FinishedRun:
    """Go on with a run that was stopped; its results are those of a run that was not.

    Args:
        part: the folder of the unfinished run.
        labour, console, checkpoint_seconds: as for `run_scenario`, whatever they were before.

    Raises:
        ResumeError: the run is being written by another process, or its folder is damaged.
        ForeignCheckpointError: what was kept is of another scenario, version or user model.
        Exception: as `run_scenario`.
    """
    with locked(part) as lock:
        manifest = read_manifest(part)
        loaded = read_scenario(part, manifest)
        manifest, changed = resumed(manifest, _versions())
        if changed:
            console.print(f"warning: {'; '.join(changed)}: results may differ from those of one go", style="yellow")
        _write(part / MANIFEST_FILE, manifest_to_json(manifest))
        return _complete(loaded, part, manifest, lock, labour, console, checkpoint_seconds)


def _complete(
    loaded: LoadedScenario,
    part: Path,
    manifest: Manifest,
    lock: Lock,
    labour: Labour,
    console: Console,
    checkpoint_seconds: float | None,
) -> FinishedRun:
    """Do what is left of a run, whose folder is then whole."""
    keep_freed_memory()
    again = f"pushback resume {shlex.quote(str(part))}"
    with interruptible(SPAWN.Value("b", 0, lock=False)) as interruption:
        stages = Stages(checkpoint_files(part, manifest), Period(checkpoint_seconds, Asked(interruption.flag)))
        try:
            with labour.executor(lock) as executor:
                try:
                    results, manifest = _run(
                        loaded, part, manifest, stages, interruption, lock, labour, executor, console
                    )
                except StoppedError:
                    if interruption.orderly:
                        stages.keep_waiting()
                    raise
            _write(part / RESULTS_FILE, results_to_json(results))
            _write(part / MANIFEST_FILE, manifest_to_json(manifest))
            thin_logs(part, loaded.scenario)
            write_report(part)
            folder = finish(part)
            manifest = replace(manifest, directory="")
            _write(folder / MANIFEST_FILE, manifest_to_json(manifest))
        except KeyboardInterrupt:
            raise _interrupted(part, again, interruption) from None
        except WorkerDiedError as error:
            if interruption.signal is not None:  # which went to the workers, too
                raise _interrupted(part, again, interruption) from error
            raise WorkerDiedError(f"{error}\nWhat was finished is kept; to go on: {again}") from error
        except OSError as error:
            reason = f"{error.filename or part}: got {error.strerror or error}, expected a folder that can be written"
            raise RunStoppedError(f"{reason}\nWhat was finished is kept; once this is mended: {again}") from error
    _write_own_reports(loaded, folder)
    return FinishedRun(folder, results, manifest)


def _interrupted(part: Path, again: str, interruption: Interruption) -> RunInterruptedError:
    left = f"the unfinished run is left in {part}; to go on: {again}"
    return RunInterruptedError(f"{interruption.word}; {left}", interruption.exit_code)


def _write_own_reports(loaded: LoadedScenario, folder: Path) -> None:
    """The reports that a scenario names.

    Raises:
        ReportError: one failed.
    """
    names = loaded.scenario.reports
    try:
        write_reports(names, folder)
    except ReportError as error:
        again = f"mend it, then: pushback report {folder} {' '.join(f'--with {name}' for name in names)}"
        raise ReportError(f"{error}\nThe run itself is whole, in {folder}; {again}") from error


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".tmp")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def _run(
    loaded: LoadedScenario,
    part: Path,
    manifest: Manifest,
    stages: Stages,
    interruption: Interruption,
    lock: Lock,
    labour: Labour,
    executor: Executor | None,
    console: Console,
) -> tuple[Results, Manifest]:
    scenario = loaded.scenario
    seconds: dict[str, float] = {}
    clock = perf_counter()
    builds, failures = _builds(scenario, console)
    with StudyProgress(console) as progress:
        interruption.patient = True
        tell = throttled(progress.update)
        before = stages.within("world", "warm_up")
        study = prepare(
            scenario, loaded.path.parent, _builder(scenario.logging_policy), builds, _watch(tell, "all arms", before),
            before, part / EVENTS_FOLDER, executor,
        )  # fmt: skip
        progress.finish("all arms")
        study = replace(study, histories=histories_of(loaded, study))
        if study.streamed is None:
            write_event_log(part, "warm_up", "warm_up", study.start.log, stages, scenario)
        seconds["warm-up"] = before.took["warm_up"]
        outcomes: dict[str, ArmOutcome] = {}
        together = stages.within("one_world", _ONE_WORLD)
        for served in run_mixed(study, builds, _watch(tell, _ONE_WORLD, together), together, executor):
            write_logs(part, served, stages, scenario)
            outcomes[served.name] = served
            seconds |= {f"{_ONE_WORLD}: {stage}": took for stage, took in served.seconds.items()}
        progress.finish(_ONE_WORLD)
        for outcome in _outcomes(study, list(builds), stages, lock, labour.jobs, executor, tell):
            if isinstance(outcome, ArmFailure):
                progress.finish(outcome.arm)
                failures.append(outcome)
                _go_on(scenario, failures, console)
                continue
            progress.finish(outcome.name)
            write_logs(part, outcome, stages, scenario)
            shared = outcomes.get(outcome.name)
            outcomes[outcome.name] = outcome if shared is None else replace(outcome, log=shared.log)
            seconds |= {f"{outcome.name}: {stage}": took for stage, took in outcome.seconds.items()}
        ordered = [outcomes[name] for name in dict.fromkeys([*builds, *outcomes]) if name in outcomes]
        failures = [failure for arm in scenario.arms for failure in failures if failure.arm == arm.name]
        stages.stop_if_asked()
        interruption.patient = False
    for failure in failures:
        remove_logs(part, failure.arm, _stages_of(stages, failure.arm))
    clock_estimates = perf_counter()
    readings = None
    if study.streamed is not None:
        finished = replace(study.streamed, arms=tuple(outcome.name for outcome in ordered))
        readings = read_test(finished, side_by_side(labour.processes))
    results = estimate(study, loaded.name, ordered, readings, failures)
    results = replace(results, answer=answer_sentence(results))
    seconds["estimates"] = perf_counter() - clock_estimates
    seconds["total"] = perf_counter() - clock
    manifest = _with_logs(manifest, study, ordered, readings)
    simulating = sum(took for stage, took in seconds.items() if stage.endswith(_SIMULATING))
    return results, replace(
        manifest,
        seconds={stage: round(took, 3) for stage, took in seconds.items()},
        impressions_per_second=round(manifest.impressions / simulating, 1),
        complete=True,
        failures=tuple(failures),
    )


def _with_logs(
    manifest: Manifest, study: Study, outcomes: Sequence[ArmOutcome], readings: CellReadings | None
) -> Manifest:
    """The manifest with hashes and rows of all logs, in memory and streamed."""
    logs = {} if study.streamed else {"warm_up": study.start.log}
    for outcome in outcomes:
        logs |= logs_of(outcome)
    hashes = {name: log_hash(log) for name, log in logs.items()}
    impressions = sum(len(log) for log in logs.values())
    if readings is not None:
        streamed = {"warm_up": readings.warm_up, **readings.by_arm}
        hashes = {name: found.sha256 for name, found in streamed.items()} | hashes
        impressions += sum(found.n_rows for found in streamed.values())
    return replace(manifest, log_sha256=hashes, impressions=impressions)


def _builds(scenario: Scenario, console: Console) -> tuple[dict[str, Build], list[ArmFailure]]:
    """How the arms' recommenders are built; an arm whose recommender cannot be may be given up.

    Raises:
        EngineError: it may not, or too few are left.
    """
    builds: dict[str, Build] = {}
    failures: list[ArmFailure] = []
    for arm in scenario.arms:
        try:
            build_recommender(arm.name, _builder(arm))
            builds[arm.name] = _builder(arm)
        except EngineError as error:
            failures.append(give_up(scenario, arm.name, BUILDING, error))
            _go_on(scenario, failures, console)
    return builds, failures


def _go_on(scenario: Scenario, failures: Sequence[ArmFailure], console: Console) -> None:
    """Tell of the arm that was given up last.

    Raises:
        EngineError: no treatment is left.
    """
    check_treatments_left(scenario, failures)
    show(console, f"arm {sentence(failures[-1])}; the other arms go on", "yellow")


def _builder(policy: Policy) -> Callable[[], Recommender]:
    return partial(build, policy.recommender, policy.config)


def _watch(tell: _Tell, who: str, stages: Stages) -> Watch:
    """Told of progress; a training can be stopped there, as nothing of it is kept before it is done."""

    def watch(stage: str, done: float, total: float, impressions: int) -> None:
        tell(who, stage, done, total, impressions)
        if stage == "training":
            stages.stop_if_asked()

    return watch


def _outcomes(
    study: Study,
    arms: Sequence[str],
    stages: Stages,
    lock: Lock,
    jobs: int,
    executor: Executor | None,
    tell: _Tell,
) -> Iterator[ArmOutcome | ArmFailure]:
    if not isinstance(study.scenario.ab_test, PairedABTest) and study.scenario.counterfactual is None:
        return  # nothing that an arm does alone
    if executor is not None or jobs <= 1 or len(arms) == 1:
        for arm in arms:
            yield _run_arm(study, arm, stages, tell, executor)
        return
    messages: Queue[tuple[str, str, float, float, int] | None] = SPAWN.Queue()
    listener = Thread(target=_listen, args=(messages, tell), daemon=True)
    listener.start()
    inherited = _Inherited(stages.elsewhere(), lock, messages)
    try:
        yield from done_by_workers(jobs, [(arm,) for arm in arms], _run_here, (study,), (inherited,))
    finally:
        messages.put(None)
        listener.join(_LISTENER_SECONDS)


def _run_arm(
    study: Study, name: str, stages: Stages, tell: _Tell, executor: Executor | None = None
) -> ArmOutcome | ArmFailure:
    arm = next(a for a in study.scenario.arms if a.name == name)
    own = _stages_of(stages, name)
    try:
        return run_arm(study, name, _builder(arm), _watch(tell, name, own), own, executor)
    except EngineError as error:
        return give_up(study.scenario, name, in_words(own.under_way), error)


def _stages_of(stages: Stages, arm: str) -> Stages:
    return stages.within(f"arms/{arm}", arm)


def _listen(messages: Queue[tuple[str, str, float, float, int] | None], tell: _Tell) -> None:
    while (message := messages.get()) is not None:
        tell(*message)


_LISTENER_SECONDS = 5
"""How long a killed worker's unfinished message may hold up the end of a run."""


@dataclass(frozen=True)
class _Inherited:
    """What a worker process has from its start; the lock so that it is held as long as the worker lives."""

    stages: Stages
    lock: Lock
    messages: Queue[tuple[str, str, float, float, int] | None]


def _run_here(inherited: _Inherited, study: Study, name: str) -> ArmOutcome | ArmFailure:
    put = throttled(lambda *message: inherited.messages.put(message))
    return _run_arm(study, name, inherited.stages, put)
