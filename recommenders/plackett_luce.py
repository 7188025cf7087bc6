"""The Plackett-Luce policy: slates drawn slot by slot with probability proportional to exp(score / temperature)."""

from __future__ import annotations

import numpy as np

from recommenders.base import Bool, Float32, Float64, Int32, RequestDraws, Slates
from recommenders.topk import eligible_items, top_k


def plackett_luce(score: Float32, eligible: Bool, k: int, temperature: float, draws: RequestDraws) -> Slates:
    """Draw slates by Gumbel-max: the `k` largest values of score / temperature + Gumbel noise.

    One number is drawn for each request and item, so the same request meets the same noise at the same item under
    another policy.

    Args:
        score: float32[n, n_items], or float32[1, n_items] where all requests share the scores.
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
    logit = np.broadcast_to(logit, noisy.shape)
    item = candidates[rank]
    return Slates(
        item=item,
        score=np.take_along_axis(np.broadcast_to(score, (len(item), score.shape[1])), item, 1),
        propensity=_slot_probability(logit, rank),
    )


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
    return np.exp(chosen - remaining)
