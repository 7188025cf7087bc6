"""Most popular first: items ranked by how often they were dwelt on long or liked."""

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
from recommenders.plackett_luce import shared_plackett_luce
from recommenders.sequences import is_positive
from recommenders.topk import top_k


class PopularityConfig(Config):
    """Settings of the popularity recommender."""

    smoothing: Annotated[float, Field(gt=0)] = 1.0
    """Prior count of every item, which is all that a new item has."""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0 ranks; above it, slots are drawn with probability proportional to count ** (1 / temperature)."""


class Popularity:
    """Most positive feedback first, the same for everyone; with a temperature, a draw in proportion to popularity."""

    config_class: ClassVar[type[Config]] = PopularityConfig

    def __init__(self, config: PopularityConfig) -> None:
        self.config = config
        self.traits = Traits()
        self._score: Float32 | None = None

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        """Count long dwells and likes; an item's score is the log of its count plus the smoothing."""
        self._score = np.log(positive_count(log, items.n_items) + self.config.smoothing).astype(np.float32)

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        """The top `k`, ranked once for the batch; or Plackett-Luce slates with their propensities.

        Raises:
            RecommenderError: not fitted, or fewer than `k` items are eligible.
        """
        score = self._fitted()
        if self.config.temperature > 0:
            return shared_plackett_luce(score, requests.eligible, k, self.config.temperature, draws)
        best = top_k(score[None], requests.eligible, k)
        n = len(requests)
        return Slates(item=np.repeat(best.item, n, axis=0), score=np.repeat(best.score, n, axis=0))

    def state_dict(self) -> State:
        """`score`: float32[n_items]."""
        return {"score": self._fitted()}

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        """Take over the scores.

        Raises:
            RecommenderError: the state is for another number of items.
        """
        score = np.array(state["score"], np.float32)
        if score.shape != (items.n_items,):
            raise RecommenderError(f"state: score: got shape {score.shape}, expected ({items.n_items},)")
        self._score = score

    def _fitted(self) -> Float32:
        if self._score is None:
            raise RecommenderError("popularity: got no fitted state, expected `fit` or `load_state_dict` first")
        return self._score


def positive_count(log: Interactions, n_items: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """How often each item was dwelt on long or liked: int64[n_items]."""
    rows = is_positive(log.feedback, except_disliked=False)
    return np.bincount(log.item[rows], minlength=n_items).astype(np.int64)
