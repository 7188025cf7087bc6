"""The best `k` eligible items of each row, exactly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recommenders.base import PADDING, Bool, Float32, Int32, RecommenderError, Slates

Intp = npt.NDArray[np.intp]

LONG_ROW = 4_000
"""From this many items on, stripes are faster than one pass."""
STRIPE = 16
"""Items in a stripe."""


def top_k(score: Float32, eligible: Bool, k: int) -> Slates:
    """The `k` best eligible items of each row, best first, ties broken by the lower item id.

    Every row is computed from comparisons of its own scores alone, so the answer never depends on the other rows.

    Microseconds a row for k = 10 on one core (`benchmarks/serving.py` measures all four again):

        items                        2,000   10,000   100,000
        threshold, one pass              6       28       213
        threshold by stripes             6       10        48
        torch.topk                       5       17       139
        np.argpartition                  7       35       299

    The last two break ties as they like.

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
    flat = _contenders(score, k)
    row = flat // n_candidates
    value = score.reshape(-1)[flat]
    first = np.searchsorted(row, np.arange(n))
    if np.any(np.diff(first, append=len(flat)) < k):
        raise RecommenderError(f"score: got NaN in a batch of {n} requests, expected a number for each eligible item")
    # Stable, so that among equal scores the ascending order of `flat`, which is that of the items, remains.
    order = np.lexsort((-value, row))
    best = order[first[:, None] + np.arange(k)]
    return Slates(item=candidates[flat[best] % n_candidates], score=value[best])


def _contenders(score: Float32, k: int) -> Intp:
    """Flat positions, ascending, of all values not below their row's k-th; fewer than `k` in a row that has a NaN.

    A long row is cut into stripes of items that are `width` apart. The k-th largest of the stripes' maxima is no larger
    than the k-th largest value, so the wanted values lie in the stripes that reach it: about k of them.
    """
    n_items = score.shape[1]
    width = n_items // STRIPE
    if n_items < LONG_ROW or width < 4 * k:
        threshold = np.partition(score, n_items - k, axis=1)[:, n_items - k]
        return np.flatnonzero(score >= threshold[:, None])
    top = score[:, :width].copy()
    for start in range(width, n_items, width):
        part = score[:, start : start + width]
        np.maximum(top[:, : part.shape[1]], part, out=top[:, : part.shape[1]])
    top[np.isnan(top).any(1)] = np.nan
    threshold = np.partition(top, width - k, axis=1)[:, width - k]
    row, stripe = np.divmod(np.flatnonzero(top >= threshold[:, None]), width)
    item = stripe[:, None] + np.arange(0, n_items, width)
    value = score[row[:, None], np.minimum(item, n_items - 1)]
    flat: Intp = (row[:, None] * n_items + item)[(value >= threshold[row, None]) & (item < n_items)]
    return np.sort(flat)


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
    everything = bool(eligible.all())
    candidates = np.arange(len(eligible), dtype=np.int32) if everything else np.flatnonzero(eligible).astype(np.int32)
    if len(candidates) < k:
        raise RecommenderError(f"eligible: got {len(candidates)} eligible items, expected at least k = {k}")
    return candidates
