"""What it costs a run that it can be gone on with: the seconds that writing checkpoints takes, over those of the run.

    python benchmarks/checkpoints.py                          # three scenarios, fifteen minutes, 12 GiB
    python benchmarks/checkpoints.py --only quickstart --every 300 30
    python benchmarks/checkpoints.py --only million --every 300   # all of the million: 5 minutes, 11 GiB

Each scenario runs as by `pushback run --jobs 1`, and the clock is read within that very run: around each checkpoint of
a stage under way, from the decision to write one on, so that bringing its state together counts, and around the keeping
of each finished stage. Event logs that a finished stage writes, and that the run then only gives a second name, would
have to be written in any case: they stand apart, as does putting rows in order at a checkpoint in place of later.
Seconds are by the clock; the run's time on the processor shows how busy the machine was with other work. Where runs are
shorter than the default period, a shorter one (`--every`) shows what checkpoints under way cost.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")

from rich.console import Console

from benchmarks.history import record
from simulator.commands import components
from simulator.engine.checkpoint_files import CheckpointFiles
from simulator.engine.checkpoints import MOST_SHARE, Checkpoint, Stages
from simulator.engine.collector import Collector
from simulator.engine.log import EventLog
from simulator.report.runs import EVENTS_FOLDER
from simulator.running import CHECKPOINT_SECONDS, Labour, run_scenario


class Case(NamedTuple):
    """A shipped scenario, and the settings that make it as large as is wanted."""

    scenario: str
    settings: tuple[str, ...]


_LEARNING = (
    "arms=[{name: popularity, recommender: popularity}, {name: no_signal, recommender: linear_recurrent}]",
    "thresholds=[]", "counterfactual=null", "warm_up=12h", "ab_test.duration=36h", "log.stream=never",
)  # fmt: skip
CASES: Mapping[str, Case] = {
    "quickstart": Case("quickstart", ()),
    "100,000 users in memory": Case("quickstart", ("world.population.users=100000", *_LEARNING)),
    "200,000 users streamed": Case("million", ("world.population.users=200000", "warm_up=12h", "ab_test.duration=1d")),
    "million": Case("million", ()),
}
SMALL = tuple(name for name in CASES if name != "million")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=tuple(CASES), default=SMALL, help="some of the scenarios")
    parser.add_argument(
        "--every", nargs="+", type=float, default=[CHECKPOINT_SECONDS, 30.0], help="periods, seconds (default 300 30)"
    )
    parser.add_argument("--folder", type=Path, help="for the runs; default: the system's for temporary files")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each run")
    args = parser.parse_args()
    if not args.json:
        print(HEADER)
    shares: dict[str, float] = {}
    for name in args.only:
        for every in args.every:
            found = measure(CASES[name], every, args.folder)
            shares |= {
                f"{name}, {every:.0f} s": found.share,
                f"{name}, {every:.0f} s, under way": found.share_under_way,
            }
            print(json.dumps({"name": name, **asdict(found)}) if args.json else row(name, found), flush=True)
    record("checkpoints", shares)


@dataclass
class Found:
    """What one run spent, in seconds, by the clock but for `computing`.

    Attributes:
        every: between two checkpoints, as was asked for.
        run: all of it, to the report.
        computing: all of it, in the processor's time of its one process.
        under_way: in checkpoints of stages under way, of which there were `n_under_way`.
        ordering: of these, in putting the rows so far in order, which would be done later otherwise.
        finished: in keeping finished stages.
        logs: of these, in writing event logs that the run then gave their second name.
        n_written: checkpoints and finished stages.
        n_bytes: of all files written, those logs included.
    """

    every: float
    run: float = 0.0
    computing: float = 0.0
    under_way: float = 0.0
    n_under_way: int = 0
    ordering: float = 0.0
    finished: float = 0.0
    logs: float = 0.0
    n_written: int = 0
    n_bytes: int = 0

    @property
    def share(self) -> float:
        """Of the run's time, what it would not have taken if nothing were kept."""
        return (self.under_way - self.ordering + self.finished - self.logs) / self.run

    @property
    def share_under_way(self) -> float:
        """Of the run's time, what checkpoints of stages under way took: `MOST_SHARE` bounds it."""
        return (self.under_way - self.ordering) / self.run


