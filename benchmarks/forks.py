"""What branches cost: K branches of one prefix against one prefix plus K suffixes, and the fork of 2,000 users itself.

    python benchmarks/forks.py
    python benchmarks/forks.py --runs 500 --branches 2 4 --json

The protocol is the counterfactual of a scenario (k = 50, then one measured slate); prefix and suffix are measured in
the same process, as the same protocol without branches, and as what two more branches add where there is no prefix. A
fork copies users and histories, as every branch does when it goes on from the snapshot.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from time import process_time

os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.history import record
from recommenders.base import State
from recommenders.registry import build
from simulator.allocator import keep_freed_memory
from simulator.engine.clock import Service, simulate
from simulator.engine.snapshot import Snapshot, deploy, genesis
from simulator.experiment.counterfactual import run_counterfactual, world_of_runs
from simulator.scenario import schema
from simulator.scenario.counterfactuals import Counterfactual
from simulator.world.behaviour import UtilityBehaviour
from simulator.world.random_behaviour import RandomBehaviour
from simulator.world.world import World, build_world

DAY = 86_400_000
FURTHER = (
    ("dislike",),
    ("dismiss",),
    ("skip",),
    ("like",),
    ("nothing",),
    ("long_dwell", "dismiss"),
    ("skip", "dislike"),
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2_000, help="users, each with one trajectory (default 2000)")
    parser.add_argument("--k", type=int, default=50, help="the item at which branches part (default 50)")
    parser.add_argument("--branches", type=int, nargs="+", default=[2, 4, 8], help="branches, the base included")
    parser.add_argument("--repeats", type=int, default=3, help="the median is reported (default 3)")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    args = parser.parse_args()
    if not all(2 <= n <= len(FURTHER) + 2 for n in args.branches):
        parser.error(f"--branches: got {args.branches}, expected numbers from 2 to {len(FURTHER) + 2}")
    keep_freed_memory()
    found = measure(args.runs, args.k, args.branches, args.repeats)
    record("forks", {f"{n}_branches": found.branches[n] / found.limits[n] for n in found.branches}, runs=args.runs)
    print(json.dumps(asdict(found)) if args.json else table(args.runs, found))


@dataclass(frozen=True)
class Found:
    """Seconds of the prefix, of a suffix, by number of branches of all and of their limit, and of the fork itself."""

    prefix: float
    suffix: float
    branches: dict[int, float]
    limits: dict[int, float]
    fork: float


def measure(runs: int, k: int, branches: Sequence[int], repeats: int) -> Found:
    """Measure in this process; processor time."""
    world = make_world()
    service = Service("arm", partial(build, "linear_recurrent", {"epochs": 1}), schema.Platform(slate_size=10))
    start, model = warm(world, service)
    settings = Counterfactual(runs=runs, k=k, slate_size=20)
    timed = partial(middle, repeats)
    prefix = timed(lambda: simulate_prefix(world, service, model, settings, start))
    costs = {n: timed(partial(branch, world, service, model, settings, start, n)) for n in branches}
    at_once = settings.model_copy(update={"k": 1})
    two, four = (timed(partial(branch, world, service, model, at_once, start, n)) for n in (2, 4))
    suffix = (four - two) / 2
    fork = timed(fork_of(world, service, model, settings, start))
    return Found(prefix, suffix, costs, {n: prefix + n * suffix for n in branches}, fork)


def make_world() -> World:
    settings = schema.World(
        catalogue=schema.Catalogue(items=2_000, creators=200), population=schema.Population(users=500)
    )
    return build_world(settings, seed=1, horizon_ticks=3 * DAY, directory=Path())


def warm(world: World, service: Service) -> tuple[Snapshot, State]:
    """A day of random slates, and a model trained on it."""
    random = replace(service, build=partial(build, "random", {}))
    begin = genesis(world, UtilityBehaviour(), service.build().traits.history_length, {})
    start = simulate(world, UtilityBehaviour(), random, begin, DAY).end
    recommender = service.build()
    recommender.fit(start.log.interactions(DAY), world.catalogue.features, seed=1)
    return start, recommender.state_dict()


def simulate_prefix(
    world: World, service: Service, model: State, settings: Counterfactual, start: Snapshot
) -> tuple[World, Snapshot]:
    """All users up to item k."""
    runs = world_of_runs(world, settings.runs)
    behaviour = RandomBehaviour(settings, start.tick)
    begin = replace(genesis(runs, behaviour, service.build().traits.history_length), tick=start.tick)
    until = start.tick + (settings.k - 1) * settings.request_every
    return runs, simulate(runs, behaviour, service, deploy(begin, model), until).end


def branch(
    world: World, service: Service, model: State, settings: Counterfactual, start: Snapshot, n_branches: int
) -> None:
    further = settings.model_copy(update={"further_actions": FURTHER[: n_branches - 2]})
    run_counterfactual(world, service, model, further, start=start)


def fork_of(
    world: World, service: Service, model: State, settings: Counterfactual, start: Snapshot
) -> Callable[[], object]:
    _, end = simulate_prefix(world, service, model, settings, start)
    return lambda: (end.users.copy(), end.history.copy())


def middle(repeats: int, work: Callable[[], object]) -> float:
    """Median seconds of processor time."""
    seconds = []
    for _ in range(repeats):
        clock = process_time()
        work()
        seconds.append(process_time() - clock)
    return median(seconds)


def table(runs: int, found: Found) -> str:
    """The timings for people, each as a ratio to its limit."""
    costs, limits = found.branches, found.limits
    lines = [f"{runs:,} users, one core: prefix {found.prefix:.2f} s, a suffix alone {found.suffix:.2f} s"]
    lines += [
        f"{n:2} branches: {costs[n]:.2f} s, {costs[n] / limits[n]:.2f} of one prefix plus {n} suffixes (at most 1)"
        for n in costs
    ]
    lines.append(f"fork of {runs:,} users: {1000 * found.fork:.1f} ms (at most 100 ms)")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
