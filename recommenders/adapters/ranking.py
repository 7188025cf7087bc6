"""What the adapters share: a ranking of scores, and how a state of another catalogue is told."""

from __future__ import annotations

import numpy as np

from recommenders.base import Float32, Int32, Interactions, RecommenderError, Requests, Slates, State
from recommenders.popularity import positive_count
from recommenders.topk import hide_viewed, top_k


def by_popularity(log: Interactions, n_items: int) -> Int32:
    """All items, those with most long dwells and likes first, then the lower id: int32[n_items]."""
    return np.argsort(-positive_count(log, n_items), kind="stable").astype(np.int32)


def ranked(score: Float32, viewed: Int32 | None, popular: Int32, requests: Requests, k: int) -> Slates:
    """The `k` eligible items with the highest scores, then the more popular ones.

    Args:
        score: float32[n, n_items], finite; changed where items were viewed.
        viewed: int32[n, h], items that go behind all others, -1 where padded; None hides nothing.
        popular: int32[n_items], as `by_popularity` gives it.
        requests: whose `eligible` counts.
        k: at least 1.

    Raises:
        RecommenderError: fewer than `k` items are eligible.
    """
    if viewed is not None:
        hide_viewed(score, viewed)
    best = top_k(score[:, popular], requests.eligible[popular], k)
    return Slates(item=popular[best.item], score=best.score)


def check_shapes(state: State, expected: dict[str, tuple[int, ...]]) -> None:
    """Compare the arrays of a state with the shapes that configuration and catalogue ask for.

    Raises:
        RecommenderError: an array is missing or has another shape.
    """
    for name, shape in expected.items():
        found = state[name].shape if name in state else "nothing"
        if found != shape:
            raise RecommenderError(f"state: {name}: got {found}, expected an array of shape {shape}")