def measure(case: Case, every: float, folder: Path | None) -> Found:
    """One run, in a folder that is removed afterwards."""
    loaded = components.load(case.scenario, case.settings)
    found = Found(every)
    with tempfile.TemporaryDirectory(prefix="pushback-checkpoints-", dir=folder) as made, watched(found) as log_seconds:
        clock, computing = perf_counter(), process_time()
        run = run_scenario(
            loaded, out=Path(made), labour=Labour(), console=Console(file=io.StringIO()), command="benchmark",
            checkpoint_seconds=every,
        )  # fmt: skip
        found.run, found.computing = perf_counter() - clock, process_time() - computing
        logs = (run.folder / EVENTS_FOLDER).glob("*.parquet")
        found.logs = sum(log_seconds.get(path.stat().st_ino, 0.0) for path in logs)
    return found


@contextmanager
def watched(found: Found) -> Iterator[dict[int, float]]:
    """Read the clock around whatever is kept while the block lasts; all of it is kept as in any run.

    Args:
        found: takes what was spent.

    Yields:
        Inode of an event log's file -> seconds that writing it took.
    """
    reached, once, take = Checkpoint.reached, Stages.once, Collector.take
    write, write_log = CheckpointFiles.write, CheckpointFiles._write_log
    log_seconds: dict[int, float] = {}
    sizes: dict[int, int] = {}
    ordered = [0.0]

    def watched_reached(self: Checkpoint, state: Callable[[], object]) -> None:
        clock, n_before, ordered_before = perf_counter(), found.n_written, ordered[0]
        reached(self, state)
        if found.n_written > n_before:
            found.under_way += perf_counter() - clock
            found.n_under_way += 1
            found.ordering += ordered[0] - ordered_before

    def watched_take(self: Collector) -> EventLog:
        clock = perf_counter()
        log = take(self)
        ordered[0] += perf_counter() - clock
        return log

    def watched_once(self: Stages, name: str, make: Callable[[], Any], **settings: Any) -> Any:
        made_at: list[float] = []

        def watched_make() -> Any:
            result = make()
            made_at.append(perf_counter())
            return result

        result = once(self, name, watched_make, **settings)
        found.finished += perf_counter() - made_at[0]
        return result

    def watched_write(self: CheckpointFiles, name: str, value: object, **about: Any) -> None:
        write(self, name, value, **about)
        found.n_written += 1
        files = [(self.folder / name).with_name(file).stat() for file in self.files_of(name)]
        new = {file.st_ino: file.st_size for file in files if file.st_ino not in sizes}
        found.n_bytes += sum(new.values())
        sizes.update(new)

    def watched_write_log(self: CheckpointFiles, path: Path, log: EventLog, arm: str) -> Any:
        clock = perf_counter()
        entry = write_log(self, path, log, arm)
        log_seconds.setdefault(path.with_name(entry.file).stat().st_ino, perf_counter() - clock)
        return entry

    with (
        patch.object(Checkpoint, "reached", watched_reached),
        patch.object(Collector, "take", watched_take),
        patch.object(Stages, "once", watched_once),
        patch.object(CheckpointFiles, "write", watched_write),
        patch.object(CheckpointFiles, "_write_log", watched_write_log),
    ):
        yield log_seconds


HEADER = (
    f"{'':<26} {'period':>6} {'run':>7} {'of it computing':>15} {'under way':>15} {'of it ordering':>14} {'share':>6} "
    f"{'finished':>9} {'of it logs':>10} {'all but logs':>13} {'MiB':>7}\n"
    f"{'':<26} {'s':>6} {'s':>7} {'s':>15} {'checkpoints, s':>15} {'s':>14} {f'<={MOST_SHARE:.0%}':>6} "
    f"{'stages, s':>9} {'s':>10} {'share':>13}"
)


def row(name: str, found: Found) -> str:
    """For people."""
    return (
        f"{name:<26} {found.every:>6.0f} {found.run:>7.1f} {found.computing:>15.1f} {found.n_under_way:>8}, "
        f"{found.under_way:>5.2f} {found.ordering:>14.2f} {found.share_under_way:>6.2%} {found.finished:>9.2f} "
        f"{found.logs:>10.2f} {found.share:>13.2%} {found.n_bytes / 2**20:>7,.0f}"
    )


if __name__ == "__main__":
    main()
