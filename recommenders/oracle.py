"""An oracle: it ranks by the users' latent utilities, which no platform can see.

It bounds what a recommender could reach, and, with a temperature and a limited number of candidates, stands in for the
unknown policy of a real platform: a first stage finds some items, a second stage ranks them well but not perfectly.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from recommenders.base import (
    Config,
    Float32,
    Float64,
    Int32,
    Interactions,
    ItemFeatures,
    Progress,
    RecommenderError,
    RequestDraws,
    Requests,
    Slates,
    State,
    Traits,
    UtilityLookup,
)
from recommenders.plackett_luce import plackett_luce
from recommenders.topk import eligible_items, top_k


class OracleConfig(Config):
    """Settings of the oracle."""

    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0 ranks by utility; above it, slots are drawn with probability proportional to exp(utility / temperature)."""
    candidates: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Rank this many eligible items, sampled uniformly for each request; none: all. Never fewer than the slate holds.
    Few candidates come close to random slates, many to perfect ones."""


class Oracle:
    """Knows the users' latent utilities and ranks by them: a bound or a stand-in, never a fair competitor."""

    config_class: ClassVar[type[Config]] = OracleConfig

    def __init__(self, config: OracleConfig) -> None:
        self.config = config
        # Ranking a whole catalogue takes several arrays of requests by items; a batch bounds them.
        self.traits = Traits(
            needs_utility=True,
            batch_size=None if config.candidates else 512,
            # A sample may grow with the slate; drawn slates begin with the same items whatever their length, but
            # their propensities are sums in another order.
            nested=config.candidates is None and config.temperature == 0,
        )

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        """Nothing is learnt: the utilities come with each request."""

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        """The `k` eligible items of the highest utility, or Plackett-Luce slates with their propensities.

        With sampled candidates a slate has no propensity: the chance of an item then sums over all samples.

        Raises:
            RecommenderError: the requests carry no utilities, or fewer than `k` items are eligible.
        """
        utility = requests.utility
        if utility is None:
            raise RecommenderError("oracle: requests.utility: got None, expected a lookup (traits.needs_utility)")
        if self.config.candidates is not None:
            return self._rank_sample(utility, eligible_items(requests.eligible, k), k, draws)
        score = _utility_of_all(utility, len(requests), len(requests.eligible))
        if self.config.temperature > 0:
            return plackett_luce(score, requests.eligible, k, self.config.temperature, draws)
        return top_k(score, requests.eligible, k)

    def state_dict(self) -> State:
        """Empty."""
        return {}

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        """Nothing to take over."""

    def _rank_sample(self, utility: UtilityLookup, eligible: Int32, k: int, draws: RequestDraws) -> Slates:
        """Slates from candidates of each request's own. Args: eligible: int32[n_eligible], ascending ids."""
        n_candidates = min(max(self.config.candidates or 0, k), len(eligible))
        item, uniform = _sample(eligible, n_candidates, draws)
        score = utility(item)
        noisy = score
        if self.config.temperature > 0:
            gumbel = -np.log(-np.log(uniform))
            noisy = (score / self.config.temperature + gumbel).astype(np.float32)
        rank = top_k(noisy, np.ones(n_candidates, np.bool_), k).item
        return Slates(np.take_along_axis(item, rank, 1), np.take_along_axis(score, rank, 1))


def _utility_of_all(utility: UtilityLookup, n_requests: int, n_items: int) -> Float32:
    """Of every item, eligible or not: float32[n_requests, n_items]."""
    return utility(np.broadcast_to(np.arange(n_items, dtype=np.int32), (n_requests, n_items)))


def _sample(eligible: Int32, size: int, draws: RequestDraws) -> tuple[Int32, Float64]:
    """A uniform sample of `size` different items for each request, and a fresh uniform number for each of them.

    A request's sample is the first `size` different items of its own endless sequence of random items, so it depends
    neither on the other requests nor on how much of the sequence is drawn at once.

    Args:
        eligible: int32[n_eligible], ascending ids.
        size: 1 to n_eligible.
        draws: about `2 * size` uniforms a request are asked for while the sample is a small part of the items.

    Returns:
        int32[n, size], each row ascending, and float64[n, size].
    """
    n = len(eligible)
    # A sample of n ln(n / (n - size)) repeats itself until it has `size` different items, on average.
    length = size + 8 + int(2.0 * (n * np.log(n / (n - size)) - size)) if size < n else 1
    while size < n:
        uniform = draws.uniform(size + length)
        # Sorted by item, and among equal items by place in the sequence.
        key = (uniform[:, size:] * n).astype(np.int64) * length + np.arange(length)
        key.sort(axis=1)
        rank, place = np.divmod(key, length)
        place[:, 1:][rank[:, 1:] == rank[:, :-1]] = length
        last = np.partition(place, size - 1, axis=1)[:, size - 1]
        if (last < length).all():
            return eligible[rank[place <= last[:, None]].reshape(-1, size)], uniform[:, :size]
        length *= 2
    uniform = draws.uniform(size)
    return np.broadcast_to(eligible, uniform.shape), uniform
