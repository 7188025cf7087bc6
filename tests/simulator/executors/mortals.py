"""Workers in this process that die when they are told to: what a crew does is tried without processes."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from math import inf
from typing import Any

import numpy as np

from recommenders.base import UInt8
from simulator.executors.remote import MOST_DEATHS, Answer, Died, Elsewhere, Order, Seat


class OneMemory:
    """Memory of this process, the same for all who are told of it, if they are let; see `cells.Memory`."""

    def __init__(self, size: int, maps: float) -> None:
        self._bytes, self._maps = np.zeros(size, np.uint8), maps

    def map(self) -> UInt8:
        self._maps -= 1
        if self._maps < 0:
            raise OSError(errno.EMFILE, "Too many open files")
        return self._bytes

    def __deepcopy__(self, _memo: object) -> OneMemory:
        return self


class MortalWorkers:
    """Seats of this process; see `Workers`. As it is answered, each order may be a worker's last.

    Attributes:
        dies: asked at each answer; the order has been carried out, but nobody hears of it.
        maps: how often memory that they share can be mapped; None: they share none.
        deaths: so far.
    """

    def __init__(self, n: int, dies: Callable[[], bool] = lambda: False, maps: float | None = inf) -> None:
        self.n, self.dies, self.maps, self.deaths = n, dies, maps, 0
        self.least_shared = None if maps is None else 1
        self._seats = [Seat() for _ in range(n)]
        self._answers: dict[int, Answer] = {}

    def share(self, value: Any) -> Any:
        return value

    def memory(self, size: int) -> OneMemory:
        assert self.maps is not None
        return OneMemory(size, self.maps)

    def tell(self, worker: int, order: Order) -> None:
        self._answers[worker] = self._seats[worker].carry_out(deepcopy(order))

    def answers(self, busy: Sequence[int], seconds: float) -> Mapping[int, Answer]:
        return {worker: self._answer(worker) for worker in busy}

    def _answer(self, worker: int) -> Answer:
        if not self.dies():
            return self._answers.pop(worker)
        self.deaths += 1
        return Died("in a test")

    def replace(self, worker: int) -> None:
        self._seats[worker] = Seat()

    def last_call(self, worker: int) -> str:
        return ""


def among(n: int, dies: Callable[[], bool] = lambda: False) -> Elsewhere:
    """An executor with some of them."""
    return Elsewhere(MortalWorkers(n, dies))


def deadly(seed: int, n: int, maps: float | None = None) -> MortalWorkers:
    """Workers of which as many die as are replaced, at random answers."""
    rng = np.random.default_rng(seed)
    workers = MortalWorkers(n, lambda: bool(workers.deaths < MOST_DEATHS and rng.random() < 0.3), maps)
    return workers
