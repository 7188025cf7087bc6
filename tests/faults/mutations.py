"""Damage to valid files, drawn from a seeded generator: bytes, JSON data, tables."""

from __future__ import annotations

import copy
import csv
import gzip
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Rows = list[list[str]]
"""A table: the header, then the rows."""

HOSTILE_TEXT = (
    "", " ", "0", "-0", "-1", "--5", "+7", "1e400", "NaN", "inf", "-inf", "9" * 30, "9" * 5000, str(2**31), str(2**63),
    str(-(2**63) - 1), "1.5", "1_000", "٣", "true", "null", "../../../etc/passwd", "/etc/passwd", "a/b", "..", "a\\b",
    "<script>alert(1)</script>", '"><img src=x onerror=y>', "&lt;", "]]>", "\x1b[31mred", "a\x00b", "\u202eabc", "a\nb",
    "a,b", '"', "'", "a=b", "a:b", "os:system", "%s{0}", "é" * 300, "0001-01-01", "9999-12-31T23:59:59+00:00",
    "2001-99-99", "0000-00-00T00:00:00Z", "0001-01-01T00:00:00+23:59", "2022-04-09",
)  # fmt: skip
HOSTILE_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**70), 10**400, 0.5, -0.5, 1e308, -1e308, 5e-324, float("nan"),
    float("inf"), [], {}, [[]], [None], {"": None}, {"a": {"b": [1]}}, [1, 2, 3], "a" * 20_000, "\ud800",
)  # fmt: skip


def damaged_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """A file cut, flipped, spliced, emptied, in another encoding: one to three kinds of damage."""
    for _ in range(int(rng.integers(1, 4))):
        damage = _BYTE_DAMAGE[int(rng.integers(len(_BYTE_DAMAGE)))]
        data = damage(data, rng)
    return data


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.integers(len(data) + 1))]


def _cut_start(data: bytes, rng: np.random.Generator) -> bytes:
    return data[int(rng.integers(len(data) + 1)) :]


