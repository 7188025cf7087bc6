"""How many interactions a second the engine serves on one core: a user receives a slate of 10 and responds.

    python benchmarks/engine.py                     # 10,000 users and items: random slates, matrix factorisation
    python benchmarks/engine.py --users 1000 --items 1000 --recommenders random --json

Everything is included but writing the log to disk. Beside each recommender stands a limit, measured in the same process
in turns with it. For random slates it is a bare numpy loop of the same size (random slates, one multinomial choice, one
dislike draw, interest and boredom updates, no keyed draws, no log). For matrix factorisation it is the product of ready
user and item factors (d = 32, float32) and an exact top 10, found in the fastest of three ways. All times are processor
time, the median of the repeats. The ratios carry over to other machines, the absolute figures do not.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import process_time
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from benchmarks.history import record
from recommenders.base import (
    Float32,
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
from recommenders.registry import build
from recommenders.topk import hide_viewed, top_k
from simulator.allocator import keep_freed_memory
from simulator.draws import Draws, Ids, Purpose, UInt32
from simulator.engine.clock import Service, Trajectory, simulate
from simulator.engine.pool import Stopwatch
from simulator.engine.snapshot import Snapshot, genesis
from simulator.scenario import schema
from simulator.world.behaviour import UtilityBehaviour
from simulator.world.world import World, build_world

SLATE, DIM, WINDOW, PIECE = 10, 32, 50, 64
DAY = 86_400_000
DAYS = {"random": 6.0, "matrix_factorization": 1.0}
"""Simulated days: some 40 and 6 requests a user."""


class Factors:
    """Matrix factorisation with given user and item factors: float32[n_users, DIM] and float32[n_items, DIM]."""

    def __init__(self) -> None:
        self.traits = Traits(history_length=WINDOW, nested=True)

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        raise NotImplementedError("factors are loaded, not learnt")

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        """The best `k`, items of the window behind all others."""
        parts = []
        for start in range(0, len(requests), PIECE):
            rows = slice(start, start + PIECE)
            state = self.user[requests.user[rows]]
            n = len(state)
            if n < PIECE:  # the shape of a float32 product decides how it rounds
                state = np.concatenate([state, np.zeros((PIECE - n, DIM), np.float32)])
            np.matmul(state, self.item, out=self.score)
            hide_viewed(self.score[:n], requests.history_item[rows])
            parts.append(top_k(self.score[:n], requests.eligible, k))
        return Slates(np.concatenate([s.item for s in parts]), np.concatenate([s.score for s in parts]))

    def state_dict(self) -> State:
        return {"user": self.user, "item": self.item}

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        self.user, self.item = np.array(state["user"], np.float32), np.array(state["item"], np.float32)
        self.score = np.empty((PIECE, items.n_items), np.float32)


def factors(users: int, items: int) -> dict[str, Float32]:
    """Drawn user factors, and item factors as columns."""
    rng = np.random.default_rng(0)
    return {
        "user": rng.standard_normal((users, DIM), dtype=np.float32),
        "item": rng.standard_normal((DIM, items), dtype=np.float32),
    }


@dataclass(frozen=True)
class Timing:
    """One recommender on the engine, in processor time.

    Attributes:
        interactions: of a run.
        seconds: of a run.
        limit_seconds: of the limit for as many interactions.
        ratio: the one over the other.
        shares: of the stages in the seconds.
    """

    interactions: int
    seconds: float
    limit_seconds: float
    ratio: float
    shares: dict[str, float]


def main() -> None:
    """Measure, record and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--recommenders", nargs="+", choices=tuple(DAYS), default=tuple(DAYS))
    parser.add_argument("--repeats", type=int, default=5, help="the median is reported (default 5)")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    found = {name: measure(name, args.users, args.items, args.repeats) for name in args.recommenders}
    draws = share_of_draws(args.users, args.items)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    record("engine", {name: timing.ratio for name, timing in found.items()}, users=args.users, items=args.items)
    if args.json:
        figures = {name: asdict(timing) for name, timing in found.items()}
        size = {"users": args.users, "items": args.items}
        print(json.dumps(size | figures | {"share_of_draws": draws, "peak_memory_mib": peak}))
    else:
        print(f"{args.users:,} users, {args.items:,} items, slates of {SLATE}, one core")
        print("\n".join(table(name, timing) for name, timing in found.items()))
        print(f"{draws:12.1%} of the time with random slates goes into keyed draws")
        print(f"{peak:12,.0f} MiB peak memory")


