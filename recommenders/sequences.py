"""From a log of interactions to the windows that sequence models train on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from recommenders.base import PADDING, TICKS_PER_SECOND, Bool, Feedback, Float32, Int32, Interactions, UInt8

T = TypeVar("T", bound=np.generic)

POSITIVE = int(Feedback.LONG_DWELL | Feedback.LIKE)
"""The feedback that makes an item a positive label."""


class Runs(NamedTuple):
    """Runs of equal neighbouring values: intp[r] each."""

    start: npt.NDArray[np.intp]
    length: npt.NDArray[np.intp]


@dataclass(frozen=True)
class Windows:
    """Stretches of users' histories, each position with the interaction that came next.

    Within a row the real positions come first, oldest to newest, and padding last: an encoder that looks only backwards
    cannot see the padding. Every interaction but a user's first is the next one of exactly one position.

    Attributes:
        item: int32[n, window], -1 where padded.
        feedback: uint8[n, window], what the user did with that item; 0 where padded.
        next_item: int32[n, window], the item that came next; -1 where padded.
        next_feedback: uint8[n, window], what the user did with that one; 0 where padded.
        next_dwell_seconds: float32[n, window], how long the user stayed with that one; 0 where padded.
        next_gap_seconds: float32[n, window], time from the feedback on the item to that on the next; 0 where padded.
    """

    item: Int32
    feedback: UInt8
    next_item: Int32
    next_feedback: UInt8
    next_dwell_seconds: Float32
    next_gap_seconds: Float32

    def __len__(self) -> int:
        return len(self.item)

    def take(self, rows: npt.NDArray[np.intp] | Bool | slice) -> Windows:
        """The chosen rows, in the order given."""
        return Windows(*(column[rows] for column in vars(self).values()))


def is_positive(feedback: UInt8, *, except_disliked: bool) -> Bool:
    """Where feedback makes a positive label: a long dwell or a like, and with `except_disliked` no dislike."""
    positive: Bool = (feedback & POSITIVE) != 0
    if except_disliked:
        positive &= (feedback & Feedback.DISLIKE) == 0
    return positive


def training_windows(log: Interactions, window: int) -> Windows:
    """Cut every user's interactions into windows of pairs (an interaction, the one that came next).

    A user with more pairs than `window` gets several rows, cut from the newest backwards without overlap: only the
    row of the oldest pairs is padded. So one pass over the rows sees each interaction as a label once.

    Args:
        log: interactions in order of (tick, user).
        window: width of the rows, at least 1.

    Returns:
        Windows in order of user, then of time.
    """
    sorted_log = log.take(np.argsort(log.user, kind="stable"))
    source = np.flatnonzero(sorted_log.user[1:] == sorted_log.user[:-1])
    this, following = sorted_log.take(source), sorted_log.take(source + 1)
    gap_seconds = ((following.tick - this.tick) / TICKS_PER_SECOND).astype(np.float32)
    row, column = _cells(this.user, window)
    n_rows = int(row[-1]) + 1 if len(row) else 0

    def placed(values: npt.NDArray[T], padding: int) -> npt.NDArray[T]:
        table = np.full((n_rows, window), padding, values.dtype)
        table[row, column] = values
        return table

    return Windows(
        item=placed(this.item, PADDING),
        feedback=placed(this.feedback, 0),
        next_item=placed(following.item, PADDING),
        next_feedback=placed(following.feedback, 0),
        next_dwell_seconds=placed(following.dwell_seconds, 0),
        next_gap_seconds=placed(gap_seconds, 0),
    )


def without(log: Interactions, feedback: Feedback) -> Interactions:
    """The log without the interactions that carry any of the flags."""
    return log.take((log.feedback & feedback) == 0)


def compacted(item: Int32, feedback: UInt8, dropped: Feedback) -> tuple[Int32, UInt8]:
    """Histories without the interactions that carry any of the flags, the rest moved to the right.

    Args:
        item: int32[n, h], -1 where padded, which is on the left.
        feedback: uint8[n, h].
        dropped: flags of which one is enough.

    Returns:
        Items and feedback of the same shape, padded on the left.
    """
    return kept_alone(item, feedback, (feedback & dropped) == 0)


def kept_alone(item: Int32, feedback: UInt8, kept: Bool) -> tuple[Int32, UInt8]:
    """Histories with nothing but the chosen interactions, moved to the right.

    Args:
        item: int32[n, h], -1 where padded, which is on the left.
        feedback: uint8[n, h].
        kept: bool[n, h]; any where padded.

    Returns:
        Items and feedback of the same shape, padded on the left.
    """
    kept = kept & (item != PADDING)
    order = np.argsort(kept, axis=1, kind="stable")
    kept = np.take_along_axis(kept, order, 1)
    moved_item = np.where(kept, np.take_along_axis(item, order, 1), np.int32(PADDING))
    return moved_item, np.where(kept, np.take_along_axis(feedback, order, 1), np.uint8(0))


def _cells(user: Int32, window: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Row and column of each pair, for pairs sorted by user and time: intp[e] each."""
    start, count = runs(user)
    rank = np.arange(len(user)) - np.repeat(start, count)
    back = np.repeat(count, count) - 1 - rank
    n_windows = -(-count // window)
    first_row = np.cumsum(n_windows) - n_windows
    row = np.repeat(first_row + n_windows, count) - 1 - back // window
    window_start = np.maximum(0, rank + back - window * (back // window + 1) + 1)
    return row, rank - window_start


def runs(group: Int32) -> Runs:
    """The runs of equal values, in order."""
    start = np.flatnonzero(np.diff(group, prepend=PADDING)) if len(group) else np.empty(0, np.intp)
    return Runs(start, np.diff(start, append=len(group)))