def _flip(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 9)) if data else 0):
        changed[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _flip_near_an_end(data: bytes, rng: np.random.Generator) -> bytes:
    """Headers and footers are short and at the ends."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 9)) if data else 0):
        place = int(rng.integers(min(len(data), 64)))
        changed[place if rng.random() < 0.5 else -1 - place] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))
    return bytes(changed)


def _splice(data: bytes, rng: np.random.Generator) -> bytes:
    first, second, place = (int(n) for n in rng.integers(len(data) + 1, size=3))
    piece = data[min(first, second) : max(first, second)]
    return (
        data[:place] + piece + data[place:] if rng.random() < 0.5 else data[:place] + piece + data[place + len(piece) :]
    )


def _insert(data: bytes, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(len(data) + 1))
    if rng.random() < 0.5:
        piece = HOSTILE_TEXT[int(rng.integers(len(HOSTILE_TEXT)))].encode()
    else:
        piece = rng.bytes(int(rng.integers(1, 20)))
    return data[:place] + piece + data[place:]


def _repeat(data: bytes, rng: np.random.Generator) -> bytes:
    """The same few bytes very often, such as brackets that nest."""
    place, length = int(rng.integers(len(data) + 1)), int(rng.integers(1, 4))
    piece = data[place : place + length] or b"["
    return data[:place] + piece * int(rng.integers(100, 20_000)) + data[place:]


def _empty(data: bytes, rng: np.random.Generator) -> bytes:
    return b"\x00" * int(rng.integers(0, 9)) if rng.random() < 0.5 else b""


def _other_encoding(data: bytes, rng: np.random.Generator) -> bytes:
    encoding = ["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "utf-7"][int(rng.integers(5))]
    return data.decode("latin-1").encode(encoding)


_BYTE_DAMAGE: Sequence[Callable[[bytes, np.random.Generator], bytes]] = (
    _cut, _cut_start, _flip, _flip, _flip_near_an_end, _splice, _insert, _insert, _repeat, _empty, _other_encoding,
)  # fmt: skip


def damaged_data(value: Any, rng: np.random.Generator) -> Any:
    """JSON data with one to three of its places replaced, removed, repeated or renamed."""
    value = copy.deepcopy(value)
    for _ in range(int(rng.integers(1, 4))):
        places = list(_places(value))
        if not places:
            return hostile_value(rng)
        holder, key = places[int(rng.integers(len(places)))]
        how = int(rng.integers(6))
        if how == 0:
            del holder[key]
        elif how == 1 and isinstance(holder, dict):
            holder[hostile_text(rng)] = holder.pop(key)
        elif how == 1:
            holder.extend([holder[key]] * int(rng.integers(1, 50)))
        elif how == 2:
            other, other_key = places[int(rng.integers(len(places)))]
            holder[key] = copy.deepcopy(other[other_key])
        else:
            holder[key] = hostile_value(rng)
    return value


def _places(value: Any) -> Any:
    if isinstance(value, dict):
        items: Any = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    else:
        return
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def hostile_value(rng: np.random.Generator) -> Any:
    """Something that JSON can hold and hardly any place expects."""
    if rng.random() < 0.5:
        return hostile_text(rng)
    return copy.deepcopy(HOSTILE_VALUES[int(rng.integers(len(HOSTILE_VALUES)))])


def hostile_text(rng: np.random.Generator) -> str:
    """A text that something may trip over."""
    return HOSTILE_TEXT[int(rng.integers(len(HOSTILE_TEXT)))]


def damaged_rows(rows: Rows, rng: np.random.Generator) -> Rows:
    """A table with one to four cells, rows or columns changed."""
    rows = [list(row) for row in rows]
    for _ in range(int(rng.integers(1, 5))):
        i = int(rng.integers(len(rows)))
        j = int(rng.integers(max(len(rows[i]), 1)))
        how = int(rng.integers(8))
        if how == 0:
            rows.insert(i, rows[int(rng.integers(len(rows)))])
        elif how == 1 and len(rows) > 1:
            del rows[i]
        elif how == 2:
            rows[i] = rows[i][:j]
        elif how == 3:
            text = hostile_text(rng)
            rows = [
                [text if n and place == j else cell for place, cell in enumerate(row)] for n, row in enumerate(rows)
            ]
        elif rows[i]:
            rows[i] = [*rows[i][:j], hostile_text(rng), *rows[i][j + 1 :]]
    return rows


def as_csv(rows: Rows, separator: str = ",") -> bytes:
    """The bytes of a CSV file."""
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "surrogatepass")


def as_gzip(data: bytes) -> bytes:
    """The same, compressed; without a time, so that equal content has equal bytes."""
    return gzip.compress(data, mtime=0)


def as_parquet(rows: Rows, rng: np.random.Generator) -> bytes:
    """A Parquet file whose columns have types that fit them, or any others that their cells can be made to."""
    header = rows[0] or ["x"]
    columns = {}
    odd = int(rng.integers(2 * len(header)))
    for place, name in enumerate(header):
        cells = [row[place] if place < len(row) else None for row in rows[1:]]
        columns[f"{name}" if name not in columns else f"{name}{place}"] = _typed(cells, rng, odd=place == odd)
    file = io.BytesIO()
    compression = ["snappy", "gzip", "zstd", "none"][int(rng.integers(4))]
    pq.write_table(pa.table(columns), file, compression=compression, use_dictionary=bool(rng.random() < 0.5))
    return file.getvalue()


def _typed(cells: list[str | None], rng: np.random.Generator, *, odd: bool) -> pa.Array:
    text = pa.array([None if c is None else c.encode("utf-8", "replace").decode() for c in cells], pa.string())
    if not odd:
        wanted = [pa.int64(), pa.float64(), pa.string()]
    else:
        wanted = [_TYPES[int(rng.integers(len(_TYPES)))]]
    for kind in wanted:
        try:
            return text.cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
    return _odd_columns(len(cells))[int(rng.integers(7))]


_TYPES = (
    pa.int8(), pa.uint64(), pa.float32(), pa.float16(), pa.bool_(), pa.binary(), pa.large_string(), pa.date32(),
    pa.timestamp("s"), pa.timestamp("ns", "UTC"), pa.time64("us"), pa.decimal128(20, 3), pa.duration("s"), pa.null(),
    pa.dictionary(pa.int32(), pa.string()), pa.list_(pa.string()),
)  # fmt: skip


def _odd_columns(n: int) -> list[pa.Array]:
    return [
        pa.nulls(n),
        pa.array([float("nan")] * n, pa.float64()),
        pa.array([float("inf")] * n, pa.float32()),
        pa.array([[1, None]] * n, pa.list_(pa.int64())),
        pa.array([{"a": 1}] * n, pa.struct([("a", pa.int64())])),
        pa.array([b"\xff\xfe"] * n, pa.binary()),
        pa.array([2**63 + 1] * n, pa.uint64()),
    ]
