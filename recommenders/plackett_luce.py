"""The Plackett-Luce policy: slates drawn slot by slot with probability proportional to exp(score / temperature).

Two ways to draw the same distribution: Gumbel-max for scores of each request's own, and sequential inverse CDF for
scores that all requests share, which needs `k` numbers a request instead of one for each item (a warm-up of 480,000
impressions from 2,000 items took 33 s with Gumbel-max, nearly all of it drawing).
"""

from __future__ import annotations

import numpy as np

from recommenders.base import Bool, Float32, Float64, Int32, Int64, RequestDraws, Slates
from recommenders.topk import eligible_items, top_k

_TOTAL_WEIGHT = 2.0**40
"""Shared weights become integers that add up to about this: relative steps of 1e-12."""


def plackett_luce(score: Float32, eligible: Bool, k: int, temperature: float, draws: RequestDraws) -> Slates:
    """Draw slates by Gumbel-max: the `k` largest values of score / temperature + Gumbel noise.

    One number is drawn for each request and item, so the same request meets the same noise at the same item under
    another policy.

    Args:
        score: float32[n, n_items].
        eligible: bool[n_items].
        k: at least 1.
        temperature: > 0; the higher, the more random.
        draws: one uniform a request and item is asked for.

    Returns:
        Slates with the policy's own scores, and as propensity the exact chance of the item at its slot *given the slots
        above it*: the product over a slate is the chance of the whole slate.

    Raises:
        RecommenderError: fewer than `k` items are eligible, or a score is NaN.

    Source: Plackett 1975, J. R. Stat. Soc. C; Gumbel-max by Kool, van Hoof & Welling 2019, ICML.
    """
    candidates = eligible_items(eligible, k)
    uniform = draws.uniform(len(eligible))[:, candidates]
    logit = score[:, candidates].astype(np.float64) / temperature
    noisy = (logit - np.log(-np.log(uniform))).astype(np.float32)
    rank = top_k(noisy, np.ones(len(candidates), np.bool_), k).item
    item = candidates[rank]
    return Slates(item=item, score=np.take_along_axis(score, item, 1), propensity=_slot_probability(logit, rank))


def shared_plackett_luce(score: Float32, eligible: Bool, k: int, temperature: float, draws: RequestDraws) -> Slates:
    """Draw slates from scores that all requests share, by inverse CDF over the items not yet on the slate.

    Weights are rounded to integers (relative steps of 1e-12, at least 1), in which all sums are exact: no item can come
    twice, and the propensities are exact for the rounded weights.

    Args:
        score: float32[n_items].
        eligible, k, temperature: as in `plackett_luce`.
        draws: `k` uniforms a request are asked for.

    Returns:
        As `plackett_luce`.

    Raises:
        RecommenderError: fewer than `k` items are eligible.
    """
    candidates = eligible_items(eligible, k)
    logit = score[candidates].astype(np.float64) / temperature
    share = np.exp(logit - logit.max())
    weight = np.ceil(share * (_TOTAL_WEIGHT / share.sum())).astype(np.int64)
    rank, propensity = _draw_in_sequence(weight, draws.uniform(k))
    item = candidates[rank]
    return Slates(item=item, score=score[item], propensity=propensity)


def _draw_in_sequence(weight: Int64, uniform: Float64) -> tuple[Int64, Float64]:
    """Columns drawn without replacement, int64[n, k], and each one's chance given those before it, float64[n, k]."""
    n, k = uniform.shape
    end = np.cumsum(weight)
    rank = np.empty((n, k), np.int64)
    propensity = np.empty((n, k))
    left = np.full(n, end[-1])
    for slot in range(k):
        # A point on the line of what is left; stepping over the intervals already taken, in order, finds it on the
        # line of all items.
        point = (uniform[:, slot] * left).astype(np.int64)
        taken = np.sort(rank[:, :slot], axis=1)
        for column in taken.T:
            point += np.where(point >= end[column] - weight[column], weight[column], 0)
        rank[:, slot] = np.searchsorted(end, point, side="right")
        chosen = weight[rank[:, slot]]
        propensity[:, slot] = chosen / left
        left -= chosen
    return rank, propensity


def _slot_probability(logit: Float64, rank: Int32) -> Float64:
    """Chance of each chosen column given the ones above it: float64[n, k] from float64[n, c] and int32[n, k].

    The mass that is left at a slot is summed upwards from the items not shown, never by subtraction, so it stays exact
    when one item holds nearly all of it.
    """
    chosen = np.take_along_axis(logit, rank, 1)
    rest = logit.copy()
    np.put_along_axis(rest, rank, -np.inf, 1)
    peak = np.maximum(rest.max(1, keepdims=True), chosen[:, -1:])
    unseen = np.exp(rest - peak).sum(1, keepdims=True) + np.exp(chosen[:, -1:] - peak)
    upwards = np.concatenate([peak + np.log(unseen), chosen[:, -2::-1]], axis=1)
    remaining = np.logaddexp.accumulate(upwards, axis=1)[:, ::-1]
    probability: Float64 = np.exp(chosen - remaining)
    return probability
