"""What is measured of a ranking: of what users liked next, and of what they disliked next.

Every metric is a mean over test events of one user first, then over users, so that each user counts the same. Where
scores are equal, a value is its expectation over all orders of the equal items: no metric depends on how ids are given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from recommenders.base import Float32, Float64, Int32, Int64

Means = Mapping[str, float]
"""Component -> its mean over users."""


@dataclass(frozen=True)
class Metric:
    """One figure of the table.

    Attributes:
        name: as in `results.json`.
        label: as people read it.
        better: which direction is.
        side: whether it looks at what users liked, at what they disliked, or at the catalogue.
        definition: in words.
        compute: the figure from the means over users of its components; NaN where one is missing.
        comparable: whether one model can be called best in it; not where the scale of the scores decides.
    """

    name: str
    label: str
    better: Literal["higher", "lower"]
    side: Literal["positive", "negative", "catalogue"]
    definition: str
    compute: Callable[[Means], float]
    comparable: bool = True


def metrics_at(ks: Sequence[int]) -> list[Metric]:
    """All metrics, those of a top list once for each length `k`."""
    found: list[Metric] = []
    for k in ks:
        found += [
            Metric(
                f"hr@{k}", f"HR@{k}", "higher", "positive",
                f"Chance that the next liked item is among the first {k}.",
                _component(f"hr@{k}"),
            ),
            Metric(
                f"ndcg@{k}", f"NDCG@{k}", "higher", "positive",
                f"1 / log2(1 + rank) of the next liked item, 0 beyond rank {k}.",
                _component(f"ndcg@{k}"),
            ),
            Metric(
                f"mrr@{k}", f"MRR@{k}", "higher", "positive",
                f"1 / rank of the next liked item, 0 beyond rank {k}.",
                _component(f"mrr@{k}"),
            ),
            Metric(
                f"hr_minus@{k}", f"HR-minus@{k}", "lower", "negative",
                f"Chance that an item which the user went on to dislike is among the first {k}.",
                _component(f"hr_minus@{k}"),
            ),
            Metric(
                f"delta_hr@{k}", f"delta HR@{k}", "higher", "negative",
                f"HR@{k} minus HR-minus@{k}; the first is over users with liked items, the second over users with "
                "disliked ones.",
                _difference(f"hr@{k}", f"hr_minus@{k}"),
            ),
            Metric(
                f"coverage@{k}", f"coverage@{k}", "higher", "catalogue",
                f"Share of the catalogue that is among the first {k} of at least one test event.",
                _component(f"coverage@{k}"),
            ),
        ]  # fmt: skip
    return [
        *found,
        Metric(
            "dislike_auc", "dislike AUC", "higher", "negative",
            "Chance that an item which the user went on to like outranks one that the user went on to dislike, both "
            "scored from the user's training history; over users that have both. One half is a coin.",
            _component("dislike_auc"),
        ),
        Metric(
            "lift_positive", "p lift, liked", "higher", "positive",
            "Geometric mean of p times the size of the catalogue at liked items, where p is the softmax of all scores: "
            "1 is what a uniform guess gives.",
            lambda means: math.exp(means["log_lift_positive"]),
            comparable=False,
        ),
        Metric(
            "lift_negative", "p lift, disliked", "lower", "negative",
            "The same at items that the user went on to dislike; under 1, less likely than a uniform guess.",
            lambda means: math.exp(means["log_lift_negative"]),
            comparable=False,
        ),
        Metric(
            "mass_negative", "p mass, disliked", "lower", "negative",
            "Probability given to the items that the user went on to dislike, over what a uniform guess gives them: "
            "the arithmetic mean of p times the size of the catalogue, which a few confident mistakes decide.",
            _component("mass_negative"),
            comparable=False,
        ),
    ]  # fmt: skip


def _component(name: str) -> Callable[[Means], float]:
    return lambda means: means[name]


def _difference(name: str, other: str) -> Callable[[Means], float]:
    return lambda means: means[name] - means[other]


@dataclass(frozen=True)
class Place:
    """Where targets stand among the candidates.

    Attributes:
        above: int64[n], candidates with a higher score.
        level: int64[n], other candidates with the same score.
    """

    above: Int64
    level: Int64


def places(score: Float32, target: Int32) -> Place:
    """Where each row's target stands.

    Args:
        score: float32[n, n_items]; what is no candidate has a lower score than all that are.
        target: int32[n].
    """
    of_target = score[np.arange(len(score)), target][:, None]
    return Place((score > of_target).sum(1), (score == of_target).sum(1) - 1)


def gain_at(place: Place, gain: Float64) -> Float64:
    """The expected gain of each target, its rank being any of those that equal scores leave open, with equal chances.

    Args:
        place: of n targets.
        gain: float64[k], what rank 1, 2, ..., k is worth; lower ranks are worth nothing.

    Returns:
        float64[n].
    """
    total = np.concatenate([[0.0], np.cumsum(gain)])
    k = len(gain)
    upto = total[np.minimum(place.above + place.level + 1, k)]
    expected: Float64 = (upto - total[np.minimum(place.above, k)]) / (place.level + 1)
    return expected


def hit_gain(k: int) -> Float64:
    """Every rank up to `k` is worth 1 (hit rate)."""
    return np.ones(k)


def ndcg_gain(k: int) -> Float64:
    """Rank r is worth 1 / log2(1 + r); with one relevant item the ideal is 1.

    Source: Järvelin & Kekäläinen 2002, TOIS.
    """
    return 1 / np.log2(np.arange(2, k + 2))


def reciprocal_gain(k: int) -> Float64:
    """Rank r is worth 1 / r."""
    return 1 / np.arange(1, k + 1)


def log_lift(score: Float32, target: Int32) -> Float64:
    """log(p * n_items) of each target under the softmax of a row's scores: float64[n]; 0 for equal scores.

    Args:
        score: float32[n, n_items], of all items, read as logits.
        target: int32[n].
    """
    of_target = score[np.arange(len(score)), target].astype(np.float64)
    highest = score.max(1)
    # Exponentials in float32 against the row's highest score, summed in float64: relative error about 1e-7.
    total = np.exp(score - highest[:, None]).sum(1, dtype=np.float64)
    lift: Float64 = of_target - highest - np.log(total) + math.log(score.shape[1])
    return lift


def auc(liked: Float32, disliked: Float32) -> float:
    """Chance that a score of the first exceeds one of the second, equal scores counting half.

    Source: Mann & Whitney 1947; here per user, as Mei, Bembom & Ehmann 2024 compare a liked with a disliked song.

    >>> auc(np.array([3, 1], np.float32), np.array([2], np.float32))
    0.5
    """
    ordered = np.sort(disliked)
    below = np.searchsorted(ordered, liked, "left")
    not_above = np.searchsorted(ordered, liked, "right")
    return float((below + not_above).sum() / (2 * len(liked) * len(disliked)))
