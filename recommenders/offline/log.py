"""A platform's own log as `Interactions`: CSV or Parquet, whatever its columns are called."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from recommenders.base import Feedback, Int64, Interactions, ItemFeatures, UInt8
from recommenders.offline.cells import MOST_SECONDS, Id, Ids, read_ids, read_numbers, read_times
from recommenders.offline.faults import Faults, LogError, did_you_mean, listed
from recommenders.offline.feedback import KINDS, FeedbackRules, read_feedback
from recommenders.offline.items import ItemColumns, no_facts, read_item_facts
from recommenders.offline.table import column_names, read_table

TIMESTAMP_NAMES = ("timestamp", "datetime")
"""Names of the column of times that are looked for where none is given."""
_SECONDS_ENDINGS = {"_ms": 1e-3, "_msec": 1e-3, "_milliseconds": 1e-3, "_s": 1.0, "_sec": 1.0, "_seconds": 1.0}
_DWELL_UNITS = {"ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class LogFormat:
    """What stands where in a log.

    Attributes:
        rules: how rows become feedback.
        user, item: names of the columns of ids.
        timestamp: of the column of times; None for the first of `TIMESTAMP_NAMES` that there is.
        time_unit: `s`, `ms`, `us` or `ns` since 1970; None to tell it from the values, or to read ISO dates.
        dwell: of a column of dwell times; None for none.
        dwell_unit: `s` or `ms`; None to take it from the column's name (`play_time_ms`).
        duplicates: what to do with rows that repeat another in user, item, time, feedback and dwell.
        separator: of the cells of a CSV file.
    """

    rules: FeedbackRules
    user: str = "user_id"
    item: str = "item_id"
    timestamp: str | None = None
    time_unit: str | None = None
    dwell: str | None = None
    dwell_unit: str | None = None
    duplicates: Literal["drop", "refuse"] = "drop"
    separator: str = ","


@dataclass(frozen=True)
class OfflineLog:
    """A log in numbers.

    Attributes:
        interactions: in order of (tick, user), rows of one user and tick as in the file; tick 0 is the first row.
        items: features of all items; `release_tick` is an item's first row, as nothing else is known of it.
        user_ids, item_ids: the file's ids; the place is the number.
        start_millisecond: time of tick 0, in milliseconds since 1970 UTC.
        notices: what a person should know of how the file was read.
        file: what was read.
        sha256: of the file's bytes.
    """

    interactions: Interactions
    items: ItemFeatures
    user_ids: tuple[Id, ...]
    item_ids: tuple[Id, ...]
    start_millisecond: int
    notices: tuple[str, ...]
    file: str
    sha256: str


def read_log(
    path: Path, log_format: LogFormat, *, items: Path | None = None, item_columns: ItemColumns | None = None
) -> OfflineLog:
    """Read and check a log.

    Unsorted rows are sorted and repeated rows dropped, and `notices` say so. Nothing else is mended: an empty or NaN id
    or time, an unknown event, a rating that is no number are errors that name file and row, several at once. One row is
    one interaction; a log with several rows for one impression (a click, then a like) keeps them apart.

    Args:
        path: CSV, CSV.gz or Parquet.
        log_format: what stands where.
        items: a table with the items' creators and topics; without it all items share one creator and one topic.
        item_columns: what stands where in that table.

    Raises:
        LogError: the log, the table or the rules cannot be used.
    """
    log_format.rules.check()
    log_format = _with_timestamp(path, log_format)
    columns = [log_format.user, log_format.item, str(log_format.timestamp), *log_format.rules.columns()]
    lone = [str(log_format.timestamp)]
    if log_format.dwell is not None:
        columns.append(log_format.dwell)
        lone.append(log_format.dwell)
    lone = [name for name in lone if name not in log_format.rules.columns()]
    table = read_table(path, list(dict.fromkeys(columns)), lone=lone, separator=log_format.separator)
    faults = Faults(table.file)
    users = read_ids(table, log_format.user, faults)
    things = read_ids(table, log_format.item, faults)
    feedback = read_feedback(table, log_format.rules, faults)
    dwell = np.zeros(table.n_rows, np.float32)
    if log_format.dwell is not None:
        scale = _dwell_scale(log_format.dwell, log_format.dwell_unit)
        longest = MOST_SECONDS / scale
        dwell = (read_numbers(table, log_format.dwell, faults, least=0, most=longest) * scale).astype(np.float32)
    times = read_times(table, str(log_format.timestamp), faults, log_format.time_unit)
    faults.raise_if_any()

    notices = [_told_times(times.unit, log_format)]
    start = int(times.millisecond.min())
    interactions = Interactions(times.millisecond - start, users.code, things.code, feedback, dwell)
    interactions, sorting = _sorted(interactions)
    notices += sorting
    interactions, dropping = _without_repeats(interactions, table.file, log_format.duplicates)
    notices += dropping
    notices += _told_feedback(feedback, users, log_format.rules)
    release = _first_ticks(interactions, len(things.name))
    features = no_facts(len(things.name), release)
    if items is not None:
        facts = read_item_facts(items, item_columns or ItemColumns(), things.name, release)
        features = facts.features
        notices += facts.notices
    return OfflineLog(
        interactions=interactions,
        items=features,
        user_ids=users.name,
        item_ids=things.name,
        start_millisecond=start,
        notices=tuple(notices),
        file=str(path),
        sha256=_sha256(path),
    )


def _with_timestamp(path: Path, log_format: LogFormat) -> LogFormat:
    if log_format.timestamp is not None:
        return log_format
    found = column_names(path, log_format.separator)
    for name in TIMESTAMP_NAMES:
        if name in found:
            return replace(log_format, timestamp=name)
    hint = did_you_mean("timestamp", found) or did_you_mean("time", found)
    raise LogError(
        f"{path}:1: timestamp: got no column {' or '.join(TIMESTAMP_NAMES)}{hint}, expected one of: {listed(found)}"
    )


def _dwell_scale(column: str, unit: str | None) -> float:
    if unit is not None:
        return _DWELL_UNITS[unit]
    for ending, scale in _SECONDS_ENDINGS.items():
        if column.lower().endswith(ending):
            return scale
    raise LogError(
        f"dwell: {column}: got a name that ends in no unit (_ms, _s), expected the unit to be given: s or ms"
    )


def _sorted(log: Interactions) -> tuple[Interactions, list[str]]:
    """By tick, then user, then the order of the file."""
    backwards = int((np.diff(log.tick) < 0).sum())
    if backwards == 0 and not np.any((np.diff(log.tick) == 0) & (np.diff(log.user) < 0)):
        return log, []
    order = np.lexsort((log.user, log.tick))
    told = [f"the rows were not in order of time ({backwards:,} steps back): sorted"] if backwards else []
    return log.take(order), told


def _without_repeats(log: Interactions, file: str, duplicates: str) -> tuple[Interactions, list[str]]:
    """The log with one of each group of rows that are alike in all columns, the first."""
    # Rows of one user and tick are neighbours, so sorting within them suffices: lexsort leaves equal rows in order.
    order = np.lexsort((log.dwell_seconds, log.feedback, log.item, log.user, log.tick))
    ordered = log.take(order)
    alike = np.ones(max(len(log) - 1, 0), np.bool_)
    for column in (ordered.tick, ordered.user, ordered.item, ordered.feedback, ordered.dwell_seconds):
        alike &= column[1:] == column[:-1]
    n = int(alike.sum())
    if n == 0:
        return log, []
    if duplicates == "refuse":
        raise LogError(
            f"{file}: got {n:,} rows that repeat another in user, item, time, feedback and dwell, expected none "
            f"(or leave to drop them)"
        )
    kept: npt.NDArray[np.bool_] = np.ones(len(log), np.bool_)
    kept[order[1:][alike]] = False
    return log.take(kept), [f"{n:,} rows that repeat another in every column read were dropped"]


def _told_times(unit: str, log_format: LogFormat) -> str:
    names = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
    if unit == "date":
        return f"{log_format.timestamp}: read as dates, in UTC where they name no zone"
    how = "as told" if log_format.time_unit else "the only unit in which all lie between the years 1973 and 5138"
    return f"{log_format.timestamp}: read as {names[unit]} since 1970 ({how})"


def _told_feedback(feedback: UInt8, users: Ids, rules: FeedbackRules) -> list[str]:
    n = len(feedback)
    counts = {name: int(((feedback & kind) != 0).sum()) for name, kind in KINDS.items() if kind != Feedback.EXAMINED}
    said = ", ".join(f"{count:,} {name} ({count / n:.1%})" for name, count in counts.items() if count)
    only = int((feedback == Feedback.EXAMINED).sum())
    told = [f"{n:,} rows: {said or 'no feedback'}; {only:,} are examined and nothing more ({only / n:.1%})"]
    if len(users.name) == 1:
        told.append("there is one user: intervals over users cannot be had")
    return told


def _first_ticks(log: Interactions, n_items: int) -> Int64:
    first = np.full(n_items, np.iinfo(np.int64).max)
    np.minimum.at(first, log.item, log.tick)
    return first


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
