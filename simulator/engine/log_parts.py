"""A streamed event log: each cell of an arm in files of its own, written while the cell's users live.

    ARM/users-00000000-00008191/part-0000.parquet

A *cell* is a range of users. The parts of a cell follow each other in time and each is in order of (tick, user, slot),
so that a cell is an event log like any other, whoever wrote it and however it was cut in time; memory holds the rows of
one part only. A part that has its name is whole and on the disk.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from recommenders.files import sync
from simulator.engine.collector import Collector, Served
from simulator.engine.log import EventLog
from simulator.engine.log_files import LogFileError, read_columns, read_log, write_log

PART_ROWS = 1_000_000
"""Rows from which on a part is written: about 150 MB of memory while it is put in order and encoded."""
_LEAST_ROWS = 65_536
"""Rows of a part where one writer has many cells, on average."""
_FIRST_LOOK_AHEAD = 600_000
_LEAST_LOOK_AHEAD = 1_000
_FOLDER = re.compile(r"users-(\d{8,})-(\d{8,})")
_PART = re.compile(r"part-(\d{4,})\.parquet")


@dataclass(frozen=True)
class StreamedLog:
    """Where an arm's log is streamed to; the `Sinks` of the engine.

    Attributes:
        folder: of the arm; processes on several machines must all have it.
        arm: its name, which stands in every row.
        cells: ranges of users in ascending order that do not overlap.
        part_rows: rows from which on a process writes parts.
    """

    folder: Path
    arm: str
    cells: tuple[range, ...]
    part_rows: int = PART_ROWS

    def begin(self) -> None:
        """Make the folder.

        Raises:
            OSError: it cannot be made.
        """
        self.folder.mkdir(parents=True, exist_ok=True)

    def sink(self, users: range) -> LogWriter:
        """What writes the cells of some users.

        Args:
            users: whole cells.
        """
        cells = [cell for cell in self.cells if cell.start in users]
        return LogWriter(self.folder, self.arm, cells, part_rows=self.part_rows)


class LogWriter:
    """Writes cells of an arm's log as they are made; a `Sink` of the engine.

    Rows are kept until their cell's users have all come past them, since until then an earlier row may follow.
    """

    def __init__(self, folder: Path, arm: str, cells: Sequence[range], *, part_rows: int = PART_ROWS) -> None:
        """Know where to write; `go_on` begins.

        Args:
            folder: of the arm.
            arm: its name, which stands in every row.
            cells: ranges of users in ascending order that do not overlap.
            part_rows: rows from which on parts are written.

        Raises:
            ValueError: the cells are not as said.
        """
        if not cells or any(not len(c) or c.step != 1 for c in cells):
            raise ValueError(f"cells: got {list(cells)}, expected at least one range of users, none empty")
        if any(a.stop > b.start for a, b in pairwise(cells)):
            raise ValueError("cells: got ranges out of order or that overlap, expected ascending ones")
        self._folder, self._arm = folder, arm
        self._cells = [stored_cell(folder, users) for users in cells]
        self._first = np.array([cell.start for cell in cells])
        self._stop = np.array([cell.stop for cell in cells])
        self._buffers = [Collector() for _ in cells]
        self._n_parts = [0] * len(cells)
        self._n_rows = np.zeros(len(cells), np.int64)
        self._most = max(part_rows, _LEAST_ROWS * len(cells))
        self._look_ahead = _FIRST_LOOK_AHEAD
        self._since_passed = self._begin = 0

    def go_on(self, tick: int) -> None:
        """Begin at a tick: parts of these cells from then on, which an earlier writer has left, are removed.

        Args:
            tick: where the arm begins, or where an earlier writer was flushed.

        Raises:
            LogFileError: there is no such folder; a part begins before the tick and ends after it, or cannot be read.
            OSError: the folder cannot be written.
        """
        if not self._folder.is_dir():
            raise LogFileError(f"{self._folder}: got no such folder, expected one that all workers share")
        self._begin = tick
        for nth, cell in enumerate(self._cells):
            self._n_parts[nth] = cell.keep_before(tick)

    def add(self, served: Served) -> None:
        """Take a batch. Rows from before where the writer began are there already.

        Args:
            served: users in ascending order, each in one of the cells.

        Raises:
            ValueError: a user is in no cell, or they are not in order.
        """
        if len(served.tick) and served.tick.min() < self._begin:
            served = served.rows(served.tick >= self._begin)
        rows = served.item.size
        if not rows:
            return
        self._since_passed += rows
        user = served.user
        cell = np.searchsorted(self._first, user, side="right") - 1
        if (np.diff(user) < 0).any() or cell[0] < 0 or (user >= self._stop[cell]).any():
            raise ValueError(f"served: got users {user[0]} to {user[-1]}, expected those of the cells, in order")
        for nth in range(cell[0], cell[-1] + 1):
            first, last = np.searchsorted(cell, [nth, nth + 1])
            if first < last:
                self._buffers[nth].add(served.rows(slice(first, last)))
                self._n_rows[nth] += (last - first) * served.item.shape[1]

    def look_ahead(self) -> int:
        """Most ticks until `passed` is next to be told, so that rows fit into memory."""
        return self._look_ahead

    def passed(self, tick: int) -> None:
        """Every request before a tick has been added: what is kept may be written, and is where it has become too much.

        The fullest cells are written, so that cells take turns: where all were written at a time, workers that meet at
        the same tick would wait for each other's writing.

        Raises:
            OSError: a part cannot be written.
        """
        if self._since_passed > self._most // 2:
            self._look_ahead = max(_LEAST_LOOK_AHEAD, self._look_ahead // 2)
        elif self._since_passed < self._most // 4:
            self._look_ahead *= 2
        self._since_passed = 0
        while self._n_rows.sum() >= self._most:
            self._write(int(self._n_rows.argmax()))

    def flush(self) -> None:
        """Write what is kept; right after `passed` only: at the end of a log, or at a checkpoint.

        Raises:
            OSError: a part cannot be written.
        """
        for nth in np.flatnonzero(self._n_rows).tolist():
            self._write(nth)

    def _write(self, nth: int) -> None:
        """Write a part of a cell."""
        folder = self._cells[nth].folder
        folder.mkdir(exist_ok=True)
        write_log(folder / f"part-{self._n_parts[nth]:04d}.parquet", self._arm, self._buffers[nth].take())
        sync(folder)  # names outlive a power cut then, as the files already do
        self._n_parts[nth] += 1
        self._n_rows[nth] = 0


@dataclass(frozen=True)
class StoredCell:
    """A cell of a streamed log on the disk.

    Attributes:
        users: its range.
        folder: where its parts are; a cell without a row has no folder.
    """

    users: range
    folder: Path

    def parts(self) -> list[Path]:
        """The parts in order of time.

        Raises:
            LogFileError: one between two others is missing.
        """
        paths = sorted(self.folder.glob("part-*.parquet"), key=lambda path: (len(path.name), path.name))
        for nth, path in enumerate(paths):
            match = _PART.fullmatch(path.name)
            if match is None or int(match[1]) != nth:
                raise LogFileError(f"{path}: got this part, expected part-{nth:04d}.parquet: a part is missing")
        return paths

    def keep_before(self, tick: int) -> int:
        """Remove the parts from a tick on, and what is left of files that were never finished.

        Returns:
            How many parts there are then.

        Raises:
            LogFileError: the part before the tick has rows after it, or one that is read is missing or damaged.
        """
        for path in self.folder.glob("part-*.tmp"):
            path.unlink()
        parts = self.parts()
        while parts:
            ticks = read_columns(parts[-1], ("tick",))["tick"]
            if len(ticks) and ticks[0] < tick <= ticks[-1]:
                got = f"{ticks[0]} to {ticks[-1]}, expected rows either before {tick} or after"
                raise LogFileError(
                    f"{parts[-1]}: tick: got {got}: what goes on from there must have been flushed there"
                )
            if not len(ticks) or ticks[0] < tick:
                break  # and so are those before it
            parts.pop().unlink()
        return len(parts)

    def read(self) -> EventLog:
        """All rows, in order of (tick, user, slot).

        Raises:
            LogFileError: a part is missing, damaged or of other users, or does not follow the one before it in time.
        """
        parts: list[EventLog] = []
        for path in self.parts():
            part = read_log(path)
            if not len(part):
                continue
            if parts and part.tick[0] <= parts[-1].tick[-1]:
                got = f"{part.tick[0]}, expected a tick after {parts[-1].tick[-1]}, the last of the part before"
                raise LogFileError(f"{path}: tick: got {got}")
            low, high = int(part.user.min()), int(part.user.max())
            if low not in self.users or high not in self.users:
                got = f"{low} to {high}, expected {self.users.start} to {self.users.stop - 1}"
                raise LogFileError(f"{path}: user: got {got}")
            parts.append(part)
        return EventLog.concatenate(parts)


def cell_name(users: range) -> str:
    """The folder of a cell: its first and its last user."""
    return f"users-{users.start:08d}-{users.stop - 1:08d}"


def stored_cell(folder: Path, users: range) -> StoredCell:
    """A cell of the log in an arm's folder."""
    return StoredCell(users, folder / cell_name(users))


