"""Responsiveness from counterfactual branches: how the next slates change when the user takes another action.

Beside the paper's two similarities to item k (same topic, same creator) stand others, which tell what else falls with
it: the rest of the topic, topics that the user likes, and the share of the slate that stays as it was.

Source: Wang, Halpern, Chang et al. 2023, RecSys, "Learning from Negative User Feedback and Measuring Responsiveness for
Sequential Recommenders"; the interval is ours (see `estimators.ratio_of_means`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import cast

import numpy as np

from recommenders.base import Bool, Feedback, Float32, Float64, Int32, ItemFeatures
from simulator.engine.log import EventLog
from simulator.experiment.estimators import PerUser, mean_estimate, missing, ratio_of_means
from simulator.experiment.results import Responsiveness

PAPER_KINDS = ("topic", "creator")
SELECTIVITY_KINDS = ("embedding", "rest_of_topic", "liked_topics", "kept")


@dataclass(frozen=True, eq=False)
class Similarity:
    """Share of each slate that is like the run's item k.

    Attributes:
        topic: float64[n] in [0, 1], share in the same primary topic.
        creator: float64[n] in [0, 1], share by the same creator.
    """

    topic: Float64
    creator: Float64


@dataclass(frozen=True, eq=False)
class Runs:
    """What is known of the runs of one arm when the branches part, in the order of the runs.

    Attributes:
        focus_item: int32[n], item k.
        likes_topic: bool[n, n_topics], topics that the user dwelt long on or liked, and did not push back on.
        items: of the catalogue.
        embedding: float32[n_items, d], rows of length 1.
    """

    focus_item: Int32
    likes_topic: Bool
    items: ItemFeatures
    embedding: Float32

    def take(self, rows: Bool) -> Runs:
        """The chosen runs."""
        return Runs(self.focus_item[rows], self.likes_topic[rows], self.items, self.embedding)


def similarity(slate_item: Int32, focus_item: Int32, items: ItemFeatures) -> Similarity:
    """How much of each slate shares topic, or creator, with the item at which the branches part.

    By membership, not by distance. Item k itself, where it is shown again, counts like any other item: bringing back
    the very thing that was disliked is a failure to respond. An experiment may make item k ineligible instead.

    Args:
        slate_item: int32[n, k], k >= 1.
        focus_item: int32[n], item k of each run.
        items: of the catalogue.

    >>> items = ItemFeatures(
    ...     creator=np.array([0, 0, 1], np.int32), topic=np.array([0, 1, 1], np.int32),
    ...     duration_seconds=np.ones(3, np.float32), release_tick=np.zeros(3, np.int64), n_creators=2, n_topics=2)
    >>> similarity(np.array([[0, 2]], np.int32), np.array([1], np.int32), items)
    Similarity(topic=array([0.5]), creator=array([0.5]))
    """
    return Similarity(
        topic=(items.topic[slate_item] == items.topic[focus_item][:, None]).mean(axis=1),
        creator=(items.creator[slate_item] == items.creator[focus_item][:, None]).mean(axis=1),
    )


def liked_topics(before: EventLog, run: Int32, items: ItemFeatures) -> Bool:
    """Topics that each user dwelt long on or liked before, and neither disliked nor dismissed: bool[n, n_topics].

    Args:
        before: what users did until item k.
        run: int32[n], ascending, whose.
        items: of the catalogue.
    """
    liked = np.zeros((len(run), items.n_topics), np.bool_)
    pushed = np.zeros_like(liked)
    row = np.searchsorted(run, before.user)
    known = row < len(run)
    known[known] = run[row[known]] == before.user[known]
    for marks, flags in (
        (liked, Feedback.LONG_DWELL | Feedback.LIKE),
        (pushed, Feedback.DISLIKE | Feedback.DISMISS),
    ):
        rows = np.flatnonzero(known & ((before.feedback & np.uint8(flags)) > 0))
        marks[row[rows], items.topic[before.item[rows]]] = True
    return liked & ~pushed


def measure(kind: str, slate_item: Int32, base_item: Int32, runs: Runs) -> Float64:
    """One number for each slate.

    Args:
        kind: `topic` or `creator`: share of the slate that item k shares it with. `embedding`: mean cosine to item k's
            embedding. `rest_of_topic`: share in item k's topic, by other creators. `liked_topics`: share in other
            topics that the user likes. `kept`: share that the base branch's slate holds, too.
        slate_item: int32[n, k].
        base_item: int32[n, k], the slate of the base branch at the same request.
        runs: the n runs.

    Returns:
        float64[n]; shares lie in [0, 1].

    Raises:
        ValueError: no such kind.
    """
    items, focus = runs.items, runs.focus_item
    if kind in PAPER_KINDS:
        return cast(Float64, getattr(similarity(slate_item, focus, items), kind))
    same_topic = items.topic[slate_item] == items.topic[focus][:, None]
    if kind == "embedding":
        cosine: Float64 = np.einsum("nkd,nd->nk", runs.embedding[slate_item], runs.embedding[focus]).astype(np.float64)
        return _mean(cosine)
    if kind == "rest_of_topic":
        return _mean(same_topic & (items.creator[slate_item] != items.creator[focus][:, None]))
    if kind == "liked_topics":
        return _mean(np.take_along_axis(runs.likes_topic, items.topic[slate_item], axis=1) & ~same_topic)
    if kind == "kept":
        return _mean((slate_item[:, :, None] == base_item[:, None, :]).any(axis=2))
    raise ValueError(f"kind: got {kind}, expected one of {', '.join(PAPER_KINDS + SELECTIVITY_KINDS)}")


def _mean(value: Bool | Float64) -> Float64:
    """The mean of each row: [n, k] -> float64[n]."""
    return np.asarray(value.mean(axis=1), np.float64)


def respond(arm: str, kind: str, base_item: Int32, action_item: Int32, runs: Runs, confidence: float) -> Responsiveness:
    """The levels of both branches and R, by one kind of similarity.

    Args:
        arm: its name.
        kind: as for `measure`.
        base_item, action_item: int32[n, k], slates at the same request of the same n runs.
        runs: the n runs.
        confidence: level of all intervals, in (0, 1).
    """
    base, action = (measure(kind, item, base_item, runs) for item in (base_item, action_item))
    ones = np.ones(len(base))
    level = mean_estimate(PerUser(base, ones), confidence)
    change = ratio_of_means(action, base, confidence)
    if kind == "embedding" and level.low <= 0 and isfinite(change.value) and change.value != 0:
        # A mean cosine may be next to 0 with every slate's far from it: nothing can be told relative to it.
        change = missing("the base branch's mean is not clear of 0", change.n)
    return Responsiveness(
        arm=arm,
        similarity=kind,
        base=level,
        action=mean_estimate(PerUser(action, ones), confidence),
        response=change,
    )
