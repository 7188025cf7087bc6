"""What all heuristics share: a wrapped model whose scores are changed by what the history tells of push-back."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from typing import Annotated

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
)
from recommenders.heuristics.negatives import NegativeKind, Negatives, recent_negatives
from recommenders.heuristics.wrapped import (
    ModelConfig,
    build_scorer,
    nested,
    unnested,
    viewed_window,
    without_newest,
)
from recommenders.topk import top_k


class HeuristicConfig(Config):
    """Settings that all heuristics share."""

    model: ModelConfig = Field(default_factory=ModelConfig)
    """The model whose scores are changed."""
    feedback: Annotated[tuple[NegativeKind, ...], Field(min_length=1)] = ("dislike",)
    """What counts as push-back."""
    interactions: Annotated[int, Field(ge=1, le=1000)] = 50
    """How many of the newest interactions are looked at for push-back."""
    days: Annotated[float, Field(gt=0)] | None = None
    """Up to which age, in days of simulated time, push-back counts; without it, however old."""


class Heuristic:
    """A recommender that ranks by the changed scores of another one.

    It ranks even where the wrapped model would draw. Viewed items are kept back as by the wrapped model, behind all
    that the heuristic puts behind. A history without push-back gets the wrapped model's scores, bit for bit.
    """

    def __init__(self, config: HeuristicConfig) -> None:
        self.shared_config = config
        self.model = build_scorer(config.model)
        self.viewed_window = viewed_window(self.model)
        length = max(self.model.traits.history_length, config.interactions)
        # What the wrapped model declares of dislikes need not be true of the wrapper, which says for itself.
        self.traits = dataclasses.replace(self.model.traits, history_length=length, dislike_response=None)
        self._items: ItemFeatures | None = None

    @abstractmethod
    def rescored(self, score: Float32, requests: Requests, negatives: Negatives, items: ItemFeatures) -> Float32:
        """The wrapped model's scores, changed; every row from that row alone.

        Args:
            score: float32[n, n_items].
            requests: n of them.
            negatives: what counts as recent push-back in their histories.
            items: the catalogue that was fitted.

        Returns:
            float32[n, n_items], finite.
        """
        ...

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        """Fit the wrapped model."""
        self.model.fit(log, items, seed=seed, progress=progress)
        self._items = items

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        """The `k` eligible items with the highest changed scores, ties to the lower id.

        Raises:
            RecommenderError: not fitted, or fewer than `k` items are eligible.
        """
        score = without_newest(self.scores(requests), requests, self.viewed_window)
        return top_k(score, requests.eligible, k)

    def scores(self, requests: Requests) -> Float32:
        """The changed scores of all items: float32[n, n_items].

        Raises:
            RecommenderError: not fitted.
        """
        if self._items is None:
            name = type(self).__name__
            raise RecommenderError(f"{name}: got no fitted state, expected `fit` or `load_state_dict` first")
        config = self.shared_config
        score = self.model.scores(requests.newest(self.model.traits.history_length))
        negatives = recent_negatives(requests, config.feedback, config.interactions, config.days)
        if not len(negatives):
            return score
        return self.rescored(score, requests, negatives, self._items)

    def state_dict(self) -> State:
        """The wrapped model's state, each name after `model.`."""
        return nested(self.model.state_dict())

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        """Take over the wrapped model's state.

        Raises:
            RecommenderError: the wrapped model refuses it.
        """
        self.model.load_state_dict(unnested(state), items)
        self._items = items
