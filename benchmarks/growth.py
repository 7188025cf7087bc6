"""How the cost of an interaction and the memory of a user grow with users and items: random slates, one core.

    python benchmarks/growth.py                                  # 1,000 to 1,000,000 users, 1,000 to 100,000 items
    python benchmarks/growth.py --users 1000000 --items 10000    # one size
    python benchmarks/growth.py --users 1000000 --items 10000 --keep-log

Every user makes about ten requests. Each size runs in a process of its own, so that its peak memory is its own. Without
`--keep-log` what happens is dropped once it is made, as a log that is streamed to disk would be; with it, the log is
kept in memory and put in order, which is timed. Times are processor time, of which the making of the world is left out;
the cost of the bare numpy loop of `benchmarks/engine.py` at the same size stands beside, for a larger machine state
misses the caches more often whatever is done with it. Memory is what the arrays of a user take: the user model's state,
the history at a window of 50, and an interaction's rows in the log.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from dataclasses import asdict, dataclass, fields
from statistics import median
from time import process_time

os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.engine import DAY, SLATE, WINDOW, bare_loop, beginning, make_world, run
from benchmarks.history import record
from recommenders.registry import build
from simulator.allocator import keep_freed_memory
from simulator.engine.collector import Collector, Served
from simulator.engine.history import History
from simulator.engine.log import EventLog
from simulator.engine.pool import UserPool
from simulator.engine.snapshot import Snapshot
from simulator.world.behaviour import UtilityBehaviour
from simulator.world.world import World

USERS = (1_000, 10_000, 100_000, 1_000_000)
ITEMS = (1_000, 10_000, 100_000)
ONE = 10_000
"""The size of the one that stays while the other grows."""
UNTIL = round(0.75 * DAY)
"""By then a user has made about ten requests."""
FEWEST = 200_000
"""Requests to time at least: small sizes are run several times, on the same start."""


@dataclass(frozen=True)
class Cost:
    """One size.

    Attributes:
        users, items: of the world.
        interactions: of a run.
        microseconds: processor time of an interaction.
        bare_microseconds: of one of the bare loop.
        peak_mib: peak memory of the process.
        state_bytes, history_bytes, log_bytes: of a user; of the log, an interaction's.
    """

    users: int
    items: int
    interactions: int
    microseconds: float
    bare_microseconds: float
    peak_mib: float
    state_bytes: float
    history_bytes: float
    log_bytes: float


class Dropping(Collector):
    """Counts what happens and keeps nothing."""

    n_requests = 0

    def add(self, served: Served) -> None:
        self.n_requests += len(served.tick)


def main() -> None:
    """Measure, record and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, nargs="+", help=f"sizes of the population (default {USERS})")
    parser.add_argument("--items", type=int, nargs="+", help=f"sizes of the catalogue (default {ITEMS})")
    parser.add_argument("--keep-log", action="store_true", help="keep the log in memory, and time it")
    parser.add_argument("--json", action="store_true", help="one line of JSON a size")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        print(json.dumps(asdict(measure(args.users[0], args.items[0], args.keep_log))))
        return
    sizes = sizes_of(args.users, args.items)
    costs = [in_a_process(users, items, args.keep_log) for users, items in sizes]
    if args.users is None and args.items is None and not args.keep_log:
        record("growth", ratios(costs))
    print("\n".join(json.dumps(asdict(cost)) for cost in costs) if args.json else table(costs, args.keep_log))


def sizes_of(users: list[int] | None, items: list[int] | None) -> list[tuple[int, int]]:
    """Users and items: given ones with each other; else all of either, the other at 10,000."""
    if users is not None or items is not None:
        return [(u, i) for u in users or [ONE] for i in items or [ONE]]
    return [(u, ONE) for u in USERS] + [(ONE, i) for i in ITEMS if i != ONE]


def ratios(costs: list[Cost]) -> dict[str, float]:
    """Costs as multiples of the cost at 10,000 users and items."""
    at = {(cost.users, cost.items): cost.microseconds for cost in costs}
    one = at[ONE, ONE]
    return {f"{users}_users_{items}_items": cost / one for (users, items), cost in at.items() if cost != one}


def in_a_process(users: int, items: int, keep_log: bool) -> Cost:
    """Measure in a fresh process."""
    command = [sys.executable, __file__, "--here", "--users", str(users), "--items", str(items)]
    if keep_log:
        command.append("--keep-log")
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return Cost(**json.loads(answer.splitlines()[-1]))


def measure(users: int, items: int, keep_log: bool) -> Cost:
    """Measure in this process."""
    keep_freed_memory()
    world = make_world(users, items)
    start = beginning("random", world)
    bare = bare_loop(users, items, steps=max(1, FEWEST // users))
    microseconds, n = [], 0
    for _ in range(max(1, FEWEST // (10 * users)) + (users < USERS[-1])):
        n, seconds = kept(world, start) if keep_log else dropped(world, start)
        microseconds.append(1e6 * seconds / n)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    history = History.empty(1_000, WINDOW)
    return Cost(
        users, items, n, median(microseconds), 1e6 * bare, peak,
        state_bytes=bytes_of(start.users) / users,
        history_bytes=bytes_of(history) / 1_000,
        log_bytes=SLATE * sum(dtype.itemsize for dtype in EventLog.DTYPES.values()),
    )  # fmt: skip


def kept(world: World, start: Snapshot) -> tuple[int, float]:
    """Interactions and processor seconds of a run that keeps its log."""
    trajectory, seconds = run("random", world, start, UNTIL)
    return len(trajectory.log) // SLATE, seconds


def dropped(world: World, start: Snapshot) -> tuple[int, float]:
    """Interactions and processor seconds of a run whose events are dropped."""
    recommender, collector = build("random"), Dropping()
    clock = process_time()
    pool = UserPool(world, UtilityBehaviour(), start.users.copy(), start.history.copy(), collector, "random", SLATE, 0)
    pool.run_until(UNTIL, recommender, world.catalogue.eligible(0))
    return collector.n_requests, process_time() - clock


def bytes_of(arrays: object) -> int:
    """What the arrays of a dataclass take."""
    values = [getattr(arrays, f.name) for f in fields(arrays)]  # type: ignore[arg-type]
    return sum(value.nbytes for value in values if hasattr(value, "nbytes"))


def table(costs: list[Cost], keep_log: bool) -> str:
    """For people."""
    one = next((c.microseconds for c in costs if (c.users, c.items) == (ONE, ONE)), costs[0].microseconds)
    lines = [
        f"random slates of {SLATE}, about 10 requests a user, log {'kept in memory' if keep_log else 'dropped'}",
        "     users    items  interactions  us each  of the first*  of the bare loop  peak MiB",
        *(
            f"{c.users:10,} {c.items:8,} {c.interactions:13,} {c.microseconds:8.2f} {c.microseconds / one:14.2f}"
            f" {c.microseconds / c.bare_microseconds:17.2f} {c.peak_mib:9,.0f}"
            for c in costs
        ),
        f"* of the cost at {ONE:,} users and items where that is measured",
        f"memory of a user: state {costs[0].state_bytes:,.0f} bytes, history at a window of {WINDOW} "
        f"{costs[0].history_bytes:,.0f} bytes; an interaction in the log {costs[0].log_bytes:,.0f} bytes",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
