"""Runs a scenario from file to report. Below the command line and `api.py`, the place that meets recommenders."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from multiprocessing.queues import Queue
from pathlib import Path
from threading import Thread
from time import perf_counter
from typing import Any

from rich.console import Console

from recommenders.base import Recommender
from recommenders.registry import build
from simulator.allocator import keep_freed_memory
from simulator.commands.logs import SHIPPED_PREFIX, LogOptions, open_log
from simulator.engine.cells import Executor
from simulator.engine.log import EventLog
from simulator.engine.log_files import log_hash, write_log
from simulator.executors.processes import in_processes
from simulator.experiment.replay import Histories, ReplayError, read_histories
from simulator.experiment.results import Manifest, Results
from simulator.experiment.study import ArmOutcome, Study, estimate, prepare, run_arm, run_mixed
from simulator.finished import FinishedRun
from simulator.progress import StudyProgress, throttled
from simulator.report import (
    ReportError,
    answer_sentence,
    manifest_to_json,
    results_to_json,
    write_report,
    write_reports,
)
from simulator.scenario.ab_tests import PairedABTest
from simulator.scenario.loader import LoadedScenario, resolved_yaml
from simulator.scenario.schema import Policy
from simulator.workers import SPAWN, done_by_workers

_PACKAGES = ("pushback", "numpy", "scipy", "torch", "simpy", "pydantic", "pyarrow")
_SIMULATING = ("warm-up", "A/B test", "counterfactual")
"""Stages whose seconds count for the speed in the manifest."""
_ONE_WORLD = "one world"
"""Who is working where all arms share a world."""
_Tell = Callable[[str, str, float, float, int], None]


class RunInterruptedError(Exception):
    """The user stopped a run; the message says what is left of it."""


def run_scenario(
    loaded: LoadedScenario,
    *,
    out: Path,
    jobs: int,
    console: Console,
    command: str,
    workers: int = 1,
    ray: str | None = None,
) -> FinishedRun:
    """Run a scenario and write its folder `out/<scenario>/<run>/`.

    The folder has the suffix `.partial` until everything in it is written.

    Args:
        loaded: the scenario.
        out: the folder of all runs.
        jobs: arms that run at the same time, each in a process of its own; 1 runs them here. Never changes a result.
        console: shows progress if it is a terminal.
        command: the command line or the call, for the manifest.
        workers: processes in which the users of an arm live; arms then run one after the other. Never changes a result.
        ray: address of a Ray cluster on which the workers are, or `local` to start one here; None: on this machine.

    Raises:
        WorkerDiedError: workers died again and again.
        EngineError, RecommenderError, CatalogueError: the scenario cannot be run.
        ReportError: a report that the scenario names failed; the run itself is whole.
        OSError: the folder cannot be written.
        RunInterruptedError: the user pressed Ctrl-C.
    """
    keep_freed_memory()
    scenario = loaded.scenario
    started = datetime.now(UTC)
    folder = _new_folder(out / loaded.name, f"{started:%Y%m%d-%H%M%S}-seed{scenario.seed}")
    part = folder.with_name(folder.name + ".partial")
    (part / "events").mkdir(parents=True)
    yaml = resolved_yaml(scenario)
    (part / "scenario.yaml").write_text(yaml, encoding="utf-8")
    manifest = Manifest(
        run=folder.name,
        scenario=loaded.name,
        seed=scenario.seed,
        scenario_sha256=hashlib.sha256(yaml.encode()).hexdigest(),
        log_sha256={},
        versions={"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        machine=f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        started_utc=started.isoformat(timespec="seconds"),
        seconds={},
        impressions=0,
        impressions_per_second=0.0,
        command=command,
        complete=False,
    )
    _write(part / "manifest.json", manifest_to_json(manifest))
    try:
        with _executor(workers, ray) as executor:
            results, manifest = _run(loaded, part, manifest, jobs, console, executor)
    except KeyboardInterrupt:
        raise RunInterruptedError(f"interrupted; the unfinished run is left in {part}") from None
    _write(part / "results.json", results_to_json(results))
    _write(part / "manifest.json", manifest_to_json(replace(manifest, complete=True)))
    write_report(part)
    os.replace(part, folder)
    try:
        write_reports(scenario.reports, folder)
    except ReportError as error:
        again = f"mend it, then: pushback report {folder} {' '.join(f'--with {name}' for name in scenario.reports)}"
        raise ReportError(f"{error}\nThe run itself is whole, in {folder}; {again}") from error
    return FinishedRun(folder, results, replace(manifest, complete=True))


@contextmanager
def _executor(workers: int, ray: str | None) -> Iterator[Executor | None]:
    if ray is not None:
        from simulator.executors.ray_actors import in_ray

        with in_ray(ray, workers) as executor:
            yield executor
    elif workers > 1:
        with in_processes(workers) as executor:
            yield executor
    else:
        yield None


def _new_folder(parent: Path, name: str) -> Path:
    candidates = (parent / (name if n == 1 else f"{name}-{n}") for n in range(1, 1000))
    return next(c for c in candidates if not c.exists() and not c.with_name(c.name + ".partial").exists())


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".tmp")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def _run(
    loaded: LoadedScenario,
    part: Path,
    manifest: Manifest,
    jobs: int,
    console: Console,
    executor: Executor | None,
) -> tuple[Results, Manifest]:
    scenario = loaded.scenario
    seconds: dict[str, float] = {}
    clock = perf_counter()
    builds = {arm.name: _builder(arm) for arm in scenario.arms}
    with StudyProgress(console) as progress:
        tell = throttled(progress.update)
        study = prepare(
            scenario, loaded.path.parent, _builder(scenario.logging_policy), builds, partial(tell, "all arms"),
            executor,
        )  # fmt: skip
        progress.finish("all arms")
        study = replace(study, histories=_histories(loaded, study))
        write_log(part / "events" / "warm_up.parquet", "warm_up", study.start.log)
        seconds["warm-up"] = perf_counter() - clock
        outcomes: dict[str, ArmOutcome] = {}
        for outcome in run_mixed(study, builds, partial(tell, _ONE_WORLD), executor):
            _write_logs(part, outcome)
            outcomes[outcome.name] = outcome
            seconds |= {f"{_ONE_WORLD}: {stage}": took for stage, took in outcome.seconds.items()}
        progress.finish(_ONE_WORLD)
        for outcome in _outcomes(study, jobs, tell, executor):
            progress.finish(outcome.name)
            _write_logs(part, outcome)
            together = outcomes.get(outcome.name)
            outcomes[outcome.name] = outcome if together is None else replace(outcome, log=together.log)
            seconds |= {f"{outcome.name}: {stage}": took for stage, took in outcome.seconds.items()}
        ordered = [outcomes[name] for name in dict.fromkeys([*builds, *outcomes])]
    clock_estimates = perf_counter()
    results = estimate(study, loaded.name, ordered)
    results = replace(results, answer=answer_sentence(results))
    seconds["estimates"] = perf_counter() - clock_estimates
    seconds["total"] = perf_counter() - clock
    logs = {"warm_up": study.start.log}
    for outcome in ordered:
        logs |= _logs(outcome)
    impressions = sum(len(log) for log in logs.values())
    simulating = sum(took for stage, took in seconds.items() if stage.endswith(_SIMULATING))
    return results, replace(
        manifest,
        log_sha256={name: log_hash(log) for name, log in logs.items()},
        seconds={stage: round(took, 3) for stage, took in seconds.items()},
        impressions=impressions,
        impressions_per_second=round(impressions / simulating, 1),
    )


def _write_logs(part: Path, outcome: ArmOutcome) -> None:
    for name, log in _logs(outcome).items():
        write_log(part / "events" / f"{name}.parquet", outcome.name, log)


def _logs(outcome: ArmOutcome) -> dict[str, EventLog]:
    """Name -> log of all that an arm's simulations recorded."""
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


