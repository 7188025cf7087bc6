"""What the platform and a recommender say to each other: the whole interface, in one file.

A recommender is trained on `Interactions`, receives a batch of `Requests` and answers with `Slates`. It never sees a
user's latent state, only what a platform would have logged and delivered by the time of the request.

Ids are non-negative int32 numbers; -1 pads a history and means nothing else. Ticks are integer milliseconds of
simulated time since the world began.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from enum import IntFlag
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

Bool = npt.NDArray[np.bool_]
UInt8 = npt.NDArray[np.uint8]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

TICKS_PER_SECOND = 1_000
PADDING = -1


class Feedback(IntFlag):
    """What a user did with an impression; the flags combine (a dislike may follow a long dwell)."""

    EXAMINED = 1
    LONG_DWELL = 2
    SKIP = 4
    LIKE = 8
    DISLIKE = 16
    DISMISS = 32


class Config(BaseModel):
    """Base of a recommender's settings: frozen, and an unknown key is an error that the scenario loader locates."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RecommenderError(Exception):
    """A recommender was used or answered outside its contract; the message says which rule and where."""


@dataclass(frozen=True)
class ItemFeatures:
    """What a recommender may know of the catalogue. Arrays have one row an item; the row number is the item id.

    Attributes:
        creator: int32[n_items], in [0, n_creators).
        topic: int32[n_items], the primary topic (content cluster), in [0, n_topics).
        duration_seconds: float32[n_items], > 0.
        release_tick: int64[n_items]; an item is never eligible before it.
        n_creators: number of creators.
        n_topics: number of topics.
    """

    creator: Int32
    topic: Int32
    duration_seconds: Float32
    release_tick: Int64
    n_creators: int
    n_topics: int

    @property
    def n_items(self) -> int:
        """Number of items, released or not."""
        return len(self.creator)


@dataclass(frozen=True)
class Interactions:
    """The feedback a platform has received: one row an examined impression, in order of (tick, user).

    Attributes:
        tick: int64[e], when the feedback was given.
        user: int32[e].
        item: int32[e].
        feedback: uint8[e], a combination of `Feedback` flags.
        dwell_seconds: float32[e], >= 0.
    """

    tick: Int64
    user: Int32
    item: Int32
    feedback: UInt8
    dwell_seconds: Float32

    def __len__(self) -> int:
        return len(self.tick)

    def take(self, rows: npt.NDArray[np.intp] | Bool | slice) -> Interactions:
        """The chosen rows, in the order given."""
        return Interactions(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


class UtilityLookup(Protocol):
    """The latent utilities of a batch of requests; only oracles are given one."""

    def __call__(self, item: Int32) -> Float32:
        """Utility of candidates: int32[n, m] -> float32[n, m], row i for the user of request i."""
        ...

    def take(self, rows: npt.NDArray[np.intp] | Bool | slice) -> UtilityLookup:
        """The lookup for the chosen requests."""
        ...


@dataclass(frozen=True)
class Requests:
    """A batch of users asking for a slate. Rows are independent: an answer depends on its own row only.

    The history holds the feedback delivered so far, oldest to newest from left to right, padded on the left with -1
    (feedback 0, dwell 0). Its width is the recommender's `traits.history_length`; a recommender that declares 0 gets
    arrays of width 0. One that wraps another may hand on a wider history, in which the newest interactions count as far
    as declared and the others do not: `newest` cuts it.

    Attributes:
        user, session, step: int32[n]; the step counts requests within the session.
        tick: int64[n], the time of the request.
        history_item: int32[n, h].
        history_feedback: uint8[n, h].
        history_dwell_seconds: float32[n, h].
        history_tick: int64[n, h], when the feedback was given; 0 where padded.
        eligible: bool[n_items], the items that may be shown; shared by the batch.
        utility: the users' latent utilities as a lookup; None unless `traits.needs_utility` (oracles only).
    """

    user: Int32
    session: Int32
    step: Int32
    tick: Int64
    history_item: Int32
    history_feedback: UInt8
    history_dwell_seconds: Float32
    history_tick: Int64
    eligible: Bool
    utility: UtilityLookup | None = None

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: npt.NDArray[np.intp] | Bool | slice) -> Requests:
        """The chosen rows as a batch of their own; `eligible` stays shared."""
        shared = ("eligible", "utility")
        picked = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name not in shared}
        utility = None if self.utility is None else self.utility.take(rows)
        return Requests(**picked, eligible=self.eligible, utility=utility)

    def newest(self, width: int) -> Requests:
        """The requests with only the newest `width` interactions of their histories."""
        first = max(0, self.history_item.shape[1] - width)
        return replace(
            self,
            history_item=self.history_item[:, first:],
            history_feedback=self.history_feedback[:, first:],
            history_dwell_seconds=self.history_dwell_seconds[:, first:],
            history_tick=self.history_tick[:, first:],
        )


