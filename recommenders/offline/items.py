"""What a table of items says of the items in a log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recommenders.base import Float32, Int32, Int64, ItemFeatures
from recommenders.offline.cells import MOST_SECONDS, Id, read_ids, read_numbers, read_texts
from recommenders.offline.faults import Faults
from recommenders.offline.table import Table, read_table

UNKNOWN_SECONDS = 1.0
"""The duration of items whose own is not known: no median, to which items of the test would belong."""


@dataclass(frozen=True)
class ItemColumns:
    """Where a table of items has what.

    Attributes:
        item: the ids.
        creator, topic: names; None to read none, and all items then share one.
        duration: lengths in seconds; None to read none.
        topic_separator: what stands between several topics in a cell, of which the first counts; None for one topic.
        separator: of the cells of a CSV file.
    """

    item: str = "item_id"
    creator: str | None = None
    topic: str | None = None
    duration: str | None = None
    topic_separator: str | None = None
    separator: str = ","


@dataclass(frozen=True)
class ItemFacts:
    """The features of a log's items, and what a person should know of how they were found."""

    features: ItemFeatures
    notices: tuple[str, ...]


def no_facts(n_items: int, release_tick: Int64) -> ItemFeatures:
    """Features where nothing is known: one creator, one topic, one duration for all items.

    A model that embeds creators or topics then learns one vector that all items share, which changes no ranking; a
    rule such as "block the disliked creator" has nothing to go by.
    """
    return ItemFeatures(
        creator=np.zeros(n_items, np.int32),
        topic=np.zeros(n_items, np.int32),
        duration_seconds=np.full(n_items, UNKNOWN_SECONDS, np.float32),
        release_tick=release_tick,
        n_creators=1,
        n_topics=1,
    )


def read_item_facts(path: Path, columns: ItemColumns, item_ids: Sequence[Id], release_tick: Int64) -> ItemFacts:
    """Look a log's items up in a table.

    Args:
        path: CSV, CSV.gz or Parquet, one row an item.
        columns: what is where.
        item_ids: the items of the log, in the order of their numbers.
        release_tick: int64[n_items].

    Returns:
        Features of the log's items. Items that the table lacks share a creator, a topic, and a duration.

    Raises:
        LogError: the table cannot be read, lacks a column, or has an item twice.
    """
    named = {"item": columns.item, "creator": columns.creator, "topic": columns.topic, "duration": columns.duration}
    wanted = [name for name in named.values() if name is not None]
    table = read_table(path, wanted, separator=columns.separator)
    faults = Faults(table.file)
    ids = read_ids(table, columns.item, faults)
    faults.raise_if_any()
    first, times = np.unique(ids.code, return_index=True)[1], np.bincount(ids.code, minlength=len(ids.name))
    again = (times[ids.code] > 1) & (np.arange(table.n_rows) != first[ids.code])
    faults.add_rows(
        again,
        table.first_row,
        columns.item,
        lambda i: f"{ids.name[ids.code[i]]!r} again, as in row {first[ids.code[i]] + table.first_row}",
        "each item once",
    )
    # Ids of a table and of a log may differ in type: 7 in one where the other, having an id `a7`, has '7'.
    row_of = {str(name): int(first[code]) for code, name in enumerate(ids.name)}
    row = np.array([row_of.get(str(item), -1) for item in item_ids], np.int64)
    creator, n_creators = _names(table, columns.creator, row, None)
    topic, n_topics = _names(table, columns.topic, row, columns.topic_separator)
    duration = _durations(table, columns.duration, row, faults)
    faults.raise_if_any()
    found = int((row >= 0).sum())
    notice = f"{path.name}: found {found:,} of the log's {len(row):,} items"
    if found < len(row):
        notice += f"; the others share a creator, a topic and a duration of {UNKNOWN_SECONDS:g} s"
    features = ItemFeatures(
        creator=creator,
        topic=topic,
        duration_seconds=duration,
        release_tick=release_tick,
        n_creators=n_creators,
        n_topics=n_topics,
    )
    return ItemFacts(features, (notice,))


def _names(table: Table, column: str | None, row: Int64, separator: str | None) -> tuple[Int32, int]:
    """Numbers of the names at some rows, in order of the names, and how many; no name is a name of its own."""

    if column is None:
        return np.zeros(len(row), np.int32), 1
    code, words = read_texts(table, column)
    named = np.where(row >= 0, code[row], -1)
    cells = ["" if place < 0 else words[place] for place in named.tolist()]
    names = [text.split(separator)[0].strip() if separator else text for text in cells]
    place = {name: number for number, name in enumerate(sorted(set(names)))}
    return np.array([place[name] for name in names], np.int32), len(place)


def _durations(table: Table, column: str | None, row: Int64, faults: Faults) -> Float32:

    if column is None:
        return np.full(len(row), UNKNOWN_SECONDS, np.float32)
    seconds = read_numbers(table, column, faults, least=1e-6, most=MOST_SECONDS)
    return np.where(row >= 0, seconds[row], UNKNOWN_SECONDS).astype(np.float32)
