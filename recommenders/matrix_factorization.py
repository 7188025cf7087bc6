"""Matrix factorisation of implicit feedback by alternating least squares; users are folded in from their histories.

    minimise  sum_ui c_ui (p_ui - x_u . y_i)^2 + r (sum_u |x_u|^2 + sum_i |y_i|^2)
    p_ui = 1 if u has dwelt long on i or liked it, else 0      c_ui = 1 + a p_ui
    x_u = (Y'Y + r I + a sum_i p_ui y_i y_i')^-1 (1 + a) sum_i p_ui y_i      and likewise for items

Y has a row an item. With the items' factors given, x_u is a function of the user's own history, so that a new user, or
one who has done something since, needs no new fit. It reads no dislikes, and a disliked item counts if dwelt on long.

Source: Hu, Koren & Volinsky 2008, ICDM, whose c_ui grows with the number of interactions; here once counts as often.
Folding in from the last `window` interactions in place of all is ours.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from pydantic import Field
from scipy import sparse

from recommenders.base import (
    PADDING,
    Config,
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
from recommenders.ease import latest_entries
from recommenders.popularity import positive_count
from recommenders.stored_state import stored_places
from recommenders.topk import hide_viewed, top_k

BATCH = 64
"""Users scored at a time: float32 products depend on the shape, so it never changes; the scores stay in the cache."""

CELLS_AT_A_TIME = 2**18
"""Cells of padded rows that are solved for at once: 64 MiB of factors at 32 dimensions."""


class MatrixFactorizationConfig(Config):
    """Settings of matrix factorisation."""

    window: Annotated[int, Field(ge=1, le=1000)] = 50
    """How many past interactions are read at serving; training reads the whole log."""
    dim: Annotated[int, Field(ge=1, le=512)] = 32
    """Length of a factor."""
    iterations: Annotated[int, Field(ge=1, le=1000)] = 10
    """How often the users' and the items' factors are solved for, in turns."""
    regularisation: Annotated[float, Field(gt=0)] = 1.0
    """Weight r of the penalty on the factors."""
    confidence: Annotated[float, Field(gt=0)] = 10.0
    """Weight a that a long dwell or like adds to that of an item not met, which is 1."""
    filter_viewed: bool = True
    """Whether items of the window are kept from being shown again."""


class MatrixFactorization:
    """Implicit ALS: a linear model of low rank, between popularity and EASE."""

    config_class: ClassVar[type[Config]] = MatrixFactorizationConfig

    def __init__(self, config: MatrixFactorizationConfig) -> None:
        self.config = config
        self.traits = Traits(history_length=config.window, nested=True)
        self._state: _Factors | None = None

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        """Alternate between the users' and the items' factors, from small random ones of the users."""
        config = self.config
        _, user = np.unique(log.user, return_inverse=True)
        entries = latest_entries(user, log.item, log.feedback, None)
        by_user = entries.matrix(int(user.max(initial=-1)) + 1, np.arange(items.n_items, dtype=np.int32), items.n_items)
        by_item = sparse.csr_array(by_user.T)
        # Users' factors are the random ones, so that the numbers of the items decide nothing.
        user_factor = np.random.default_rng(seed).normal(0, 0.1, (by_user.shape[0], config.dim))
        item_factor = _solved(by_item, user_factor, config)
        for iteration in range(config.iterations):
            user_factor = _solved(by_user, item_factor, config)
            item_factor = _solved(by_item, user_factor, config)
            if progress is not None:
                progress(iteration + 1, config.iterations)
        popular = np.argsort(-positive_count(log, items.n_items), kind="stable").astype(np.int32)
        self._take(popular, item_factor.astype(np.float32))

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        """The `k` eligible items with the highest scores, then popularity, then the lower id.

        Raises:
            RecommenderError: not fitted, or fewer than `k` items are eligible.
        """
        fitted = self._fitted()
        eligible = requests.eligible[fitted.popular]
        parts = []
        for start in range(0, max(len(requests), 1), BATCH):
            rows = slice(start, start + BATCH)
            item = requests.history_item[rows, -self.config.window :]
            score = self._ranked_scores(item, requests.history_feedback[rows, -self.config.window :])
            if self.config.filter_viewed:
                hide_viewed(score, np.where(item == PADDING, PADDING, fitted.place[item]))
            parts.append(top_k(score, eligible, k))
        place = np.concatenate([part.item for part in parts])
        return Slates(item=fitted.popular[place], score=np.concatenate([part.score for part in parts]))

    def scores(self, requests: Requests) -> Float32:
        """x_u . y_i: float32[n, n_items]; 0 for users without and items that nobody dwelt on long or liked.

        Raises:
            RecommenderError: not fitted.
        """
        fitted = self._fitted()
        score = np.empty((len(requests), len(fitted.popular)), np.float32)
        for start in range(0, len(requests), BATCH):
            rows = slice(start, start + BATCH)
            item = requests.history_item[rows, -self.config.window :]
            feedback = requests.history_feedback[rows, -self.config.window :]
            score[rows, fitted.popular] = self._ranked_scores(item, feedback)
        return score

    def state_dict(self) -> State:
        """`popular`: int32[n_items], the ranking; `factor`: float32[n_items, dim]."""
        fitted = self._fitted()
        return {"popular": fitted.popular.copy(), "factor": fitted.factor.copy()}

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        """Take over ranking and factors.

        Raises:
            RecommenderError: an array is missing, or the state is for another number of items or dimensions.
        """
        check_state_names(state, ["popular", "factor"])
        popular = stored_places(state, "popular", items.n_items)
        factor = np.array(state["factor"], np.float32)
        if popular.shape != (items.n_items,):
            raise RecommenderError(f"state: popular: got shape {popular.shape}, expected ({items.n_items},)")
        if factor.shape != (items.n_items, self.config.dim):
            raise RecommenderError(
                f"state: factor: got shape {factor.shape}, expected ({items.n_items}, {self.config.dim})"
            )
        self._take(popular, factor)

    def _take(self, popular: Int32, factor: Float32) -> None:
        place = np.empty(len(popular), np.int32)
        place[popular] = np.arange(len(popular), dtype=np.int32)
        ranked = factor[popular]
        exact = ranked.astype(np.float64)
        self._state = _Factors(popular, place, factor, np.ascontiguousarray(ranked.T), exact, exact.T @ exact)

    def _fitted(self) -> _Factors:
        if self._state is None:
            raise RecommenderError(
                "matrix_factorization: got no fitted state, expected `fit` or `load_state_dict` first"
            )
        return self._state

    def _ranked_scores(self, item: Int32, feedback: UInt8) -> Float32:
        """Scores in the order of the ranking: float32[n, n_items], n at most `BATCH`."""
        fitted = self._fitted()
        row, column = np.nonzero(item != PADDING)
        entries = latest_entries(row, fitted.place[item[row, column]], feedback[row, column], None)
        history = entries.matrix(BATCH, np.arange(len(fitted.place), dtype=np.int32), len(fitted.place))
        state = _least_squares(history, fitted.exact, fitted.gram, self.config, self.config.window).astype(np.float32)
        score: Float32 = (state @ fitted.column)[: len(item)]
        return score


class _Factors(NamedTuple):
    """A fitted state, with what serving reads.

    Attributes:
        popular: int32[n_items], the ranking; place: int32[n_items], an item's place in it.
        factor: float32[n_items, dim]; column: float32[dim, n_items], in the order of the ranking.
        exact: float64[n_items, dim], in the order of the ranking; gram: float64[dim, dim], Y'Y.
    """

    popular: Int32
    place: Int32
    factor: Float32
    column: Float32
    exact: Float64
    gram: Float64


def _solved(x: sparse.csr_array, other: Float64, config: MatrixFactorizationConfig) -> Float64:
    """The rows' factors, given the columns': float64[n_rows, dim]; rows of like length are solved for together."""
    length = np.diff(x.indptr)
    gram = other.T @ other
    factor = np.zeros((x.shape[0], config.dim))
    order = np.argsort(length, kind="stable")
    start = int(np.searchsorted(length[order], 1))
    while start < len(order):
        # Rows come with growing length: as many as fit at the length of the last of them.
        widest = length[order[start:]] * np.arange(1, len(order) - start + 1)
        stop = start + max(1, int(np.searchsorted(widest, CELLS_AT_A_TIME, side="right")))
        rows = order[start:stop]
        factor[rows] = _least_squares(x[rows], other, gram, config, int(length[rows[-1]]))
        start = stop
    return factor


def _least_squares(
    x: sparse.csr_array, other: Float64, gram: Float64, config: MatrixFactorizationConfig, width: int
) -> Float64:
    """The rows' factors: float64[n_rows, dim], each computed from its own row alone, for a given width.

    Args:
        x: [n_rows, n_columns], ones.
        other: float64[n_columns, dim].
        gram: float64[dim, dim], the product of `other` with itself.
        config: confidence and regularisation.
        width: at least the number of entries of any row.
    """
    n_rows, length = x.shape[0], np.diff(x.indptr)
    row = np.repeat(np.arange(n_rows), length)
    met = np.zeros((n_rows, width, other.shape[1]))
    met[row, np.arange(len(row)) - x.indptr[:-1][row]] = other[x.indices]
    system = config.confidence * (met.transpose(0, 2, 1) @ met)
    system += gram + config.regularisation * np.eye(other.shape[1])
    return np.linalg.solve(system, (1 + config.confidence) * met.sum(axis=1)[..., None])[..., 0]
