"""How often 95% intervals miss, by drawing many samples from the users of one large simulation.

    python benchmarks/coverage.py
    python benchmarks/coverage.py --sizes 80 160 400 --samples 20000 --json

`pushback validate-stats` simulates the users of each replicate, so that hundreds of replicates are what one can afford,
and a share of 5% is known to 2 points. Here the users of some batches of ten replicates are a population whose effect
is the truth, and samples are drawn from it with replacement: thousands cost minutes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from recommenders.base import Int64
from simulator.commands.components import load
from simulator.commands.validate_stats import plan_of
from simulator.experiment.estimators import PerUser, compare, compare_independent
from simulator.experiment.metrics import LogView
from simulator.experiment.metrics.contract import measure
from simulator.experiment.replicate_worlds import AGAIN, BATCH, CONTROL, TREATMENT, Plan, simulate_worlds, world_of
from simulator.experiment.results import Estimate

CONFIDENCE = 0.95
SCENARIO = Path(__file__).parent.parent / "scenarios" / "aa.yaml"

Parts = Mapping[str, Mapping[str, PerUser]]
"""Metric -> world -> the parts of all users."""


def main() -> None:
    """Simulate, draw and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=10, help="of 1,600 users each (default 10)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[160, 400], help="users in a sample (default 160 400)")
    parser.add_argument("--samples", type=int, default=5_000, help="of each size (default 5000)")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    args = parser.parse_args()
    parts = population(plan_of(load(SCENARIO)), args.batches)
    rows = [row for size in args.sizes for row in missed(parts, size, args.samples)]
    print(json.dumps(rows) if args.json else table(rows, args.samples))


def population(plan: Plan, batches: int) -> Parts:
    """The parts of every user in each world."""
    views = [view_of(plan, batch) for batch in range(batches)]
    return {
        metric.info.name: {
            world: joined([measure(metric, view[world]) for view in views]) for world in (CONTROL, AGAIN, TREATMENT)
        }
        for metric in plan.metrics
    }


def view_of(plan: Plan, batch: int) -> dict[str, LogView]:
    world = world_of(plan, batch, BATCH)
    _, logs = simulate_worlds(plan, world)
    return {
        name: LogView(log, world.catalogue.features, world.population.n_users, *plan.window)
        for name, log in logs.items()
    }


def joined(parts: list[PerUser]) -> PerUser:
    return PerUser(np.concatenate([p.numerator for p in parts]), np.concatenate([p.denominator for p in parts]))


def missed(parts: Parts, size: int, samples: int) -> Iterator[dict[str, str | int | float]]:
    """Shares of the samples whose interval lies above the truth, and below it."""
    rng = np.random.Generator(np.random.Philox(1))
    n_users = len(next(iter(parts.values()))[CONTROL].numerator)
    drawn = rng.integers(0, n_users, (samples, size))
    for metric, worlds in parts.items():
        old = worlds[CONTROL]
        for test, new in (("A/A", worlds[AGAIN]), ("A/B", worlds[TREATMENT])):
            truth = {"difference": new.ratio() - old.ratio(), "lift": new.ratio() / old.ratio() - 1}
            for design, estimate in (("paired", paired), ("split", split)):
                effects = [estimate(new, old, row) for row in drawn]
                for estimand, value in truth.items():
                    found = [e[estimand] for e in effects if np.isfinite(e[estimand].low)]
                    above, below = np.mean([(e.low > value, e.high < value) for e in found], axis=0)
                    yield {
                        "users": size, "metric": metric, "test": test, "design": design, "estimand": estimand,
                        "above": float(above), "below": float(below), "samples": len(found),
                    }  # fmt: skip


def paired(new: PerUser, old: PerUser, row: Int64) -> dict[str, Estimate]:
    """All users of the sample in both worlds."""
    effect = compare(users(new, row), users(old, row), CONFIDENCE)
    return {"difference": effect.difference, "lift": effect.lift}


def split(new: PerUser, old: PerUser, row: Int64) -> dict[str, Estimate]:
    """The first half of the sample in the treatment's world, the others in the control's."""
    treated, controls = row[: len(row) // 2], row[len(row) // 2 :]
    effect = compare_independent(users(new, treated), users(old, controls), CONFIDENCE)
    return {"difference": effect.difference, "lift": effect.lift}


def users(parts: PerUser, row: Int64) -> PerUser:
    return PerUser(parts.numerator[row], parts.denominator[row])


def table(rows: list[dict[str, str | int | float]], samples: int) -> str:
    """The shares for people, in percent."""
    error = 100 * np.sqrt(0.05 * 0.95 / samples)
    lines = [f"95% intervals that miss, in % of {samples:,} samples (5 if exact, Monte Carlo sd {error:.2f})", ""]
    names = f"{'users':>5}  {'metric':20} {'test':4} {'design':7} {'estimand':11}"
    lines.append(f"{names} {'missed':>6} {'too high':>9} {'too low':>8}")
    for r in rows:
        above, below = 100 * float(r["above"]), 100 * float(r["below"])
        lines.append(
            f"{r['users']:>5}  {r['metric']:20} {r['test']:4} {r['design']:7} {r['estimand']:11} "
            f"{above + below:6.1f} {above:9.1f} {below:8.1f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
