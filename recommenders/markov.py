"""First-order Markov chain: what users came to like right after what this user liked last.

    p(j | i) = (c_ij + m q_j) / (c_i + m)

with c_ij the number of times a target j followed the source i, c_i its sum over j, q_j the popularity of j as a target
(smoothed by one) and m the strength of the back-off: a source seen less often than m times speaks mostly for what is
popular. A user's score of j is the mean of p(j | i) over their latest sources, weighted by how recent they are.

Source: the item-to-item chain is Rendle, Freudenthaler & Schmidt-Thieme 2010, WWW (FPMC's unpersonalised case), counted
instead of factorised; the back-off is the Dirichlet smoothing of Zhai & Lafferty 2001, SIGIR. Reading several positions
and the choices about disliked items are ours.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy import sparse

from recommenders.base import (
    PADDING,
    Bool,
    Config,
    Feedback,
    Float32,
    Float64,
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
    UInt8,
)
from recommenders.contract import check_state_names
from recommenders.sequences import POSITIVE, is_positive
from recommenders.stored_state import stored_matrix
from recommenders.topk import hide_viewed, top_k

Disliked = Literal["unknown", "dropped", "included"]
"""What becomes of disliked items: nobody looks at dislikes; or they never count, even if dwelt on long; or they always
count, like what was dwelt on long."""

ROWS_AT_A_TIME = 256
"""Requests whose float64 scores are held at once."""

_STATE = ("count_data", "count_indices", "count_indptr", "target_count")


class MarkovConfig(Config):
    """Settings of the Markov chain."""

    window: Annotated[int, Field(ge=1, le=1000)] = 50
    """How many past interactions are read, and which ones `filter_viewed` looks at."""
    positions: Annotated[int, Field(ge=1, le=1000)] = 1
    """How many of the latest sources of the window are asked."""
    decay: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Weight of a source relative to the next newer one."""
    backoff: Annotated[float, Field(gt=0)] = 10.0
    """Strength m of the back-off to popularity, in transitions."""
    disliked_sources: Disliked = "unknown"
    """Whether disliked items are places that users come from."""
    disliked_targets: Disliked = "unknown"
    """Whether disliked items are places that users go to, which speaks for recommending them."""
    filter_viewed: bool = True
    """Whether items of the window are kept from being shown again."""


class Markov:
    """What is liked next after what the user liked last, by counting; rare sources back off to popularity."""

    config_class: ClassVar[type[Config]] = MarkovConfig

    def __init__(self, config: MarkovConfig) -> None:
        self.config = config
        self.traits = Traits(history_length=config.window, nested=True)
        self._counts: sparse.csr_array | None = None
        self._target_count: Int64 | None = None

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        """Count, for each target, the user's latest source before it."""
        source = counts_as(log.feedback, self.config.disliked_sources)
        target = counts_as(log.feedback, self.config.disliked_targets)
        came_from, went_to = transitions(log, source, target)
        counts = sparse.coo_array(
            (np.ones(len(came_from), np.int32), (came_from, went_to)), shape=(items.n_items, items.n_items)
        )
        self._counts = counts.tocsr()
        self._target_count = np.bincount(log.item[target], minlength=items.n_items).astype(np.int64)

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        """The `k` eligible items with the highest scores.

        Raises:
            RecommenderError: not fitted, or fewer than `k` items are eligible.
        """
        score = self.scores(requests)
        if self.config.filter_viewed:
            hide_viewed(score, requests.history_item[:, -self.config.window :])
        return top_k(score, requests.eligible, k)

    def scores(self, requests: Requests) -> Float32:
        """Chance that each item is the user's next target: float32[n, n_items], rows sum to 1 up to rounding.

        Raises:
            RecommenderError: not fitted.
        """
        counts, target_count = self._fitted()
        n_items, backoff = len(target_count), self.config.backoff
        popularity = (target_count + 1) / (target_count.sum() + n_items)
        strength = counts.sum(1) + backoff
        history = self._weights(requests, n_items)
        score = np.empty((len(requests), n_items), np.float32)
        # SciPy multiplies row by row, in the order of the row's sorted items: no row sees its batch-mates.
        for start in range(0, len(requests), ROWS_AT_A_TIME):
            rows = history[start : start + ROWS_AT_A_TIME].multiply(1 / strength).tocsr()
            given_source = (rows @ counts).toarray()
            has_source = np.diff(rows.indptr) > 0
            share = np.where(has_source, backoff * rows.sum(1), 1.0)
            score[start : start + ROWS_AT_A_TIME] = given_source + share[:, None] * popularity
        return score

    def state_dict(self) -> State:
        """Transition counts in CSR form and how often each item was a target."""
        counts, target_count = self._fitted()
        return {
            "count_data": counts.data.copy(),
            "count_indices": counts.indices.astype(np.int32),
            "count_indptr": counts.indptr.astype(np.int64),
            "target_count": target_count.copy(),
        }

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        """Take over the counts.

        Raises:
            RecommenderError: an array is missing, or the state is for another number of items.
        """
        check_state_names(state, _STATE)
        target_count = np.array(state["target_count"], np.int64)
        if target_count.shape != (items.n_items,):
            raise RecommenderError(f"state: target_count: got shape {target_count.shape}, expected ({items.n_items},)")
        self._counts = stored_matrix(state, "count_", items.n_items)
        self._target_count = target_count

    def _weights(self, requests: Requests, n_items: int) -> sparse.csr_array:
        """How much each item of the history speaks as a source: float64[n, n_items], rows sum to 1 or are empty."""
        item = requests.history_item[:, -self.config.window :]
        feedback = requests.history_feedback[:, -self.config.window :]
        source = (item != PADDING) & counts_as(feedback, self.config.disliked_sources)
        n_newer = source[:, ::-1].cumsum(1)[:, ::-1] - source
        row, column = np.nonzero(source & (n_newer < self.config.positions))
        weight: Float64 = self.config.decay ** n_newer[row, column].astype(np.float64)
        weight /= np.bincount(row, weights=weight, minlength=len(item))[row]
        return sparse.coo_array((weight, (row, item[row, column])), shape=(len(item), n_items)).tocsr()

    def _fitted(self) -> tuple[sparse.csr_array, Int64]:
        if self._counts is None or self._target_count is None:
            raise RecommenderError("markov: got no fitted state, expected `fit` or `load_state_dict` first")
        return self._counts, self._target_count


def counts_as(feedback: UInt8, disliked: Disliked) -> Bool:
    """Where an interaction counts: where its feedback is positive, but for what `disliked` says of dislikes."""
    if disliked == "included":
        either: Bool = (feedback & (POSITIVE | Feedback.DISLIKE)) != 0
        return either
    return is_positive(feedback, except_disliked=disliked == "dropped")


def transitions(log: Interactions, source: Bool, target: Bool) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """The pairs of a target and the latest source of the same user before it.

    Args:
        log: in order of (tick, user).
        source, target: bool[e], which interactions may be one.

    Returns:
        Items of the sources and of the targets: int32[t] each; a target without a source before it makes no pair.
    """
    order = np.argsort(log.user, kind="stable")
    user, item = log.user[order], log.item[order]
    place = np.arange(len(order))
    # The last source before each place; nothing is its own source.
    latest = np.maximum.accumulate(np.concatenate([[-1], np.where(source[order], place, -1)]))[:-1]
    at = np.flatnonzero(target[order] & (latest >= 0))
    at = at[user[latest[at]] == user[at]]
    return item[latest[at]], item[at]
