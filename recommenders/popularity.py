"""Most popular first: items ranked by how often they were dwelt on long or liked, of late if counts fade."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from recommenders.base import (
    PADDING,
    TICKS_PER_SECOND,
    Config,
    Float32,
    Float64,
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
from recommenders.contract import check_state_names
from recommenders.plackett_luce import shared_plackett_luce
from recommenders.sequences import is_positive
from recommenders.topk import top_k


class PopularityConfig(Config):
    """Settings of the popularity recommender."""

    smoothing: Annotated[float, Field(gt=0)] = 1.0
    """Prior count of every item, which is all that a new item has."""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0 ranks; above it, slots are drawn with probability proportional to count ** (1 / temperature)."""
    half_life_days: Annotated[float, Field(gt=0)] | None = None
    """After how many days a long dwell or like counts half, as of the end of the log; null for never."""
    window: Annotated[int, Field(ge=1, le=1000)] = 50
    """How many past interactions `filter_viewed` looks at."""
    filter_viewed: bool = True
    """Whether items of the window are kept from being shown again; a policy with a temperature never does so."""


class Popularity:
    """Most positive feedback first, the same for everyone; with a temperature, a draw in proportion to popularity."""

    config_class: ClassVar[type[Config]] = PopularityConfig

    def __init__(self, config: PopularityConfig) -> None:
        self.config = config
        filters = config.filter_viewed and config.temperature == 0
        self.traits = Traits(history_length=config.window if filters else 0, nested=True)
        self._score: Float32 | None = None

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        """Count long dwells and likes, faded if so set; an item's score is the log of its count plus the smoothing."""
        half_life = self.config.half_life_days
        if half_life is None:
            count = positive_count(log, items.n_items).astype(np.float64)
        else:
            count = faded_positive_count(log, items.n_items, half_life)
        self._score = np.log(count + self.config.smoothing).astype(np.float32)

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        """The top `k` not viewed yet, ranked once for the batch; or Plackett-Luce slates with their propensities.

        Raises:
            RecommenderError: not fitted, or fewer than `k` items are eligible.
        """
        score = self._fitted()
        if self.config.temperature > 0:
            return shared_plackett_luce(score, requests.eligible, k, self.config.temperature, draws)
        history = requests.history_item[:, max(0, requests.history_item.shape[1] - self.traits.history_length) :]
        n, window = history.shape
        n_ranked = max(k, min(k + window, int(requests.eligible.sum())))
        best = top_k(score[None], requests.eligible, n_ranked)
        # Viewed items go behind the others, in the same order; there are enough others unless the catalogue is small.
        rank = np.full(len(score), n_ranked)
        rank[best.item[0]] = np.arange(n_ranked)
        row, column = np.nonzero(history != PADDING)
        viewed = np.zeros((n, n_ranked + 1), np.bool_)
        viewed[row, rank[history[row, column]]] = True
        chosen = np.argsort(viewed[:, :n_ranked], axis=1, kind="stable")[:, :k]
        return Slates(item=best.item[0][chosen], score=best.score[0][chosen])

    def scores(self, requests: Requests) -> Float32:
        """The log of each item's count plus the smoothing, the same in each row: float32[n, n_items]."""
        return np.tile(self._fitted(), (len(requests), 1))

    def state_dict(self) -> State:
        """`score`: float32[n_items]."""
        return {"score": self._fitted().copy()}

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        """Take over the scores.

        Raises:
            RecommenderError: the scores are missing, or for another number of items.
        """
        check_state_names(state, ["score"])
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


def faded_positive_count(log: Interactions, n_items: int, half_life_days: float) -> Float64:
    """How often each item was dwelt on long or liked, an event of one half-life before the log's end counting half.

    Args:
        log: in order of tick.
        n_items: length of the answer.
        half_life_days: > 0.

    Returns:
        float64[n_items], >= 0, and at most `positive_count`.
    """
    rows = is_positive(log.feedback, except_disliked=False)
    if not rows.any():
        return np.zeros(n_items)
    age_days = (log.tick[-1] - log.tick[rows]) / (TICKS_PER_SECOND * 86_400)
    weight = np.exp2(-age_days / half_life_days)
    return np.bincount(log.item[rows], weights=weight, minlength=n_items).astype(np.float64)
