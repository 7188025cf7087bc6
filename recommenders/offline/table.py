"""Columns of a CSV, CSV.gz or Parquet file, read once and as they stand; `cells.py` makes numbers of them."""

from __future__ import annotations

import codecs
import csv
import errno
import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from recommenders.files import GZIP, Gunzipped, open_regular
from recommenders.offline.faults import Faults, LogError, did_you_mean, listed
from recommenders.parquet_files import read_parquet

_EMPTY = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None")
"""Cells of a CSV file that hold nothing."""
_MOST_HEADER = 1 << 20
"""Bytes of the first line of a CSV file."""
_MOST_BLANK_LINES = 100_000
_PARQUET = b"PAR1"


@dataclass(frozen=True)
class Table:
    """Some columns of a file.

    Attributes:
        file: as messages call it.
        first_row: number of the first row of data: 2 in a CSV file, whose header is row 1, and 1 in a Parquet file.
        column: name -> cells; of a CSV file as text, empty cells as nulls.
        n_rows: number of rows of data.
    """

    file: str
    first_row: int
    column: Mapping[str, pa.ChunkedArray]
    n_rows: int


def column_names(path: Path, separator: str = ",") -> list[str]:
    """The names of a file's columns, in order.

    Raises:
        LogError: the file cannot be read as a table, or is empty; the separator is not one character.
    """
    if len(separator) != 1 or not separator.isascii() or separator in '"\r\n':
        raise LogError(f"{path}: separator: got {separator!r}, expected one ASCII character, no quote and no line end")
    try:
        start = _start(path)
        with open_regular(path) as file:
            if start.startswith(_PARQUET):
                return list(pq.read_schema(file).names)
            line = (io.BufferedReader(Gunzipped(file)) if start.startswith(GZIP) else file).readline(_MOST_HEADER + 1)
        if len(line) > _MOST_HEADER:
            raise LogError(f"{path}:1: got a header of more than {_MOST_HEADER:,} bytes, expected names of columns")
        text = line.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise _unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise LogError(f"{path}:1: got a byte that is not UTF-8, expected a CSV table or a Parquet file") from error
    if "\x00" in text:
        raise LogError(f"{path}:1: got a binary file, expected a CSV table or a Parquet file")
    try:
        names = [name.strip() for name in next(csv.reader(io.StringIO(text), delimiter=separator), [])]
    except csv.Error as error:
        raise LogError(f"{path}:1: got {str(error)!r}, expected a CSV table with a header or a Parquet file") from error
    if not any(names):
        raise LogError(f"{path}: got an empty file, expected a table with a header")
    return names


def require_columns(path: Path, wanted: Sequence[str], found: Sequence[str]) -> None:
    """Check that each wanted column is there, once.

    Raises:
        LogError: with every column that is not; the message lists those that there are.
    """
    faults = Faults(str(path))
    for name in dict.fromkeys(wanted):
        if found.count(name) == 0:
            faults.add(f":1: {name}", f"no such column{did_you_mean(name, found)}", f"one of: {listed(found)}")
        elif found.count(name) > 1:
            faults.add(f":1: {name}", f"{found.count(name)} columns of this name", "one")
    faults.raise_if_any()


def read_table(path: Path, wanted: Sequence[str], *, lone: Sequence[str] = (), separator: str = ",") -> Table:
    """Read columns of a file.

    Args:
        path: the file; what it is shows in its first bytes, not in its name.
        wanted: names of columns, which must be there.
        lone: those of them whose cells hardly ever repeat (times, durations); the others are held as a dictionary,
            which keeps ten million rows small.
        separator: of the cells of a CSV file.

    Raises:
        LogError: the file cannot be read, lacks a column or has no rows; or rows of a CSV file have too few or too many
            cells: several are told at once.
    """
    require_columns(path, wanted, column_names(path, separator))
    try:
        if _start(path).startswith(_PARQUET):
            with open_regular(path) as file:
                content, first_row = read_parquet(file, list(dict.fromkeys(wanted))), 1
        else:
            content, first_row = _read_csv(path, wanted, lone, separator), 2
    except (OSError, EOFError, zlib.error, pa.ArrowException, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    if content.num_rows == 0:
        raise LogError(f"{path}: got a header and no rows, expected at least one row")
    return Table(str(path), first_row, {name: content.column(name) for name in wanted}, content.num_rows)


def _read_csv(path: Path, wanted: Sequence[str], lone: Sequence[str], separator: str) -> pa.Table:
    names = column_names(path, separator)
    faults = Faults(str(path))

    def misfit(row: pa_csv.InvalidRow) -> str:
        faults.add(f":{row.number}", f"{row.actual_columns} cells", f"{row.expected_columns} as in the header")
        return "skip"

    text, repeated = pa.string(), pa.dictionary(pa.int32(), pa.string())
    compressed = _start(path).startswith(GZIP)
    with open_regular(path) as file:
        content = pa_csv.read_csv(
            _CheckedText(Gunzipped(file) if compressed else file),
            # Only a single thread knows the numbers of the rows that do not fit.
            read_options=pa_csv.ReadOptions(use_threads=False, column_names=names, skip_rows=1),
            parse_options=pa_csv.ParseOptions(
                delimiter=separator, invalid_row_handler=misfit, ignore_empty_lines=False
            ),
            convert_options=pa_csv.ConvertOptions(
                include_columns=list(dict.fromkeys(wanted)),
                column_types={name: text if name in lone else repeated for name in wanted},
                null_values=list(_EMPTY),
                strings_can_be_null=True,
            ),
        )
    faults.raise_if_any()
    return _without_blank_end(content)


class _CheckedText(io.RawIOBase):
    """Text in UTF-8 with few blank lines, before Arrow sees it.

    It prints a traceback where a row of the wrong length is not UTF-8, and a blank line, one byte, becomes a row.

    Raises:
        OSError, UnicodeDecodeError: from `read`.
    """

    def __init__(self, file: io.RawIOBase | IO[bytes]) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._blank_lines = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        n: int = self._file.readinto(buffer)  # type: ignore[union-attr]
        text = self._decoder.decode(memoryview(buffer)[:n], final=n == 0)
        self._blank_lines += text.count("\n\n") + text.count("\n\r") + text.count("\r\r")
        if self._blank_lines > _MOST_BLANK_LINES:
            raise OSError(errno.EINVAL, f"more than {_MOST_BLANK_LINES:,} blank lines")
        return n


def _without_blank_end(content: pa.Table) -> pa.Table:
    """Blank lines are rows of nulls, so that rows keep their numbers; those at the end of a file mean nothing."""
    filled = np.zeros(content.num_rows, np.bool_)
    for column in content.columns:
        filled |= column.is_valid().to_numpy().astype(bool)
    rows = np.flatnonzero(filled)
    return content.slice(0, int(rows[-1]) + 1 if len(rows) else 0)


def _start(path: Path) -> bytes:
    with open_regular(path) as file:
        return file.read(4)


def _unreadable(path: Path, error: BaseException) -> LogError:
    if isinstance(error, UnicodeDecodeError) or "UTF8" in str(error):
        return LogError(f"{path}: got bytes that are not UTF-8, expected a CSV table or a Parquet file")
    reason = getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
    return LogError(f"{path}: got {reason!r}, expected a readable CSV, CSV.gz or Parquet file")
