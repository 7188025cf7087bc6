"""EASE: a linear autoencoder without a hidden layer, solved in closed form; our option reads dislikes, too.

    minimise ||X - X B||^2 + r ||B||^2  with diag(B) = 0
    P = (X'X + r I)^-1      B_ij = -P_ij / P_jj  for i != j

X has a row a user and a column an item. The scores of a user with history x are x B: an item is never explained by
itself. What is not sequential in a sequence model's results can be told from what EASE reaches.

Source: Steck 2019, WWW (X of zeros and ones). Entries other than 0 and 1 for disliked items, called signed EASE here,
are ours, as is dropping items without an entry before inverting, which changes nothing: their rows and columns of B are
zero.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy import sparse
from scipy.linalg import lapack

from recommenders.base import (
    PADDING,
    Config,
    DislikeResponse,
    Feedback,
    Float32,
    Float64,
    Int32,
    Interactions,
    ItemFeatures,
    Progress,
    RecommenderError,
    RequestDraws,
    Requests,
    Slates,
    State,
    Traits,
    UInt8,
)
from recommenders.contract import check_state_names
from recommenders.popularity import positive_count
from recommenders.sequences import is_positive
from recommenders.stored_state import stored_places
from recommenders.topk import hide_viewed, top_k

ROWS_AT_A_TIME = 256
"""Rows of the Gram matrix that are written out at once."""


class EaseConfig(Config):
    """Settings of EASE."""

    window: Annotated[int, Field(ge=1, le=1000)] = 50
    """How many past interactions are read at serving; training reads the whole log."""
    regularisation: Annotated[float, Field(gt=0)] = 100.0
    """Weight r of the penalty on B, in users; larger for longer logs."""
    dislike_value: float | None = None
    """A disliked item's entry in X, beside 1 for a positive one: negative for signed EASE, 0 to count for nothing even
    if dwelt on long; null does not look at dislikes."""
    max_items: Annotated[int, Field(ge=1)] = 10_000
    """Refuse to fit more items with an entry: memory grows with their square, time with their cube."""
    filter_viewed: bool = True
    """Whether items of the window are kept from being shown again."""


class Ease:
    """Linear item-to-item weights in closed form; with a dislike value, a reference that reads dislikes."""

    config_class: ClassVar[type[Config]] = EaseConfig

    def __init__(self, config: EaseConfig) -> None:
        self.config = config
        signed = config.dislike_value is not None and config.dislike_value < 0
        self.traits = Traits(
            history_length=config.window,
            nested=True,
            # The disliked item's own weights change their sign, wherever in the window it stands.
            dislike_response=DislikeResponse() if signed else None,
        )
        self._state: _Solved | None = None

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        """Solve for the item-to-item weights. Of several interactions of a user with an item the latest one counts.

        Raises:
            RecommenderError: more than `max_items` items have an entry.
        """
        _, user = np.unique(log.user, return_inverse=True)
        entries = latest_entries(user, log.item, log.feedback, self.config.dislike_value)
        popular = np.argsort(-positive_count(log, items.n_items), kind="stable").astype(np.int32)
        active = popular[np.isin(popular, entries.item[entries.value != 0])]
        if len(active) > self.config.max_items:
            raise RecommenderError(
                f"ease: log: got {len(active):,} items with an entry, expected at most max_items ="
                f" {self.config.max_items:,}: fitting takes about {12e-9 * len(active) ** 2:.1f} GB"
            )
        x = entries.matrix(int(user.max(initial=-1)) + 1, _column_of(active, items.n_items), len(active))
        self._state = _Solved(popular, active, _weights(x, self.config.regularisation))

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        """The `k` eligible items with the highest scores, then popularity, then the lower id.

        Raises:
            RecommenderError: not fitted, or fewer than `k` items are eligible.
        """
        popular = self._fitted().popular
        score = self.scores(requests)
        if self.config.filter_viewed:
            hide_viewed(score, requests.history_item[:, -self.config.window :])
        best = top_k(score[:, popular], requests.eligible[popular], k)
        return Slates(item=popular[best.item], score=best.score)

    def scores(self, requests: Requests) -> Float32:
        """x B for each history x: float32[n, n_items]; 0 for items that the log says nothing of.

        Raises:
            RecommenderError: not fitted.
        """
        fitted = self._fitted()
        n_items = len(fitted.popular)
        item = requests.history_item[:, -self.config.window :]
        feedback = requests.history_feedback[:, -self.config.window :]
        row, place = np.nonzero(item != PADDING)
        entries = latest_entries(row, item[row, place], feedback[row, place], self.config.dislike_value)
        history = entries.matrix(len(item), _column_of(fitted.active, n_items), len(fitted.active))
        score = np.zeros((len(item), n_items), np.float32)
        # SciPy adds up row by row, oldest entry first: no row sees its batch-mates.
        score[:, fitted.active] = history.astype(np.float32) @ fitted.weight
        return score

    def state_dict(self) -> State:
        """`popular`: int32[n_items], the ranking; `active`: int32[a], items with weights; `weight`: float32[a, a]."""
        return {name: value.copy() for name, value in self._fitted()._asdict().items()}

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        """Take over ranking and weights.

        Raises:
            RecommenderError: an array is missing, or the state is for another number of items.
        """
        check_state_names(state, _Solved._fields)
        popular, active = (stored_places(state, name, items.n_items) for name in ("popular", "active"))
        weight = np.array(state["weight"], np.float32)
        if popular.shape != (items.n_items,):
            raise RecommenderError(f"state: popular: got shape {popular.shape}, expected ({items.n_items},)")
        if weight.shape != (len(active), len(active)):
            raise RecommenderError(f"state: weight: got shape {weight.shape}, expected ({len(active)}, {len(active)})")
        self._state = _Solved(popular, active, weight)

    def _fitted(self) -> _Solved:
        if self._state is None:
            raise RecommenderError("ease: got no fitted state, expected `fit` or `load_state_dict` first")
        return self._state


class _Solved(NamedTuple):
    popular: Int32
    active: Int32
    weight: Float32


class Entries(NamedTuple):
    """Entries of a matrix of rows and items, at most one a cell, oldest first: intp[e], int32[e], float64[e]."""

    row: npt.NDArray[np.intp]
    item: Int32
    value: Float64

    def matrix(self, n_rows: int, column: Int32, n_columns: int) -> sparse.csr_array:
        """As float64[n_rows, n_columns], `column[item]` being an item's column and -1 leaving it out."""
        kept = np.flatnonzero((column[self.item] >= 0) & (self.value != 0))
        kept = kept[np.argsort(self.row[kept], kind="stable")]
        indptr = np.concatenate([[0], np.cumsum(np.bincount(self.row[kept], minlength=n_rows))])
        # Put together by hand: the order within a row stays that of time, which no numbering of the items changes.
        return sparse.csr_array((self.value[kept], column[self.item[kept]], indptr), shape=(n_rows, n_columns))


