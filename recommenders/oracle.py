"""An oracle: it ranks by the users' latent utilities, which no platform can see.

It bounds what a recommender could reach, and, with a temperature, stands in for the unknown policy of a real platform.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from recommenders.base import (
    Config,
    Float32,
    Interactions,
    ItemFeatures,
    Progress,
    RecommenderError,
    RequestDraws,
    Requests,
    Slates,
    State,
    Traits,
)
from recommenders.plackett_luce import plackett_luce
from recommenders.topk import top_k


class OracleConfig(Config):
    """Settings of the oracle."""

    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0 ranks by utility; above it, slots are drawn with probability proportional to exp(utility / temperature)."""


class Oracle:
    """Knows the users' latent utilities and ranks by them: a bound or a stand-in, never a fair competitor."""

    config_class: ClassVar[type[Config]] = OracleConfig

    def __init__(self, config: OracleConfig) -> None:
        self.config = config
        self.traits = Traits(needs_utility=True)

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        """Nothing is learnt: the utilities come with each request."""

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        """The `k` eligible items of the highest utility, or Plackett-Luce slates with their propensities.

        Raises:
            RecommenderError: the requests carry no utilities, or fewer than `k` items are eligible.
        """
        utility = self._utility(requests)
        if self.config.temperature > 0:
            return plackett_luce(utility, requests.eligible, k, self.config.temperature, draws)
        return top_k(utility, requests.eligible, k)

    def state_dict(self) -> State:
        """Empty."""
        return {}

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        """Nothing to take over."""

    def _utility(self, requests: Requests) -> Float32:
        """Of every item, eligible or not: float32[n, n_items]."""
        if requests.utility is None:
            raise RecommenderError("oracle: requests.utility: got None, expected a lookup (traits.needs_utility)")
        n_items = len(requests.eligible)
        return requests.utility(np.broadcast_to(np.arange(n_items, dtype=np.int32), (len(requests), n_items)))
