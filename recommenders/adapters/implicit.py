"""`implicit`'s alternating least squares as an arm; each request's history is folded in, and may tell dislikes.

    minimise  sum_ui c_ui (p_ui - x_u . y_i)^2 + r (sum_u |x_u|^2 + sum_i |y_i|^2)

p is 1 where the latest word of a user on an item is a long dwell or a like, and 0 elsewhere; c is `confidence` where p
is 1, `dislike_confidence` where the latest word is a dislike, and 1 elsewhere. A user's vector x_u is solved for anew
at every request, from the interactions of the window: an arm with a `dislike_confidence` answers a dislike at once.

Source: Hu, Koren & Volinsky 2008, ICDM, as the library has it (https://github.com/benfred/implicit), which reads a
negative entry as the confidence that an item is not wanted. Reading the latest word alone is ours.
"""

from __future__ import annotations

import importlib
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy import sparse

from recommenders.adapters.ranking import by_popularity, check_shapes, ranked
from recommenders.base import (
    PADDING,
    Config,
    Float32,
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
from recommenders.ease import latest_entries
from recommenders.extras import IMPLICIT
from recommenders.stored_state import stored_places


class ImplicitAlsConfig(Config):
    """Settings of implicit's alternating least squares."""

    window: Annotated[int, Field(ge=1, le=1000)] = 50
    """How many past interactions are folded in at serving; training reads the whole log."""
    dim: Annotated[int, Field(ge=1, le=1024)] = 32
    """Size of the vectors."""
    regularisation: Annotated[float, Field(gt=0)] = 0.01
    """Weight r of the penalty on the vectors."""
    iterations: Annotated[int, Field(ge=1, le=1000)] = 15
    """Alternations between users and items."""
    confidence: Annotated[float, Field(ge=1)] = 40.0
    """Weight of an item dwelt on long or liked, beside 1 of an item without an entry."""
    dislike_confidence: Annotated[float, Field(ge=1)] | None = None
    """Weight of a disliked item as unwanted, even if it was dwelt on long; null does not look at dislikes."""
    filter_viewed: bool = True
    """Whether items of the window are kept from being shown again."""


class ImplicitAls:
    """Matrix factorisation by implicit; the history is folded in, and if so set, dislikes count against their like."""

    config_class: ClassVar[type[Config]] = ImplicitAlsConfig

    def __init__(self, config: ImplicitAlsConfig) -> None:
        IMPLICIT.require("implicit_als")
        self.config = config
        self.traits = Traits(history_length=config.window)
        self._state: _Fitted | None = None

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        """Factorise the users' latest words on items."""
        _, user = np.unique(log.user, return_inverse=True)
        matrix = self._matrix(user, log.item, log.feedback, int(user.max(initial=-1)) + 1, items.n_items)
        factor = np.zeros((items.n_items, self.config.dim), np.float32)
        if matrix.nnz:
            model = self._model(seed)
            total = self.config.iterations

            def tell(iteration: int, seconds: float, loss: float | None) -> None:
                if progress is not None:
                    progress(iteration + 1, total)

            with _one_thread():
                model.fit(matrix, show_progress=False, callback=tell)
            factor = np.asarray(model.item_factors, np.float32)
        self._state = self._serving(by_popularity(log, items.n_items), factor)

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        """The `k` eligible items with the highest scores, then popularity, then the lower id.

        Raises:
            RecommenderError: not fitted, or fewer than `k` items are eligible.
        """
        popular = self._fitted().popular
        viewed = requests.newest(self.config.window).history_item if self.config.filter_viewed else None
        return ranked(self.scores(requests), viewed, popular, requests, k)

    def scores(self, requests: Requests) -> Float32:
        """x . y_i for the folded-in x of each request, 0 for an empty history: float32[n, n_items].

        Raises:
            RecommenderError: not fitted.
        """
        fitted = self._fitted()
        requests = requests.newest(self.config.window)
        item, feedback = requests.history_item, requests.history_feedback
        row, place = np.nonzero(item != PADDING)
        history = self._matrix(row, item[row, place], feedback[row, place], len(item), len(fitted.popular))
        with _one_thread():
            user = fitted.model.recalculate_user(np.arange(len(item)), history)
            # A product for each row: one product for all would round differently for another number of rows.
            score: Float32 = np.matmul(user[:, None, :], fitted.factor.T)[:, 0]
        return score

    def state_dict(self) -> State:
        """`popular`: int32[n_items], the ranking; `factor`: float32[n_items, dim], the items' vectors."""
        fitted = self._fitted()
        return {"popular": fitted.popular.copy(), "factor": fitted.factor.copy()}

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        """Take over ranking and vectors.

        Raises:
            RecommenderError: the state is for another number of items, or of another size.
        """
        check_shapes(state, {"popular": (items.n_items,), "factor": (items.n_items, self.config.dim)})
        self._state = self._serving(
            stored_places(state, "popular", items.n_items), np.array(state["factor"], np.float32)
        )

    def _matrix(
        self, row: npt.NDArray[np.intp], item: Int32, feedback: UInt8, n_rows: int, n_items: int
    ) -> sparse.csr_matrix:
        """What the library reads, float32[n_rows, n_items]: confidences, negative where an item is not wanted."""
        unwanted = self.config.dislike_confidence
        entries = latest_entries(row, item, feedback, None if unwanted is None else -unwanted)
        value = np.where(entries.value > 0, self.config.confidence, entries.value)
        matrix = entries._replace(value=value).matrix(n_rows, np.arange(n_items, dtype=np.int32), n_items)
        return sparse.csr_matrix(matrix, dtype=np.float32)

    def _model(self, seed: int) -> Any:
        with _one_thread():  # it warns of more
            return importlib.import_module("implicit.cpu.als").AlternatingLeastSquares(
                factors=self.config.dim,
                regularization=self.config.regularisation,
                iterations=self.config.iterations,
                num_threads=1,
                random_state=np.random.default_rng(seed),
            )

    def _serving(self, popular: Int32, factor: Float32) -> _Fitted:
        model = self._model(seed=0)  # folding in draws nothing
        model.item_factors = factor
        return _Fitted(popular, factor, model)

    def _fitted(self) -> _Fitted:
        if self._state is None:
            raise RecommenderError("implicit_als: got no fitted state, expected `fit` or `load_state_dict` first")
        return self._state


class _Fitted(NamedTuple):
    popular: Int32
    factor: Float32
    model: Any


def _one_thread() -> Any:
    """While it lasts, BLAS has one thread: sums are then added up in one order, on every machine of a kind."""
    return importlib.import_module("threadpoolctl").threadpool_limits(1, "blas")
