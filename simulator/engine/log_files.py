"""Event logs as Parquet files, one an arm, written so that a file which is there is whole."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recommenders.files import open_regular
from recommenders.parquet_files import read_parquet
from simulator.engine.log import EventLog

_ROW_GROUP = 1_000_000
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


class LogFileError(Exception):
    """An event log could not be read; the message names the file."""


def write_log(path: Path, arm: str, log: EventLog) -> None:
    """Write a log with its arm's name as first column; the file appears under its name only when it is whole.

    Raises:
        OSError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    schema = pa.schema(
        [pa.field("arm", pa.dictionary(pa.int8(), pa.string()))]
        + [
            pa.field(name, pa.from_numpy_dtype(dtype), metadata={"unit": _UNITS.get(name, "id")})
            for name, dtype in EventLog.DTYPES.items()
        ]
    )
    arms = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(log), np.int8)), pa.array([arm]))
    table = pa.Table.from_arrays([arms, *(pa.array(getattr(log, name)) for name in EventLog.DTYPES)], schema=schema)
    floats = [name for name, dtype in EventLog.DTYPES.items() if dtype.kind == "f"]
    whole = [name for name, dtype in EventLog.DTYPES.items() if dtype.kind != "f"]
    part = path.with_suffix(".tmp")
    try:
        pq.write_table(
            table, part, compression="zstd", row_group_size=_ROW_GROUP, use_dictionary=["arm", *whole],
            column_encoding=dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
        )  # fmt: skip
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_log(path: Path) -> EventLog:
    """Read what `write_log` wrote.

    Raises:
        LogFileError: the file is not there, not whole, or not an event log.
    """
    try:
        with open_regular(path) as file:
            table = read_parquet(file, list(EventLog.DTYPES))
    except (OSError, pa.ArrowException) as error:
        raise LogFileError(f"{path}: got {error}, expected an event log written by pushback") from error
    for name, dtype in EventLog.DTYPES.items():
        found = table.schema.field(name).type if name in table.column_names else "no such column"
        if found != pa.from_numpy_dtype(dtype):
            raise LogFileError(f"{path}: {name}: got {found}, expected {dtype} as written by pushback")
        if table[name].null_count:
            raise LogFileError(f"{path}: {name}: got an empty cell, expected {dtype} as written by pushback")
    return EventLog(**{name: table[name].to_numpy() for name in EventLog.DTYPES})


def log_hash(log: EventLog) -> str:
    """SHA-256 of all rows, independent of the file format."""
    digest = hashlib.sha256()
    for name in EventLog.DTYPES:
        digest.update(np.ascontiguousarray(getattr(log, name)).data)
    return digest.hexdigest()
