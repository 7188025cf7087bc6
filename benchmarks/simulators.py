"""Interactions a second beside other simulators: random slates of 10 (a random item where a simulator has no slates).

    benchmarks/peers/make_env.sh recsim        # makes a peer's environment under .peers/; likewise the others
    python benchmarks/simulators.py            # the peers that are there, at three sizes: some minutes
    python benchmarks/simulators.py --sizes 1000x1000 --peers recsim,trecs

Every simulator runs in a process of its own, on one core, sets itself up, which is not timed, and then runs once a
round, in turns; the median of the rounds is reported, by the clock and by processor time. An interaction is one user
who is shown one slate and responds once. What else it covers differs, and is said in the first lines of the sides'
files (`benchmarks/peers/*_simulator.py`): RecSim NG scores all items, for it brings no random slates; RecoGym and
RecLab show one item; ours keeps a log.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import gettempdir
from typing import Any

from benchmarks.history import record
from benchmarks.peers.simulation import ANSWER, Run, Size

ROOT = Path(__file__).resolve().parents[1]
OURS = "pushback"
PEERS = ("recsim_ng", "recsim", "trecs", "recogym", "reclab")
SIZES = {"1000x1000": (1_000, 1_000), "10000x1000": (10_000, 1_000), "10000x10000": (10_000, 10_000)}
STEPS = {OURS: 10, "recsim_ng": 2, "recsim": 1, "trecs": 1, "recogym": 10, "reclab": 1}
"""Slates a user in a run, so that no side's run takes minutes."""
FEWER_USERS = {"recogym": 1_000}
"""Its users come one after the other, so that more of them change no rate."""
TOO_LARGE = {"trecs": 10**7}
"""Users by items beyond which a simulator is left out, since its matrices take many gigabytes."""
ONE_CORE = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}
PLACE: dict[str, Any] = {"cwd": gettempdir(), "env": os.environ | ONE_CORE | {"PYTHONPATH": str(ROOT)}}
"""Where and how a side's process runs: some write files of their own into the folder that they find themselves in."""


def main() -> None:
    """Measure, record and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=tuple(SIZES), default=tuple(SIZES), help="users x items")
    parser.add_argument("--peers", type=names_of(PEERS), default=PEERS, help="separated by commas (default all)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts (default 3)")
    args = parser.parse_args()
    present = [peer for peer in args.peers if is_installed(peer)]
    for size in args.sizes:
        users, items = SIZES[size]
        rates = measure(present, users, items, args.rounds)
        print(table(users, items, rates), flush=True)
        if len(rates) > 1:
            best = max(rate.processor for side, rate in rates.items() if side != OURS)
            record("simulators", {"times_the_fastest_peer": rates[OURS].processor / best}, users=users, items=items)


def names_of(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Reads `a,b` as a tuple of known names."""

    def read(text: str) -> tuple[str, ...]:
        names = tuple(name for name in text.split(",") if name)
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"got {', '.join(unknown)}, expected some of {', '.join(known)}")
        return names

    return read


def python_of(side: str) -> Path:
    """The interpreter of a side's environment."""
    return Path(sys.executable) if side == OURS else ROOT / ".peers" / side / "bin" / "python"


def is_installed(peer: str) -> bool:
    """Whether it has an environment; says so if not."""
    if python_of(peer).exists():
        return True
    print(f"{peer}: not measured, it has no environment; make it with benchmarks/peers/make_env.sh {peer}")
    return False


@dataclass(frozen=True)
class Rate:
    """Interactions a second of processor time, and of the clock."""

    processor: float
    clock: float


class Side:
    """A simulator in its process, set up and waiting for its turn."""

    def __init__(self, name: str, size: Size) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [str(python_of(name)), "-m", f"benchmarks.peers.{name}_simulator", "speed", json.dumps(asdict(size))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **PLACE,
        )  # fmt: skip
        self.version: str = self._answer()["version"]

    def run(self) -> Run:
        """One turn."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return Run(**self._answer())

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(ANSWER):
                found: dict[str, Any] = json.loads(line[len(ANSWER) :])
                return found
        raise SystemExit(f"{self.name}: its process ended with {self._process.wait()}, expected an answer")


def measure(peers: Sequence[str], users: int, items: int, rounds: int) -> dict[str, Rate]:
    """Rates of all sides, which take turns; those to whom the size is too much are left out."""
    sides = []
    for name in (OURS, *peers):
        if users * items > TOO_LARGE.get(name, users * items):
            print(f"{name}: not measured at {users:,} x {items:,}, its matrices of users by items take many gigabytes")
            continue
        sides.append(Side(name, Size(min(users, FEWER_USERS.get(name, users)), items, STEPS[name])))
    runs: dict[str, list[Run]] = {side.name: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            runs[side.name].append(side.run())
    for side in sides:
        side.stop()
    return {
        name: Rate(
            median(run.interactions / run.processor_seconds for run in of_side),
            median(run.interactions / run.seconds for run in of_side),
        )
        for name, of_side in runs.items()
    }


def table(users: int, items: int, rates: Mapping[str, Rate]) -> str:
    """For people."""
    ours = rates[OURS].processor
    lines = [f"{users:,} users x {items:,} items, one core", "  of processor time   of the clock   ours is faster by"]
    lines += [
        f"  {rate.processor:17,.0f} {rate.clock:14,.0f} {ours / rate.processor:15.1f}     {name}"
        for name, rate in sorted(rates.items(), key=lambda side: -side[1].processor)
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