def _histories(loaded: LoadedScenario, study: Study) -> Histories | None:
    """The histories that a counterfactual replays.

    Raises:
        LogError, ReplayError: the log cannot be used, or has too few users.
    """
    settings = loaded.scenario.counterfactual
    if settings is None or settings.replay is None or settings.prefix != "replayed":
        return None
    replay = settings.replay
    shipped = replay.log.startswith(SHIPPED_PREFIX)
    log = open_log(
        LogOptions(
            replay.log if shipped else str(loaded.path.parent / replay.log), replay.format,
            columns=_pairs(replay.columns), event=replay.event, event_map=_pairs(replay.map), every=replay.every,
        )
    )  # fmt: skip
    names = study.world.catalogue.item_name or ()
    histories = read_histories(log.interactions, log.item_ids, names, settings.k - 1, log.file)
    if len(histories) < settings.runs:
        got = f"{settings.runs}, expected at most {len(histories)}"
        raise ReplayError(f"counterfactual.runs: got {got}, the users of {log.file} with items of the catalogue")
    return histories


def _pairs(names: Mapping[Any, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in names.items())


def _builder(policy: Policy) -> Callable[[], Recommender]:
    return partial(build, policy.recommender, policy.config)


def _outcomes(study: Study, jobs: int, tell: _Tell, executor: Executor | None) -> Iterator[ArmOutcome]:
    arms = study.scenario.arms
    if not isinstance(study.scenario.ab_test, PairedABTest) and study.scenario.counterfactual is None:
        return  # nothing that an arm does alone
    if executor is not None or jobs <= 1 or len(arms) == 1:
        for arm in arms:
            yield run_arm(study, arm.name, _builder(arm), partial(tell, arm.name), executor)
        return
    messages: Queue[tuple[str, str, float, float, int] | None] = SPAWN.Queue()
    listener = Thread(target=_listen, args=(messages, tell), daemon=True)
    listener.start()
    names = [(arm.name,) for arm in arms]
    try:
        yield from done_by_workers(min(jobs, len(arms)), names, _run_here, _adopt, (study, messages))
    finally:
        messages.put(None)
        listener.join(_LISTENER_SECONDS)


def _listen(messages: Queue[tuple[str, str, float, float, int] | None], tell: _Tell) -> None:
    while (message := messages.get()) is not None:
        tell(*message)


_LISTENER_SECONDS = 5
"""How long a killed worker's unfinished message may hold up the end of a run."""
_worker: dict[str, object] = {}
"""What a worker process was given when it started: the study and where to tell of progress."""


def _adopt(study: Study, messages: Queue[tuple[str, str, float, float, int] | None]) -> None:
    _worker["study"], _worker["messages"] = study, messages


def _run_here(name: str) -> ArmOutcome:
    study, messages = _worker["study"], _worker["messages"]
    assert isinstance(study, Study)
    arm = next(a for a in study.scenario.arms if a.name == name)
    put = throttled(lambda *message: messages.put(message))  # type: ignore[attr-defined]
    return run_arm(study, name, _builder(arm), partial(put, name))
