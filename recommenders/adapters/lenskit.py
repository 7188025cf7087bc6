"""Components of LensKit as arms: item-kNN, implicit and biased matrix factorisation, queried with the history.

A component is trained by LensKit, taken apart into named arrays, and put together from them again for serving. It
scores one query at a time, which is how LensKit is called.

Source: Ekstrand 2020, CIKM (LensKit for Python), version 2025.8 (https://lenskit.org).
"""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar, NamedTuple, Protocol

import numpy as np
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
)
from recommenders.ease import latest_entries
from recommenders.extras import LENSKIT
from recommenders.stored_state import stored_places


class LenskitConfig(Config):
    """Settings that the components share."""

    window: Annotated[int, Field(ge=1, le=1000)] = 50
    """How many past interactions make the query; training reads the whole log."""
    filter_viewed: bool = True
    """Whether items of the window are kept from being shown again."""


class _PositiveConfig(LenskitConfig):
    drop_disliked: bool = False
    """Whether an item whose latest word is a dislike counts for nothing even if dwelt on long; else dislikes are not
    looked at."""


class LenskitItemKnnConfig(_PositiveConfig):
    """Settings of LensKit's item-kNN."""

    neighbours: Annotated[int, Field(ge=1)] = 20
    """How many of the query's items a score is the sum of, the most similar ones."""
    saved_neighbours: Annotated[int, Field(ge=1)] | None = None
    """How many neighbours of an item are kept; null keeps all."""


class LenskitAlsConfig(_PositiveConfig):
    """Settings of LensKit's implicit matrix factorisation."""

    dim: Annotated[int, Field(ge=1, le=1024)] = 32
    """Size of the vectors."""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 10
    """Alternations between users and items."""
    regularisation: Annotated[float, Field(gt=0)] = 0.1
    """Weight of the penalty on the vectors."""
    confidence: Annotated[float, Field(gt=0)] = 40.0
    """Added weight of an item dwelt on long or liked, beside 1 of an item without an entry."""


class LenskitBiasedMfConfig(LenskitConfig):
    """Settings of LensKit's biased matrix factorisation."""

    dim: Annotated[int, Field(ge=1, le=1024)] = 32
    """Size of the vectors."""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 10
    """Alternations between users and items."""
    regularisation: Annotated[float, Field(gt=0)] = 0.1
    """Weight of the penalty on the vectors."""
    damping: Annotated[float, Field(ge=0)] = 5.0
    """How many mean ratings each user and item is taken to have beside its own."""
    dislike_value: Annotated[float, Field(lt=1)] = -1.0
    """The rating of a disliked item, even if it was dwelt on long, beside 1 for a long dwell or a like."""


class Parts(Protocol):
    """How one kind of component is trained, taken apart into arrays, and put together again."""

    def dislike_value(self) -> float | None:
        """A disliked item's entry beside 1 for a positive one; 0 for none, None where dislikes are not looked at."""
        ...

    def untrained(self) -> Any:
        """A component to be trained."""
        ...

    def arrays(self, component: Any) -> dict[str, Any]:
        """The arrays of a trained component."""
        ...

    def empty(self, n_items: int) -> dict[str, Any]:
        """The arrays of a component that was told nothing."""
        ...

    def shapes(self, state: State, n_items: int) -> dict[str, tuple[int, ...]]:
        """The shapes that the arrays must have."""
        ...

    def restored(self, state: State, vocabulary: Any) -> Any:
        """A component with these arrays, whose items are numbered as ours."""
        ...


