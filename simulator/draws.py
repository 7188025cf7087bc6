"""Keyed random numbers: a number is a function of what it is for, never of when or in which order it is asked for.

The generator is Philox4x32-10, a counter-based bijection. The key is derived from (seed, replicate, purpose), the
counter is up to four ids, usually (user, session, step, item or slot). Two branches of a world therefore meet the same
noise wherever the same user meets the same item, and nothing that one user does can shift the draws of another.

Source: Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", SC'11.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

UInt32 = npt.NDArray[np.uint32]
Float64 = npt.NDArray[np.float64]
Ids = npt.NDArray[np.integer] | int

_MULTIPLIER_0 = np.uint64(0xD2511F53)
_MULTIPLIER_1 = np.uint64(0xCD9E8D57)
_WEYL_0 = 0x9E3779B9
_WEYL_1 = 0xBB67AE85
_ROUNDS = 10
_LOW_32 = np.uint64(0xFFFFFFFF)
_SHIFT_32 = np.uint64(32)
_BLOCK = 4096
"""Counters handled at a time: the temporaries of a round then stay in a core's second-level cache."""


class Purpose(IntEnum):
    """What a draw is for. New purposes are appended; a number is never reused, or old results would change."""

    KEY = 0
    TOPICS = 1
    CREATORS = 2
    ITEMS = 3
    ITEM_EMBEDDING = 4
    USER_TRAITS = 5
    USER_TOPICS = 6
    USER_CREATOR = 7
    SESSION = 8
    DRIFT = 9
    ATTENTION = 10
    REACTION = 11
    RECOMMENDER = 12
    RANDOM_BEHAVIOUR = 13
    FIT = 14
    COUNTERFACTUAL = 15


def philox(counter: tuple[UInt32, UInt32, UInt32, UInt32], key: tuple[int, int]) -> UInt32:
    """Encrypt counters: ten rounds of Philox4x32.

    Args:
        counter: four uint32[n] words, the least significant first.
        key: two 32-bit words.

    Returns:
        uint32[4, n], the four output words of each counter.
    """
    n = len(counter[0])
    out = np.empty((4, n), dtype=np.uint32)
    for start in range(0, n, _BLOCK):
        rows = slice(start, start + _BLOCK)
        x0, x1, x2, x3 = (word[rows].astype(np.uint64) for word in counter)
        k0, k1 = key
        for _ in range(_ROUNDS):
            product_0 = x0 * _MULTIPLIER_0
            product_1 = x2 * _MULTIPLIER_1
            x0 = (product_1 >> _SHIFT_32) ^ x1 ^ np.uint64(k0)
            x2 = (product_0 >> _SHIFT_32) ^ x3 ^ np.uint64(k1)
            x1 = product_1 & _LOW_32
            x3 = product_0 & _LOW_32
            k0 = (k0 + _WEYL_0) & 0xFFFFFFFF
            k1 = (k1 + _WEYL_1) & 0xFFFFFFFF
        out[0, rows], out[1, rows], out[2, rows], out[3, rows] = x0, x1, x2, x3
    return out


@dataclass(frozen=True)
class Draws:
    """The random numbers of one world: every method is a pure function of its arguments and of (seed, replicate).

    Attributes:
        seed: the scenario's seed, in [0, 2**64).
        replicate: which of several statistically independent copies of the world this is, in [0, 2**32).
    """

    seed: int
    replicate: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed: got {self.seed}, expected an integer in [0, 2**64)")
        if not 0 <= self.replicate < 2**32:
            raise ValueError(f"replicate: got {self.replicate}, expected an integer in [0, 2**32)")

    def key(self, purpose: Purpose) -> tuple[int, int]:
        """The Philox key of a purpose: the seed encrypts (replicate, purpose)."""
        counter = tuple(np.array([word], dtype=np.uint32) for word in (self.replicate, int(purpose), 0, 0))
        words = philox(counter, (self.seed & 0xFFFFFFFF, self.seed >> 32))  # type: ignore[arg-type]
        return int(words[0, 0]), int(words[1, 0])

    def words(self, purpose: Purpose, *ids: Ids) -> UInt32:
        """Four random words for each tuple of ids.

        Args:
            purpose: what the numbers are for.
            ids: one to four arrays or numbers that broadcast together, each in [0, 2**32).

        Returns:
            uint32[4, ...] with the broadcast shape of the ids behind the first axis.
        """
        if not 1 <= len(ids) <= 4:
            raise ValueError(f"ids: got {len(ids)}, expected one to four")
        arrays = np.broadcast_arrays(*(np.asarray(i) for i in ids))
        shape = arrays[0].shape
        columns = [np.ascontiguousarray(a, dtype=np.uint32).reshape(-1) for a in arrays]
        columns += [np.zeros(columns[0].size, dtype=np.uint32)] * (4 - len(columns))
        counter = (columns[0], columns[1], columns[2], columns[3])
        return philox(counter, self.key(purpose)).reshape(4, *shape)

    def uniform(self, purpose: Purpose, *ids: Ids) -> Float64:
        """Four independent uniforms in (0, 1) for each tuple of ids: float64[4, ...], on a grid of 2**-32."""
        return to_uniform(self.words(purpose, *ids))

    def integer_seed(self, purpose: Purpose, *ids: int) -> int:
        """A seed in [0, 2**63) for a generator of another library, such as a training loop's."""
        words = self.words(purpose, *(np.array([i]) for i in ids))
        return (int(words[0, 0]) << 31) ^ int(words[1, 0])


def to_uniform(words: UInt32) -> Float64:
    """Map 32-bit words to the open interval (0, 1): the midpoints of 2**32 equal cells, never 0 or 1."""
    return np.asarray((words + 0.5) * 2.0**-32, dtype=np.float64)
