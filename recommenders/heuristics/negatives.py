"""The push-back that a request's history tells of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from recommenders.base import (
    PADDING,
    TICKS_PER_SECOND,
    Bool,
    Feedback,
    Float64,
    Int32,
    Int64,
    ItemFeatures,
    Requests,
    UInt8,
)

TICKS_PER_DAY = 86_400 * TICKS_PER_SECOND
NegativeKind = Literal["dislike", "dismiss", "skip"]


@dataclass(frozen=True)
class Negatives:
    """Push-back in some requests' histories, one row each, in order of (request, time).

    Attributes:
        request: intp[m], the row of the request.
        item: int32[m], what was pushed back.
        age_interactions: int64[m], how many interactions came after it; 0 for the newest.
        age_days: float64[m], simulated time between the feedback and the request.
    """

    request: npt.NDArray[np.intp]
    item: Int32
    age_interactions: Int64
    age_days: Float64

    def __len__(self) -> int:
        return len(self.item)


def is_negative(feedback: UInt8, kinds: tuple[NegativeKind, ...]) -> Bool:
    """Where any of the kinds was given: bool of the same shape."""
    flags = 0
    for kind in kinds:
        flags |= int(Feedback[kind.upper()])
    negative: Bool = (feedback & np.uint8(flags)) != 0
    return negative


def recent_negatives(
    requests: Requests, kinds: tuple[NegativeKind, ...], interactions: int, days: float | None
) -> Negatives:
    """The push-back among the newest `interactions` of each history that is at most `days` old.

    Args:
        requests: their histories may be wider or narrower than `interactions`.
        kinds: what counts as push-back.
        interactions: of each history, how many are looked at.
        days: of simulated time, the limit included; None for no limit in time.
    """
    first = max(0, requests.history_item.shape[1] - interactions)
    item = requests.history_item[:, first:]
    age_days = (requests.tick[:, None] - requests.history_tick[:, first:]) / TICKS_PER_DAY
    counts = (item != PADDING) & is_negative(requests.history_feedback[:, first:], kinds)
    if days is not None:
        counts &= age_days <= days
    request, column = np.nonzero(counts)
    return Negatives(request, item[request, column], item.shape[1] - 1 - column, age_days[request, column])


def weight_by_group(negatives: Negatives, weight: Float64, group: Int32, n_requests: int, n_groups: int) -> Float64:
    """Sums of the negatives' weights by request and the group of their item: float64[n_requests, n_groups].

    Within a cell they add up from the oldest to the newest, whatever the other requests are.

    Args:
        negatives: m of them.
        weight: float64[m].
        group: int32[n_items], in [0, n_groups): the creator of each item, or its topic.
        n_requests: rows of the result.
        n_groups: columns of the result.
    """
    cell = negatives.request * n_groups + group[negatives.item]
    total: Float64 = np.bincount(cell, weight, n_requests * n_groups).astype(np.float64)
    return total.reshape(n_requests, n_groups)


def same_kind(items: ItemFeatures, by: Literal["creator", "topic"]) -> tuple[Int32, int]:
    """The group of each item and the number of groups: creators or topics."""
    return (items.creator, items.n_creators) if by == "creator" else (items.topic, items.n_topics)
