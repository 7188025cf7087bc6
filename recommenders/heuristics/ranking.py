"""Changing scores so that the order changes as a heuristic says, and no further."""

from __future__ import annotations

import numpy as np

from recommenders.base import Bool, Float32, Float64, Int64

_MAGNITUDE = np.int64(0x7FFFFFFF)


def spread(score: Float32, eligible: Bool) -> Float64:
    """The unit of penalties: the standard deviation of a request's scores of eligible items; 1 where they are equal.

    Args:
        score: float32[n, n_items].
        eligible: bool[n_items], at least one.

    Returns:
        float64[n], > 0; each from its own row alone.
    """
    candidate = np.ascontiguousarray(score if eligible.all() else score[:, eligible], dtype=np.float64)
    deviation = candidate.std(axis=1)
    # Equal scores may leave a rounding error of their mean, which is no spread.
    return np.where(candidate.max(axis=1) > candidate.min(axis=1), deviation, 1.0)


def penalised(score: Float32, eligible: Bool, penalty: float, amount: Float32) -> Float32:
    """Scores less `penalty` spreads times the amount: float32[n, n_items]; where the amount is 0, the same bits.

    Args:
        score: float32[n, n_items].
        eligible: bool[n_items].
        penalty: in units of the `spread` of each row.
        amount: float32[n, n_items], >= 0.
    """
    unit = (penalty * spread(score, eligible)).astype(np.float32)
    return score - unit[:, None] * amount


def put_behind(score: Float32, behind: Bool, order: Float32 | None = None) -> Float32:
    """Scores in which some items of each row stand behind all the others.

    They take the float32 numbers next below the row's lowest other score, one for each different value of `order`: so
    they keep their order and their ties exactly, and the spread of the scores hardly changes.

    Args:
        score: float32[n, n_items], finite.
        behind: bool[n_items] or bool[n, n_items]; a row in which all are behind stays as it is, unless `order` is
            given: then it is ordered by that.
        order: float32[n, n_items], by which those behind are ordered, higher first; None for their scores.

    Returns:
        float32[n, n_items], a new array.
    """
    behind = np.asarray(np.broadcast_to(behind, score.shape))
    result = score.copy()
    order = score if order is None else order
    every: Bool = np.all(behind, axis=1)
    result[every] = order[every]
    row, column = np.nonzero(behind & ~every[:, None])
    if not len(row):
        return result
    lowest = np.where(behind, np.float32(np.inf), score).min(axis=1)
    # One whole number for the row and the value together: a single sort, several times as fast as one of two keys.
    cell = row * (1 << 33) - _key(order[row, column])
    sequence = np.argsort(cell)
    row, column, cell = row[sequence], column[sequence], cell[sequence]
    opens_row = np.diff(row, prepend=-1) != 0
    step = np.cumsum(opens_row | (np.diff(cell, prepend=-1) != 0))
    place = step - step[opens_row][np.cumsum(opens_row) - 1]
    result[row, column] = _number(_key(lowest[row]) - 1 - place)
    return result


def _key(value: Float32) -> Int64:
    """Consecutive whole numbers for consecutive float32 numbers; 0 for both zeros."""
    bits = value.view(np.int32).astype(np.int64)
    return np.where(bits >= 0, bits, -(bits & _MAGNITUDE))


def _number(key: Int64) -> Float32:
    """The float32 number of a key."""
    magnitude = np.abs(key).astype(np.int32).view(np.float32)
    return np.where(key < 0, -magnitude, magnitude)
