"""Pushback as a side of `benchmarks/simulators.py`: every mechanism at the schema's defaults, the log put in order.

An interaction: a random slate of 10, attention, a reaction to each examined item, the user's state, sessions and
returns. Users come when they come: a run lasts until they have been served `steps` times on average.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.engine import DAY, SLATE, beginning, make_world, run
from benchmarks.peers.simulation import Size, answer
from simulator.allocator import keep_freed_memory
from simulator.engine.collector import Collector
from simulator.engine.pool import UserPool
from simulator.world.behaviour import UtilityBehaviour

TEN_REQUESTS = 0.75 * DAY
"""By then a user has been served ten times."""


def prepare(size: Size) -> Callable[[], int]:
    keep_freed_memory()
    world = make_world(size.users, size.items)
    start, until = beginning("random", world), round(TEN_REQUESTS * size.steps / 10)
    run("random", world, start, DAY // 10)
    return lambda: len(run("random", world, start, until)[0].log) // SLATE


def respond(seed: int, slates: Any) -> Any:
    """Feedback and dwell time of each slot."""
    n_steps, n_users, k = slates.shape
    world = make_world(n_users, 200)
    start = beginning("random", world)
    pool = UserPool(world, UtilityBehaviour(), start.users, start.history, Collector(), "given", k, 0)
    served = [pool.respond(np.arange(n_users), slates[step].astype(np.int32)) for step in range(n_steps)]
    return np.stack([np.stack([s.feedback, s.dwell_seconds], axis=-1) for s in served])


if __name__ == "__main__":
    from importlib.metadata import version

    answer(f"pushback {version('pushback')}", prepare, respond)
