"""Lists of items that were seen together, as far as a log of interactions shows them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recommenders.base import PADDING, Int32, Int64


def list_numbers(
    owner: npt.NDArray[np.intp] | Int32, tick: Int64, gap_ticks: int, length: int
) -> npt.NDArray[np.int64]:
    """Which list each interaction belongs to, counted from 0 in the given order.

    A list is cut where its owner changes, where more than `gap_ticks` passed since the last interaction, and after
    `length` interactions.

    Args:
        owner: intp or int32[e], equal ones side by side.
        tick: int64[e], ascending within an owner.
        gap_ticks: at least 0.
        length: at least 1.
    """
    place = np.arange(len(owner))
    opens = np.ones(len(owner), np.bool_)
    opens[1:] = (owner[1:] != owner[:-1]) | (tick[1:] - tick[:-1] > gap_ticks)
    start = np.maximum.accumulate(np.where(opens, place, 0))
    opens |= (place - start) % length == 0
    return np.cumsum(opens) - 1


def lists_of_histories(item: Int32, tick: Int64, gap_ticks: int, length: int) -> Int64:
    """`list_numbers` of histories padded on the left: int64[n, h] from int32[n, h] and int64[n, h]; -1 where padded.

    Numbers are compared within a row only: across rows they go on.
    """
    row, column = np.nonzero(item != PADDING)
    number = np.full(item.shape, PADDING, np.int64)
    number[row, column] = list_numbers(row, tick[row, column], gap_ticks, length)
    return number
