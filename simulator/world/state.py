"""What changes while users live: one row a user, arrays only, so that it can be copied, cut and stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

from recommenders.base import Float32, Int32, Int64

PUSH_BACK_MEMORY = 8
"""How many of a user's latest dislikes and dismissals are remembered."""
NEVER = np.iinfo(np.int64).min // 2
"""A tick before all others."""


@dataclass
class UserState:
    """The changing state of all users; engines change rows in place, snapshots copy.

    A user model that remembers more adds columns in a subclass, a dataclass too, with one row a user.

    Attributes:
        wake_tick: int64[n], when the user's next request is due.
        session, step: int32[n], of the next request.
        updated_tick: int64[n], up to when annoyance and satiation have faded.
        taste: float32[n, n_topics], utility of each topic, drifting around the population's.
        satiation: float32[n, n_topics], utility lost to having had enough of a topic.
        satisfaction: float32[n], moving average of what impressions gave.
        annoyance: float32[n], from seeing again what was pushed back on.
        mood: float32[n], utility added throughout the session.
        press_factor: float32[n], factor on expressiveness throughout the session.
        budget: float32[n], impressions left that the session is meant to have.
        pushed_creator, pushed_topic: int32[n, PUSH_BACK_MEMORY], what the user pushed back on; -1 where empty.
        pushed_tick: int64[n, PUSH_BACK_MEMORY], when.
        n_pushed: int32[n], push-backs so far; the newest is in column (n_pushed - 1) % PUSH_BACK_MEMORY.
    """

    wake_tick: Int64
    session: Int32
    step: Int32
    updated_tick: Int64
    taste: Float32
    satiation: Float32
    satisfaction: Float32
    annoyance: Float32
    mood: Float32
    press_factor: Float32
    budget: Float32
    pushed_creator: Int32
    pushed_topic: Int32
    pushed_tick: Int64
    n_pushed: Int32

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.wake_tick)

    def copy(self) -> UserState:
        """An independent copy."""
        return type(self)(**{f.name: getattr(self, f.name).copy() for f in fields(self)})

    def part(self, users: range) -> Self:
        """The rows of a range of users; views."""
        return type(self)(**{f.name: getattr(self, f.name)[users.start : users.stop] for f in fields(self)})

    def restore(self, users: npt.NDArray[np.intp], earlier: UserState) -> None:
        """Put users, intp[n], back to where they were in an earlier copy of this state."""
        for f in fields(self):
            getattr(self, f.name)[users] = getattr(earlier, f.name)[users]


def joined(parts: Sequence[UserState]) -> UserState:
    """All rows of parts that follow each other, with the columns that these have; a single part is given as it is."""
    if len(parts) == 1:
        return parts[0]
    kind = type(parts[0])
    return kind(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(kind)})


def new_state(taste: Float32) -> UserState:
    """Users who have not come yet: wake tick 0, before their first session.

    Args:
        taste: float32[n_users, n_topics], the mean tastes to start from; copied.
    """
    n = len(taste)
    return UserState(
        wake_tick=np.zeros(n, np.int64),
        session=np.zeros(n, np.int32),
        step=np.zeros(n, np.int32),
        updated_tick=np.zeros(n, np.int64),
        taste=taste.copy(),
        satiation=np.zeros_like(taste),
        satisfaction=np.zeros(n, np.float32),
        annoyance=np.zeros(n, np.float32),
        mood=np.zeros(n, np.float32),
        press_factor=np.ones(n, np.float32),
        budget=np.zeros(n, np.float32),
        pushed_creator=np.full((n, PUSH_BACK_MEMORY), -1, np.int32),
        pushed_topic=np.full((n, PUSH_BACK_MEMORY), -1, np.int32),
        pushed_tick=np.full((n, PUSH_BACK_MEMORY), NEVER, np.int64),
        n_pushed=np.zeros(n, np.int32),
    )
