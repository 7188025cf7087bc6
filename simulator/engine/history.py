"""What the platform remembers of each user's feedback, and how much of it has been delivered at a given moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from recommenders.base import PADDING, Feedback, Float32, Int32, Int64, UInt8
from simulator.world.state import NEVER

Rows = npt.NDArray[np.intp]
AnyColumn = npt.NDArray[np.generic]

_SPARE = 64
"""Columns beyond the window, once there is feedback on its way."""


@dataclass(frozen=True)
class Windows:
    """The delivered history of a batch of users, newest at the right, padded on the left.

    Attributes:
        item: int32[n, h], -1 where padded.
        feedback: uint8[n, h].
        dwell_seconds: float32[n, h].
        tick: int64[n, h], 0 where padded.
    """

    item: Int32
    feedback: UInt8
    dwell_seconds: Float32
    tick: Int64


@dataclass
class History:
    """A ring of the latest feedback of each user.

    The ring holds the window and everything not yet delivered: without a delay it is as wide as the window, with one it
    grows to `length` + 64, 128, 256, ... columns, whatever the order in which users need them.

    Attributes:
        length: width of the windows served to recommenders.
        count: int64[n_users], events of each user so far; event e stands in column e % capacity.
        item, feedback, dwell_seconds, tick: [n_users, capacity], columns as in `Windows`; tick is `NEVER` where empty.
    """

    length: int
    count: Int64
    item: Int32
    feedback: UInt8
    dwell_seconds: Float32
    tick: Int64

    @classmethod
    def empty(cls, n_users: int, length: int, capacity: int | None = None) -> History:
        """No feedback yet, in a ring as wide as the window unless told otherwise; with length 0 nothing is kept."""
        shape = (n_users, length if capacity is None else capacity)
        return cls(
            length,
            np.zeros(n_users, np.int64),
            np.full(shape, PADDING, np.int32),
            np.zeros(shape, np.uint8),
            np.zeros(shape, np.float32),
            np.full(shape, NEVER, np.int64),
        )

    def copy(self) -> History:
        """An independent copy."""
        columns = {f.name: getattr(self, f.name).copy() for f in fields(self) if f.name != "length"}
        return History(self.length, **columns)

    def part(self, users: range) -> History:
        """The rings of a range of users; views."""
        rows = slice(users.start, users.stop)
        return History(self.length, self.count[rows], *(getattr(self, name)[rows] for name in _COLUMNS))

    @classmethod
    def joined(cls, parts: Sequence[History]) -> History:
        """The rings of parts that follow each other, which are made as wide as the widest; a single one as it is.

        A ring that was narrow for longer has forgotten more of what no window asks for any more.
        """
        if len(parts) == 1:
            return parts[0]
        width = max(part.item.shape[1] for part in parts)
        for part in parts:
            if part.item.shape[1] < width:
                part._widen(width)
        columns = (np.concatenate([getattr(part, name) for part in parts]) for name in ("count", *_COLUMNS))
        return cls(parts[0].length, *columns)

    def restore(self, users: Rows, earlier: History) -> None:
        """Put users back to where they were in an earlier copy of this history.

        Args:
            users: intp[n], no user twice.
            earlier: of all users; its ring may be narrower.
        """
        for name, nothing in zip(_COLUMNS, (PADDING, 0, 0.0, NEVER), strict=True):
            getattr(self, name)[users] = nothing
        self.count[users] = earlier.count[users]
        width = earlier.item.shape[1]
        event = self.count[users][:, None] + np.arange(-width, 0)
        row, nth = np.nonzero(event >= 0)
        event, user = event[row, nth], users[row]
        for name in _COLUMNS:
            getattr(self, name)[user, event % self.item.shape[1]] = getattr(earlier, name)[user, event % width]

    def windows(self, users: Rows, tick: Int64, delay: int, length: int) -> Windows:
        """The last `length` events of each user that were given at least `delay` ticks before `tick`.

        Args:
            users: intp[n].
            tick: int64[n], now.
            delay: how long feedback travels.
            length: width of the windows, at most `self.length`.
        """
        n = len(users)
        if length == 0:
            return Windows(
                np.empty((n, 0), np.int32),
                np.empty((n, 0), np.uint8),
                np.empty((n, 0), np.float32),
                np.empty((n, 0), np.int64),
            )
        delivered = self.count[users] - self._on_the_way(users, tick, delay)
        event = delivered[:, None] + np.arange(-length, 0)
        missing = event < 0
        capacity = self.item.shape[1]
        cell = event % capacity
        cell += users[:, None] * capacity
        windows = Windows(*(getattr(self, name).reshape(-1).take(cell) for name in _COLUMNS))
        if missing.any():
            windows.item[missing], windows.feedback[missing] = PADDING, 0
            windows.dwell_seconds[missing], windows.tick[missing] = 0.0, 0
        return windows

    def append(
        self,
        users: Rows,
        tick: Int64,
        delay: int,
        item: Int32,
        feedback: UInt8,
        dwell_seconds: Float32,
        done_after: Int64,
    ) -> None:
        """Add the examined impressions of a batch, in slot order.

        Args:
            users: intp[n], no user twice.
            tick: int64[n], when the slates were served.
            delay: how long feedback travels.
            item, feedback, dwell_seconds: [n, k].
            done_after: int64[n, k], ticks until the feedback was given.
        """
        if self.length == 0:
            return
        looked = np.flatnonzero((feedback & np.uint8(Feedback.EXAMINED)) > 0)
        row = looked // feedback.shape[1]
        added = np.bincount(row, minlength=len(users))
        if delay == 0:
            needed = int(added.max(initial=0))
        else:
            needed = self.length + int((self._on_the_way(users, tick, delay) + added).max(initial=0))
        if needed > self.item.shape[1]:
            self._grow(needed)
        nth = np.arange(len(row)) - np.repeat(np.cumsum(added) - added, added)
        capacity = self.item.shape[1]
        cell = users.take(row) * capacity + (self.count[users].take(row) + nth) % capacity
        for name, column in _named(item, feedback, dwell_seconds, tick[:, None] + done_after):
            getattr(self, name).reshape(-1)[cell] = column.reshape(-1).take(looked)
        self.count[users] += added

    def _on_the_way(self, users: Rows, tick: Int64, delay: int) -> Int64:
        if delay == 0:
            return np.zeros(len(users), np.int64)
        return np.asarray((self.tick[users] > (tick - delay)[:, None]).sum(axis=1), dtype=np.int64)

    def _grow(self, needed: int) -> None:
        capacity = self.length + _SPARE
        while capacity < needed:
            capacity += capacity - self.length
        self._widen(capacity)

    def _widen(self, capacity: int) -> None:
        old = self.item.shape[1]
        users = np.arange(len(self.count))[:, None]
        event = self.count[:, None] + np.arange(-old, 0)
        row, nth = np.nonzero(event >= 0)
        event = event[row, nth]
        larger = History.empty(len(users), self.length, capacity)
        for name in _COLUMNS:
            getattr(larger, name)[row, event % capacity] = getattr(self, name)[row, event % old]
            setattr(self, name, getattr(larger, name))


def _named(item: Int32, feedback: UInt8, dwell_seconds: Float32, done: Int64) -> list[tuple[str, AnyColumn]]:
    return [("item", item), ("feedback", feedback), ("dwell_seconds", dwell_seconds), ("tick", done)]


_COLUMNS = ("item", "feedback", "dwell_seconds", "tick")