def latest_entries(row: npt.NDArray[np.intp], item: Int32, feedback: UInt8, dislike_value: float | None) -> Entries:
    """What some interactions say of items: the latest word of each row on each item.

    Args:
        row: intp[e], such as users.
        item: int32[e], none padded.
        feedback: uint8[e], oldest first within a row.
        dislike_value: value of a dislike, which then outweighs a long dwell; None does not look at dislikes.

    Returns:
        1 for positive feedback, the dislike's value for a dislike; feedback that is neither makes no entry.
    """
    value = is_positive(feedback, except_disliked=False).astype(np.float64)
    speaks = value != 0
    if dislike_value is not None:
        disliked = (feedback & Feedback.DISLIKE) != 0
        value[disliked] = dislike_value
        speaks |= disliked
    at = np.flatnonzero(speaks)
    # np.unique keeps the first of equal cells: of the reversed order, the latest.
    cell = row[at].astype(np.int64) << 32 | item[at]
    _, first = np.unique(cell[::-1], return_index=True)
    at = np.sort(at[len(at) - 1 - first])
    return Entries(row[at], item[at], value[at])


def _column_of(active: Int32, n_items: int) -> Int32:
    """The column of each item: int32[n_items]; -1 for none."""
    column = np.full(n_items, PADDING, np.int32)
    column[active] = np.arange(len(active), dtype=np.int32)
    return column


def _weights(x: sparse.csr_array, regularisation: float) -> Float32:
    """B: float32[a, a], from X: float64[users, a]; inverted in float64, in place.

    Raises:
        RecommenderError: the penalty is lost in the rounding of X'X.
    """
    n_items = x.shape[1]
    if n_items == 0:
        return np.empty((0, 0), np.float32)
    by_item = sparse.csr_array(x.T)
    gram = np.empty((n_items, n_items), np.float64, order="F")
    for start in range(0, n_items, ROWS_AT_A_TIME):
        # By symmetry a block of rows is a block of columns, which lie together in memory.
        gram[:, start : start + ROWS_AT_A_TIME] = (by_item[start : start + ROWS_AT_A_TIME] @ x).toarray().T
    gram[np.diag_indices(n_items)] += regularisation
    # The penalty makes it positive definite: a Cholesky factor and, from it, the lower triangle of the inverse.
    factor, failed = lapack.dpotrf(gram, lower=1, overwrite_a=1)
    if failed:
        raise RecommenderError(
            f"ease: regularisation: got {regularisation}, expected enough to make X'X + r I invertible in float64"
        )
    inverse, _ = lapack.dpotri(factor, lower=1, overwrite_c=1)
    diagonal = inverse.diagonal().copy()
    weight = np.empty((n_items, n_items), np.float32)
    for start in range(0, n_items, ROWS_AT_A_TIME):
        block = slice(start, min(start + ROWS_AT_A_TIME, n_items))
        left, corner = inverse[block, :start], np.tril(inverse[block, block])
        weight[block, :start] = -left / diagonal[:start]
        weight[:start, block] = -left.T / diagonal[block]
        weight[block, block] = -(corner + np.tril(corner, -1).T) / diagonal[block]
    weight[np.diag_indices(n_items)] = 0
    return weight
