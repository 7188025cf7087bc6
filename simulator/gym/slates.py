"""Which items may be shown when, and what becomes of an action that asks for others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recommenders.base import PADDING, Bool, Int32, Int64
from simulator.engine.serving import EngineError
from simulator.world.catalogue import NO_EXPIRY, Catalogue

Rows = npt.NDArray[np.intp]


class Epoch(NamedTuple):
    """A time in which the catalogue stays the same.

    Attributes:
        eligible: bool[n_items], what may be shown.
        mask: int8[n_items], the same as Gymnasium's spaces take it.
        successor: int32[n_items], for each id the smallest eligible one that is not smaller, or else the smallest;
            -1 where none is eligible.
    """

    eligible: Bool
    mask: npt.NDArray[np.int8]
    successor: Int32


@dataclass
class Offer:
    """What may be shown, by the tick of the request, as the engine has it.

    Attributes:
        catalogue: the world's.
        release_every: period at which items enter and leave.
        slate_size: so many must be eligible at any time.
    """

    catalogue: Catalogue
    release_every: int
    slate_size: int
    _changes: Int64 = field(init=False)
    _epochs: dict[int, Epoch] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        catalogue, every = self.catalogue, self.release_every
        ticks = np.concatenate(
            [catalogue.features.release_tick, catalogue.expiry_tick[catalogue.expiry_tick < NO_EXPIRY]]
        )
        self._changes = np.unique(np.append(-(-ticks.clip(min=0) // every) * every, 0))

    def epoch_of(self, tick: Int64) -> Rows:
        """The number of the epoch in which each tick lies: int64[n] -> intp[n]."""
        return np.searchsorted(self._changes, tick, side="right") - 1

    def epoch(self, number: int) -> Epoch:
        """An epoch by its number; few items or none may be left in one in which nobody is served."""
        if number not in self._epochs:
            tick = int(self._changes[number])
            eligible = self.catalogue.eligible(tick)
            ids = np.flatnonzero(eligible).astype(np.int32)
            following = np.searchsorted(ids, np.arange(len(eligible))) % max(len(ids), 1)
            successor = ids[following] if len(ids) else np.full(len(eligible), PADDING, np.int32)
            found = Epoch(eligible, eligible.astype(np.int8), successor)
            for array in found:
                array.setflags(write=False)
            self._epochs[number] = found
        return self._epochs[number]

    def masks(self, tick: Int64) -> npt.NDArray[np.int8]:
        """What may be shown at each tick: int64[n] -> int8[n, n_items], 1 for an eligible item."""
        number = self.epoch_of(tick)
        masks = np.empty((len(tick), self.catalogue.features.n_items), np.int8)
        for present in np.unique(number):
            masks[number == present] = self.epoch(int(present)).mask
        return masks

    def completed(self, item: npt.NDArray[np.integer], tick: Int64) -> Int32:
        """Slates in which every item is eligible and none comes twice.

        From the top down, an item that is not eligible, or stands higher up already, gives way to the next eligible id
        that does not stand higher up, counted on from 0 past the last. A slate without faults stays as it is.

        Args:
            item: int[n, k], any ids of the catalogue.
            tick: int64[n], when each slate is served.

        Returns:
            int32[n, k].

        Raises:
            EngineError: fewer items than a slate has are eligible.
        """
        present, which = np.unique(self.epoch_of(tick), return_inverse=True)
        for number in present:
            self._check_enough(int(number))
        successor = np.stack([self.epoch(int(number)).successor for number in present])
        n_items = successor.shape[1]
        slate = np.empty(item.shape, np.int32)
        for slot in range(item.shape[1]):
            chosen = successor[which, item[:, slot]]
            while True:
                twice = np.flatnonzero((slate[:, :slot] == chosen[:, None]).any(axis=1))
                if len(twice) == 0:
                    break
                chosen[twice] = successor[which[twice], (chosen[twice] + 1) % n_items]
            slate[:, slot] = chosen
        return slate

    def _check_enough(self, number: int) -> None:
        n_eligible = int(self.epoch(number).eligible.sum())
        if n_eligible < self.slate_size:
            raise EngineError(
                f"{n_eligible} items are eligible at tick {self._changes[number]}, expected at least the slate size "
                f"{self.slate_size}; see catalogue.released_share and catalogue.lifetime"
            )
