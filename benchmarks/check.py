"""Compare the benchmarks' ratios, at small sizes, with those that were committed: `make bench-check`, three minutes.

    python benchmarks/check.py                          # exit code 1 if one has become worse than its tolerance allows
    python benchmarks/check.py --only draws memory
    python benchmarks/check.py --accept                 # write what is found to benchmarks/baseline.json

A ratio is a cost over a limit that is measured in the same process, in turns, in processor time: lower is better, and
what the machine is doing otherwise mostly cancels. What it does not cancel, the tolerance covers, a share of the
baseline. Memory is counted, not measured. A ratio without a baseline, and a baseline without a ratio, fail, too.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from benchmarks import draws, engine, forks, growth, log
from benchmarks.history import record
from simulator.allocator import keep_freed_memory

BASELINE = Path(__file__).resolve().parent / "baseline.json"


@dataclass(frozen=True)
class Baseline:
    """A committed ratio, and how far above it, as a share of it, a later one may be."""

    ratio: float
    tolerance: float


def main() -> None:
    """Measure, compare, record and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=tuple(CHECKS), default=tuple(CHECKS), help="some of the checks")
    parser.add_argument("--accept", action="store_true", help="write the ratios to the baseline, tolerances unchanged")
    parser.add_argument("--baseline", type=Path, default=BASELINE, help="file (default %(default)s)")
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    found: dict[str, float] = {}
    for check in args.only:
        clock = perf_counter()
        found |= {f"{check}/{name}": ratio for name, ratio in CHECKS[check]().items()}
        print(f"{check}: {perf_counter() - clock:.0f} s", flush=True)
    record("check", found)
    known = read_baseline(args.baseline)
    if args.accept:
        accepted = known | {n: Baseline(round(r, 3), tolerance_of(n, known)) for n, r in found.items()}
        write_baseline(args.baseline, accepted)
        print(f"wrote {args.baseline}")
        return
    expected = {name: base for name, base in known.items() if name.split("/")[0] in args.only}
    print(table(found, expected))
    faults = regressions(found, expected)
    if faults:
        raise SystemExit("\n".join(faults))


def of_engine() -> dict[str, float]:
    """Random slates over the bare loop; matrix factorisation over its product and top 10."""
    days = {"random": 2.0, "matrix_factorization": 0.4}
    return {name: engine.measure(name, 10_000, 10_000, 5, of_days).ratio for name, of_days in days.items()}


def of_growth() -> dict[str, float]:
    """Cost of an interaction, over that at 10,000 users and items; of two processes each, the one that took less."""
    sizes = [(10_000, 10_000), (100_000, 10_000), (10_000, 1_000), (10_000, 100_000)]
    rounds = [[growth.in_a_process(users, items, keep_log=False) for users, items in sizes] for _ in range(2)]
    return growth.ratios([min(pair, key=lambda cost: cost.microseconds) for pair in zip(*rounds, strict=True)])


def of_draws() -> dict[str, float]:
    """A keyed uniform over one from a stream."""
    timed = {n: draws.measure(n) for n in draws.SIZES}
    return {f"{n}_keys": keyed / stream for n, (keyed, stream) in timed.items()}


def of_forks() -> dict[str, float]:
    """Four branches over one prefix and four suffixes."""
    found = forks.measure(runs=500, k=50, branches=[4], repeats=3)
    return {"4_branches": found.branches[4] / found.limits[4]}


def of_log() -> dict[str, float]:
    """A cell written and measured, over pyarrow writing and reading the same columns; and bytes of a row on disk."""
    with TemporaryDirectory() as folder:
        found = log.measure(rows=5_000_000, processes=1, folder=Path(folder))
    return {
        "writing": 1 / found["written_to_pyarrow_alone"],
        "measuring": found["metrics_time_to_reading_alone"],
        "bytes_of_a_row": found["bytes_per_row"],
    }


def of_memory() -> dict[str, float]:
    """Bytes of a user, and of an interaction in the log."""
    cost = growth.measure(1_000, 1_000, keep_log=False)
    return {"state_bytes": cost.state_bytes, "history_bytes": cost.history_bytes, "log_bytes": cost.log_bytes}


CHECKS: Mapping[str, Callable[[], dict[str, float]]] = {
    "engine": of_engine,
    "growth": of_growth,
    "draws": of_draws,
    "forks": of_forks,
    "log": of_log,
    "memory": of_memory,
}


def tolerance_of(name: str, known: Mapping[str, Baseline]) -> float:
    """The committed tolerance; for a new ratio 35%, for memory none."""
    if name in known:
        return known[name].tolerance
    return 0.0 if name.startswith("memory/") else 0.35


def read_baseline(path: Path) -> dict[str, Baseline]:
    """Name -> baseline; none if there is no file."""
    if not path.exists():
        return {}
    return {name: Baseline(**values) for name, values in json.loads(path.read_text()).items()}


def write_baseline(path: Path, baseline: Mapping[str, Baseline]) -> None:
    lines = {name: asdict(baseline[name]) for name in sorted(baseline)}
    path.write_text(json.dumps(lines, indent=1) + "\n")


def regressions(found: Mapping[str, float], expected: Mapping[str, Baseline]) -> list[str]:
    """A line for each ratio that is worse than allowed, unknown, or missing."""
    lines = []
    for name in sorted(found.keys() | expected.keys()):
        if name not in expected:
            lines.append(f"{name}: got {found[name]:.2f}, expected a baseline: run benchmarks/check.py --accept")
        elif name not in found:
            lines.append(f"{name}: got nothing, expected a ratio for the baseline of {expected[name].ratio:.2f}")
        elif not found[name] <= (most := expected[name].ratio * (1 + expected[name].tolerance)):
            lines.append(
                f"{name}: got {found[name]:.2f}, expected at most {most:.2f}: "
                f"the baseline {expected[name].ratio:.2f} and {expected[name].tolerance:.0%}"
            )
    return lines


def table(found: Mapping[str, float], expected: Mapping[str, Baseline]) -> str:
    """For people."""
    lines = ["      found  baseline   at most"]
    for name, ratio in found.items():
        base = expected.get(name)
        cells = f"{'-':>9} {'-':>9}" if base is None else f"{base.ratio:9.2f} {base.ratio * (1 + base.tolerance):9.2f}"
        lines.append(f"{ratio:11.2f} {cells}  {name}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
