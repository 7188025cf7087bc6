"""Uniformly random slates: the usual logging policy, and the reference for exact propensities."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from recommenders.base import (
    Config,
    Float64,
    Int32,
    Interactions,
    ItemFeatures,
    Progress,
    RequestDraws,
    Requests,
    Slates,
    State,
    Traits,
)
from recommenders.topk import eligible_items


class RandomConfig(Config):
    """The random recommender has no settings."""


class Random:
    """Uniformly random eligible items, without replacement; every item has the same chance at every slot."""

    config_class: ClassVar[type[Config]] = RandomConfig

    def __init__(self, config: RandomConfig) -> None:
        self.config = config
        self.traits = Traits(nested=True)

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        """Nothing is learnt."""

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        """Random slates with score 0; the propensity, 1 / eligible items, is the marginal chance at the slot.

        Raises:
            RecommenderError: fewer than `k` items are eligible.
        """
        candidates = eligible_items(requests.eligible, k)
        item = candidates[distinct_ranks(draws.uniform(k), len(candidates))]
        return Slates(
            item=item,
            score=np.zeros(item.shape, np.float32),
            propensity=np.full(item.shape, 1 / len(candidates)),
        )

    def state_dict(self) -> State:
        """Empty."""
        return {}

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        """Nothing to take over."""


def distinct_ranks(uniform: Float64, population: int) -> Int32:
    """Ordered samples without replacement from range(population), one a row, each order equally likely.

    The first k steps of a Fisher-Yates shuffle. Instead of an array of the population, each row remembers its k swaps:
    step i swaps positions i and r_i >= i, so what stands at a position is what the latest swap to it has left there.

    Args:
        uniform: float64[n, k] in (0, 1), with k <= population; used by inverse CDF, so never rejected.
        population: number of things to choose from.

    Returns:
        int32[n, k], different numbers in each row.

    Source: Durstenfeld 1964, CACM algorithm 235 (the shuffle); the swaps are resolved column by column over all rows.
    """
    k = uniform.shape[1]
    steps = np.arange(k)[:, None]
    # Columns as rows of memory: the loops below run over k, each step over all requests at once.
    target = (steps + np.ascontiguousarray(uniform.T) * (population - steps)).astype(np.int32)
    # Where no two swaps of a row touch the same position, as in nearly all rows, every swap finds what was there first.
    touches = ((target < k) & (target != steps)).any(axis=0)
    for distance in range(1, k):
        again = np.flatnonzero(target[distance:] == target[:-distance])
        touches[again % len(touches)] = True
    rows = np.flatnonzero(touches)
    if len(rows):
        target[:, rows] = _resolved(target[:, rows])
    return np.ascontiguousarray(target.T)


def _resolved(target: Int32) -> Int32:
    """What each swap finds at its target, after those before it: int32[k, n] from int32[k, n]."""
    found = target.copy()
    left = np.empty_like(target)
    for i in range(len(target)):
        left[i] = i
        for j in range(i):
            np.copyto(left[i], left[j], where=target[j] == i)
            np.copyto(found[i], left[j], where=target[j] == target[i])
    return found
