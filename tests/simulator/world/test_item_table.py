"""Reading tables of items: what comes in comes out, and what is wrong is said where it is wrong."""

from __future__ import annotations

import csv
import gzip
import io
from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.scenario.schema import ColumnNames, ItemTable
from simulator.world.item_table import CatalogueError, ItemRows, read_items

HEADER = ["item_id", "creator_id", "topics", "duration_seconds", "released"]
Row = tuple[str, str, list[str], float | None, date]

names = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=6)
topics = st.text("abcdefgü12", min_size=1, max_size=3)
items = st.tuples(
    names,
    names,
    st.lists(topics, max_size=3, unique=True),
    st.none() | st.floats(1e-3, 1e6, allow_subnormal=False),
    st.dates(date(1900, 1, 1), date(2100, 1, 1)),
)
tables = st.lists(items, min_size=1, max_size=12, unique_by=lambda row: row[0]).filter(
    lambda rows: any(row[3] is not None for row in rows)
)


def csv_bytes(rows: list[Row]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(HEADER)
    for item, creator, topic, duration, released in rows:
        writer.writerow([item, creator, ",".join(topic), "" if duration is None else repr(duration), released])
    return text.getvalue().encode()


def parquet_bytes(rows: list[Row], topics_as_list: bool = False) -> bytes:
    item, creator, topic, duration, released = (list(column) for column in zip(*rows, strict=True))
    sink = io.BytesIO()
    columns: dict[str, Any] = {
        "item_id": item,
        "creator_id": pa.array(creator).dictionary_encode(),
        "topics": pa.array(topic, pa.list_(pa.string())) if topics_as_list else [",".join(t) for t in topic],
        "duration_seconds": pa.array(duration, pa.float64()),
        "released": pa.array(released, pa.date32()),
        "not_asked_for": [b"\xff"] * len(item),
    }
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def read(folder: Path, name: str, content: bytes, **settings_: Any) -> ItemRows:
    (folder / name).write_bytes(content)
    columns = settings_.pop("columns", ColumnNames(release="released"))
    return read_items(ItemTable(path=name, columns=columns, **settings_), folder)


def read_csv(folder: Path, text: str, **settings_: Any) -> ItemRows:
    return read(folder, "items.csv", text.encode(), columns=ColumnNames(), **settings_)


def same(left: ItemRows, right: ItemRows) -> bool:
    return all(np.array_equal(getattr(left, f.name), getattr(right, f.name)) for f in fields(ItemRows))


def message(folder: Path, name: str, content: bytes, **settings_: Any) -> str:
    with pytest.raises(CatalogueError) as caught:
        read(folder, name, content, **settings_)
    return str(caught.value)


def csv_message(folder: Path, text: str, **settings_: Any) -> str:
    return message(folder, "items.csv", text.encode(), columns=ColumnNames(), **settings_)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=tables)
def test_what_is_written_is_read(rows: list[Row], tmp_path: Path) -> None:
    got = read(tmp_path, "items.csv", csv_bytes(rows))
    by_name = {row[0]: row for row in rows}
    assert sorted(got.item_name) == sorted(by_name)
    median = np.median([row[3] for row in rows if row[3] is not None])
    assert got.release_milliseconds is not None
    ends = [*got.tag_start[1:], len(got.tag)]
    for i, name in enumerate(got.item_name):
        _, creator, topic, duration, released = by_name[name]
        assert got.creator_name[got.creator[i]] == creator
        assert got.topic_name[got.topic[i]] == (topic or ["unknown"])[0]
        assert got.duration_seconds[i] == np.float32(median if duration is None else duration)
        assert got.release_milliseconds[i] == (released - date(1970, 1, 1)).days * 86_400_000
        assert ends[i] - got.tag_start[i] == max(1, len(topic))
    assert set(got.tag) == set(range(got.n_tag_names))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=tables, as_list=st.booleans())
