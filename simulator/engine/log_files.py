"""Event logs as Parquet files, written so that a file which is there is whole: docs/log.md says what is in them.

Encodings were chosen by measurement (`benchmarks/log.py`): a dictionary for columns of few values, differences for
feedback ticks, plain for the rest. Half of all slots are not looked at, so zstd alone makes the floats smaller than
splitting their bytes, which is slower to write; and of what repeats within a request it leaves next to nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from recommenders.files import open_regular
from recommenders.parquet_files import read_parquet
from simulator.engine.log import EventLog

_ROW_GROUP = 1_000_000
_DICTIONARY = ("arm", "session", "step", "slot", "item", "feedback")
_DIFFERENCES = ("feedback_tick",)
_SEARCHED = ("tick", "user")
"""Columns by which readers skip row groups: only they get minima and maxima."""
_UNITS = {
    "tick": "when the slate was served, in milliseconds of simulated time since the world began",
    "slot": "position in the slate, 0 on top",
    "feedback": "flags: 1 examined, 2 long dwell, 4 skip, 8 like, 16 dislike, 32 dismiss",
    "dwell_seconds": "seconds; 0 where the user did not look",
    "feedback_tick": "when the user was done with the item, in milliseconds; -1 where the user did not look",
    "propensity": "chance that the policy showed the item at the slot; NaN for a deterministic policy",
    "satisfaction": "what the user would tell a survey right after the request",
    "dislike_probability": "chance of a dislike before its draw; latent, 0 where the user did not look",
}

SCHEMA = pa.schema(
    [pa.field("arm", pa.dictionary(pa.int8(), pa.string()))]
    + [
        pa.field(name, pa.from_numpy_dtype(dtype), metadata={"unit": _UNITS.get(name, "id")})
        for name, dtype in EventLog.DTYPES.items()
    ]
)
"""The columns of all event logs on disk, with their units."""


class LogFileError(Exception):
    """An event log could not be read; the message names the file."""


def write_log(path: Path, arm: str, log: EventLog, columns: Sequence[str] = ()) -> None:
    """Write a log with its arm's name as first column; the file appears under its name only when it is whole.

    Args:
        path: of the file.
        arm: the arm.
        log: the rows.
        columns: which to write; none for all.

    Raises:
        OSError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    chosen = [name for name in EventLog.DTYPES if name in columns or not columns]
    write_columns(path, arm, {name: getattr(log, name) for name in chosen})


def write_columns(path: Path, arm: str, columns: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write some columns of a log, at least one, as `write_log` does.

    Raises:
        OSError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    n_rows = len(next(iter(columns.values())))
    arms = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n_rows, np.int8)), pa.array([arm]))
    names = ["arm", *columns]
    schema = pa.schema([SCHEMA.field(name) for name in names])
    table = pa.Table.from_arrays([arms, *(pa.array(column) for column in columns.values())], schema=schema)
    plain = [name for name in names if name not in (*_DICTIONARY, *_DIFFERENCES)]
    encodings = dict.fromkeys(plain, "PLAIN") | {n: "DELTA_BINARY_PACKED" for n in _DIFFERENCES if n in names}
    part = path.with_suffix(".tmp")
    try:
        with part.open("wb") as file:
            pq.write_table(
                table, file, compression="zstd", compression_level=1, row_group_size=_ROW_GROUP,
                use_dictionary=[name for name in _DICTIONARY if name in names], column_encoding=encodings,
                write_statistics=[name for name in _SEARCHED if name in names],
            )  # fmt: skip
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_log(path: Path) -> EventLog:
    """Read what `write_log` wrote.

    Raises:
        LogFileError: the file is not there, not whole, or not an event log.
    """
    columns = read_columns(path, tuple(EventLog.DTYPES))
    return EventLog(**columns)


def read_columns(path: Path, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Some columns of an event log, by name.

    Raises:
        LogFileError: the file is not there, not whole, not an event log, or was written without one of the columns.
    """
    try:
        with open_regular(path) as file:
            table = read_parquet(file, list(names))
    except (OSError, pa.ArrowException) as error:
        raise LogFileError(f"{path}: got {error}, expected an event log written by pushback") from error
    for name in names:
        expected = EventLog.DTYPES[name]
        found = table.schema.field(name).type if name in table.column_names else "no such column"
        if found != pa.from_numpy_dtype(expected):
            raise LogFileError(f"{path}: {name}: got {found}, expected {expected} as written by pushback")
        if table[name].null_count:
            raise LogFileError(f"{path}: {name}: got an empty cell, expected {expected} as written by pushback")
    return {name: table[name].to_numpy() for name in names}


def log_hash(log: EventLog) -> str:
    """SHA-256 of all rows, independent of the file format."""
    digest = hashlib.sha256()
    for name in EventLog.DTYPES:
        digest.update(np.ascontiguousarray(getattr(log, name)).data)
    return digest.hexdigest()
