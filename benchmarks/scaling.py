"""How much faster two workers are than one: the same world, in this process, in one worker process, and in two.

Once with the log in memory, which ends up in the process that was started; once streamed, each worker its own cells.

    python benchmarks/scaling.py                        # 40,000 users, random and a matrix product
    python benchmarks/scaling.py --users 100000 --repeats 3     # in turns; of each the fastest counts: ten minutes

On a machine that others use, the wall clock says how much of it was left over. The last column is the processor time
of all processes together: where it stays the same, nothing but waiting stands between N cores and N times the speed.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from recommenders import registry
from recommenders.base import (
    Float32,
    Int32,
    Interactions,
    ItemFeatures,
    Progress,
    Recommender,
    RequestDraws,
    Requests,
    Slates,
    State,
    Traits,
)
from recommenders.topk import top_k
from simulator.allocator import keep_freed_memory
from simulator.engine.cells import CELL_USERS, Executor, Here, cut_population
from simulator.engine.clock import Service, Workplace, simulate
from simulator.engine.log import EventLog
from simulator.engine.log_files import log_hash
from simulator.engine.log_parts import StreamedLog, cell_hash, cells_hash, read_cells
from simulator.engine.snapshot import genesis
from simulator.executors.processes import in_processes
from simulator.scenario import schema
from simulator.world.behaviour import UtilityBehaviour
from simulator.world.world import World, build_world

DAY = 86_400_000
FACTORS = 32
PLACES = {"this process": 0, "1 worker": 1, "2 workers": 2}
"""Where cells live, and in how many worker processes."""


class MatrixProduct:
    """Scores all items by a product of fixed factors, of the user and of the item."""

    traits = Traits(batch_size=256)

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        """Nothing to learn."""
        self.load_state_dict({}, items)

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        """The best items of each user."""
        return top_k(_factors(requests.user) @ self.items.T, requests.eligible, k)

    def state_dict(self) -> State:
        """Empty."""
        return {}

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        """Make the factors of the items."""
        self.items = _factors(np.arange(items.n_items, dtype=np.int32))


def _factors(ids: Int32) -> Float32:
    return np.asarray(np.sin(ids[:, None] * np.arange(1, FACTORS + 1) * 0.7391), dtype=np.float32)


@dataclass(frozen=True)
class Timing:
    """One run: seconds on the wall, seconds of all processors, and the log's hash."""

    wall: float
    processor: float
    hash: str
    interactions: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=40_000)
    parser.add_argument("--items", type=int, default=2_000)
    parser.add_argument("--days", type=float, default=1.0, help="simulated days (default 1)")
    parser.add_argument("--repeats", type=int, default=1, help="of each, in turns; the fastest counts (default 1)")
    parser.add_argument("--folder", type=Path, help="for temporary files; default: the system's")
    args = parser.parse_args()
    keep_freed_memory()
    catalogue = schema.Catalogue(items=args.items, creators=max(1, args.items // 10))
    settings = schema.World(catalogue=catalogue, population=schema.Population(users=args.users))
    world = build_world(settings, seed=1, horizon_ticks=30 * DAY, directory=Path())
    print(f"{args.users:,} users, {args.items:,} items, slates of 10")
    columns = f"{'cells live in':<16}{'wall s':>8}{'speed':>8}{'processor s':>13}{'slates/s':>10}"
    print(f"{'recommender':<16}{'log':<10}{columns}")
    for name in ("random", "matrix product"):
        for log in ("in memory", "streamed"):
            found: dict[str, Timing] = {}
            for _ in range(args.repeats):
                for place, n in PLACES.items():
                    with tempfile.TemporaryDirectory(prefix="pushback-scaling-", dir=args.folder) as folder:
                        t = measure(world, name, n, args.days, Path(folder) if log == "streamed" else None)
                    found[place] = min(found.get(place, t), t, key=lambda timing: timing.wall)
            one = found["this process"]
            for place, t in found.items():
                assert t.hash == one.hash, f"{place}: another log"
                print(
                    f"{name:<16}{log:<10}{place:<16}{t.wall:>8.1f}{one.wall / t.wall:>8.2f}{t.processor:>13.1f}"
                    f"{t.interactions / t.wall:>10,.0f}"
                )
            ratio = found["1 worker"].wall / found["2 workers"].wall
            print(f"{name}, log {log}: two workers are {ratio:.2f} times as fast as one")


def measure(world: World, name: str, n_workers: int, days: float, folder: Path | None) -> Timing:
    """One run. The workers have started when the clock of the wall begins; their processor time counts from birth.

    Args:
        world: to live in.
        name: of the recommender.
        n_workers: 0 for this process.
        days: how long.
        folder: empty, where the log is streamed to; None: it stays in memory.
    """
    build: Callable[[], Recommender] = partial(registry.build, "random") if name == "random" else MatrixProduct
    before = processor_seconds()
    with ExitStack() as stack:
        executor: Executor = stack.enter_context(in_processes(n_workers)) if n_workers else Here()
        service = Service(name, build, schema.Platform(slate_size=10), workplace=Workplace(executor))
        model = build()
        model.fit(EventLog.empty().interactions(0), world.catalogue.features, seed=0)
        begin = genesis(world, UtilityBehaviour(), 0, model.state_dict())
        simulate(world, UtilityBehaviour(), service, begin, DAY // 100)
        cells = cut_population(world.population.n_users, CELL_USERS)
        sinks = None if folder is None else StreamedLog(folder, name, cells)
        clock = perf_counter()
        log = simulate(world, UtilityBehaviour(), service, begin, round(days * DAY), sinks=sinks).log
        wall = perf_counter() - clock
    processor = processor_seconds() - before
    if folder is None:
        return Timing(wall, processor, log_hash(log), len(log) // 10)
    read = [(users, cell_hash(log), len(log)) for users, log in read_cells(folder)]
    rows = sum(n for _, _, n in read)
    return Timing(wall, processor, cells_hash([(users, found) for users, found, _ in read]), rows // 10)


def processor_seconds() -> float:
    """Of this process, and of its children that have ended."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


if __name__ == "__main__":
    main()
