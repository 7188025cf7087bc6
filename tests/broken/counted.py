"""A recommender that keeps the contract; the broken ones differ from it by one fault each."""

from __future__ import annotations

from typing import Any

import numpy as np

from recommenders.base import (
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

WINDOW = 6


class Counted:
    """An item's likes in the log, plus one for each like of its creator in the history: whole numbers throughout."""

    def __init__(self) -> None:
        self.traits = Traits(history_length=WINDOW, nested=True)
        self.count: Float32 | None = None
        self.creator: Any = None

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        self.count, self.creator = self.counted(log, items), items.creator.copy()

    def counted(self, log: Interactions, items: ItemFeatures) -> Float32:
        liked = is_positive(log.feedback, except_disliked=True)
        return np.bincount(log.item[liked], minlength=items.n_items).astype(np.float32)

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        return top_k(self.scores(requests), requests.eligible, k)

    def scores(self, requests: Requests) -> Float32:
        score = np.tile(self.start(), (len(requests), 1))
        window = slice(max(0, requests.history_item.shape[1] - WINDOW), None)
        item, feedback = requests.history_item[:, window], requests.history_feedback[:, window]
        for column in range(item.shape[1]):
            rows = np.flatnonzero((item[:, column] >= 0) & is_positive(feedback[:, column], except_disliked=True))
            score[rows] += self.creator[item[rows, column]][:, None] == self.creator
        return score

    def start(self) -> Float32:
        """The score of an empty history: float32[n_items]."""
        if self.count is None:
            raise RecommenderError("got no fitted state, expected `fit` or `load_state_dict` first")
        return self.count

    def state_dict(self) -> State:
        return {"count": self.start().copy()}

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        check_state_names(state, ["count"])
        if state["count"].shape != (items.n_items,):
            raise RecommenderError(f"state: count: got {len(state['count'])} items, expected {items.n_items}")
        self.count, self.creator = np.array(state["count"], np.float32), items.creator.copy()


class Drawn(Counted):
    """A random policy: slates in proportion to count + 1, with exact propensities."""

    def __init__(self) -> None:
        super().__init__()
        self.traits = Traits(nested=True)

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        logit = np.log(self.start() + 1)
        slates = shared_plackett_luce(logit, requests.eligible, k, 1.0, draws)
        return Slates(slates.item, slates.score, self.stated(slates.propensity, logit))

    def stated(self, propensity: Any, logit: Float32) -> Float64:
        return propensity
