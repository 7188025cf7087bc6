"""`pushback validate-stats`: replicates of a scenario, simulated here or in other processes, and what they say."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from rich.console import Console

from recommenders.registry import build
from recommenders.storage import unwritable
from simulator.allocator import keep_freed_memory
from simulator.experiment.calibration import Calibration, calibrate
from simulator.experiment.interference import Interference, count_interference
from simulator.experiment.learning_replicates import LearningReplicate, run_learning_replicate
from simulator.experiment.metrics import MetricInfo
from simulator.experiment.replicate_worlds import BATCH, Plan, check_plan, learns
from simulator.experiment.replicates import Replicate, run_batch
from simulator.experiment.results import Manifest
from simulator.progress import StudyProgress
from simulator.report.formatting import wall
from simulator.report.terminal import show
from simulator.scenario.loader import LoadedScenario, resolved_yaml
from simulator.workers.pool import done_by_workers

_PACKAGES = ("pushback", "numpy", "scipy", "simpy", "pydantic")
_LINES = 10
"""Of progress, where the console is no terminal."""

Made = TypeVar("Made", Replicate, LearningReplicate)


@dataclass(frozen=True)
class Validation:
    """What a validation found, and how it was made.

    Attributes:
        question: of the scenario.
        metrics: that have intervals.
        found: everything counted.
        manifest: how it was made.
    """

    question: str
    metrics: tuple[MetricInfo, ...]
    found: Calibration | Interference
    manifest: Manifest


def run_folder(out: Path, scenario: str, run: str) -> Path:
    """`out/<scenario>/<run>/`, not yet made; the run gets a number where another one has its name.

    Raises:
        StorageError: the parent cannot be read.
    """
    parent = out / scenario
    runs = (run if n == 1 else f"{run}-{n}" for n in range(1, 1000))
    try:
        return next(parent / r for r in runs if not (parent / r).exists() and not any(parent.glob(f".{r}.*.partial")))
    except OSError as error:
        raise unwritable(parent, error) from error


def validate_stats(
    loaded: LoadedScenario,
    *,
    replicates: int,
    jobs: int,
    run: str,
    started: datetime,
    console: Console,
    command: str,
) -> Validation:
    """Simulate replicates of a scenario and count what every estimator says of them.

    Where nothing learns, the statistics are held to what they promise. Else it is counted what learning does to them.

    Args:
        loaded: the scenario, of two arms.
        replicates: how many, at least 2.
        jobs: processes that simulate at the same time; 1 does it here. Never changes a result.
        run: name of the run's folder.
        started: when, for the record.
        console: shows progress if it is a terminal, else some lines.
        command: the command line, for the record.

    Raises:
        EngineError: the scenario cannot be validated so, or a recommender broke its contract.
        MetricError: a metric failed.
    """
    keep_freed_memory()
    clock = perf_counter()
    plan = plan_of(loaded)
    check_plan(plan)
    scenario = loaded.scenario
    found = _count(plan, replicates, jobs, console)
    seconds = perf_counter() - clock
    manifest = Manifest(
        run=run,
        scenario=loaded.name,
        seed=scenario.seed,
        scenario_sha256=hashlib.sha256(resolved_yaml(scenario).encode()).hexdigest(),
        log_sha256={},
        versions={"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        machine=f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        started_utc=started.isoformat(timespec="seconds"),
        seconds={"total": round(seconds, 3)},
        impressions=found.impressions,
        impressions_per_second=round(found.impressions / seconds, 1),
        command=command,
        complete=True,
    )
    return Validation(scenario.question, tuple(m.info for m in plan.metrics), found, manifest)


def plan_of(loaded: LoadedScenario) -> Plan:
    """What all replicates of a scenario share; the arm that is not the control is the treatment."""
    scenario = loaded.scenario
    builds = {arm.name: partial(build, arm.recommender, arm.config) for arm in scenario.arms}
    policy = partial(build, scenario.logging_policy.recommender, scenario.logging_policy.config)
    treatment = next((name for name in builds if name != scenario.control), scenario.control)
    return Plan(scenario, loaded.path.parent, policy, builds[scenario.control], builds[treatment])


def _count(plan: Plan, replicates: int, jobs: int, console: Console) -> Calibration | Interference:
    """Simulate all replicates, and count."""
    settings: dict[str, Any] = {"users": plan.n_users, "confidence": plan.scenario.confidence}
    if learns(plan):
        singles = _done(_run_alone, [(number,) for number in range(replicates)], plan, jobs)
        return count_interference(_in_order(singles, "four worlds each", replicates, console), **settings)
    sizes = [(start // BATCH, min(BATCH, replicates - start)) for start in range(0, replicates, BATCH)]
    batches = _done(run_batch, sizes, plan, jobs)
    return calibrate(_in_order(batches, "five worlds each", replicates, console), **settings)


def _run_alone(plan: Plan, number: int) -> tuple[LearningReplicate]:
    """A batch of one."""
    return (run_learning_replicate(plan, number),)


def _in_order(batches: Iterable[Sequence[Made]], stage: str, replicates: int, console: Console) -> list[Made]:
    """The replicates by number, however their batches came; tells how far they are."""
    clock, said = perf_counter(), 0
    made: dict[int, Made] = {}
    with StudyProgress(console) as progress:
        for batch in batches:
            made |= {r.number: r for r in batch}
            progress.update("replicates", stage, len(made), replicates, 0)
            if not console.is_terminal and len(made) * _LINES // replicates > said:
                said = len(made) * _LINES // replicates
                show(console, f"{len(made)} of {replicates} replicates in {wall(perf_counter() - clock)}")
    return [made[n] for n in sorted(made)]


def _done(
    work: Callable[..., Sequence[Made]], tasks: Sequence[tuple[int, ...]], plan: Plan, jobs: int
) -> Iterator[Sequence[Made]]:
    """Batches as they are done, here or in other processes."""
    if jobs <= 1 or len(tasks) == 1:
        for task in tasks:
            yield work(plan, *task)
        return
    yield from done_by_workers(jobs, tasks, work, (plan,))
