"""Fits recommenders on the training part of a log, measures them on the rest, over several seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Literal

import numpy as np
from scipy import stats

from recommenders.base import Feedback, Float64, Progress
from recommenders.offline.evaluation import Evaluation, evaluate, labels_of
from recommenders.offline.metrics import Metric
from recommenders.offline.splits import Split
from recommenders.registry import build

CONFIDENCE = 0.95
"""Of every interval."""
_RESAMPLES = 1000
_LEAST_USERS = 10
"""Fewer users than this decide no interval."""
IntervalKind = Literal["seeds", "users", "none"]


@dataclass(frozen=True)
class ModelSpec:
    """A recommender to be measured.

    Attributes:
        name: what the table calls it.
        recommender: a name that `registry.build` knows.
        config: its settings.
    """

    name: str
    recommender: str
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fit:
    """One model, fitted with one seed, and what was measured of it.

    Attributes:
        evaluation: the measurements.
        fit_seconds, evaluate_seconds: wall-clock times.
    """

    evaluation: Evaluation
    fit_seconds: float
    evaluate_seconds: float


@dataclass(frozen=True)
class Figure:
    """A metric of a model.

    Attributes:
        value: mean over the seeds; NaN where it cannot be had, and `note` says why.
        low, high: 95% interval of the kind that `interval` names; NaN where there is none, and `note` says why.
        interval: `seeds`: a t-interval over seeds, for training anew on the same log; `users`: a bootstrap interval
            over users, for another sample of users under the same fitted model.
        by_seed: the value of each seed.
        users_low, users_high: the bootstrap interval over users, their values averaged over seeds first; there, too,
            where `interval` is `seeds`.
        note: what is missing, and why.
    """

    value: float
    low: float
    high: float
    interval: IntervalKind
    by_seed: tuple[float, ...]
    users_low: float
    users_high: float
    note: str = ""


@dataclass(frozen=True)
class SplitSizes:
    """How much there is of what.

    Attributes:
        train_rows, train_users: of the training part.
        items: size of the catalogue.
        test_rows: rows after the training part, on items of the catalogue.
        unknown_item_rows: test rows left out because the training part does not know their item.
        positive_rows, negative_rows: test rows that are targets.
        positive_users, negative_users: users who have them.
        both_users: users who have both.
        new_users: users with targets but no training row.
    """

    train_rows: int
    train_users: int
    items: int
    test_rows: int
    unknown_item_rows: int
    positive_rows: int
    negative_rows: int
    positive_users: int
    negative_users: int
    both_users: int
    new_users: int


def fit_and_measure(
    spec: ModelSpec,
    split: Split,
    *,
    seed: int,
    ks: Sequence[int],
    negative_kinds: Feedback,
    watch: Callable[[str, int, int], None] | None = None,
) -> Fit:
    """Fit a model with a seed and measure it; the same arguments give the same figures.

    Args:
        spec: the model.
        split: the log.
        seed: of the training, and of slates shown at random.
        ks: lengths of the top list.
        negative_kinds: what counts as disliked.
        watch: called as `watch(stage, done, total)`.

    Raises:
        LogError, RecommenderError: as `evaluate` and the recommender say.
    """
    recommender = build(spec.recommender, spec.config)
    clock = perf_counter()
    recommender.fit(split.train, split.items, seed=seed, progress=_tell(watch, "fit"))
    fitted = perf_counter()
    evaluation = evaluate(
        recommender, split, ks=ks, negative_kinds=negative_kinds, seed=seed, progress=_tell(watch, "evaluate")
    )
    return Fit(evaluation, fitted - clock, perf_counter() - fitted)


def summarise(metrics: Sequence[Metric], fits: Sequence[Fit], *, seed: int) -> dict[str, Figure]:
    """Each metric of one model with its interval, from one fit a seed.

    Args:
        metrics: what to compute.
        fits: in order of the seeds.
        seed: of the bootstrap; the same for all models, so that all meet the same resampled users.
    """
    over_users = _resampled_means(fits, np.random.default_rng(seed))
    return {metric.name: _figure(metric, fits, over_users) for metric in metrics}


def sizes(split: Split, negative_kinds: Feedback) -> SplitSizes:
    """Counts of a split."""
    labels = labels_of(split.events, negative_kinds)
    positive, negative = split.is_test & labels.positive, split.is_test & labels.negative
    liking, disliking = (set(split.events.user[rows].tolist()) for rows in (positive, negative))
    return SplitSizes(
        train_rows=int((~split.is_test).sum()),
        train_users=split.n_train_users,
        items=split.items.n_items,
        test_rows=int(split.is_test.sum()),
        unknown_item_rows=split.n_unknown_item_rows,
        positive_rows=int(positive.sum()),
        negative_rows=int(negative.sum()),
        positive_users=len(liking),
        negative_users=len(disliking),
        both_users=len(liking & disliking),
        new_users=sum(user >= split.n_train_users for user in liking | disliking),
    )


def best_models(metrics: Sequence[Metric], figures: Mapping[str, Mapping[str, Figure]]) -> dict[str, frozenset[str]]:
    """Metric -> the models with the best value of it.

    None where no model has a value, where all have the same, or where models cannot be compared in it.
    """
    best: dict[str, frozenset[str]] = {}
    for metric in metrics:
        values = {model: f[metric.name].value for model, f in figures.items() if math.isfinite(f[metric.name].value)}
        distinct = set(values.values())
        top = (max if metric.better == "higher" else min)(distinct, default=math.nan)
        best[metric.name] = frozenset(
            m for m, v in values.items() if v == top and len(distinct) > 1 and metric.comparable
        )
    return best


def _tell(watch: Callable[[str, int, int], None] | None, stage: str) -> Progress | None:
    if watch is None:
        return None
    return lambda done, total: watch(stage, done, total)


def _figure(metric: Metric, fits: Sequence[Fit], over_users: Sequence[Mapping[str, float]]) -> Figure:
    by_seed = tuple(metric.compute(_Missing(fit.evaluation.means())) for fit in fits)
    value = float(np.mean(by_seed))
    if not math.isfinite(value):
        return Figure(math.nan, math.nan, math.nan, "none", by_seed, math.nan, math.nan, _why_missing(metric))
    users_low, users_high = _percentiles([metric.compute(_Missing(means)) for means in over_users])
    if len(by_seed) == 1:
        kind: IntervalKind = "users" if math.isfinite(users_low) else "none"
        note = "" if kind == "users" else _NO_USERS_INTERVAL
        return Figure(value, users_low, users_high, kind, by_seed, users_low, users_high, note)
    if len(set(by_seed)) == 1:
        note = "the same for every seed"
        return Figure(value, math.nan, math.nan, "none", by_seed, users_low, users_high, note)
    spread = float(np.std(by_seed, ddof=1)) / math.sqrt(len(by_seed))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(by_seed) - 1)) * spread
    return Figure(value, value - half, value + half, "seeds", by_seed, users_low, users_high)


_NO_USERS_INTERVAL = f"no interval: not a mean over users, or fewer than {_LEAST_USERS} of them"


class _Missing(dict[str, float]):
    """Means in which what was not measured is NaN."""

    def __missing__(self, name: str) -> float:
        return math.nan


def _why_missing(metric: Metric) -> str:
    if metric.name == "dislike_auc":
        return "not measured: no user has both liked and disliked test items, or the model gives no scores"
    if metric.name.startswith(("lift", "mass")):
        return "not measured: no such test rows, or the model gives no scores"
    return "not measured: no such test rows"


def _resampled_means(fits: Sequence[Fit], rng: np.random.Generator) -> list[dict[str, float]]:
    """Means over users drawn with replacement, all components of one resample over the same users."""
    names = list(fits[0].evaluation.by_user)
    # Whether a user has a value does not depend on the seed, so NaN stays NaN.
    value = np.array([np.mean([fit.evaluation.by_user[name] for fit in fits], axis=0) for name in names])
    present = ~np.isnan(value)
    users = np.flatnonzero(present.any(0))
    value, present = np.where(present, value, 0.0)[:, users], present[:, users].astype(np.float64)
    enough = present.sum(1) >= _LEAST_USERS
    resampled = []
    for _ in range(_RESAMPLES if enough.any() else 0):
        weight = np.bincount(rng.integers(len(users), size=len(users)), minlength=len(users)).astype(np.float64)
        count = present @ weight
        mean: Float64 = np.where(enough & (count > 0), (value @ weight) / np.maximum(count, 1), np.nan)
        resampled.append(dict(zip(names, mean.tolist(), strict=True)))
    return resampled


def _percentiles(values: Sequence[float]) -> tuple[float, float]:
    finite = np.array([v for v in values if math.isfinite(v)])
    if len(finite) < _RESAMPLES / 2:
        return math.nan, math.nan
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(finite, [tail, 100 - tail])
    return float(low), float(high)
