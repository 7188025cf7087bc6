"""A world in which push-back tells something: a log to learn it from, and other users to try it on.

Users like two topics of four, one creator in each above the others, and often are averse to one creator within a topic
that they like. They mostly dislike what they are averse to, and things of topics that they do not like: a dislike
foretells that its creator, and to a lesser degree its topic, will be liked less, and disliked again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recommenders.base import TICKS_PER_SECOND, Bool, Feedback, Float64, Int32, Interactions
from recommenders.conformance.worlds import Ask, Catalogue, dwell_seconds

CATALOGUE = Catalogue(n_items=144, n_creators=12, n_topics=4)
"""12 items a creator, so that several may be viewed and others are left to show; 3 creators a topic."""
N_USERS = 600
N_STEPS = 60
N_PROBES = 1000
FIRST_PROBE = 10_000
"""User number of the first probe: nobody of the log."""

LONG_DWELL = np.array([0.2, 0.7, 0.9, 0.3])
LIKE = np.array([0.01, 0.1, 0.4, 0.02])
DISLIKE = np.array([0.35, 0.01, 0.0, 0.4])
"""Chances by the user's attitude to the creator: indifferent, interested, fond, averse."""
INTERESTED, FOND, AVERSE = 1, 2, 3
INTERESTED_LOOK_SHARE = 0.6
"""Share of what users see that is of topics they like; the rest is of all topics alike."""
AVERSE_SHARE = 0.8
"""Of the topics that users like, how many hold a creator that they are averse to."""

LATEST = int(Feedback.EXAMINED | Feedback.LONG_DWELL)
"""What the probed item gets, without the press."""


@dataclass(frozen=True)
class Planted:
    """The world of a seed: its log, as `Log` is one, and its probes.

    A recommender is fitted on all interactions of `N_USERS` users, and probed on users that it never met.
    """

    seed: int

    def interactions(self, catalogue: Catalogue = CATALOGUE) -> Interactions:
        """The log: each user sees one item at each step, in order of (step, user), a second apart."""
        rng = _generator(self.seed, 0)
        attitude = _attitudes(rng, N_USERS, catalogue)
        item = _looks(rng, attitude, N_STEPS, catalogue).T.reshape(-1)
        user = np.tile(np.arange(N_USERS, dtype=np.int32), N_STEPS)
        feedback = _feedback(rng, attitude[user, item % catalogue.n_creators])
        return Interactions(
            tick=np.arange(len(item), dtype=np.int64) * TICKS_PER_SECOND,
            user=user,
            item=item,
            feedback=feedback.astype(np.uint8),
            dwell_seconds=dwell_seconds(feedback),
        )

    def probes(self) -> Probes:
        """Independent users of the same kind, each with a creator to probe that the user likes well enough."""
        rng = _generator(self.seed, 1)
        attitude = _attitudes(rng, N_PROBES, CATALOGUE)
        liked = (attitude == INTERESTED) | (attitude == FOND)
        creator = (rng.random(liked.shape) * liked).argmax(1).astype(np.int32)
        return Probes(self.seed, attitude, creator)


