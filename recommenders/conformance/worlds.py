"""The small worlds of the checks: catalogues, logs and requests whose `repr` is the code that makes them.

A check is given these instead of arrays, so that the smallest example that breaks a law can be printed and pasted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recommenders.base import (
    PADDING,
    TICKS_PER_SECOND,
    Feedback,
    Float32,
    Float64,
    Int32,
    Interactions,
    ItemFeatures,
    Requests,
)

NOW = 10 * 86_400 * TICKS_PER_SECOND
"""When requests of step 0 are made; every log ends before."""
MINUTE = 60 * TICKS_PER_SECOND


@dataclass(frozen=True)
class Catalogue:
    """A catalogue: item i is of creator i mod `n_creators` and of topic (i mod `n_creators`) mod `n_topics`."""

    n_items: int = 41
    n_creators: int = 8
    n_topics: int = 4

    def features(self) -> ItemFeatures:
        """As a recommender sees it; all items were released at tick 0."""
        creator = np.arange(self.n_items, dtype=np.int32) % self.n_creators
        return ItemFeatures(
            creator=creator,
            topic=creator % self.n_topics,
            duration_seconds=np.full(self.n_items, 30, np.float32),
            release_tick=np.zeros(self.n_items, np.int64),
            n_creators=self.n_creators,
            n_topics=self.n_topics,
        )


@dataclass(frozen=True)
class Log:
    """A log of random feedback; each user clearly prefers one of four groups of items, so that there is something to
    learn.

    Attributes:
        seed: of all that is random.
        n_users: the users are numbered from 0.
        n_rows: interactions.
        feedback: what each interaction got, a combination of `Feedback` flags; None: as it comes.
    """

    seed: int = 0
    n_users: int = 30
    n_rows: int = 600
    feedback: int | None = None

    def interactions(self, catalogue: Catalogue) -> Interactions:
        """The log on a catalogue: one row a second, in order of tick."""
        rng = np.random.Generator(np.random.PCG64(self.seed))
        user = rng.integers(self.n_users, size=self.n_rows).astype(np.int32)
        item = rng.integers(catalogue.n_items, size=self.n_rows).astype(np.int32)
        long = rng.random(self.n_rows) < np.where(item % 4 == user % 4, 0.8, 0.3)
        pressed = rng.random((3, self.n_rows)) < np.array([[0.1], [0.15], [0.05]])
        feedback = Feedback.EXAMINED + np.where(long, int(Feedback.LONG_DWELL), int(Feedback.SKIP))
        for kind, rows in zip((Feedback.LIKE, Feedback.DISLIKE, Feedback.DISMISS), pressed, strict=True):
            feedback = feedback | np.where(rows, int(kind), 0)
        if self.feedback is not None:
            feedback = np.full(self.n_rows, self.feedback)
        return Interactions(
            tick=np.arange(self.n_rows, dtype=np.int64) * TICKS_PER_SECOND,
            user=user,
            item=item,
            feedback=feedback.astype(np.uint8),
            dwell_seconds=dwell_seconds(feedback),
        )


def dwell_seconds(feedback: np.ndarray[Any, np.dtype[Any]]) -> Float32:
    """A dwell that fits the feedback: 30 s if long, 1 s if skipped, 5 s otherwise; 0 where there is no feedback."""
    seconds = np.where(feedback & Feedback.LONG_DWELL, 30.0, np.where(feedback & Feedback.SKIP, 1.0, 5.0))
    return np.where(feedback == 0, 0.0, seconds).astype(np.float32)


@dataclass(frozen=True, repr=False)
class Ask:
    """A request for a slate.

    Attributes:
        history: (item, feedback) of past interactions, oldest first; the feedback is a combination of `Feedback` flags.
        user, session, step: whose request it is; a minute passes from step to step.
    """

    history: Sequence[tuple[int, int]] = ()
    user: int = 0
    session: int = 0
    step: int = 0

    def __repr__(self) -> str:
        parts = [repr([(item, int(feedback)) for item, feedback in self.history])] if self.history else []
        parts += [f"{name}={value}" for name in ("user", "session", "step") if (value := getattr(self, name))]
        return f"Ask({', '.join(parts)})"


def requests(
    asks: Sequence[Ask], width: int, catalogue: Catalogue = Catalogue(), excluded: Sequence[int] = ()
) -> Requests:
    """The requests as a recommender gets them.

    Args:
        asks: at least one.
        width: interactions of history; of longer ones, the latest are kept.
        catalogue: which items there are.
        excluded: items that are not eligible.
    """
    n = len(asks)
    item = np.full((n, width), PADDING, np.int32)
    feedback = np.zeros((n, width), np.uint8)
    tick = np.zeros((n, width), np.int64)
    now = np.array([NOW + a.step * MINUTE for a in asks], np.int64)
    for row, ask in enumerate(asks):
        kept = list(ask.history)[max(0, len(ask.history) - width) :]
        first = width - len(kept)
        for column, (one, flags) in enumerate(kept, first):
            item[row, column], feedback[row, column] = one, flags
            tick[row, column] = now[row] - (width - column) * MINUTE
    eligible = np.ones(catalogue.n_items, np.bool_)
    eligible[list(excluded)] = False
    return Requests(
        user=np.array([a.user for a in asks], np.int32),
        session=np.array([a.session for a in asks], np.int32),
        step=np.array([a.step for a in asks], np.int32),
        tick=now,
        history_item=item,
        history_feedback=feedback,
        history_dwell_seconds=dwell_seconds(feedback),
        history_tick=tick,
        eligible=eligible,
        utility=Utilities(np.array([a.user for a in asks], np.int32), catalogue.n_items),
    )


@dataclass(frozen=True)
class Utilities:
    """A `UtilityLookup` of made-up utilities, each a function of user and item."""

    user: Int32
    n_items: int

    def __call__(self, item: Int32) -> Float32:
        """Utility of candidates: int32[n, m] -> float32[n, m]."""
        rows = [_generator(1, int(user), 0, 0).normal(size=self.n_items) for user in self.user]
        return np.take_along_axis(np.array(rows, np.float32), item, 1)

    def take(self, rows: Any) -> Utilities:
        """The lookup for the chosen requests."""
        return Utilities(self.user[rows], self.n_items)


@dataclass(frozen=True)
class KeyedDraws:
    """`RequestDraws` for some requests: each number is a function of user, session, step and column."""

    user: Int32
    session: Int32
    step: Int32
    seed: int = field(default=0, kw_only=True)

    def uniform(self, n_columns: int) -> Float64:
        """Independent uniforms in (0, 1): float64[n, n_columns]."""
        whose = zip(self.user.tolist(), self.session.tolist(), self.step.tolist(), strict=True)
        rows = [
            _generator(2 + self.seed, *ids).integers(2**32, size=n_columns, dtype=np.uint64).astype(np.float64)
            for ids in whose
        ]
        drawn: Float64 = (np.array(rows).reshape(len(self.user), n_columns) + 0.5) * 2.0**-32
        return drawn


def _generator(key: int, user: int, session: int, step: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[key, user], counter=[0, 0, session, step]))