def stored_cells(folder: Path) -> list[StoredCell]:
    """The cells of a streamed log that have rows, by user.

    Args:
        folder: of one arm, such as `events/ntr`.

    Raises:
        LogFileError: it is no such folder, or something else is in it.
    """
    if not folder.is_dir():
        raise LogFileError(f"{folder}: got no folder, expected the streamed log of an arm")
    found = []
    for path in folder.iterdir():
        match = _FOLDER.fullmatch(path.name)
        if match is None:
            raise LogFileError(f"{path}: got this name, expected a cell such as users-00000000-00008191")
        found.append(StoredCell(range(int(match[1]), int(match[2]) + 1), path))
    return sorted(found, key=lambda cell: cell.users.start)


def read_cells(folder: Path) -> Iterator[tuple[range, EventLog]]:
    """Cell by cell, the users and their rows; memory holds one cell at a time.

    Raises:
        LogFileError: see `stored_cells` and `StoredCell.read`.
    """
    for cell in stored_cells(folder):
        yield cell.users, cell.read()


def read_users(folder: Path, cells: Sequence[range], n_users: int) -> EventLog:
    """The rows of the first users of a streamed log, in order of (tick, user, slot).

    Args:
        folder: of one arm.
        cells: all of its cells.
        n_users: how many users; memory holds the cells in which they are.

    Raises:
        LogFileError: see `StoredCell.read`.
    """
    wanted = [stored_cell(folder, users).read() for users in cells if users.start < n_users]
    return EventLog.merge([log.take(log.user < n_users) for log in wanted])


def cell_hash(log: EventLog) -> str:
    """SHA-256 of a cell's rows, column by column; how they were cut into parts makes no difference."""
    digest = hashlib.sha256()
    for name in EventLog.DTYPES:
        digest.update(hashlib.sha256(np.ascontiguousarray(getattr(log, name)).data).digest())
    return digest.hexdigest()


def cells_hash(hashes: Sequence[tuple[range, str]]) -> str:
    """SHA-256 of a streamed log from those of its cells: the ones that have rows, in order of users."""
    digest = hashlib.sha256()
    for users, found in hashes:
        digest.update(f"{cell_name(users)} {found}\n".encode())
    return digest.hexdigest()
