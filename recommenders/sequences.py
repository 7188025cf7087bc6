"""From a log of interactions to the windows that sequence models train on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recommenders.base import PADDING, Bool, Feedback, Int32, Interactions, UInt8

POSITIVE = int(Feedback.LONG_DWELL | Feedback.LIKE)
"""The feedback that makes an item a positive label."""


class Runs(NamedTuple):
    """Runs of equal neighbouring values: intp[r] each."""

    start: npt.NDArray[np.intp]
    length: npt.NDArray[np.intp]


@dataclass(frozen=True)
class Windows:
    """Stretches of users' histories, each position with the interaction that came next as its label.

    Within a row the real positions come first, oldest to newest, and padding last: an encoder that looks only backwards
    cannot see the padding. Every interaction but a user's first is the label of exactly one position.

    Attributes:
        item: int32[n, window], -1 where padded.
        feedback: uint8[n, window], what the user did with that item; 0 where padded.
        positive: int32[n, window], the next item where it is a positive label, else -1.
        negative: int32[n, window], the next item where it is a negative label, else -1.
    """

    item: Int32
    feedback: UInt8
    positive: Int32
    negative: Int32

    def __len__(self) -> int:
        return len(self.item)


def is_positive(feedback: UInt8, *, except_disliked: bool) -> Bool:
    """Where feedback makes a positive label: a long dwell or a like, and with `except_disliked` no dislike."""
    positive: Bool = (feedback & POSITIVE) != 0
    if except_disliked:
        positive &= (feedback & Feedback.DISLIKE) == 0
    return positive


def training_windows(log: Interactions, window: int, *, label_dislikes: bool) -> Windows:
    """Cut every user's interactions into windows of pairs (an interaction, the one that came next).

    A user with more pairs than `window` gets several rows, cut from the newest backwards without overlap: only the
    row of the oldest pairs is padded.

    Args:
        log: interactions in order of (tick, user).
        window: width of the rows, at least 1.
        label_dislikes: make disliked items negative labels, and never positive ones; otherwise dislikes are not looked
            at and there are no negative labels.

    Returns:
        Windows in order of user, then of time.
    """
    order = np.argsort(log.user, kind="stable")
    user, item, feedback = log.user[order], log.item[order], log.feedback[order]
    source = np.flatnonzero(user[1:] == user[:-1])
    row, column = _cells(user[source], window)

    label, label_feedback = item[source + 1], feedback[source + 1]
    positive = is_positive(label_feedback, except_disliked=label_dislikes)
    negative = (label_feedback & Feedback.DISLIKE) != 0 if label_dislikes else np.zeros(len(source), np.bool_)

    shape = (int(row[-1]) + 1 if len(row) else 0, window)
    windows = Windows(
        item=np.full(shape, PADDING, np.int32),
        feedback=np.zeros(shape, np.uint8),
        positive=np.full(shape, PADDING, np.int32),
        negative=np.full(shape, PADDING, np.int32),
    )
    windows.item[row, column] = item[source]
    windows.feedback[row, column] = feedback[source]
    windows.positive[row, column] = np.where(positive, label, PADDING)
    windows.negative[row, column] = np.where(negative, label, PADDING)
    return windows


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
