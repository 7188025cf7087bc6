"""What `benchmarks/simulators.py` and `benchmarks/leaks.py` ask of a simulator; runs on Python 3.8 and old numpys, too.

A simulator is a module run as `python -m benchmarks.peers.NAME speed SIZE` or `... leaks SLATES ANSWERS` by the
interpreter of its own environment. For `speed` it sets itself up, says that it is ready, and then runs once for each
line that it is sent, so that the simulators take turns. For `leaks` it lets users meet given slates and writes down how
they respond.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from time import perf_counter, process_time
from typing import Any

import numpy as np

ANSWER = "ANSWER "
"""Begins each line of standard output that is meant for the benchmark: libraries print, too."""


@dataclass(frozen=True)
class Size:
    """One run: users by items, each user served `steps` times; a slate of 10 where the simulator has slates."""

    users: int
    items: int
    steps: int
    slate: int = 10
    seed: int = 0


@dataclass(frozen=True)
class Run:
    """What a run took: interactions, processor seconds and seconds of the clock."""

    interactions: int
    processor_seconds: float
    seconds: float


def answer(version: str, prepare: Callable[[Size], Callable[[], int]], respond: Callable[[int, Any], Any]) -> None:
    """Do what the command line asks.

    Args:
        version: of the simulator.
        prepare: sets up; what it gives runs once and tells the number of interactions.
        respond: (seed, slates int64[steps, users, k]) -> responses [steps, users, ...], equal where they are the same.
    """
    if sys.argv[1] == "leaks":
        np.save(sys.argv[3], respond(5, np.load(sys.argv[2])))
        return
    run = prepare(Size(**json.loads(sys.argv[2])))
    tell({"version": version})
    for _ in sys.stdin:
        wall, processor = perf_counter(), process_time()
        interactions = int(run())
        tell(asdict(Run(interactions, process_time() - processor, perf_counter() - wall)))


def tell(found: dict[str, Any]) -> None:
    print(ANSWER + json.dumps(found), flush=True)