def measure(name: str, users: int, items: int, repeats: int, days: float | None = None) -> Timing:
    """A recommender on the engine and its limit, in turns."""
    world = make_world(users, items)
    start, until = beginning(name, world), round((days or DAYS[name]) * DAY)
    limit = limit_of(name, users, items)
    simulate(world, UtilityBehaviour(), service(name), start, DAY // 5)
    took, limits, stages = [], [], []
    for _ in range(repeats):
        trajectory, seconds = run(name, world, start, until)
        interactions = len(trajectory.log) // SLATE
        took.append(seconds)
        stages.append(trajectory.stopwatch)
        del trajectory
        limits.append(limit() * interactions)
    shares = stage_shares(stages[took.index(sorted(took)[len(took) // 2])])
    return Timing(interactions, median(took), median(limits), median(took) / median(limits), shares)


def make_world(users: int, items: int) -> World:
    """A world with every mechanism switched on, at the schema's defaults."""
    catalogue = schema.Catalogue(items=items, creators=max(1, items // 10))
    settings = schema.World(catalogue=catalogue, population=schema.Population(users=users))
    return build_world(settings, seed=1, horizon_ticks=30 * DAY, directory=Path())


def service(name: str = "random") -> Service:
    """Slates of 10, nothing retrained."""
    make: Callable[[], Recommender] = Factors if name == "matrix_factorization" else partial(build, "random")
    return Service(name, make, schema.Platform(slate_size=SLATE))


def beginning(name: str, world: World) -> Snapshot:
    """Nobody has come yet; the recommender is deployed."""
    if name == "random":
        return genesis(world, UtilityBehaviour(), 0, {})
    model = factors(world.population.n_users, world.catalogue.features.n_items)
    return genesis(world, UtilityBehaviour(), WINDOW, model)


def run(name: str, world: World, start: Snapshot, until: int) -> tuple[Trajectory, float]:
    """Simulate and put the log in order; the processor seconds it took."""
    clock = process_time()
    trajectory = simulate(world, UtilityBehaviour(), service(name), start, until)
    return trajectory, process_time() - clock


def stage_shares(stopwatch: Stopwatch) -> dict[str, float]:
    """Stage -> its share of all stages' time, largest first."""
    total = sum(stopwatch.seconds.values())
    shares = {stage: seconds / total for stage, seconds in stopwatch.seconds.items()}
    return dict(sorted(shares.items(), key=lambda share: -share[1]))


def share_of_draws(users: int, items: int) -> float:
    """Share of the time with random slates that goes into keyed draws, by a clock around them."""
    seconds, plain = 0.0, Draws.words

    def clocked(self: Draws, purpose: Purpose, *ids: Ids) -> UInt32:
        nonlocal seconds
        clock = process_time()
        words = plain(self, purpose, *ids)
        seconds += process_time() - clock
        return words

    world = make_world(users, items)
    start = beginning("random", world)
    with mock.patch.object(Draws, "words", clocked):
        _, total = run("random", world, start, 2 * DAY)
    return seconds / total


def limit_of(name: str, users: int, items: int) -> Callable[[], float]:
    """What measures the limit: processor seconds of one interaction."""
    return partial(bare_loop, users, items) if name == "random" else partial(product_and_top_k, users, items)


def bare_loop(users: int, items: int, steps: int = 20) -> float:
    """Processor seconds of an interaction of the bare numpy loop."""
    rng = np.random.default_rng(0)
    interest = rng.standard_normal((users, 32), dtype=np.float32)
    vectors = rng.standard_normal((items, 32), dtype=np.float32)
    topic, bored, row = rng.integers(0, 32, items), np.zeros((users, 32), np.float32), np.arange(users)
    clock = process_time()
    for _ in range(steps):
        slate = rng.integers(0, items, (users, SLATE))
        utility = np.einsum("ud,ukd->uk", interest, vectors[slate]) - bored[row[:, None], topic[slate]]
        choice = (utility - np.log(rng.standard_exponential((users, SLATE), dtype=np.float32))).argmax(axis=1)
        item, chosen = slate[row, choice], utility[row, choice]
        liked = np.where(rng.random(users) < 1 / (1 + np.exp(3 + chosen)), -0.05, 0.05).astype(np.float32)
        interest += liked[:, None] * (vectors[item] - interest)
        bored *= np.float32(0.9)
        bored[row, topic[item]] += 0.3
    return (process_time() - clock) / (users * steps)


def product_and_top_k(users: int, items: int) -> float:
    """Processor seconds of a user's scores and exact top 10: the fastest of three ways, in pieces that stay in cache."""
    made = factors(users, items)
    score, eligible = np.empty((PIECE, items), np.float32), np.ones(items, np.bool_)
    shared = torch.from_numpy(score)
    ways: list[Callable[[], object]] = [
        lambda: top_k(score, eligible, SLATE),
        lambda: torch.topk(shared, SLATE),
        lambda: np.argpartition(score, -SLATE, axis=1),
    ]
    n_pieces = max(1, min(users, 4096) // PIECE)
    seconds = []
    for find in ways:
        clock = process_time()
        for piece in range(n_pieces):
            state = made["user"][piece * PIECE : (piece + 1) * PIECE]
            np.matmul(state, made["item"], out=score[: len(state)])
            find()
        seconds.append((process_time() - clock) / (n_pieces * PIECE))
    return min(seconds)


def table(name: str, timing: Timing) -> str:
    """For people."""
    limit = {"random": "the bare numpy loop", "matrix_factorization": "product and top 10 alone"}[name]
    rate, of_limit = timing.interactions / timing.seconds, timing.interactions / timing.limit_seconds
    lines = [
        f"{name}",
        f"{rate:12,.0f} interactions a second of processor time ({timing.interactions:,} in {timing.seconds:.2f} s)",
        f"{of_limit:12,.0f} of {limit}",
        f"{timing.ratio:12.2f} times the limit's time",
        *(f"{share:12.1%} {stage}" for stage, share in timing.shares.items() if share >= 0.001),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
