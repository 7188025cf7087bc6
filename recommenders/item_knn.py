"""Item-based nearest neighbours: what was liked together with what the user liked."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from scipy import sparse

from recommenders.base import (
    PADDING,
    Config,
    Float32,
    Int32,
    Int64,
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
from recommenders.popularity import positive_count
from recommenders.sequences import is_positive, runs
from recommenders.topk import hide_viewed, top_k


class ItemKnnConfig(Config):
    """Settings of item-kNN."""

    window: Annotated[int, Field(ge=1, le=1000)] = 50
    """How many past interactions are read, and how many consecutive positive ones count as consumed together."""
    neighbours: Annotated[int, Field(ge=1)] = 50
    """Neighbours kept per item."""
    shrinkage: Annotated[float, Field(ge=0)] = 10.0
    """Added to the denominator of the cosine, so that rare coincidences count little."""
    filter_viewed: bool = True
    """Whether items of the window are kept from being shown again."""


class ItemKnn:
    """Items co-consumed with those that the user dwelt on long or liked; popularity breaks ties and fills up."""

    config_class: ClassVar[type[Config]] = ItemKnnConfig

    def __init__(self, config: ItemKnnConfig) -> None:
        self.config = config
        self.traits = Traits(history_length=config.window)
        self._by_popularity: Int32 | None = None
        self._similarity: sparse.csr_array | None = None

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        """Compare items by the windows of users' positive feedback that they share; dislikes are not looked at."""
        popular = np.argsort(-positive_count(log, items.n_items), kind="stable").astype(np.int32)
        self._by_popularity = popular
        similarity = nearest_neighbours(
            self._windows(log, items.n_items), self.config.neighbours, self.config.shrinkage
        )
        # Columns in order of popularity: top-k then breaks ties by the lower column, the more popular item.
        self._similarity = sparse.csr_array(similarity[:, popular])
        self._similarity.sort_indices()

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        """Score = sum of similarities to the positive items of the history, then popularity, then the lower id.

        Raises:
            RecommenderError: not fitted, or fewer than `k` items are eligible.
        """
        popular, _ = self._fitted()
        score = self._scores_by_popularity(requests)
        if self.config.filter_viewed:
            item = requests.history_item[:, -self.config.window :]
            place = np.empty_like(popular)
            place[popular] = np.arange(len(popular), dtype=np.int32)
            hide_viewed(score, np.where(item == PADDING, PADDING, place[item]))
        best = top_k(score, requests.eligible[popular], k)
        return Slates(item=popular[best.item], score=best.score)

    def scores(self, requests: Requests) -> Float32:
        """Sums of similarities: float32[n, n_items]; `recommend` breaks their ties by popularity."""
        score = np.empty((len(requests), len(self._fitted()[0])), np.float32)
        score[:, self._fitted()[0]] = self._scores_by_popularity(requests)
        return score

    def _scores_by_popularity(self, requests: Requests) -> Float32:
        """Scores whose columns are the items from the most to the least popular."""
        popular, similarity = self._fitted()
        item = requests.history_item[:, -self.config.window :]
        feedback = requests.history_feedback[:, -self.config.window :]
        row, column = np.nonzero((item != PADDING) & is_positive(feedback, except_disliked=False))
        ones = np.ones(len(row), np.float32)
        history = sparse.coo_array((ones, (row, item[row, column])), shape=(len(item), len(popular))).tocsr()
        history.sum_duplicates()
        # SciPy multiplies row by row, in the order of the row's sorted items: no row sees its batch-mates.
        score: Float32 = (history @ similarity).toarray()
        return score

    def state_dict(self) -> State:
        """The ranking by popularity and the similarity matrix in CSR form."""
        popular, similarity = self._fitted()
        return {
            "by_popularity": popular,
            "similarity_data": similarity.data,
            "similarity_indices": similarity.indices.astype(np.int32),
            "similarity_indptr": similarity.indptr.astype(np.int64),
        }

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        """Take over ranking and similarities.

        Raises:
            RecommenderError: the state is for another number of items.
        """
        popular = np.array(state["by_popularity"], np.int32)
        if popular.shape != (items.n_items,):
            raise RecommenderError(f"state: by_popularity: got shape {popular.shape}, expected ({items.n_items},)")
        parts = tuple(np.array(state[f"similarity_{name}"]) for name in ("data", "indices", "indptr"))
        self._by_popularity = popular
        self._similarity = sparse.csr_array(parts, shape=(items.n_items, items.n_items))

    def _windows(self, log: Interactions, n_items: int) -> sparse.csr_array:
        """Which items had positive feedback in which window of a user: float32[windows, n_items] of 0 and 1."""
        order = np.argsort(log.user, kind="stable")
        order = order[is_positive(log.feedback[order], except_disliked=False)]
        start, count = runs(log.user[order])
        rank = np.arange(len(order)) - np.repeat(start, count)
        opens_window = rank % self.config.window == 0
        row = np.cumsum(opens_window) - 1
        shape = (int(opens_window.sum()), n_items)
        windows = sparse.coo_array((np.ones(len(order), np.float32), (row, log.item[order])), shape=shape).tocsr()
        windows.sum_duplicates()
        windows.data[:] = 1
        return windows

    def _fitted(self) -> tuple[Int32, sparse.csr_array]:
        if self._by_popularity is None or self._similarity is None:
            raise RecommenderError("item_knn: got no fitted state, expected `fit` or `load_state_dict` first")
        return self._by_popularity, self._similarity


def nearest_neighbours(windows: sparse.csr_array, neighbours: int, shrinkage: float) -> sparse.csr_array:
    """Shrunk cosine similarities between the columns of a binary matrix, the largest of each row kept.

    Args:
        windows: float32[w, n_items] of 0 and 1.
        neighbours: entries kept per row; ties go to the lower column.
        shrinkage: added to the denominator.

    Returns:
        float32[n_items, n_items] with common / (sqrt(count_i count_j) + shrinkage), without its diagonal.
    """
    together = sparse.csr_array(windows.T @ windows).tocoo()
    count = np.asarray(windows.sum(0)).reshape(-1)
    row, column = together.coords
    apart = row != column
    row, column, common = row[apart], column[apart], together.data[apart]
    value: Float32 = (common / (np.sqrt(count[row] * count[column]) + shrinkage)).astype(np.float32)
    order = np.lexsort((column, -value, row))
    start, length = runs(row[order].astype(np.int32))
    rank: Int64 = np.arange(len(order)) - np.repeat(start, length)
    kept = order[rank < neighbours]
    return sparse.coo_array((value[kept], (row[kept], column[kept])), shape=together.shape).tocsr()
