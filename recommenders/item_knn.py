"""Item-based nearest neighbours: what was liked together with what the user liked."""

from __future__ import annotations

from typing import Annotated, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy import sparse

from recommenders.base import (
    PADDING,
    Bool,
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
from recommenders.contract import check_state_names
from recommenders.popularity import positive_count
from recommenders.sequences import is_positive, runs
from recommenders.stored_state import stored_matrix, stored_places
from recommenders.topk import eligible_items, hide_viewed, top_k

SPARSE_FROM_ITEMS = 10_000
"""Catalogue size from which the zeros are not written out: 1,024 histories of 50, top 10, take 0.04 s dense and 0.12 s
sparse at 2,000 items, 0.20 s both ways at 10,000, 1.9 s against 0.14 s at 100,000 (one core)."""
BLOCK_CELLS = 4_000_000
"""How many co-occurrences are held at a time while neighbours are found, about 100 MiB."""

_STATE = ("by_popularity", "similarity_data", "similarity_indices", "similarity_indptr")


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
        self.traits = Traits(history_length=config.window, nested=True)
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
        item = requests.history_item[:, -self.config.window :]
        place = np.empty_like(popular)
        place[popular] = np.arange(len(popular), dtype=np.int32)
        viewed = np.where(item == PADDING, PADDING, place[item])
        if not self.config.filter_viewed:
            viewed = viewed[:, :0]
        rank = top_k_of_dense if len(popular) < SPARSE_FROM_ITEMS else top_k_of_sparse
        best = rank(self._scores_by_popularity(requests), viewed, requests.eligible[popular], k)
        return Slates(item=popular[best.item], score=best.score)

    def scores(self, requests: Requests) -> Float32:
        """Sums of similarities: float32[n, n_items]; `recommend` breaks their ties by popularity."""
        score = np.empty((len(requests), len(self._fitted()[0])), np.float32)
        score[:, self._fitted()[0]] = self._scores_by_popularity(requests).toarray()
        return score

    def _scores_by_popularity(self, requests: Requests) -> sparse.csr_array:
        """Scores that are not zero: float32[n, n_items], columns from the most to the least popular item."""
        popular, similarity = self._fitted()
        item = requests.history_item[:, -self.config.window :]
        feedback = requests.history_feedback[:, -self.config.window :]
        row, column = np.nonzero((item != PADDING) & is_positive(feedback, except_disliked=False))
        ones = np.ones(len(row), np.float32)
        history = sparse.coo_array((ones, (row, item[row, column])), shape=(len(item), len(popular))).tocsr()
        history.sum_duplicates()
        # SciPy multiplies row by row, in the order of the row's sorted items: no row sees its batch-mates.
        return sparse.csr_array(history @ similarity)

    def state_dict(self) -> State:
        """The ranking by popularity and the similarity matrix in CSR form."""
        popular, similarity = self._fitted()
        return {
            "by_popularity": popular.copy(),
            "similarity_data": similarity.data.copy(),
            "similarity_indices": similarity.indices.astype(np.int32),
            "similarity_indptr": similarity.indptr.astype(np.int64),
        }

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        """Take over ranking and similarities.

        Raises:
            RecommenderError: an array is missing, or the state is for another number of items.
        """
        check_state_names(state, _STATE)
        popular = stored_places(state, "by_popularity", items.n_items)
        if popular.shape != (items.n_items,):
            raise RecommenderError(f"state: by_popularity: got shape {popular.shape}, expected ({items.n_items},)")
        self._similarity = stored_matrix(state, "similarity_", items.n_items)
        self._by_popularity = popular

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


def top_k_of_dense(score: sparse.csr_array, viewed: Int32, eligible: Bool, k: int) -> Slates:
    """The `k` best columns of each row, zeros and viewed ones included: the obvious way, by writing all scores out.

    Args:
        score: float32[n, n_items], > 0 where stored.
        viewed: int32[n, h], columns that go behind all others; -1 where padded.
        eligible: bool[n_items].
        k: at least 1.

    Returns:
        Slates of columns; ties go to the lower one.

    Raises:
        RecommenderError: fewer than `k` columns are eligible.
    """
    dense = score.toarray()
    hide_viewed(dense, viewed)
    return top_k(dense, eligible, k)


def top_k_of_sparse(score: sparse.csr_array, viewed: Int32, eligible: Bool, k: int) -> Slates:
    """What `top_k_of_dense` gives, bit for bit, without writing the zeros out.

    Of the columns with score zero only the lowest can be shown, and there are enough of them among the lowest k + h
    eligible ones: those join the stored columns, and the few that a row then has are ranked.
    """
    n, n_items = score.shape
    column = eligible_items(eligible, k)[: k + viewed.shape[1]]
    stored = score.tocoo()
    shown = eligible[stored.coords[1]]
    filled_row, filled_column = np.repeat(np.arange(n), len(column)), np.tile(column, n)
    candidates = sparse.coo_array(
        (
            np.concatenate([stored.data[shown], np.zeros(n * len(column), np.float32)]),
            (
                np.concatenate([stored.coords[0][shown], filled_row]),
                np.concatenate([stored.coords[1][shown], filled_column]),
            ),
        ),
        shape=(n, n_items),
    ).tocsr()
    data, index = candidates.data, candidates.indices
    length = np.diff(candidates.indptr)
    row = np.repeat(np.arange(n), length)
    # Cells as numbers ascend with row and column; a viewed column that is no candidate is found nowhere.
    cell = row * n_items + index
    seen_row, seen = np.nonzero(viewed != PADDING)
    seen_cell = seen_row * n_items + viewed[seen_row, seen]
    found = np.minimum(np.searchsorted(cell, seen_cell), len(cell) - 1)
    data[found[cell[found] == seen_cell]] = np.finfo(np.float32).min
    # Left-aligned, padded with what no candidate can lose against; columns ascend, so that ties go as they should.
    width = int(length.max(initial=k))
    at = np.arange(len(data)) - np.repeat(candidates.indptr[:-1], length)
    table = np.full((n, width), -np.inf, np.float32)
    table[row, at] = data
    best = top_k(table, np.ones(width, np.bool_), k)
    return Slates(item=index[candidates.indptr[:-1, None] + best.item].astype(np.int32), score=best.score)


def nearest_neighbours(
    windows: sparse.csr_array, neighbours: int, shrinkage: float, block_cells: int = BLOCK_CELLS
) -> sparse.csr_array:
    """Shrunk cosine similarities between the columns of a binary matrix, the largest of each row kept.

    Works through the items in blocks, those with about as many co-occurrences together: the memory needed is that of
    the windows, the answer and a block, whatever the number of co-occurrences.

    Args:
        windows: float32[w, n_items] of 0 and 1.
        neighbours: entries kept per row; ties go to the lower column.
        shrinkage: added to the denominator.
        block_cells: bound on the co-occurrences held at a time, which one item may exceed; changes no result.

    Returns:
        float32[n_items, n_items] with common / (sqrt(count_i count_j) + shrinkage), without its diagonal.
    """
    n_items = windows.shape[1]
    by_item = sparse.csr_array(windows.T)
    count = np.asarray(windows.sum(0)).reshape(-1)
    # An item meets at most as many others as its windows have entries.
    n_together = np.minimum(by_item @ np.diff(windows.indptr).astype(np.float64), n_items).astype(np.int64)
    parts = [_Neighbours.none()]
    for block in _blocks(n_together, block_cells):
        together = sparse.csr_array(by_item[block] @ windows).tocoo()
        row, column = block[together.coords[0]], together.coords[1]
        apart = row != column
        row, column, common = row[apart], column[apart], together.data[apart]
        value: Float32 = (common / (np.sqrt(count[row] * count[column]) + shrinkage)).astype(np.float32)
        parts.append(_Neighbours(row, column, value).nearest(neighbours))
    row, column, value = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return sparse.coo_array((value, (row, column)), shape=(n_items, n_items)).tocsr()


class _Neighbours(NamedTuple):
    """Entries of a similarity matrix in order of row: int64[e], int64[e], float32[e]."""

    row: Int64
    column: Int64
    value: Float32

    @staticmethod
    def none() -> _Neighbours:
        return _Neighbours(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))

    def nearest(self, neighbours: int) -> _Neighbours:
        """The entries with the highest values of each row; ties go to the lower column."""
        start, length = runs(self.row.astype(np.int32))
        # Sorting is what costs: drop what is below the row's threshold first.
        width = int(length.max(initial=0))
        if width > neighbours:
            table = np.full((len(start), width), -np.inf, np.float32)
            at = np.arange(len(self.row)) - np.repeat(start, length)
            run = np.repeat(np.arange(len(start)), length)
            table[run, at] = self.value
            threshold = np.partition(table, width - neighbours, axis=1)[:, width - neighbours]
            return self._take(np.flatnonzero(self.value >= threshold[run]))._first(neighbours)
        return self

    def _first(self, neighbours: int) -> _Neighbours:
        """The first entries of each row in descending order of value, then ascending order of column."""
        order = np.lexsort((self.column, -self.value, self.row))
        start, length = runs(self.row[order].astype(np.int32))
        rank = np.arange(len(order)) - np.repeat(start, length)
        return self._take(order[rank < neighbours])

    def _take(self, entries: npt.NDArray[np.intp]) -> _Neighbours:
        return _Neighbours(self.row[entries], self.column[entries], self.value[entries])


def _blocks(size: Int64, total: int) -> list[Int64]:
    """The numbers of what has a size, smallest first; a block's largest size times its length is at most `total`."""
    order = np.argsort(size, kind="stable")
    order = order[size[order] > 0]
    blocks = []
    start = 0
    while start < len(order):
        # In the worst case every member is as large as the largest, which comes last.
        cells = size[order[start:]] * np.arange(1, len(order) - start + 1)
        stop = start + max(1, int(np.searchsorted(cells, total, side="right")))
        blocks.append(order[start:stop])
        start = stop
    return blocks