@dataclass(frozen=True)
class Slates:
    """What is shown: `k` different eligible items for each request, best first.

    Attributes:
        item: int32[n, k], unique within a row and eligible.
        score: float32[n, k], finite; any scale.
        propensity: float64[n, k] in (0, 1], the chance that the policy shows the item at the slot, or None where the
            policy is deterministic.
    """

    item: Int32
    score: Float32
    propensity: Float64 | None = None


class RequestDraws(Protocol):
    """Random numbers that belong to the requests: the same request always draws the same numbers."""

    def uniform(self, n_columns: int) -> Float64:
        """Independent uniforms in (0, 1): float64[n_requests, n_columns]; row i depends on request i alone."""
        ...


@dataclass(frozen=True)
class DislikeResponse:
    """What a recommender declares of its answer to a dislike; the conformance kit measures whether it is so.

    Attributes:
        scope: what is shown less of after a dislike: the item's creator, or its topic.
        delay_interactions: how many interactions after the dislike the response may take to arrive; 0: it is there at
            the next request.
        course: `lasts`, the response holds as long as the dislike is in the declared history; `fades`, it weakens as
            the dislike grows old.
    """

    scope: Literal["creator", "topic"] = "creator"
    delay_interactions: int = 0
    course: Literal["lasts", "fades"] = "lasts"


@dataclass(frozen=True)
class Traits:
    """What the engine must know of a recommender, and what it declares of itself, before it is fitted.

    Attributes:
        history_length: how many past interactions it reads; 0 for none.
        batch_size: rows per call, padded by the engine, for models whose float32 results depend on the shape of the
            batch; None where every row is computed bit for bit alone.
        needs_utility: reads the latent utilities. Only oracles may, and their name says so.
        warm_start: `fit` goes on from the state before it. The engine then loads the newest model's state into the
            fresh instance that it retrains; without it, a refit starts from scratch.
        nested: a shorter slate is the beginning of a longer one.
        dislike_response: how it answers a dislike; None where it promises nothing, but it may never answer one with
            more of the same.
    """

    history_length: int = 0
    batch_size: int | None = None
    needs_utility: bool = False
    warm_start: bool = False
    nested: bool = False
    dislike_response: DislikeResponse | None = None


Progress = Callable[[int, int], None]
"""Called as `progress(done, total)` while a model trains."""

State = Mapping[str, npt.NDArray[np.generic]]
"""A fitted model as named arrays: all that is needed to serve it elsewhere."""


@runtime_checkable
class Recommender(Protocol):
    """What an arm runs. Serving is pure: `recommend` is a function of the requests, the draws and the fitted state."""

    traits: Traits

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        """Learn from the log; two fits with the same arguments, from the same state if `traits.warm_start`, agree."""
        ...

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        """One slate of `k` for each request; must not modify its arguments. At least `k` items are eligible."""
        ...

    def state_dict(self) -> State:
        """The fitted state, in arrays of its own; a fresh instance that loads it answers alike, bit for bit.

        Raises:
            RecommenderError: not fitted; one that learns nothing may give a state all the same.
        """
        ...

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        """Take over a state that `state_dict` gave, for the same catalogue; the given arrays stay the caller's.

        Raises:
            RecommenderError: an array is missing, or the state is for another number of items.
        """
        ...


@runtime_checkable
class Scorer(Recommender, Protocol):
    """A recommender that shows the items with the highest scores: what wrappers and full rankings build on."""

    def scores(self, requests: Requests) -> Float32:
        """Scores of all items for each request, nothing filtered: float32[n, n_items], finite, higher is better."""
        ...
