"""Real items, read from a CSV, CSV.gz or Parquet table; what is wrong with a table is told all at once, row by row."""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from textwrap import shorten
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recommenders.base import Float32, Int32, Int64
from recommenders.files import Gunzipped, open_regular
from recommenders.parquet_files import read_parquet
from simulator.scenario import schema
from simulator.scenario.shipped import SHIPPED_PREFIX, shipped_tables

UNKNOWN_TOPIC = "unknown"
OTHER_TOPIC = "other"
_MAX_FAULTS = 20
_MAX_SHOWN = 60
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class CatalogueError(Exception):
    """A table of items cannot be used; the message has one line a fault, `file:row: column: got ..., expected ...`."""


@dataclass(frozen=True)
class ItemRows:
    """A table of items in numbers. Items, creators and topics are numbered in order of their names.

    Names that are whole numbers come first, by value; then the others, by code point. The order of the table's rows
    therefore changes nothing.

    Attributes:
        item_name: n_items names; the place in the tuple is the item id.
        creator_name: n_creators names.
        topic_name: names of the content clusters: each is the primary topic of at least one item.
        creator: int32[n_items].
        topic: int32[n_items], the first topic of the row, after small topics were merged into `other`.
        duration_seconds: float32[n_items], > 0.
        release_milliseconds: int64[n_items] since 1970 UTC, or None for a table without release dates.
        tag: int32[n_tags], all topics of all items as written, numbered apart from `topic`, item after item.
        tag_start: int64[n_items], where each item's tags begin; every item has at least one.
        n_tag_names: number of different tags.
    """

    item_name: tuple[str, ...]
    creator_name: tuple[str, ...]
    topic_name: tuple[str, ...]
    creator: Int32
    topic: Int32
    duration_seconds: Float32
    release_milliseconds: Int64 | None
    tag: Int32
    tag_start: Int64
    n_tag_names: int


@dataclass(frozen=True)
class _Cells:
    """The chosen columns as text. Row i of the table stands in row `row[i]` of the file."""

    file: str
    row: list[int]
    column: dict[str, list[str]]

    def of(self, name: str) -> Iterator[tuple[int, str]]:
        """Row of the file and cell, down a column."""
        return zip(self.row, self.column[name], strict=True)


