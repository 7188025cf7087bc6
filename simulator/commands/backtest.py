"""`pushback backtest`: recommenders measured on a log, by what users liked and by what they disliked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from recommenders.base import Feedback, RecommenderError
from recommenders.offline.backtest import (
    Figure,
    Fit,
    ModelSpec,
    SplitSizes,
    best_models,
    fit_and_measure,
    sizes,
    summarise,
)
from recommenders.offline.faults import LogError
from recommenders.offline.log import OfflineLog
from recommenders.offline.metrics import Metric, metrics_at
from recommenders.offline.splits import Split, split_by_time, split_last
from simulator.allocator import keep_freed_memory
from simulator.progress import StudyProgress, throttled
from simulator.report.formatting import wall
from simulator.report.terminal import show
from simulator.workers.pool import done_by_workers

NEGATIVE: Mapping[str, Feedback] = {
    str(kind.name).lower(): kind for kind in (Feedback.DISLIKE, Feedback.DISMISS, Feedback.SKIP)
}
"""The kinds that can count as disliked, by name."""


@dataclass(frozen=True)
class Settings:
    """How models are measured.

    Attributes:
        split: `time` or `last`.
        test_share: of a `time` split: share of the rows that are test; None where a date says so.
        test_from: of a `time` split: an ISO date with or without time, UTC unless it names a zone.
        ks: lengths of the top list.
        seeds: of the trainings.
        negative_kinds: what counts as disliked.
    """

    split: str
    test_share: float | None
    test_from: str | None
    ks: tuple[int, ...]
    seeds: tuple[int, ...]
    negative_kinds: Feedback


@dataclass(frozen=True)
class Measured:
    """One model of a backtest.

    Attributes:
        spec: the model.
        figures: metric -> value and interval.
        fit_seconds, evaluate_seconds: wall-clock time, one a seed.
    """

    spec: ModelSpec
    figures: Mapping[str, Figure]
    fit_seconds: tuple[float, ...]
    evaluate_seconds: tuple[float, ...]


@dataclass(frozen=True)
class Backtest:
    """All that a backtest found, and how it was made."""

    name: str
    run: str
    log: OfflineLog
    sizes: SplitSizes
    settings: Settings
    metrics: tuple[Metric, ...]
    models: tuple[Measured, ...]
    best: Mapping[str, frozenset[str]]
    command: str
    started: datetime

    @property
    def log_name(self) -> str:
        """The log's file, without its folder."""
        return Path(self.log.file).name

    @property
    def one_seed(self) -> bool:
        """Whether intervals are over users."""
        return len(self.settings.seeds) == 1


def run_backtest(
    log: OfflineLog,
    models: Sequence[ModelSpec],
    settings: Settings,
    *,
    name: str,
    started: datetime,
    jobs: int,
    console: Console,
    command: str,
) -> Backtest:
    """Fit and measure every model with every seed.

    Args:
        log: as it was read.
        models: names are different.
        settings: how.
        name: of the folder of results.
        started: when, for the record.
        jobs: fits that run at the same time, each in a process of its own; never changes a result.
        console: shows progress if it is a terminal, else a line for each fit.
        command: the command line, for the record.

    Raises:
        LogError: the log cannot be split so, or has no targets.
        RecommenderError: a model fails; the message names it.
    """
    keep_freed_memory()
    split = _split(log, settings)
    found = sizes(split, settings.negative_kinds)
    metrics = metrics_at(settings.ks)
    tasks = [(spec, seed) for spec in models for seed in settings.seeds]
    fits: dict[tuple[str, int], Fit] = {}
    with StudyProgress(console) as progress:
        tell = throttled(progress.update)
        for (spec, seed), fit in _fits(tasks, split, settings, jobs, tell):
            fits[spec.name, seed] = fit
            progress.finish(f"{spec.name} {seed}")
            if not console.is_terminal:
                times = f"fitted in {wall(fit.fit_seconds)}, measured in {wall(fit.evaluate_seconds)}"
                show(console, f"{len(fits)}/{len(tasks)} {spec.name}, seed {seed}: {times}")
            progress.update("backtest", "fits", len(fits), len(tasks), 0)
    measured = tuple(_measured(spec, metrics, settings, fits) for spec in models)
    return Backtest(
        name=name,
        run=run_name(started),
        log=log,
        sizes=found,
        settings=settings,
        metrics=tuple(metrics),
        models=measured,
        best=best_models(metrics, {m.spec.name: m.figures for m in measured}),
        command=command,
        started=started,
    )


def run_name(started: datetime) -> str:
    """What a backtest is called by the moment of its start."""
    return f"{started:%Y%m%d-%H%M%S}"


def parse_negative(text: str) -> Feedback:
    """Negative kinds of feedback separated by commas.

    Raises:
        LogError: another kind, or none.
    """
    kinds = Feedback(0)
    for name in text.split(","):
        if name.strip().lower() not in NEGATIVE:
            raise LogError(f"--negative: got {name.strip()!r}, expected one or more of {', '.join(NEGATIVE)}")
        kinds |= NEGATIVE[name.strip().lower()]
    return kinds


def _split(log: OfflineLog, settings: Settings) -> Split:
    if settings.split == "last":
        return split_last(log.interactions, log.items)
    if settings.test_from is None:
        return split_by_time(log.interactions, log.items, test_share=settings.test_share)
    try:
        date = datetime.fromisoformat(settings.test_from)
    except ValueError as error:
        raise LogError(f"--test-from: got {settings.test_from!r}, expected an ISO date such as 2022-05-01") from error
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    tick = round(date.timestamp() * 1000) - log.start_millisecond
    return split_by_time(log.interactions, log.items, boundary_tick=tick)


def _measured(
    spec: ModelSpec, metrics: Sequence[Metric], settings: Settings, fits: Mapping[tuple[str, int], Fit]
) -> Measured:
    own = [fits[spec.name, seed] for seed in settings.seeds]
    return Measured(
        spec,
        summarise(metrics, own, seed=settings.seeds[0]),
        tuple(fit.fit_seconds for fit in own),
        tuple(fit.evaluate_seconds for fit in own),
    )


_Task = tuple[ModelSpec, int]


def _fits(
    tasks: Sequence[_Task], split: Split, settings: Settings, jobs: int, tell: Any
) -> Iterator[tuple[_Task, Fit]]:
    """The fits as they are done."""
    if jobs <= 1 or len(tasks) == 1:
        for spec, seed in tasks:
            yield (spec, seed), _fit(split, settings, spec, seed, partial(_say, tell, f"{spec.name} {seed}"))
        return
    yield from done_by_workers(jobs, tasks, _fit_here, (split, settings))


def _say(tell: Any, who: str, stage: str, done: int, total: int) -> None:
    tell(who, stage, done, total, 0)


def _fit(split: Split, settings: Settings, spec: ModelSpec, seed: int, watch: Any = None) -> Fit:
    try:
        return fit_and_measure(
            spec, split, seed=seed, ks=settings.ks, negative_kinds=settings.negative_kinds, watch=watch
        )
    except RecommenderError as error:
        raise RecommenderError(f"model {spec.name!r}, seed {seed}: {error}") from error


def _fit_here(split: Split, settings: Settings, spec: ModelSpec, seed: int) -> tuple[_Task, Fit]:
    return (spec, seed), _fit(split, settings, spec, seed)
