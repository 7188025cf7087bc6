"""How many interactions a second the engine serves on one core: a user receives a slate of 10 and responds.

    python benchmarks/engine.py                     # the random recommender, 10,000 users and items
    python benchmarks/engine.py --users 1000 --items 1000 --json

Everything is included but writing the log to disk. The floor printed beside it is a bare numpy loop of the same size in
the same process (random slates, one multinomial choice, one dislike draw, interest and boredom updates, no keyed
draws): the ratio carries over to other machines, the absolute figures do not.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from recommenders.random import Random
from recommenders.registry import build
from simulator.allocator import keep_freed_memory
from simulator.draws import Draws, Ids, Purpose, UInt32
from simulator.engine.clock import Service, Trajectory, simulate
from simulator.engine.log import EventLog
from simulator.engine.snapshot import Snapshot, genesis
from simulator.scenario import schema
from simulator.world.behaviour import UtilityBehaviour
from simulator.world.world import World, build_world

SLATE = 10
DAY = 86_400_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--days", type=float, default=6.0, help="simulated days (default 6)")
    parser.add_argument("--repeats", type=int, default=5, help="the median is reported (default 5)")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    args = parser.parse_args()
    keep_freed_memory()
    world = make_world(args.users, args.items)
    start = beginning(world)
    run(world, start, 0.2)
    found = [measure(world, start, args.days) for _ in range(args.repeats)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    middle = sorted(found, key=lambda f: f.interactions_per_second)[len(found) // 2]
    draws = share_of_draws(world, start, args.days)
    bare = floor(args.users, args.items)
    size = {"users": args.users, "items": args.items}
    if args.json:
        print(
            json.dumps(
                size
                | asdict(middle)
                | {"share_of_draws": draws, "floor_interactions_per_second": bare, "peak_memory_mib": peak}
            )
        )
    else:
        print(f"{args.users:,} users, {args.items:,} items, slates of {SLATE}, random recommender, one core")
        print(table(middle, draws, bare, peak))


@dataclass(frozen=True)
class Timing:
    """One timed run."""

    interactions: int
    seconds: float
    interactions_per_second: float
    shares: dict[str, float]


def make_world(users: int, items: int) -> World:
    """A world with every mechanism switched on, at the schema's defaults."""
    catalogue = schema.Catalogue(items=items, creators=max(1, items // 10))
    settings = schema.World(catalogue=catalogue, population=schema.Population(users=users))
    return build_world(settings, seed=1, horizon_ticks=30 * DAY, directory=Path())


def service() -> Service:
    """Random slates."""
    return Service("random", partial(build, "random"), schema.Platform(slate_size=SLATE))


def beginning(world: World) -> Snapshot:
    """Nobody has come yet; the random recommender is deployed."""
    random = build("random")
    assert isinstance(random, Random)
    random.fit(EventLog.empty().interactions(0), world.catalogue.features, seed=0)
    return genesis(world, UtilityBehaviour(), 0, random.state_dict())


def run(world: World, start: Snapshot, days: float) -> Trajectory:
    """Simulate and put the log in order."""
    return simulate(world, UtilityBehaviour(), service(), start, round(days * DAY))


def measure(world: World, start: Snapshot, days: float) -> Timing:
    """One timed run: interactions a second and the share of each stage."""
    clock = perf_counter()
    trajectory = run(world, start, days)
    seconds = perf_counter() - clock
    interactions = len(trajectory.log) // SLATE
    shares = {stage: took / seconds for stage, took in trajectory.seconds.items()}
    return Timing(interactions, seconds, interactions / seconds, shares | {"rest": 1 - sum(shares.values())})


def share_of_draws(world: World, start: Snapshot, days: float) -> float:
    """Share of the time that goes into keyed draws, whatever the stage: one more run with a clock around them."""
    seconds, plain = 0.0, Draws.words

    def clocked(self: Draws, purpose: Purpose, *ids: Ids) -> UInt32:
        nonlocal seconds
        clock = perf_counter()
        words = plain(self, purpose, *ids)
        seconds += perf_counter() - clock
        return words

    with mock.patch.object(Draws, "words", clocked):
        total = measure(world, start, days).seconds
    return seconds / total


def floor(users: int, items: int, steps: int = 20) -> float:
    """Interactions a second of the bare numpy loop, median of five."""
    rng = np.random.default_rng(0)
    interest = rng.standard_normal((users, 32), dtype=np.float32)
    vectors = rng.standard_normal((items, 32), dtype=np.float32)
    topic, bored, row = rng.integers(0, 32, items), np.zeros((users, 32), np.float32), np.arange(users)
    took = []
    for _ in range(5):
        clock = perf_counter()
        for _ in range(steps):
            slate = rng.integers(0, items, (users, SLATE))
            utility = np.einsum("ud,ukd->uk", interest, vectors[slate]) - bored[row[:, None], topic[slate]]
            choice = (utility - np.log(rng.standard_exponential((users, SLATE), dtype=np.float32))).argmax(axis=1)
            item, chosen = slate[row, choice], utility[row, choice]
            liked = np.where(rng.random(users) < 1 / (1 + np.exp(3 + chosen)), -0.05, 0.05).astype(np.float32)
            interest += liked[:, None] * (vectors[item] - interest)
            bored *= np.float32(0.9)
            bored[row, topic[item]] += 0.3
        took.append(perf_counter() - clock)
    return users * steps / median(took)


def table(timing: Timing, draws: float, bare: float, peak: float) -> str:
    """For people."""
    rate = timing.interactions_per_second
    lines = [
        f"{rate:12,.0f} interactions a second ({timing.interactions:,} in {timing.seconds:.2f} s, median run)",
        f"{bare:12,.0f} interactions a second of the bare numpy loop; ratio {rate / bare:.2f}",
        f"{peak:12,.0f} MiB peak memory",
        "share of time by stage:",
        *(f"{share:12.1%} {stage}" for stage, share in sorted(timing.shares.items(), key=lambda s: -s[1])),
        f"{draws:12.1%} keyed draws, within the stages above",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
