"""The best `k` eligible items of each row, exactly."""

from __future__ import annotations

import numpy as np

from recommenders.base import PADDING, Bool, Float32, Int32, RecommenderError, Slates


def top_k(score: Float32, eligible: Bool, k: int) -> Slates:
    """The `k` best eligible items of each row, best first, ties broken by the lower item id.

    Every row is computed from comparisons of its own scores alone, so the answer never depends on the other rows.

    Partitioning the values and comparing with the k-th costs 5 microseconds a row of 2,000 items and 19 a row of 10,000
    (k = 10, one core); np.argpartition takes 7 and 28, torch.topk 7 and 17 (20 at 2,000 items for k = 50), and both
    break ties as they like.

    Args:
        score: float32[n, n_items], finite where eligible; not modified.
        eligible: bool[n_items].
        k: at least 1.

    Returns:
        Deterministic slates, without propensity.

    Raises:
        RecommenderError: fewer than `k` items are eligible, or a score of an eligible item is NaN.
    """
    candidates = eligible_items(eligible, k)
    if len(candidates) < len(eligible):
        score = score[:, candidates]
    n, n_candidates = score.shape
    threshold = np.partition(score, n_candidates - k, axis=1)[:, n_candidates - k]
    flat = np.flatnonzero(score >= threshold[:, None])
    row = flat // n_candidates
    value = score.reshape(-1)[flat]
    first = np.searchsorted(row, np.arange(n))
    if np.any(np.diff(first, append=len(flat)) < k):
        raise RecommenderError(f"score: got NaN in a batch of {n} requests, expected a number for each eligible item")
    # Stable, so that among equal scores the ascending order of `flat`, which is that of the items, remains.
    order = np.lexsort((-value, row))
    best = order[first[:, None] + np.arange(k)]
    return Slates(item=candidates[flat[best] % n_candidates], score=value[best])


def hide_viewed(score: Float32, history_item: Int32) -> None:
    """Put the items of each row's history behind all others, in place: shown only where nothing else is left.

    Args:
        score: float32[n, n_items]; changed.
        history_item: int32[n, h], -1 where padded.
    """
    row, column = np.nonzero(history_item != PADDING)
    score[row, history_item[row, column]] = np.finfo(np.float32).min


def eligible_items(eligible: Bool, k: int) -> Int32:
    """Ids of the eligible items in ascending order, of which there must be at least `k`.

    Raises:
        RecommenderError: fewer than `k` items are eligible.
    """
    candidates = np.flatnonzero(eligible).astype(np.int32)
    if len(candidates) < k:
        raise RecommenderError(f"eligible: got {len(candidates)} eligible items, expected at least k = {k}")
    return candidates