@dataclass(frozen=True, eq=False)
class Probes:
    """Users to try histories on.

    Attributes:
        seed: of their world.
        attitude: int64[n, n_creators].
        creator: int32[n], the one that is probed.
    """

    seed: int
    attitude: np.ndarray[tuple[int, int], np.dtype[np.int64]]
    creator: Int32

    @property
    def topic(self) -> Int32:
        """Of the probed creator: int32[n]."""
        return self.creator % CATALOGUE.n_topics

    def liked_topics(self) -> Bool:
        """Topics that each user likes: bool[n, n_topics]."""
        liked = np.zeros((len(self.attitude), CATALOGUE.n_topics), np.bool_)
        for creator, attitude in enumerate(self.attitude.T):
            liked[:, creator % CATALOGUE.n_topics] |= attitude > 0
        return liked

    def lived(self, n_before: int) -> list[Ask]:
        """Histories of `n_before` interactions as users have them, without a dislike in the probed topic."""
        rng = _generator(self.seed, 2)
        item = _looks(rng, self.attitude, n_before, CATALOGUE)
        return self._asks(rng, item)

    def without_the_creator(self, n_before: int) -> list[Ask]:
        """The same, without the probed creator; the topic stays, so that models of taste go on showing it."""
        rng = _generator(self.seed, 3)
        item = _looks(rng, self.attitude, n_before, CATALOGUE)
        of_creator = item % CATALOGUE.n_creators == self.creator[:, None]
        # As many items on stands one of another creator of the topic.
        item[of_creator] = (item[of_creator] + CATALOGUE.n_topics) % CATALOGUE.n_items
        return self._asks(rng, item)

    def items(self, n_items: int) -> Int32:
        """Different items of the probed creator: int32[n, n_items]."""
        rng = _generator(self.seed, 4)
        order = rng.permuted(
            np.tile(np.arange(CATALOGUE.n_items // CATALOGUE.n_creators), (len(self.creator), 1)), axis=1
        )
        return (order[:, :n_items] * CATALOGUE.n_creators + self.creator[:, None]).astype(np.int32)

    def _asks(self, rng: np.random.Generator, item: Int32) -> list[Ask]:
        attitude = np.take_along_axis(self.attitude, item % CATALOGUE.n_creators, 1)
        feedback = _feedback(rng, attitude)
        silent = item % CATALOGUE.n_topics == self.topic[:, None]
        feedback = np.where(silent, feedback & ~int(Feedback.DISLIKE), feedback)
        pairs = zip(item.tolist(), feedback.tolist(), strict=True)
        return [Ask(tuple(zip(*pair, strict=True)), user) for user, pair in enumerate(pairs, FIRST_PROBE)]


def followed(asks: Sequence[Ask], item: Int32, feedback: int) -> list[Ask]:
    """Histories with one more interaction: the item of each row, with the same feedback."""
    return [replace(ask, history=(*ask.history, (i, feedback))) for ask, i in zip(asks, item.tolist(), strict=True)]


def joined(asks: Sequence[Ask], later: Sequence[Ask]) -> list[Ask]:
    """Histories followed by others of the same users."""
    return [replace(ask, history=(*ask.history, *after.history)) for ask, after in zip(asks, later, strict=True)]


def _attitudes(rng: np.random.Generator, n_users: int, catalogue: Catalogue) -> Any:
    """The attitude of each user to each creator: int64[n_users, n_creators]."""
    topic = np.arange(catalogue.n_creators) % catalogue.n_topics
    attitude = np.zeros((n_users, catalogue.n_creators), np.int64)
    liked = rng.permuted(np.tile(np.arange(catalogue.n_topics), (n_users, 1)), axis=1)[:, :2]
    for of_topic in liked.T:
        inside = topic == of_topic[:, None]
        attitude[inside] = INTERESTED
        order = rng.random(attitude.shape) * inside
        users = np.arange(n_users)
        attitude[users, order.argmax(1)] = FOND
        order[users, order.argmax(1)] = 0
        averse = rng.random(n_users) < AVERSE_SHARE
        attitude[users[averse], order.argmax(1)[averse]] = AVERSE
    return attitude


def _looks(rng: np.random.Generator, attitude: Any, n_steps: int, catalogue: Catalogue) -> Int32:
    """What users see: int32[n_users, n_steps]."""
    n_users = len(attitude)
    chance: Float64 = np.where(attitude > 0, 1.0, 0.0)
    chance *= INTERESTED_LOOK_SHARE / chance.sum(1, keepdims=True)
    chance += (1 - INTERESTED_LOOK_SHARE) / catalogue.n_creators
    edge = chance.cumsum(1)
    creator = (rng.random((n_users, n_steps))[:, :, None] >= edge[:, None, :-1]).sum(2)
    nth = rng.integers(catalogue.n_items // catalogue.n_creators, size=(n_users, n_steps))
    item: Int32 = (nth * catalogue.n_creators + creator).astype(np.int32)
    return item


def _feedback(rng: np.random.Generator, attitude: Any) -> Any:
    """What users do, by their attitude: int64 of the same shape."""
    draw = rng.random((3, *attitude.shape))
    feedback = Feedback.EXAMINED + np.where(
        draw[0] < LONG_DWELL[attitude], int(Feedback.LONG_DWELL), int(Feedback.SKIP)
    )
    feedback = feedback | np.where(draw[1] < LIKE[attitude], int(Feedback.LIKE), 0)
    return feedback | np.where(draw[2] < DISLIKE[attitude], int(Feedback.DISLIKE), 0)


def _generator(seed: int, purpose: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, purpose]))