def test_csv_gzip_and_parquet_say_the_same(rows: list[Row], as_list: bool, tmp_path: Path) -> None:
    from_csv = read(tmp_path, "items.csv", csv_bytes(rows))
    assert same(from_csv, read(tmp_path, "items.csv.gz", gzip.compress(csv_bytes(rows))))
    assert same(from_csv, read(tmp_path, "items.parquet", parquet_bytes(rows, as_list)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=tables, data=st.data())
def test_the_order_of_rows_changes_nothing(rows: list[Row], data: st.DataObject, tmp_path: Path) -> None:
    shuffled = data.draw(st.permutations(rows))
    assert same(read(tmp_path, "a.csv", csv_bytes(rows)), read(tmp_path, "b.csv", csv_bytes(shuffled)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=tables, data=st.data())
def test_a_damaged_table_is_read_or_refused_with_its_name(rows: list[Row], data: st.DataObject, tmp_path: Path) -> None:
    """Cut the file short and overwrite a byte: there is no other exception than ours."""
    name, whole = data.draw(
        st.sampled_from(
            [
                ("a.csv", csv_bytes(rows)),
                ("a.csv.gz", gzip.compress(csv_bytes(rows))),
                ("a.parquet", parquet_bytes(rows)),
            ]
        )
    )
    broken = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    if broken:
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    faults = []
    try:
        read(tmp_path, name, bytes(broken))
    except CatalogueError as error:
        faults = str(error).splitlines()
    assert all(line.startswith(f"{name}:") for line in faults)


def test_names_that_are_numbers_are_ordered_by_value(tmp_path: Path) -> None:
    got = read_csv(tmp_path, "item_id,creator_id,topics,duration_seconds\n10,b,x,1\n9,a,y,2\nz,a,y,3\n007,a,y,3\n")
    assert got.item_name == ("007", "9", "10", "z")
    assert got.duration_seconds.tolist() == [3, 2, 1, 3]
    assert got.creator.tolist() == [0, 0, 1, 0]


def test_small_topics_are_merged_by_their_primary_items(tmp_path: Path) -> None:
    text = 'item_id,creator_id,topics,duration_seconds\n1,a,"x,z",1\n2,a,"x,z",1\n3,a,y,1\n4,a,,1\n'
    got = read_csv(tmp_path, text, min_topic_items=2)
    assert got.topic_name == ("other", "x")
    assert got.topic.tolist() == [1, 1, 0, 0]
    assert got.n_tag_names == 4, "embeddings still tell x, y, z and unknown apart"
    assert read_csv(tmp_path, text).topic_name == ("unknown", "x", "y"), "z is the primary topic of no item"


def test_units_separators_and_spaces_follow_the_scenario(tmp_path: Path) -> None:
    text = "\ufeffid , by,kind,ms\n 1 , a , y | x |y, 1500 \n"
    columns = ColumnNames(item="id", creator="by", topics="kind", duration="ms")
    got = read(tmp_path, "a.csv", text.encode(), columns=columns, topic_separator="|", duration_unit="ms")
    assert (got.item_name, got.creator_name, got.topic_name) == (("1",), ("a",), ("y",))
    assert got.duration_seconds.tolist() == [1.5]
    assert got.tag.tolist() == [1, 0]
    assert got.release_milliseconds is None


def test_dates_with_time_and_zone_are_moved_to_utc(tmp_path: Path) -> None:
    text = (
        "item_id,creator_id,topics,duration_seconds,released\n1,a,x,1,1970-01-02\n2,a,x,1,1970-01-02T01:00:00+01:00\n"
    )
    got = read(tmp_path, "a.csv", text.encode())
    assert got.release_milliseconds is not None
    assert got.release_milliseconds.tolist() == [86_400_000, 86_400_000]


def test_parquet_numbers_and_timestamps_are_read(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "item_id": pa.array([2, 1]),
        "creator_id": pa.array([7, 7]),
        "topics": ["x", None],
        "duration_seconds": pa.array([30, None], pa.int32()),
        "released": pa.array([0, 86_400_000_000_001], pa.timestamp("ns", "UTC")),
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    got = read(tmp_path, "a.parquet", sink.getvalue())
    assert got.item_name == ("1", "2")
    assert got.topic_name == ("unknown", "x")
    assert got.duration_seconds.tolist() == [30, 30]
    assert got.release_milliseconds is not None
    assert got.release_milliseconds.tolist() == [86_400_000, 0]


def test_the_shipped_videos_load(tmp_path: Path) -> None:
    columns = ColumnNames(
        item="video_id", creator="author_id", topics="tag", duration="video_duration", release="upload_dt"
    )
    got = read_items(ItemTable(path="shipped:kuairand_videos", columns=columns, duration_unit="ms"), tmp_path)
    assert got.item_name == tuple(str(i) for i in range(7_583))
    assert len(got.creator_name) == 6_510
    assert len(got.topic_name) == 44
    assert got.topic_name[-1] == "unknown"
    assert (got.topic == 43).sum() == 96
    assert got.duration_seconds[0] == np.float32(87.433)
    assert got.release_milliseconds is not None
    assert np.unique(got.release_milliseconds - got.release_milliseconds.min()).tolist() == [0, 86_400_000, 172_800_000]


GOOD = "item_id,creator_id,topics,duration_seconds\n1,a,x,10\n"

CSV_FAULTS = {
    "": "items.csv: got an empty file, expected a table with a header and at least one item",
    " \n\n": "items.csv: got an empty file, expected a table with a header and at least one item",
    "item_id,creator_id,topics,duration_seconds\n": "items.csv: got a header and no rows, expected at least one item",
    GOOD + "1,b,y,5\n": "items.csv:3: item_id: got '1' again, as in row 2, expected a different id in every row",
    GOOD
    + "2,b,y,-3\n": "items.csv:3: duration_seconds: got '-3', expected a number from 1e-6 to 1e9, or an empty cell",
    GOOD + "2,b,y,0\n": "items.csv:3: duration_seconds: got '0', expected a number from 1e-6 to 1e9, or an empty cell",
    GOOD
    + "2,b,y,nan\n": "items.csv:3: duration_seconds: got 'nan', expected a number from 1e-6 to 1e9, or an empty cell",
    GOOD + "2,b,y,1e300\n": (
        "items.csv:3: duration_seconds: got '1e300', expected a number from 1e-6 to 1e9, or an empty cell"
    ),
    GOOD
    + "2,b,y,1:30\n": "items.csv:3: duration_seconds: got '1:30', expected a number from 1e-6 to 1e9, or an empty cell",
    GOOD + ",b,y,3\n": "items.csv:3: item_id: got an empty cell, expected an id",
    GOOD + "2, ,y,3\n": "items.csv:3: creator_id: got an empty cell, expected an id",
    GOOD + "2,b,y\n": "items.csv:3: got 3 cells, expected 4 as in the header",
    GOOD
    + "\n\n2,b,y,x\n": "items.csv:5: duration_seconds: got 'x', expected a number from 1e-6 to 1e9, or an empty cell",
    GOOD + '2,"b\nb",y,3\n3,b,y,x\n': (
        "items.csv:5: duration_seconds: got 'x', expected a number from 1e-6 to 1e9, or an empty cell"
    ),
    GOOD + f"2,b,y,{'x' * 100}\n": (
        f"items.csv:3: duration_seconds: got '{'x' * 60}...', expected a number from 1e-6 to 1e9, or an empty cell"
    ),
    GOOD.replace("10", ""): "items.csv: duration_seconds: got no duration in any row, expected at least one",
    GOOD.replace("creator_id", "creator"): (
        "items.csv:1: creator_id: got no such column (did you mean 'creator'?), "
        "expected one of: item_id, creator, topics, duration_seconds"
    ),
    GOOD.replace("topics", "item_id"): (
        "items.csv:1: item_id: got 2 columns of this name, expected one\n"
        "items.csv:1: topics: got no such column, expected one of: item_id, creator_id, item_id, duration_seconds"
    ),
    GOOD + '2,"b,y,3\n': "items.csv:3: got text that is not CSV (unexpected end of data), expected a CSV table",
}


@pytest.mark.parametrize(("text", "expected"), CSV_FAULTS.items())
def test_faults_are_located(text: str, expected: str, tmp_path: Path) -> None:
    assert csv_message(tmp_path, text) == expected


def test_a_bad_or_missing_date_is_located(tmp_path: Path) -> None:
    text = "item_id,creator_id,topics,duration_seconds,released\n1,a,x,1,09.04.2022\n2,a,x,1,\n"
    assert message(tmp_path, "a.csv", text.encode()).splitlines() == [
        "a.csv:2: released: got '09.04.2022', expected an ISO date such as 2022-04-09",
        "a.csv:3: released: got an empty cell, expected an ISO date such as 2022-04-09",
    ]


def test_all_faults_are_told_at_once_up_to_twenty(tmp_path: Path) -> None:
    text = GOOD + "".join(f"{i},b,y,-1\n" for i in range(2, 27)) + ",,y,3\n"
    lines = csv_message(tmp_path, text).splitlines()
    assert lines[0] == "items.csv:28: item_id: got an empty cell, expected an id"
    assert lines[1] == "items.csv:28: creator_id: got an empty cell, expected an id"
    assert lines[2].startswith("items.csv:3: duration_seconds: got '-1'")
    assert len(lines) == 21
    assert lines[-1] == "items.csv: and 7 more"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"^no\.csv: got 'No such file or directory', expected a readable CSV"):
        read_items(ItemTable(path="no.csv"), tmp_path)
    with pytest.raises(CatalogueError, match=r"^\.: got 'Is a directory', expected a readable CSV"):
        read_items(ItemTable(path="."), tmp_path)


def test_an_unknown_shipped_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="got no shipped table 'films', expected one of: kuairand_videos"):
        read_items(ItemTable(path="shipped:films"), tmp_path)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    packed = gzip.compress(GOOD.encode())
    assert "a.csv.gz: got a damaged or truncated gzip file" in message(tmp_path, "a.csv.gz", packed[:-12])
    assert "a.csv.gz: got a damaged or truncated gzip file" in message(tmp_path, "a.csv.gz", GOOD.encode())
    row = ("1", "a", ["x"], 1.0, date(2022, 4, 9))
    assert "a.parquet: got a damaged Parquet file" in message(tmp_path, "a.parquet", parquet_bytes([row])[:-9])
    not_utf8 = parquet_bytes([("1", "aqua", ["x"], 1.0, date(2022, 4, 9))]).replace(b"aqua", b"\xffqua")
    assert "a.parquet: got a damaged Parquet file" in message(tmp_path, "a.parquet", not_utf8)
    assert message(tmp_path, "a.csv", GOOD.encode() + b"2,b\xff,y,3\n") == (
        "a.csv:3: got byte 0xff that is not UTF-8, expected a CSV table in UTF-8"
    )
    assert "a.csv:1: got byte 0x89 that is not UTF-8" in message(tmp_path, "a.csv", b"\x89PNG\r\n\x1a\n")


def test_parquet_faults_are_located(tmp_path: Path) -> None:
    sink = io.BytesIO()
    pq.write_table(
        pa.table({"item_id": [1, 1], "creator_id": ["a", "b"], "topics": ["x", "y"], "duration": [1, 2]}), sink
    )
    columns = ColumnNames(duration="duration")
    assert message(tmp_path, "a.parquet", sink.getvalue(), columns=columns) == (
        "a.parquet:2: item_id: got '1' again, as in row 1, expected a different id in every row"
    )
    assert "a.parquet:1: duration_seconds: got no such column (did you mean 'duration'?)" in message(
        tmp_path, "a.parquet", sink.getvalue(), columns=ColumnNames()
    )
    columns = ColumnNames(duration="item_id", topics="nested")
    sink = io.BytesIO()
    pq.write_table(pa.table({"item_id": [1], "creator_id": ["a"], "nested": [{"x": 1}]}), sink)
    assert "a.parquet: nested: got a column of struct<x: int64>, expected text or numbers" in message(
        tmp_path, "a.parquet", sink.getvalue(), columns=columns
    )
