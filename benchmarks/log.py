"""A streamed event log: rows a second written and measured, and in how much memory.

    python benchmarks/log.py                          # 8 million rows, under a minute
    python benchmarks/log.py --rows 100000000 --folder /somewhere/with/3/GB

One cell of 8,192 users is lived by the engine for a week, with slates of 10 and about 10 requests a user; then two
processes write it again and again, each time under other users' ids, and two processes compute all built-in metrics,
of the week and of each day. The engine's own time does not count. Beside the writer stands pyarrow, writing the same
columns from memory, in order already, and zstd alone on their bytes; beside the metrics stands reading all columns.
Limits and ours are measured in turns in the same processes: the ratios carry over to other machines.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recommenders.base import ItemFeatures
from recommenders.registry import build
from simulator.engine.cells import CELL_USERS, cut_population
from simulator.engine.clock import Service, simulate
from simulator.engine.collector import Served
from simulator.engine.log import EventLog
from simulator.engine.log_parts import StreamedLog, stored_cell
from simulator.engine.snapshot import genesis
from simulator.experiment.cell_metrics import StreamedTest, measure_cell
from simulator.scenario import schema
from simulator.scenario.durations import TICKS_PER_DAY
from simulator.workers.pool import done_by_workers
from simulator.world.behaviour import UtilityBehaviour
from simulator.world.world import build_world

SLATE, ITEMS, DAYS = 10, 10_000, 7
LIMIT_CELLS = 6
"""Cells of a process on which the limits are measured, too."""
READS = 3
"""Of such a cell: one is over in a thirtieth of a second."""
ARM = "arm"
COLUMNS = tuple(EventLog.DTYPES)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=8_000_000, help="impressions, about (default 8,000,000)")
    parser.add_argument("--processes", type=int, default=2, help="that work on cells (default 2)")
    parser.add_argument("--folder", type=Path, help="for temporary files; default: the system's")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="pushback-log-", dir=args.folder))
    try:
        found = measure(args.rows, args.processes, folder)
    finally:
        shutil.rmtree(folder)
    print(json.dumps(found) if args.json else table(found))


@dataclass
class Recorder:
    """A sink that keeps what it is told, to be told again; also what makes it."""

    calls: list[Served | int] = field(default_factory=list)
    cells: tuple[range, ...] = (range(CELL_USERS),)

    def begin(self) -> None:
        """There is nothing to make."""

    def sink(self, users: range) -> Recorder:
        """This one takes the rows of all users."""
        assert users == self.cells[0]
        return self

    def add(self, served: Served) -> None:
        """Keep a batch."""
        self.calls.append(served)

    def look_ahead(self) -> int:
        """As the writer's would be for a cell of this size."""
        return TICKS_PER_DAY

    def passed(self, tick: int) -> None:
        """Keep a moment."""
        self.calls.append(tick)

    def flush(self) -> None:
        """What is kept lasts no longer than this object."""

    def go_on(self, tick: int) -> None:
        """Keep nothing but what comes."""
        self.calls.clear()


def keep_calls(path: Path, calls: list[Served | int]) -> None:
    """Write what a sink was told, for the processes that will tell theirs."""
    arrays: dict[str, Any] = {}
    for nth, call in enumerate(calls):
        parts = {"tick": call} if isinstance(call, int) else vars(call)
        arrays |= {f"{nth:06}.{name}": value for name, value in parts.items() if value is not None}
    np.savez(path, **arrays)


def kept_calls(path: Path) -> list[Served | int]:
    """What `keep_calls` wrote."""
    by_call: dict[str, dict[str, Any]] = {}
    with np.load(path) as arrays:
        for key in arrays:
            nth, name = key.split(".")
            by_call.setdefault(nth, {})[name] = arrays[key]
    return [
        int(parts["tick"]) if len(parts) == 1 else Served(**{"propensity": None, **parts})
        for _, parts in sorted(by_call.items())
    ]


