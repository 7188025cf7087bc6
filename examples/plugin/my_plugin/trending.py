"""A recommender: what is watched now, less of it from creators that the user dislikes."""

from typing import Annotated

import numpy as np
from pydantic import Field

from recommenders.base import TICKS_PER_SECOND, Config, Feedback, RecommenderError, Traits
from recommenders.topk import top_k


class TrendingConfig(Config):
    half_life_days: Annotated[float, Field(gt=0)] = 2.0
    forgiveness: Annotated[float, Field(gt=0, le=1)] = 0.8
    memory: Annotated[int, Field(ge=1)] = 50


class Trending:
    """What was watched long, counting less with age and less with each dislike of the creator; seen items go last."""

    config_class = TrendingConfig

    def __init__(self, config):
        self.config = config
        self.traits, self.items = Traits(history_length=config.memory), None

    def fit(self, log, items, *, seed, progress=None):
        age_days = (log.tick.max(initial=0) - log.tick) / (86_400 * TICKS_PER_SECOND)
        weight = (log.feedback & Feedback.LONG_DWELL > 0) * 0.5 ** (age_days / self.config.half_life_days)
        heat = np.bincount(log.item, weights=weight, minlength=items.n_items)
        self.load_state_dict({"heat": heat.astype(np.float32)}, items)

    def recommend(self, requests, k, draws):
        self._must_be_fitted()
        requests, creator = requests.newest(self.config.memory), self.items.creator
        dislikes = np.zeros((len(requests), self.items.n_creators), dtype=np.float32)
        row, column = np.nonzero(requests.history_feedback & Feedback.DISLIKE)
        np.add.at(dislikes, (row, creator[requests.history_item[row, column]]), 1)
        score = self.heat * self.config.forgiveness ** dislikes[:, creator]
        row, column = np.nonzero(requests.history_item >= 0)
        score[row, requests.history_item[row, column]] = -1  # what was seen goes last
        return top_k(score, requests.eligible, k)

    def state_dict(self):
        self._must_be_fitted()
        return {"heat": self.heat.copy()}

    def load_state_dict(self, state, items):
        if "heat" not in state or state["heat"].shape != (items.n_items,):
            raise RecommenderError(f"trending: expected heat, a number for each of {items.n_items} items")
        self.heat, self.items = state["heat"].copy(), items

    def _must_be_fitted(self):
        if self.items is None:
            raise RecommenderError("trending: got no fitted state, expected `fit` first")
