"""Down-rank what is near to push-back, by distance."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from recommenders.base import (
    Config,
    Float32,
    Float64,
    Int32,
    Interactions,
    ItemFeatures,
    Progress,
    RecommenderError,
    Requests,
    State,
)
from recommenders.contract import check_state_names
from recommenders.heuristics.heuristic import Heuristic, HeuristicConfig
from recommenders.heuristics.item_vectors import consumption_vectors, similarity
from recommenders.heuristics.negatives import Negatives
from recommenders.heuristics.ranking import penalised
from recommenders.sequences import runs

_BLOCK = 256
IntP = npt.NDArray[np.intp]


class DownRankSimilarConfig(HeuristicConfig):
    """Settings of down-ranking by distance."""

    penalty: Annotated[float, Field(ge=0, le=1e6)] = 2.0
    """Penalty at distance 0, in standard deviations of the request's scores."""
    radius: Annotated[float, Field(gt=0, le=2)] = 0.8
    """Distance, one minus similarity, from which on there is no penalty."""
    consumption_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight in the similarity of being consumed by the same users: the cosine of co-consumption vectors."""
    creator_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight in the similarity of having the same creator."""
    topic_weight: Annotated[float, Field(ge=0)] = 0.5
    """Weight in the similarity of having the same topic."""
    dim: Annotated[int, Field(ge=1, le=512)] = 32
    """Dimension of the co-consumption vectors."""
    shrinkage: Annotated[float, Field(ge=0)] = 10.0
    """Added to an item's count in the co-consumption, so that rare coincidences count little."""

    @model_validator(mode="after")
    def _something_counts(self) -> Self:
        if not any(self.weights()):
            raise ValueError("expected a weight above 0 among consumption_weight, creator_weight and topic_weight")
        return self

    def weights(self) -> tuple[float, float, float]:
        """Of co-consumption, creator and topic."""
        return self.consumption_weight, self.creator_weight, self.topic_weight


class DownRankSimilar(Heuristic):
    """Lowers items near to recent push-back: by the whole penalty at distance 0, by nothing from the radius on.

    The nearest push-back counts, with distance = 1 - similarity and the penalty falling linearly. Similarity is the
    weighted mean of the cosine of co-consumption vectors, which are made from the log and so are there for any model,
    and of sharing the creator and the topic, which holds for new items too. What is near thus depends on the log, so
    that no response is declared to be to the creator, or to the topic.
    """

    config_class: ClassVar[type[Config]] = DownRankSimilarConfig

    def __init__(self, config: DownRankSimilarConfig) -> None:
        super().__init__(config)
        self.config = config
        self._vector: Float64 = np.empty((0, 0))

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        """Fit the wrapped model and make the co-consumption vectors."""
        super().fit(log, items, seed=seed, progress=progress)
        self._vector = consumption_vectors(log, items.n_items, self.config.dim, self.config.shrinkage, seed)

    def rescored(self, score: Float32, requests: Requests, negatives: Negatives, items: ItemFeatures) -> Float32:
        """The scores less the penalties."""
        amount = np.zeros(score.shape, np.float32)
        # In blocks, since each has a matrix of its pushed-back items by all items.
        for first in range(0, len(score), _BLOCK):
            block = slice(*np.searchsorted(negatives.request, (first, first + _BLOCK)))
            self._add_closeness(amount, negatives.request[block], negatives.item[block], items)
        return penalised(score, requests.eligible, self.config.penalty, amount)

    def _add_closeness(self, amount: Float32, request: IntP, item: Int32, items: ItemFeatures) -> None:
        """Raise amounts to the closeness of each request's nearest push-back; requests and items in pairs, sorted."""
        pushed, place = np.unique(item, return_inverse=True)
        closeness = similarity(self._vector, (items.creator, items.topic), self.config.weights(), pushed)
        closeness -= np.float32(1 - self.config.radius)
        closeness /= np.float32(self.config.radius)
        np.maximum(closeness, 0, out=closeness)
        # One pass for all requests' first push-back, one for their second, and so on: there are few.
        start, length = runs(request.astype(np.int32))
        for nth in range(int(length.max(initial=0))):
            chosen = start[length > nth] + nth
            row = request[chosen]
            amount[row] = np.maximum(amount[row], closeness[place[chosen]])

    def state_dict(self) -> State:
        """The wrapped model's state after `model.`, and `vector`: float64[n_items, d]."""
        return {**super().state_dict(), "vector": self._vector.copy()}

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        """Take over the wrapped model's state and the vectors.

        Raises:
            RecommenderError: an array is missing, or the state is for another number of items.
        """
        check_state_names(state, ["vector"])
        vector = np.array(state["vector"], np.float64)
        if len(vector) != items.n_items:
            raise RecommenderError(f"state: vector: got {len(vector)} rows, expected {items.n_items}")
        super().load_state_dict(state, items)
        self._vector = vector
