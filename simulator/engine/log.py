"""The event log: one row an impression, in order of (tick, user, slot)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from recommenders.base import Feedback, Float32, Int32, Int64, Interactions, UInt8


@dataclass(frozen=True)
class EventLog:
    """What one arm's world recorded. All columns have one row an impression.

    Attributes:
        tick: int64[e], when the slate was served, in ticks (milliseconds) since the world began.
        user, session, step: int32[e]; a step is a request within a session.
        slot: int32[e], position in the slate, 0 on top.
        item: int32[e].
        feedback: uint8[e], a combination of `Feedback` flags; 0 where the user did not look.
        dwell_seconds: float32[e], 0 where the user did not look.
        feedback_tick: int64[e], when the user was done with the item; -1 where the user did not look.
        propensity: float32[e], the chance that the policy showed the item at the slot; NaN for a deterministic policy.
        satisfaction: float32[e], what the user would tell a survey right after the request; equal within a request.
        dislike_probability: float32[e], the chance of a dislike before its draw, 0 where the user did not look. No
            platform knows it: it is for metrics that are to be free of the luck of who pressed.
    """

    tick: Int64
    user: Int32
    session: Int32
    step: Int32
    slot: Int32
    item: Int32
    feedback: UInt8
    dwell_seconds: Float32
    feedback_tick: Int64
    propensity: Float32
    satisfaction: Float32
    dislike_probability: Float32

    DTYPES: ClassVar[dict[str, np.dtype[Any]]] = {
        "tick": np.dtype(np.int64),
        "user": np.dtype(np.int32),
        "session": np.dtype(np.int32),
        "step": np.dtype(np.int32),
        "slot": np.dtype(np.int32),
        "item": np.dtype(np.int32),
        "feedback": np.dtype(np.uint8),
        "dwell_seconds": np.dtype(np.float32),
        "feedback_tick": np.dtype(np.int64),
        "propensity": np.dtype(np.float32),
        "satisfaction": np.dtype(np.float32),
        "dislike_probability": np.dtype(np.float32),
    }

    def __len__(self) -> int:
        return len(self.tick)

    @classmethod
    def empty(cls) -> EventLog:
        """A log without rows."""
        return cls(**{name: np.empty(0, dtype) for name, dtype in cls.DTYPES.items()})

    @classmethod
    def over(cls, memory: UInt8, n_rows: int) -> EventLog:
        """A log whose columns lie in memory that is there already, uint8[n_bytes(n_rows)]."""
        dtypes = cls.DTYPES.values()
        begins = accumulate((_aligned(n_rows * dtype.itemsize) for dtype in dtypes), initial=0)
        return cls(
            *(memory[at : at + n_rows * dtype.itemsize].view(dtype) for dtype, at in zip(dtypes, begins, strict=False))
        )

    @classmethod
    def n_bytes(cls, n_rows: int) -> int:
        """Memory of the columns, as `over` lays them out."""
        return sum(_aligned(n_rows * dtype.itemsize) for dtype in cls.DTYPES.values())

    @classmethod
    def concatenate(cls, parts: list[EventLog]) -> EventLog:
        """One log from parts that follow each other in time."""
        parts = [p for p in parts if len(p)]
        if len(parts) <= 1:
            return parts[0] if parts else cls.empty()
        return cls(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in cls.DTYPES})

    @classmethod
    def merge(cls, parts: list[EventLog]) -> EventLog:
        """One log in order of (tick, user, slot) from parts over the same time, such as those of several arms."""
        whole = cls.concatenate(parts)
        return whole.take(np.lexsort((whole.slot, whole.user, whole.tick)))

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_] | slice) -> EventLog:
        """The chosen rows, in the order given."""
        return EventLog(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def between(self, start_tick: int, end_tick: int) -> EventLog:
        """Impressions served in [start_tick, end_tick); a view, since the log is sorted by tick."""
        first, last = np.searchsorted(self.tick, [start_tick, end_tick])
        return self.take(slice(first, last))

    def interactions(self, until_tick: int) -> Interactions:
        """The feedback given before a tick, as a recommender receives it: examined rows in order of (tick, user)."""
        rows = np.flatnonzero((self.feedback & Feedback.EXAMINED) & (self.feedback_tick < until_tick))
        rows = rows[np.lexsort((self.slot[rows], self.user[rows], self.feedback_tick[rows]))]
        return Interactions(
            tick=self.feedback_tick[rows],
            user=self.user[rows],
            item=self.item[rows],
            feedback=self.feedback[rows],
            dwell_seconds=self.dwell_seconds[rows],
        )


def _aligned(n_bytes: int) -> int:
    return -(-n_bytes // 64) * 64


@dataclass(frozen=True)
class FeedbackLog:
    """What retraining reads of an event log, where the rest is not kept in memory: examined rows, in any order.

    Attributes:
        tick: int64[e], when the user was done with the item (`EventLog.feedback_tick`).
        user, slot, item: int32[e].
        feedback: uint8[e].
        dwell_seconds: float32[e].
    """

    tick: Int64
    user: Int32
    slot: Int32
    item: Int32
    feedback: UInt8
    dwell_seconds: Float32

    def __len__(self) -> int:
        return len(self.tick)

    @classmethod
    def empty(cls) -> FeedbackLog:
        """Nothing that anybody examined."""
        names = ("feedback_tick", "user", "slot", "item", "feedback", "dwell_seconds")
        return cls(*(np.empty(0, EventLog.DTYPES[name]) for name in names))

    @classmethod
    def concatenate(cls, parts: list[FeedbackLog]) -> FeedbackLog:
        """All rows of several logs."""
        parts = [p for p in parts if len(p)]
        if len(parts) <= 1:
            return parts[0] if parts else cls.empty()
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    def interactions(self, until_tick: int) -> Interactions:
        """The feedback given before a tick: what `EventLog.interactions` gives for the same rows."""
        rows = np.flatnonzero(self.tick < until_tick)
        rows = rows[np.lexsort((self.slot[rows], self.user[rows], self.tick[rows]))]
        return Interactions(
            tick=self.tick[rows],
            user=self.user[rows],
            item=self.item[rows],
            feedback=self.feedback[rows],
            dwell_seconds=self.dwell_seconds[rows],
        )
