"""What is left of event logs on the disk: some users, by a draw for each, and some columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from recommenders.base import Bool, Int32
from simulator.draws import Draws, Purpose
from simulator.engine.log import EventLog
from simulator.engine.log_files import read_columns, write_columns, write_log
from simulator.engine.log_parts import stored_cells


@dataclass(frozen=True)
class LogSample:
    """Which rows and columns of logs are written.

    Attributes:
        draws: the world's.
        user_share: share of the users, in (0, 1].
        columns: their names; none for all.
    """

    draws: Draws
    user_share: float = 1.0
    columns: Sequence[str] = ()

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out."""
        return self.user_share >= 1 and not self.columns

    def has(self, user: Int32) -> Bool:
        """bool[e], whose rows are written: a function of the user, the same in every log of a world."""
        if self.user_share >= 1 or not len(user):
            return np.ones(len(user), np.bool_)
        drawn = self.draws.uniform(Purpose.LOG_SAMPLE, np.arange(user.max() + 1))[0] < self.user_share
        sampled: Bool = drawn[user]
        return sampled

    def write(self, path: Path, arm: str, log: EventLog) -> None:
        """Write what is wanted of a log in memory.

        Raises:
            OSError: see `write_log`.
        """
        write_log(path, arm, log.take(self.has(log.user)), self.columns)

    def thin(self, folder: Path, arm: str) -> None:
        """Write the parts of a streamed log anew with what is wanted of them, one after the other; again, if need be.

        Args:
            folder: of the arm.
            arm: its name.

        Raises:
            LogFileError: a part cannot be read.
            OSError: a part cannot be written; it is then as it was.
        """
        if self.is_everything:
            return
        names = tuple(self.columns or EventLog.DTYPES)
        for cell in stored_cells(folder):
            for part in cell.parts():
                if pq.read_schema(part).names == ["arm", *(name for name in EventLog.DTYPES if name in self.columns)]:
                    continue  # it was done before
                read = read_columns(part, tuple(dict.fromkeys([*names, "user"])))
                sampled = self.has(read["user"])
                write_columns(part, arm, {name: read[name][sampled] for name in EventLog.DTYPES if name in names})