class LenskitRecommender:
    """A LensKit component as an arm: trained on the users' latest words on items, queried with those of the window."""

    def __init__(self, name: str, config: LenskitConfig, parts: Parts) -> None:
        LENSKIT.require(name)
        self.config = config
        self.traits = Traits(history_length=config.window)
        self._name = name
        self._parts = parts
        self._state: _Fitted | None = None

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        """Train the component; it tells no progress."""
        popular = by_popularity(log, items.n_items)
        entries = latest_entries(log.user.astype(np.intp), log.item, log.feedback, self._parts.dislike_value())
        told = entries.value != 0
        arrays = self._parts.empty(items.n_items)
        if told.any():
            frame = _library("pandas").DataFrame(
                {"user_id": entries.row[told], "item_id": entries.item[told], "rating": entries.value[told]}
            )
            data = _library("lenskit.data").from_interactions_df(frame, items=np.arange(items.n_items, dtype=np.int32))
            component = self._parts.untrained()
            with _on_one_thread():
                component.train(data, _library("lenskit.training").TrainingOptions(rng=seed))
            arrays = self._parts.arrays(component)
        self._state = self._serving(popular, arrays)

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        """The `k` eligible items with the highest scores, then popularity, then the lower id.

        Raises:
            RecommenderError: not fitted, or fewer than `k` items are eligible.
        """
        popular = self._fitted().popular
        viewed = requests.newest(self.config.window).history_item if self.config.filter_viewed else None
        return ranked(self.scores(requests), viewed, popular, requests, k)

    def scores(self, requests: Requests) -> Float32:
        """The component's scores, 0 where it gives none (no history, or no neighbour): float32[n, n_items].

        Raises:
            RecommenderError: not fitted.
        """
        fitted = self._fitted()
        data = _library("lenskit.data")
        requests = requests.newest(self.config.window)
        item, feedback = requests.history_item, requests.history_feedback
        row, place = np.nonzero(item != PADDING)
        entries = latest_entries(row, item[row, place], feedback[row, place], self._parts.dislike_value())
        told = entries.value != 0
        told_row, told_item, value = entries.row[told], entries.item[told], entries.value[told].astype(np.float32)
        order = np.argsort(told_row, kind="stable")
        bounds = np.searchsorted(told_row[order], np.arange(len(item) + 1))
        score = np.zeros((len(item), len(fitted.popular)), np.float32)
        with _on_one_thread():
            for i in np.flatnonzero(np.diff(bounds)):
                mine = order[bounds[i] : bounds[i + 1]]
                history = data.ItemList(item_nums=told_item[mine], vocabulary=fitted.vocabulary, rating=value[mine])
                query = data.RecQuery(history_items=history)
                score[i] = fitted.component(query, fitted.candidates).scores()
        return np.nan_to_num(score, copy=False, nan=0.0)

    def state_dict(self) -> State:
        """`popular`: int32[n_items], the ranking; beside it the component's arrays."""
        fitted = self._fitted()
        return {name: value.copy() for name, value in {"popular": fitted.popular, **fitted.arrays}.items()}

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        """Take over ranking and component.

        Raises:
            RecommenderError: the state is for another number of items, or of another size.
        """
        check_shapes(state, {"popular": (items.n_items,)})
        check_shapes(state, self._parts.shapes(state, items.n_items))
        arrays = {name: np.array(value) for name, value in state.items() if name != "popular"}
        self._state = self._serving(stored_places(state, "popular", items.n_items), arrays)

    def _serving(self, popular: Int32, arrays: dict[str, Any]) -> _Fitted:
        data = _library("lenskit.data")
        vocabulary = data.Vocabulary(np.arange(len(popular), dtype=np.int32), name="item")
        candidates = data.ItemList(item_nums=np.arange(len(popular), dtype=np.int32), vocabulary=vocabulary)
        return _Fitted(popular, arrays, self._parts.restored(arrays, vocabulary), vocabulary, candidates)

    def _fitted(self) -> _Fitted:
        if self._state is None:
            raise RecommenderError(f"{self._name}: got no fitted state, expected `fit` or `load_state_dict` first")
        return self._state


class LenskitItemKnn(LenskitRecommender):
    """LensKit's item-kNN: cosine over users, a score being the sum of similarities to the query's items."""

    config_class: ClassVar[type[Config]] = LenskitItemKnnConfig

    def __init__(self, config: LenskitItemKnnConfig) -> None:
        super().__init__("lenskit_item_knn", config, _ItemKnn(config))


class LenskitAls(LenskitRecommender):
    """LensKit's implicit matrix factorisation; the query is folded in."""

    config_class: ClassVar[type[Config]] = LenskitAlsConfig

    def __init__(self, config: LenskitAlsConfig) -> None:
        super().__init__("lenskit_als", config, _Als(config))


class LenskitBiasedMf(LenskitRecommender):
    """LensKit's biased matrix factorisation on ratings, 1 and a dislike's value; the query is folded in."""

    config_class: ClassVar[type[Config]] = LenskitBiasedMfConfig

    def __init__(self, config: LenskitBiasedMfConfig) -> None:
        super().__init__("lenskit_biased_mf", config, _BiasedMf(config))


class _Fitted(NamedTuple):
    popular: Int32
    arrays: dict[str, Any]
    component: Any
    vocabulary: Any
    candidates: Any


class _ItemKnn(NamedTuple):
    config: LenskitItemKnnConfig

    def dislike_value(self) -> float | None:
        return 0.0 if self.config.drop_disliked else None

    def untrained(self) -> Any:
        return _library("lenskit.knn").ItemKNNScorer(
            feedback="implicit", max_nbrs=self.config.neighbours, save_nbrs=self.config.saved_neighbours
        )

    def arrays(self, component: Any) -> dict[str, Any]:
        similarity = component.sim_matrix.to_scipy()
        return {
            "similarity_data": similarity.data.astype(np.float32),
            "similarity_indices": similarity.indices.astype(np.int32),
            "similarity_indptr": similarity.indptr.astype(np.int64),
        }

    def empty(self, n_items: int) -> dict[str, Any]:
        return {
            "similarity_data": np.empty(0, np.float32),
            "similarity_indices": np.empty(0, np.int32),
            "similarity_indptr": np.zeros(n_items + 1, np.int64),
        }

    def shapes(self, state: State, n_items: int) -> dict[str, tuple[int, ...]]:
        check_shapes(state, {"similarity_indptr": (n_items + 1,)})
        n_similar = int(state["similarity_indptr"][-1])
        return {"similarity_data": (n_similar,), "similarity_indices": (n_similar,)}

    def restored(self, state: State, vocabulary: Any) -> Any:
        component = self.untrained()
        parts: tuple[Any, ...] = tuple(state[f"similarity_{name}"] for name in ("data", "indices", "indptr"))
        similarity = sparse.csr_array(parts, shape=(len(vocabulary), len(vocabulary)))
        component.items = vocabulary
        component.item_means = None
        component.item_counts = np.diff(similarity.indptr)
        component.sim_matrix = _library("lenskit.data.matrix").SparseRowArray.from_scipy(similarity, large=True)
        return component


