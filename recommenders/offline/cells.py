"""Numbers, ids and times from the cells of a table; what cannot be one is a fault with its row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders.base import Float64, Int32, Int64
from recommenders.offline.faults import Faults, LogError, shown
from recommenders.offline.table import Table

Id = int | str
"""An id as the file has it: a whole number where all of the column are, else text."""

MOST_SECONDS = 1e9
"""Longest duration and dwell: 31 years. What is longer is a mistake, or of another unit."""
MILLISECONDS = {"s": 1000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
"""Milliseconds in a unit of time."""
# In each unit the years from 1973 to 5138: the ranges do not overlap.
_PLAUSIBLE = {"s": (1e8, 1e11), "ms": (1e11, 1e14), "us": (1e14, 1e17), "ns": (1e17, 9.3e18)}
_INTEGER = r"^[+-]?\d+$"
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_DATE = r"^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}([.]\d{1,6})?)?)?(Z|[+-]\d{2}:?\d{2})?$"
_ZONE = r"\d(Z|[+-]\d{2}:\d{2}|[+-]\d{4})$"
_EXACT_MILLISECONDS = 2**62


@dataclass(frozen=True)
class Ids:
    """A column of ids as dense numbers.

    Attributes:
        code: int32[n_rows], the place of each row's id in `name`.
        name: the different ids in order: whole numbers by value, then text by code point. The order of the rows
            therefore changes nothing.
    """

    code: Int32
    name: tuple[Id, ...]


@dataclass(frozen=True)
class Times:
    """A column of times.

    Attributes:
        millisecond: int64[n_rows] since 1970, UTC.
        unit: how the column was read: `s`, `ms`, `us`, `ns` or `date`.
    """

    millisecond: Int64
    unit: str


def read_ids(table: Table, name: str, faults: Faults) -> Ids:
    """A column as ids; an empty cell or a fraction is a fault.

    Raises:
        LogError: the column holds neither text nor numbers.
    """
    column = table.column[name]
    if pa.types.is_floating(column.type):
        # What pandas makes of whole numbers beside a missing one.
        value = _floats(column)
        fraction = np.isfinite(value) & (value != np.round(value))
        faults.add_rows(fraction, table.first_row, name, lambda i: shown(value[i]), "an id, a whole number or text")
        usable = np.isfinite(value) & (np.abs(value) < 2**53)
        column = pa.chunked_array([pa.array(np.where(usable, value, 0).astype(np.int64), mask=~usable)])
    code, values = _encoded(column, table, name)
    texts = np.array([str(value).strip() for value in values] or [""], dtype=object)
    missing = (code < 0) | (texts[code] == "")
    faults.add_rows(missing, table.first_row, name, lambda i: "an empty cell", "an id")
    # No array of texts: each of its cells would be as wide as the longest, and without null characters at its end.
    used = [text for text in set(texts.tolist()) if text]
    whole = all(_is_canonical(text) for text in used)
    ordered: list[str] = sorted(used, key=int if whole else _name_key)
    place = {text: number for number, text in enumerate(ordered)}
    number_of = np.array([place.get(str(text), -1) for text in texts], np.int32)
    return Ids(number_of[code], tuple(int(text) for text in ordered) if whole else tuple(ordered))


def read_numbers(table: Table, name: str, faults: Faults, *, least: float = -np.inf, most: float = np.inf) -> Float64:
    """A column as numbers: float64[n_rows]; an empty cell, what is no number or out of bounds is a fault, and NaN."""
    bounds = [f"{sign} {limit:g}" for sign, limit in ((">=", least), ("<=", most)) if np.isfinite(limit)]
    expected = " ".join(["a number", " and ".join(bounds)]).strip()
    column = table.column[name]
    if _is_numeric(column.type):
        value = _floats(column)
    else:
        code, texts = _encoded(column, table, name)
        of_text = np.array([_number_or_nan(str(text)) for text in texts] or [np.nan])
        value = np.where(code < 0, np.nan, of_text[code])
    wrong = ~(np.isfinite(value) & (value >= least) & (value <= most))
    faults.add_rows(wrong, table.first_row, name, lambda i: cell(table, name, i), expected)
    return np.where(wrong, np.nan, value)


def read_texts(table: Table, name: str) -> tuple[Int32, tuple[str, ...]]:
    """A column as words: for each row the place of its word, -1 for an empty cell, and the different words.

    A number or a truth value reads as one would write it: `1`, `4.5`, `true`.
    """
    code, values = _encoded(table.column[name], table, name)
    return code, tuple(_word(value) for value in values)


def read_times(table: Table, name: str, faults: Faults, unit: str | None) -> Times:
    """A column as times.

    Args:
        table: the file.
        name: of the column.
        faults: gets the rows that hold no time.
        unit: `s`, `ms`, `us`, `ns`; None to tell from the values: numbers that would all lie between the years 1973
            and 5138 in one unit are of that unit, and other text must be ISO dates, in UTC where they name no zone.

    Raises:
        LogError: the unit cannot be told, or is finer than the one that is told so; the column holds no times,
            numbers or text.
    """
    column = table.column[name]
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return Times(_from_timestamps(table, name, column, faults), "date")
    if not _is_numeric(column.type):
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            raise LogError(f"{table.file}: {name}: got a column of {column.type}, expected dates, numbers or text")
        text = pc.utf8_trim_whitespace(column)
        present = [t for t in text.slice(0, 1000).to_pylist() if t]
        if any(pc.match_substring_regex(pa.array(present, pa.string()), _DATE).to_pylist()):
            return Times(_from_dates(table, name, text, faults), "date")
        column = _as_numbers(table, name, text, faults)
    if column.null_count:
        empty = column.is_null().to_numpy().astype(bool)
        faults.add_rows(empty, table.first_row, name, lambda i: "an empty cell", "a time")
        column = column.drop_null() if column.null_count < len(column) else pa.chunked_array([pa.array([0])])
    if pa.types.is_floating(column.type):
        number = _floats(column)
        nan = ~np.isfinite(number)
        faults.add_rows(nan, table.first_row, name, lambda i: str(number[i]), "a time")
        value: Float64 | Int64 = number[~nan] if not nan.all() else np.zeros(1)
    else:
        value = _integers(column)
    faults.raise_if_any()  # a fault already found explains more than a unit that does not fit it
    if unit is None:
        unit = _unit_of(value, table, name)
    else:
        _refuse_too_fine(unit, value, table, name)
    scale = MILLISECONDS[unit]
    if np.abs(value.astype(np.float64)).max(initial=0) * scale > _EXACT_MILLISECONDS:
        raise LogError(f"{table.file}: {name}: got times too large for the unit {unit!r}, expected another unit")
    if scale >= 1:
        return Times(np.round(value * scale).astype(np.int64), unit)
    return Times(np.floor_divide(value, round(1 / scale)).astype(np.int64), unit)


def cell(table: Table, name: str, index: int) -> str:
    """What a cell of a table holds, for a message."""
    value = table.column[name][index].as_py()
    return "an empty cell" if value is None or value != value else shown(value)  # noqa: PLR0124  (NaN)


def _unit_of(value: Float64 | Int64, table: Table, name: str) -> str:
    unit = _plausible_unit(value)
    if unit is None:
        raise LogError(
            f"{table.file}: {name}: got times {_range(value)}, which are no seconds, ms, us or ns since "
            f"1970 between the years 1973 and 5138; expected a unit to be named (s, ms, us, ns; s for a mere order)"
        )
    return unit


def _refuse_too_fine(unit: str, value: Float64 | Int64, table: Table, name: str) -> None:
    """Seconds read as nanoseconds would fall together in one moment of 1970."""
    plausible = _plausible_unit(value)
    if plausible is not None and MILLISECONDS[plausible] > MILLISECONDS[unit]:
        raise LogError(
            f"{table.file}: {name}: got the unit {unit} for times {_range(value)}, which as {plausible} all lie "
            f"between the years 1973 and 5138 and as {unit} before them, expected {plausible}"
        )


def _plausible_unit(value: Float64 | Int64) -> str | None:
    for unit, (least, most) in _PLAUSIBLE.items():
        if least <= value.min() and value.max() < most:
            return unit
    return None


def _range(value: Float64 | Int64) -> str:
    return f"from {float(value.min()):.10g} to {float(value.max()):.10g}"


def _as_numbers(table: Table, name: str, text: pa.ChunkedArray, faults: Faults) -> pa.ChunkedArray:
    """Text as int64 where all are whole, else as float64; what is no number becomes null and a fault."""
    if pc.all(pc.match_substring_regex(text, _INTEGER), skip_nulls=True, min_count=0).as_py():
        return _cast(table, name, text, pa.int64(), "whole numbers of at most 18 digits")
    fits = pc.match_substring_regex(text, _NUMBER)
    wrong = pc.fill_null(pc.invert(fits), False).to_numpy().astype(bool)
    expected = "a number of seconds or milliseconds, or an ISO date such as 2022-04-09T10:00:00"
    faults.add_rows(wrong, table.first_row, name, lambda i: cell(table, name, i), expected)
    if wrong.any():
        faults.raise_if_any()
    return _cast(table, name, text, pa.float64(), "numbers")


def _from_dates(table: Table, name: str, text: pa.ChunkedArray, faults: Faults) -> Int64:
    expected = "an ISO date such as 2022-04-09 or 2022-04-09T10:00:00Z, as in other rows"
    fits = pc.fill_null(pc.match_substring_regex(text, _DATE), False).to_numpy().astype(bool)
    if not fits.all():
        faults.add_rows(~fits, table.first_row, name, lambda i: cell(table, name, i), expected)
        faults.raise_if_any()
    zoned = pc.match_substring_regex(text, _ZONE).to_numpy().astype(bool)
    # ISO dates alone end in -DD, which resembles no zone: _ZONE asks for four digits or a colon.
    zoned &= pc.greater(pc.utf8_length(text), 10).to_numpy().astype(bool)
    try:
        if zoned.any() and not zoned.all():
            raise pa.ArrowInvalid("mixed")  # rare: taken apart row by row
        kind = pa.timestamp("us", "UTC") if zoned.all() else pa.timestamp("us")
        return _from_timestamps(table, name, text.cast(kind), faults)
    except pa.ArrowInvalid:
        return _dates_one_by_one(table, name, text.to_pylist(), faults, expected)


def _dates_one_by_one(table: Table, name: str, texts: list[str], faults: Faults, expected: str) -> Int64:
    milliseconds = np.zeros(len(texts), np.int64)
    wrong = np.zeros(len(texts), np.bool_)
    for i, text in enumerate(texts):
        try:
            date = datetime.fromisoformat(text)
        except ValueError:
            wrong[i] = True
            continue
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        milliseconds[i] = round(date.timestamp() * 1000)
    faults.add_rows(wrong, table.first_row, name, lambda i: shown(texts[i]), expected)
    return milliseconds


def _from_timestamps(table: Table, name: str, column: pa.ChunkedArray, faults: Faults) -> Int64:
    empty = column.is_null().to_numpy().astype(bool)
    faults.add_rows(empty, table.first_row, name, lambda i: "an empty cell", "a time")
    zone = getattr(column.type, "tz", None)
    milliseconds = column.cast(pa.timestamp("ms", zone), safe=False).cast(pa.int64())
    return _integers(milliseconds.fill_null(0))


def _encoded(column: pa.ChunkedArray, table: Table, name: str) -> tuple[Int32, list[object]]:
    """For each row the place of its value, -1 for null, and the different values."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (
        _is_numeric(kind) or pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    ):
        raise LogError(f"{table.file}: {name}: got a column of {column.type}, expected text or numbers")
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    whole = column.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0) if whole.num_chunks else pa.array([], pa.string()).dictionary_encode()
    code = whole.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    return code, whole.dictionary.to_pylist()


def _cast(table: Table, name: str, text: pa.ChunkedArray, kind: pa.DataType, expected: str) -> pa.ChunkedArray:
    try:
        return text.cast(kind)
    except pa.ArrowInvalid as error:
        raise LogError(f"{table.file}: {name}: got {str(error).partition(chr(10))[0]}, expected {expected}") from error


def _floats(column: pa.ChunkedArray) -> Float64:
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _integers(column: pa.ChunkedArray) -> Int64:
    return np.asarray(column.to_numpy(), dtype=np.int64)


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_canonical(text: str) -> bool:
    """Whether a text is how a whole number of at most 18 digits is written."""
    return len(text) <= 18 and text.isascii() and text.removeprefix("-").isdecimal() and str(int(text)) == text


def _name_key(name: str) -> tuple[bool, int, str]:
    number = _is_canonical(name)
    return not number, int(name) if number else 0, name


def _number_or_nan(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
