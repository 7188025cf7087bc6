"""Responsiveness from counterfactual branches: how the next slate changes when the user adds an action.

Source: Wang, Halpern, Chang et al. 2023, RecSys, "Learning from Negative User Feedback and Measuring Responsiveness for
Sequential Recommenders"; the interval is ours (see `estimators.ratio_of_means`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recommenders.base import Float64, Int32, ItemFeatures
from simulator.experiment.estimators import PerUser, mean_estimate, ratio_of_means
from simulator.experiment.results import Responsiveness


@dataclass(frozen=True, eq=False)
class Similarity:
    """Share of each slate that is like the run's item k.

    Attributes:
        topic: float64[n] in [0, 1], share in the same primary topic.
        creator: float64[n] in [0, 1], share by the same creator.
    """

    topic: Float64
    creator: Float64


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


def responsiveness(
    arm: str, base_slates: Int32, action_slates: Int32, focus_item: Int32, items: ItemFeatures, *, confidence: float
) -> tuple[Responsiveness, ...]:
    """One arm's response, by topic and by creator.

    Args:
        arm: its name.
        base_slates, action_slates: int32[n, k], the slate after item k in each branch; row i is the same run in both.
        focus_item: int32[n], item k of each run.
        items: of the catalogue.
        confidence: level of all intervals, in (0, 1).

    Returns:
        The responses for `topic` and `creator`, in this order; exactly 0 where the slates are the same.
    """
    base = similarity(base_slates, focus_item, items)
    action = similarity(action_slates, focus_item, items)
    return (
        _response(arm, "topic", base.topic, action.topic, confidence),
        _response(arm, "creator", base.creator, action.creator, confidence),
    )


def _response(arm: str, kind: str, base: Float64, action: Float64, confidence: float) -> Responsiveness:
    ones = np.ones(len(base))
    return Responsiveness(
        arm=arm,
        similarity=kind,
        base=mean_estimate(PerUser(base, ones), confidence),
        action=mean_estimate(PerUser(action, ones), confidence),
        response=ratio_of_means(action, base, confidence),
    )