def measure(rows: int, processes: int, folder: Path) -> dict[str, float]:
    """All figures."""
    recorder, items = recorded()
    keep_calls(folder / "cell.npz", recorder.calls)
    cell_rows = sum(call.item.size for call in recorder.calls if not isinstance(call, int))
    cells = cut_population(CELL_USERS * max(processes, round(rows / cell_rows)), CELL_USERS)
    test = StreamedTest(folder, (ARM,), cells, (), items, 0, 0, DAYS * TICKS_PER_DAY)
    shares = [(cells[nth::processes],) for nth in range(processes)]
    rows = cell_rows * len(cells)
    written = list(done_by_workers(processes, shares, write_cells, (test,)))
    size = sum(path.stat().st_size for path in (folder / ARM).rglob("*.parquet"))
    measured = list(done_by_workers(processes, shares, measure_cells, (test,)))
    return {
        "rows": rows,
        "users": cells[-1].stop,
        "processes": processes,
        "bytes_per_row": size / rows,
        "rows_written_per_second": rows / max(w.taken["ours"] for w in written),
        "rows_written_per_second_of_processor": rows / max(w.computing["ours"] for w in written),
        "written_to_pyarrow_alone": rate(written, "ours") / rate(written, "pyarrow"),
        "written_to_zstd_alone": rate(written, "ours") / rate(written, "zstd"),
        "writing_peak_mib": sum(w.peak_mib for w in written),
        "metrics_seconds": max(m.taken["ours"] for m in measured),
        "metrics_seconds_of_processor": max(m.computing["ours"] for m in measured),
        "metrics_time_to_reading_alone": rate(measured, "pyarrow") / rate(measured, "ours"),
        "measuring_peak_mib": sum(m.peak_mib for m in measured),
    }


