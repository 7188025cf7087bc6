"""Drop what was disliked from what a model reads, in training and in serving."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from recommenders.base import (
    PADDING,
    Config,
    Float32,
    Interactions,
    ItemFeatures,
    Progress,
    RequestDraws,
    Requests,
    Slates,
    State,
)
from recommenders.heuristics.negatives import NegativeKind, is_negative
from recommenders.heuristics.wrapped import (
    ModelConfig,
    build_scorer,
    nested,
    unnested,
    viewed_window,
    without_newest,
)
from recommenders.topk import top_k

Number = TypeVar("Number", bound=np.generic)


class DropDislikedConfig(Config):
    """Settings of dropping."""

    model: ModelConfig = Field(default_factory=ModelConfig)
    """The model that never hears of what is dropped."""
    feedback: Annotated[tuple[NegativeKind, ...], Field(min_length=1)] = ("dislike",)
    """Which interactions are dropped."""
    interactions: Annotated[int, Field(ge=1, le=1000)] = 100
    """How many of the newest interactions are looked at, so that the model's window fills up after the dropping."""


class DropDisliked:
    """The wrapped model, as if interactions with push-back had never been.

    Its log lacks them, and so do its histories, which move up to the right. What was dropped is still kept from being
    shown again wherever the wrapped model would have done so.

    Source: Wang et al. 2023, RecSys '23, arXiv 2308.12256 (an arm of theirs: disliked items dropped from the input).
    """

    config_class: ClassVar[type[Config]] = DropDislikedConfig

    def __init__(self, config: DropDislikedConfig) -> None:
        self.config = config
        self.model = build_scorer(config.model)
        self.viewed_window = viewed_window(self.model)
        length = max(self.model.traits.history_length, config.interactions)
        # The model never hears of a dislike, so that what it declares of its answer is not true of this.
        self.traits = dataclasses.replace(self.model.traits, history_length=length, dislike_response=None)

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        """Fit the wrapped model to the log without push-back."""
        self.model.fit(log.take(~is_negative(log.feedback, self.config.feedback)), items, seed=seed, progress=progress)

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        """The `k` eligible items with the highest scores, ties to the lower id.

        Raises:
            RecommenderError: not fitted, or fewer than `k` items are eligible.
        """
        score = without_newest(self.scores(requests), requests, self.viewed_window)
        return top_k(score, requests.eligible, k)

    def scores(self, requests: Requests) -> Float32:
        """The wrapped model's scores after the histories without push-back: float32[n, n_items]."""
        seen = without_negatives(requests.newest(self.traits.history_length), self.config.feedback)
        return self.model.scores(seen.newest(self.model.traits.history_length))

    def state_dict(self) -> State:
        """The wrapped model's state, each name after `model.`."""
        return nested(self.model.state_dict())

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        """Take over the wrapped model's state.

        Raises:
            RecommenderError: the wrapped model refuses it.
        """
        self.model.load_state_dict(unnested(state), items)


def without_negatives(requests: Requests, kinds: tuple[NegativeKind, ...]) -> Requests:
    """The requests with histories of the same width from which push-back is gone, aligned to the right again."""
    kept = (requests.history_item != PADDING) & ~is_negative(requests.history_feedback, kinds)
    order = np.argsort(kept, axis=1, kind="stable")
    filled = np.take_along_axis(kept, order, 1)

    def moved(column: npt.NDArray[Number], padding: int) -> npt.NDArray[Number]:
        return np.where(filled, np.take_along_axis(column, order, 1), column.dtype.type(padding))

    return dataclasses.replace(
        requests,
        history_item=moved(requests.history_item, PADDING),
        history_feedback=moved(requests.history_feedback, 0),
        history_dwell_seconds=moved(requests.history_dwell_seconds, 0),
        history_tick=moved(requests.history_tick, 0),
    )
