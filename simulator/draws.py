"""Keyed random numbers: a number is a function of what it is for, never of when or in which order it is asked for.

The generator is Philox4x32-10, a counter-based bijection. The key is derived from (seed, replicate, purpose), the
counter is up to four ids, usually (user, session, step, item or slot). Two branches of a world therefore meet the same
noise wherever the same user meets the same item, and nothing that one user does can shift the draws of another.

Source: Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", SC'11.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

import numpy as np
import numpy.typing as npt

UInt32 = npt.NDArray[np.uint32]
Float64 = npt.NDArray[np.float64]
Ids = npt.NDArray[np.integer] | int

_MULTIPLIERS = np.array([[0xD2511F53], [0xCD9E8D57]], dtype=np.uint64)
_WEYL = np.array([0x9E3779B9, 0xBB67AE85], dtype=np.uint64)
_ROUNDS = 10
_LOW_32 = np.uint64(0xFFFFFFFF)
_SHIFT_32 = np.uint64(32)
_CELL = 2.0**-32
_BLOCK = 16384
"""Counters handled at a time: the temporaries (768 KiB) stay in a second-level cache, few calls are made."""


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
    ATTENTION = 10
    REACTION = 11
    RECOMMENDER = 12
    RANDOM_BEHAVIOUR = 13
    FIT = 14
    ASSIGNMENT = 15
    EXPOSURE = 16
    BOOTSTRAP = 17
    RECOMMENDER_ANEW = 18
    USER_MODEL = 19
    EPISODE = 20
    LOG_SAMPLE = 21


BY_USER = frozenset(
    {
        Purpose.USER_TRAITS,
        Purpose.USER_TOPICS,
        Purpose.USER_CREATOR,
        Purpose.SESSION,
        Purpose.ATTENTION,
        Purpose.REACTION,
        Purpose.RANDOM_BEHAVIOUR,
        Purpose.USER_MODEL,
    }
)
"""Purposes of the world whose first id is a user's row; a recommender's draws belong to the user of its requests."""


def philox(counter: UInt32, key: tuple[int, int]) -> UInt32:
    """Encrypt counters: ten rounds of Philox4x32.

    Args:
        counter: uint32[4, n], the least significant word first.
        key: two 32-bit words.

    Returns:
        uint32[4, n], the four output words of each counter.
    """
    n = counter.shape[1]
    out = np.empty((4, n), dtype=np.uint32)
    round_keys = _round_keys(key)
    # A round multiplies the even words and mixes the halves of the products crosswise into even and odd ones; we keep
    # the 32-bit words in 64 bits, and each pair of words in one array.
    buffers = np.empty((3, 2, min(n, _BLOCK)), dtype=np.uint64)
    for start in range(0, n, _BLOCK):
        rows = slice(start, min(start + _BLOCK, n))
        even, odd, product = buffers[:, :, : rows.stop - start]
        even[:], odd[:] = counter[0::2, rows], counter[1::2, rows]
        for round_key in round_keys:
            np.multiply(even, _MULTIPLIERS, out=product)
            np.right_shift(product[::-1], _SHIFT_32, out=even)
            even ^= odd
            even ^= round_key
            np.bitwise_and(product[::-1], _LOW_32, out=odd)
        out[0::2, rows], out[1::2, rows] = even, odd
    return out


@lru_cache(maxsize=4096)
def _round_keys(key: tuple[int, int]) -> npt.NDArray[np.uint64]:
    """uint64[rounds, 2, 1]: the key moved on by a constant for each round."""
    steps = np.arange(_ROUNDS, dtype=np.uint64)[:, None] * _WEYL
    return ((np.array(key, dtype=np.uint64) + steps) & _LOW_32)[:, :, None]


@lru_cache(maxsize=4096)
def _purpose_key(seed: int, replicate: int, purpose: Purpose) -> tuple[int, int]:
    counter = np.array([[replicate], [purpose], [0], [0]], dtype=np.uint32)
    words = philox(counter, (seed & 0xFFFFFFFF, seed >> 32))
    return int(words[0, 0]), int(words[1, 0])


@dataclass(frozen=True)
class Draws:
    """The random numbers of one world: every method is a pure function of its arguments and of (seed, replicate).

    Attributes:
        seed: the scenario's seed, in [0, 2**64).
        replicate: which of several statistically independent copies of the world this is, in [0, 2**32).
        first_user: which user has row 0, where these are the draws of a part of the users: a row there draws what its
            user draws in the whole world.
    """

    seed: int
    replicate: int = 0
    first_user: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed: got {self.seed}, expected an integer in [0, 2**64)")
        if not 0 <= self.replicate < 2**32:
            raise ValueError(f"replicate: got {self.replicate}, expected an integer in [0, 2**32)")

    def key(self, purpose: Purpose) -> tuple[int, int]:
        """The Philox key of a purpose: the seed encrypts (replicate, purpose)."""
        return _purpose_key(self.seed, self.replicate, purpose)

    def words(self, purpose: Purpose, *ids: Ids) -> UInt32:
        """Four random words for each tuple of ids.

        Args:
            purpose: what the numbers are for.
            ids: one to four arrays or numbers that broadcast together, each in [0, 2**32).

        Returns:
            uint32[4, ...] with the broadcast shape of the ids behind the first axis.

        Raises:
            ValueError: the ids do not broadcast, are not one to four, or lie outside [0, 2**32).
        """
        if not 1 <= len(ids) <= 4:
            raise ValueError(f"ids: got {len(ids)}, expected one to four")
        arrays = [np.asarray(i) for i in ids]
        if self.first_user and purpose in BY_USER:
            arrays[0] = arrays[0] + self.first_user
        for place, array in enumerate(arrays):
            _check_range(place, array)
        shape = np.broadcast(*arrays).shape
        counter = np.zeros((4, *shape), dtype=np.uint32)
        for place, array in enumerate(arrays):
            counter[place] = array
        return philox(counter.reshape(4, -1), self.key(purpose)).reshape(4, *shape)

    def uniform(self, purpose: Purpose, *ids: Ids) -> Float64:
        """Four independent uniforms in (0, 1) for each tuple of ids: float64[4, ...], on a grid of 2**-32."""
        return to_uniform(self.words(purpose, *ids))

    def integer_seed(self, purpose: Purpose, *ids: int) -> int:
        """A seed in [0, 2**63) for a generator of another library, such as a training loop's."""
        words = self.words(purpose, *(np.array([i]) for i in ids))
        return (int(words[0, 0]) << 31) ^ int(words[1, 0])


def to_uniform(words: UInt32) -> Float64:
    """Map 32-bit words to the open interval (0, 1): the midpoints of 2**32 equal cells, never 0 or 1."""
    uniform = np.multiply(words, _CELL, dtype=np.float64)
    uniform += _CELL / 2
    return uniform


def _check_range(place: int, ids: npt.NDArray[np.integer]) -> None:
    # A signed id of up to 32 bits can only be too small: one reduction instead of two, on the path of every draw.
    bounded = ids.dtype.itemsize <= 4
    if ids.size and not (ids.min() >= 0 and (bounded or ids.max() < 2**32)):
        raise ValueError(f"ids[{place}]: got values in [{ids.min()}, {ids.max()}], expected them in [0, 2**32)")