def recorded() -> tuple[Recorder, ItemFeatures]:
    """One cell's life: what the engine tells a sink, and the catalogue."""
    engagement = schema.Engagement.model_validate(
        {
            "session_impressions_median": 12.0,
            "session_sigma": 0.6,
            "same_day_probability": 0.1,
            "long_gap_median": "44h",
        }
    )
    settings = schema.World(
        catalogue=schema.Catalogue(items=ITEMS, creators=ITEMS // 10),
        population=schema.Population(users=CELL_USERS),
        engagement=engagement,
    )
    world = build_world(settings, seed=1, horizon_ticks=DAYS * TICKS_PER_DAY, directory=Path())
    service = Service(ARM, partial(build, "random"), schema.Platform(slate_size=SLATE))
    model = service.build()
    model.fit(EventLog.empty().interactions(0), world.catalogue.features, seed=0)
    recorder, behaviour = Recorder(), UtilityBehaviour()
    start = genesis(world, behaviour, 0, model.state_dict())
    simulate(world, behaviour, service, start, DAYS * TICKS_PER_DAY, sinks=recorder)
    return recorder, world.catalogue.features


@dataclass(frozen=True)
class Moment:
    """Now, by the clock and by the processor's time of this process."""

    clock: float = field(default_factory=perf_counter)
    computing: float = field(default_factory=process_time)


@dataclass
class Work:
    """What one process did: rows and seconds by who did it, by the clock and of the processor, and its peak memory."""

    rows: dict[str, int] = field(default_factory=dict)
    taken: dict[str, float] = field(default_factory=dict)
    computing: dict[str, float] = field(default_factory=dict)
    peak_mib: float = 0.0

    def add(self, who: str, rows: int, since: Moment) -> None:
        """Count rows that took from `since` to now."""
        self.rows[who] = self.rows.get(who, 0) + rows
        self.taken[who] = self.taken.get(who, 0.0) + perf_counter() - since.clock
        self.computing[who] = self.computing.get(who, 0.0) + process_time() - since.computing


def rate(works: list[Work], who: str) -> float:
    """Rows a second of processor time: what else the machine does takes less part in it."""
    return sum(w.rows[who] for w in works) / sum(w.computing[who] for w in works)


def write_cells(test: StreamedTest, cells: tuple[range, ...]) -> Work:
    """Write cells, and in turns some of them by pyarrow and zstd alone."""
    pa.set_cpu_count(1)
    work, folder = Work(), test.folder
    calls = kept_calls(folder / "cell.npz")
    rows = sum(call.item.size for call in calls if not isinstance(call, int))
    limit = folder / f"limit-{os.getpid()}.parquet"
    write_cell(folder, cells[0], calls)  # a process does everything more slowly when it does it first
    for nth, users in enumerate(cells):
        clock = Moment()
        write_cell(folder, users, calls)
        work.add("ours", rows, clock)
        work.peak_mib = max(work.peak_mib, peak_mib())
        if nth % max(1, len(cells) // LIMIT_CELLS) == 0:
            write_limits(work, stored_cell(folder / ARM, users).read(), limit)
    return work


def write_cell(folder: Path, users: range, calls: list[Served | int]) -> None:
    """What was recorded, as of these users."""
    sinks = StreamedLog(folder / ARM, ARM, (users,))
    sinks.begin()
    writer = sinks.sink(users)
    writer.go_on(0)
    for call in calls:
        if isinstance(call, int):
            writer.passed(call)
        else:
            writer.add(replace(call, user=call.user + np.int32(users.start)))
    writer.flush()


def write_limits(work: Work, log: EventLog, path: Path) -> None:
    """The same rows, in order, by pyarrow's own defaults with zstd, and zstd alone without a file."""
    columns = {name: getattr(log, name) for name in COLUMNS}
    clock = Moment()
    pq.write_table(pa.table(columns), path, compression="zstd")
    work.add("pyarrow", len(log), clock)
    path.unlink()
    codec, clock = pa.Codec("zstd", 1), Moment()
    for column in columns.values():
        codec.compress(column)
    work.add("zstd", len(log), clock)


def measure_cells(test: StreamedTest, cells: tuple[range, ...]) -> Work:
    """All built-in metrics of cells; in turns reading some of them, and nothing else."""
    pa.set_cpu_count(1)
    work = Work()
    measure_cell(test, cells[0])  # as above
    read_cell(test.folder, cells[0])
    for nth, users in enumerate(cells):
        clock = Moment()
        found = measure_cell(test, users)
        work.add("ours", found.arms[ARM].n_rows, clock)
        if nth % max(1, len(cells) // LIMIT_CELLS) == 0:
            for _ in range(READS):
                clock = Moment()
                work.add("pyarrow", read_cell(test.folder, users), clock)
    work.peak_mib = peak_mib()
    return work


def read_cell(folder: Path, users: range) -> int:
    """All columns of a cell, which are then dropped: rows."""
    paths = stored_cell(folder / ARM, users).parts()
    return sum(len(pq.ParquetFile(path).read(use_threads=False)) for path in paths)


def peak_mib() -> float:
    """Of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def table(found: dict[str, float]) -> str:
    """For people."""
    return "\n".join(
        [
            f"{found['rows']:,} rows of {found['users']:,} users, {found['processes']} processes",
            f"{found['rows_written_per_second']:14,.0f} rows a second written by the clock, all columns, "
            f"{found['bytes_per_row']:.1f} bytes a row",
            f"{found['rows_written_per_second_of_processor']:14,.0f} rows a second by their processor time",
            f"{found['written_to_pyarrow_alone']:14.2f} of the speed of pyarrow alone, on columns in order",
            f"{found['written_to_zstd_alone']:14.2f} of the speed of zstd alone",
            f"{found['writing_peak_mib']:14,.0f} MiB peak memory of all writing processes together",
            f"{found['metrics_seconds']:14,.1f} s by the clock for all built-in metrics, window and days",
            f"{found['metrics_seconds_of_processor']:14,.1f} s of processor time, the busier process",
            f"{found['metrics_time_to_reading_alone']:14.2f} times the time of reading the columns alone",
            f"{found['measuring_peak_mib']:14,.0f} MiB peak memory of all measuring processes together",
        ]
    )


if __name__ == "__main__":
    main()
