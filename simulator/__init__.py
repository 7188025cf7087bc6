"""Pushback: measure how a recommender responds when its users push back.

    import simulator

    found = simulator.run("quickstart", set={"world.population.users": 200}, seed=1)
    found.lifts()

The interface for notebooks and scripts; docs/python.md shows all of it. Importing this package imports nothing heavy.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulator.api import FinishedRun, RunDifferences, compare, load, make_scenario, run

__version__ = "0.1.0"
__all__ = ["FinishedRun", "RunDifferences", "compare", "load", "make_scenario", "run"]


def prefer_one_thread() -> None:
    """Ask numerical libraries for one thread a process, if they are not imported yet and nobody has said otherwise.

    Two threads on busy cores have been seen ten times slower, and sums in another order give models other last bits.
    """
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    prefer_one_thread()
    from importlib import import_module

    return getattr(import_module("simulator.api"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