class _Als(NamedTuple):
    config: LenskitAlsConfig

    def dislike_value(self) -> float | None:
        return 0.0 if self.config.drop_disliked else None

    def untrained(self) -> Any:
        return _library("lenskit.als").ImplicitMFScorer(
            embedding_size=self.config.dim,
            epochs=self.config.epochs,
            regularization=self.config.regularisation,
            weight=self.config.confidence,
            user_embeddings=False,
        )

    def arrays(self, component: Any) -> dict[str, Any]:
        # The second is the part of the normal equations that all users share, which it keeps beside the vectors.
        return {"factor": component.item_embeddings, "gram": component._OtOr}

    def empty(self, n_items: int) -> dict[str, Any]:
        dim = self.config.dim
        gram = np.eye(dim, dtype=np.float32) * np.float32(self.config.regularisation)
        return {"factor": np.zeros((n_items, dim), np.float32), "gram": gram}

    def shapes(self, state: State, n_items: int) -> dict[str, tuple[int, ...]]:
        return {"factor": (n_items, self.config.dim), "gram": (self.config.dim, self.config.dim)}

    def restored(self, state: State, vocabulary: Any) -> Any:
        component = self.untrained()
        component.users = component.user_embeddings = None
        component.items = vocabulary
        component.item_embeddings, component._OtOr = state["factor"], state["gram"]
        return component


class _BiasedMf(NamedTuple):
    config: LenskitBiasedMfConfig

    def dislike_value(self) -> float | None:
        return self.config.dislike_value

    def untrained(self) -> Any:
        return _library("lenskit.als").BiasedMFScorer(
            embedding_size=self.config.dim,
            epochs=self.config.epochs,
            regularization=self.config.regularisation,
            damping=self.config.damping,
            user_embeddings=False,
        )

    def arrays(self, component: Any) -> dict[str, Any]:
        return {
            "factor": component.item_embeddings,
            "bias": np.array([component.bias.global_bias], np.float64),
            "item_bias": component.bias.item_biases,
        }

    def empty(self, n_items: int) -> dict[str, Any]:
        return {
            "factor": np.zeros((n_items, self.config.dim), np.float32),
            "bias": np.zeros(1, np.float64),
            "item_bias": np.zeros(n_items, np.float32),
        }

    def shapes(self, state: State, n_items: int) -> dict[str, tuple[int, ...]]:
        return {"factor": (n_items, self.config.dim), "bias": (1,), "item_bias": (n_items,)}

    def restored(self, state: State, vocabulary: Any) -> Any:
        component = self.untrained()
        component.users = component.user_embeddings = None
        component.items = vocabulary
        component.item_embeddings = state["factor"]
        component.bias = _library("lenskit.basic").BiasModel(
            damping=self.config.damping,
            global_bias=float(state["bias"][0]),
            items=vocabulary,
            item_biases=state["item_bias"],
            # Without users it would leave out the bias of the query.
            users=_library("lenskit.data").Vocabulary(np.empty(0, np.int32), name="user"),
            user_biases=np.empty(0, np.float32),
        )
        return component


def _library(module: str) -> Any:
    return importlib.import_module(module)


@contextmanager
def _on_one_thread() -> Iterator[None]:
    """While it lasts, LensKit and BLAS have one thread: sums are then added up in one order."""
    with _library("threadpoolctl").threadpool_limits(1, "blas"):
        _start_lenskit()
        yield


@functools.cache
def _start_lenskit() -> None:
    """Tell LensKit to use one thread, once a process, and undo what it does to torch's settings on the way."""
    torch = _library("torch")
    threads, sharing = torch.get_num_threads(), torch.multiprocessing.get_sharing_strategy()
    with warnings.catch_warnings():
        # The threads between operations cannot be set once torch has run; nothing here uses them.
        warnings.filterwarnings("ignore", "failed to set interop threads", RuntimeWarning)
        _library("lenskit.parallel").initialize(processes=1, threads=1, backend_threads=1)
    torch.set_num_threads(threads)
    torch.multiprocessing.set_sharing_strategy(sharing)