class _Faults:
    """Collects what is wrong with a file, up to a limit."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._lines: list[str] = []
        self._count = 0

    def add(self, where: str, got: str, expected: str) -> None:
        self._count += 1
        if self._count <= _MAX_FAULTS:
            self._lines.append(f"{self._file}:{where}: got {got}, expected {expected}")

    def raise_if_any(self) -> None:
        if self._count > _MAX_FAULTS:
            raise CatalogueError("\n".join([*self._lines, f"{self._file}: and {self._count - _MAX_FAULTS} more"]))
        if self._lines:
            raise CatalogueError("\n".join(self._lines))


def read_items(table: schema.ItemTable, directory: Path) -> ItemRows:
    """Read and check a table of items.

    An item without a topic gets the topic `unknown`, one without a duration the median of the table; ids, creators and
    (where the scenario names the column) release dates must be there. Dates without a time zone are taken as UTC.

    Args:
        table: where the table is and which columns hold what.
        directory: what a relative path starts from.

    Raises:
        CatalogueError: the file cannot be read as a table, or cells are wrong; up to 20 faults at once.
    """
    cells = _read_cells(table, directory)
    faults = _Faults(cells.file)
    names, column = table.columns, cells.column
    ids = _present(cells, names.item, faults)
    _check_unique(cells, names.item, faults)
    creators = _present(cells, names.creator, faults)
    durations = _parsed(cells, names.duration, _duration_or_nan, "a number from 1e-6 to 1e9, or an empty cell", faults)
    releases = None
    if names.release is not None:
        releases = _parsed(cells, names.release, _milliseconds, "an ISO date such as 2022-04-09", faults)
    if not any(d > 0 for d in durations):
        faults.add(f" {names.duration}", "no duration in any row", "at least one")
    faults.raise_if_any()

    order = sorted(range(len(ids)), key=lambda i: _name_key(ids[i]))
    seconds = np.array(durations)[order] / (1000.0 if table.duration_unit == "ms" else 1.0)
    seconds[np.isnan(seconds)] = np.nanmedian(seconds)
    tags = [_topics(column[names.topics][i], table.topic_separator) for i in order]
    tag_names, tag = _numbered(t for several in tags for t in several)
    clusters = _merged([several[0] for several in tags], table.min_topic_items)
    creator_name, creator = _numbered(creators[i] for i in order)
    topic_name, topic = _numbered(clusters)
    return ItemRows(
        item_name=tuple(ids[i] for i in order),
        creator_name=creator_name,
        topic_name=topic_name,
        creator=creator,
        topic=topic,
        duration_seconds=seconds.astype(np.float32),
        release_milliseconds=None if releases is None else np.array(releases)[order].astype(np.int64),
        tag=tag,
        tag_start=np.cumsum([0, *(len(several) for several in tags[:-1])], dtype=np.int64),
        n_tag_names=len(tag_names),
    )


def _read_cells(table: schema.ItemTable, directory: Path) -> _Cells:
    path, file = _locate(table.path, directory)
    try:
        with open_regular(path) as stream:
            parquet = stream.read(4) == b"PAR1"
            stream.seek(0)
            if parquet:
                return _parquet_cells(stream, file, table)
            data = (Gunzipped(stream) if path.name.endswith(".gz") else stream).read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CatalogueError(f"{file}: got a damaged or truncated gzip file ({error}), expected a whole one") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise CatalogueError(f"{file}: got {reason!r}, expected a readable CSV, CSV.gz or Parquet file") from error
    return _csv_cells(data, file, table)


def _locate(path: str, directory: Path) -> tuple[Path, str]:
    """The file, and how messages call it."""
    if not path.startswith(SHIPPED_PREFIX):
        return directory / path, path
    name, tables = path.removeprefix(SHIPPED_PREFIX), shipped_tables()
    if name not in tables:
        raise CatalogueError(f"{path}: got no shipped table {name!r}, expected one of: {', '.join(tables)}")
    return tables[name], path


def _csv_cells(data: bytes, file: str, table: schema.ItemTable) -> _Cells:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        got = f"byte 0x{data[error.start]:02x} that is not UTF-8"
        raise CatalogueError(f"{file}:{row}: got {got}, expected a CSV table in UTF-8") from error
    if not text.strip():
        raise CatalogueError(f"{file}: got an empty file, expected a table with a header and at least one item")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    faults = _Faults(file)
    rows: list[list[str]] = []
    numbers: list[int] = []
    try:
        header = [name.strip() for name in next(reader)]
        picked = _find_columns(header, file, table)
        before = reader.line_num
        for line in reader:
            number, before = before + 1, reader.line_num
            if not line:
                continue
            if len(line) != len(header):
                faults.add(f"{number}", f"{len(line)} cells", f"{len(header)} as in the header")
                continue
            rows.append([line[place] for place in picked.values()])
            numbers.append(number)
    except csv.Error as error:
        got = f"text that is not CSV ({error})"
        raise CatalogueError(f"{file}:{reader.line_num}: got {got}, expected a CSV table") from error
    faults.raise_if_any()
    if not rows:
        raise CatalogueError(f"{file}: got a header and no rows, expected at least one item")
    columns = zip(*rows, strict=True)
    return _Cells(
        file, numbers, {name: [c.strip() for c in cells] for name, cells in zip(picked, columns, strict=True)}
    )


def _parquet_cells(stream: IO[bytes], file: str, table: schema.ItemTable) -> _Cells:
    try:
        wanted = list(_find_columns(pq.read_schema(stream).names, file, table))
        content = read_parquet(stream, wanted)
        column = {name: _as_text(content.column(name), name, file, table.topic_separator) for name in wanted}
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).partition("\n")[0]
        raise CatalogueError(f"{file}: got a damaged Parquet file ({reason}), expected a whole one") from error
    if content.num_rows == 0:
        raise CatalogueError(f"{file}: got a table without rows, expected at least one item")
    return _Cells(file, list(range(1, content.num_rows + 1)), column)


def _as_text(column: pa.ChunkedArray, name: str, file: str, separator: str) -> list[str]:
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return [separator.join(map(str, cell or ())) for cell in column.to_pylist()]
    try:
        return [(cell or "").strip() for cell in column.cast(pa.string()).to_pylist()]
    except pa.ArrowNotImplementedError as error:
        raise CatalogueError(f"{file}: {name}: got a column of {column.type}, expected text or numbers") from error


def _find_columns(header: list[str], file: str, table: schema.ItemTable) -> dict[str, int]:
    """Column name -> place in the header, for the columns that the scenario names."""
    names = table.columns
    wanted = [names.item, names.creator, names.topics, names.duration]
    wanted += [] if names.release is None else [names.release]
    faults = _Faults(file)
    for name in dict.fromkeys(wanted):
        if header.count(name) == 1:
            continue
        if name in header:
            faults.add(f"1: {name}", f"{header.count(name)} columns of this name", "one")
            continue
        close = get_close_matches(name, header, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        faults.add(f"1: {name}", f"no such column{hint}", f"one of: {shorten(', '.join(header), 300)}")
    faults.raise_if_any()
    return {name: header.index(name) for name in wanted}


def _present(cells: _Cells, name: str, faults: _Faults) -> list[str]:
    for row, cell in cells.of(name):
        if not cell:
            faults.add(f"{row}: {name}", "an empty cell", "an id")
    return cells.column[name]


def _check_unique(cells: _Cells, name: str, faults: _Faults) -> None:
    first: dict[str, int] = {}
    for row, cell in cells.of(name):
        if cell and first.setdefault(cell, row) != row:
            faults.add(
                f"{row}: {name}", f"{_shown(cell)} again, as in row {first[cell]}", "a different id in every row"
            )


def _parsed(cells: _Cells, name: str, parse: Callable[[str], float], expected: str, faults: _Faults) -> list[float]:
    values = []
    for row, cell in cells.of(name):
        try:
            values.append(parse(cell))
        except ValueError:
            faults.add(f"{row}: {name}", _shown(cell), expected)
    return values


def _shown(cell: str) -> str:
    """A cell as messages show it: quoted, and of a bearable length."""
    return repr(cell if len(cell) <= _MAX_SHOWN else cell[:_MAX_SHOWN] + "...") if cell else "an empty cell"


def _duration_or_nan(cell: str) -> float:
    """The number in a cell; NaN for an empty one."""
    if not cell:
        return math.nan
    value = float(cell)
    if not 1e-6 <= value <= 1e9:
        raise ValueError(cell)
    return value


def _milliseconds(cell: str) -> float:
    """Milliseconds since 1970 of an ISO date or date with time."""
    date = datetime.fromisoformat(cell)
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return float(round((date - _EPOCH).total_seconds() * 1000))


def _topics(cell: str, separator: str) -> list[str]:
    """The topics of a cell without repeats, the primary one first."""
    names = (part.strip() for part in cell.split(separator))
    return list(dict.fromkeys(name for name in names if name)) or [UNKNOWN_TOPIC]


def _merged(primary: list[str], min_items: int) -> list[str]:
    size = Counter(primary)
    return [name if size[name] >= min_items else OTHER_TOPIC for name in primary]


def _numbered(names: Iterable[str]) -> tuple[tuple[str, ...], Int32]:
    """The different names in order, and each name's number."""
    listed = list(names)
    distinct = tuple(sorted(set(listed), key=_name_key))
    number = {name: i for i, name in enumerate(distinct)}
    return distinct, np.array([number[name] for name in listed], dtype=np.int32)


def _name_key(name: str) -> tuple[bool, int, str]:
    """Order of names: whole numbers by value, then text."""
    is_number = name.isascii() and name.isdecimal() and len(name) < 20
    return not is_number, int(name) if is_number else 0, name
