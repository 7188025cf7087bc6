from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommenders.base import Feedback
from recommenders.offline.faults import LogError
from recommenders.offline.feedback import FeedbackRules, parse_condition, parse_kind
from recommenders.offline.items import ItemColumns
from recommenders.offline.log import LogFormat, OfflineLog, read_log

RATINGS = FeedbackRules(rating="rating", rating_kinds={Feedback.DISLIKE: "<=2", Feedback.LIKE: ">=4"})
HEADER = "user_id,item_id,timestamp,rating"
START = 1_600_000_000


def write(folder: Path, *rows: str, header: str = HEADER, name: str = "log.csv") -> Path:
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def read(path: Path, rules: FeedbackRules = RATINGS, **options: object) -> OfflineLog:
    return read_log(path, LogFormat(rules, **options))  # type: ignore[arg-type]


def rows_of(log: OfflineLog) -> list[tuple[object, object, int, int]]:
    """Every row in the file's own ids: user, item, millisecond since 1970, feedback."""
    i = log.interactions
    times = (i.tick + log.start_millisecond).tolist()
    users, items = [log.user_ids[u] for u in i.user], [log.item_ids[m] for m in i.item]
    return list(zip(users, items, times, i.feedback.tolist(), strict=True))


def test_ratings_become_likes_dislikes_and_mere_examinations(tmp_path: Path) -> None:
    log = read(write(tmp_path, f"7,30,{START},4.5", f"7,4,{START + 1},3", f"8,30,{START + 2},2"))
    assert log.user_ids == (7, 8)
    assert log.item_ids == (4, 30)
    assert rows_of(log) == [
        (7, 30, START * 1000, 1 | 8),
        (7, 4, START * 1000 + 1000, 1),
        (8, 30, START * 1000 + 2000, 1 | 16),
    ]
    assert [a.dtype for a in (log.interactions.tick, log.interactions.user, log.interactions.feedback)] == [
        np.int64, np.int32, np.uint8,
    ]  # fmt: skip
    assert (log.items.n_creators, log.items.n_topics) == (1, 1)
    assert log.items.release_tick.tolist() == [1000, 0]


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz", "log.parquet", "no_ending"])
def test_the_same_rows_come_from_any_kind_of_file(tmp_path: Path, name: str) -> None:
    path, text = tmp_path / name, f"{HEADER}\n1,2,{START},5\n3,4,{START + 5},1\n"
    if name == "log.parquet":
        columns = {"user_id": [1, 3], "item_id": [2, 4], "timestamp": [START, START + 5], "rating": [5.0, 1.0]}
        pq.write_table(pa.table(columns), path)
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    assert rows_of(read(path)) == [(1, 2, START * 1000, 9), (3, 4, START * 1000 + 5000, 17)]


def test_text_ids_and_a_datetime_column(tmp_path: Path) -> None:
    header = "user_id,item_id,datetime,rating"
    log = read(write(tmp_path, "u2,007,2022-04-09,5", "u10,7,2022-04-09T01:00:00,5", header=header))
    assert log.user_ids == ("u10", "u2")
    assert log.item_ids == ("7", "007")
    assert log.interactions.tick.tolist() == [0, 3_600_000]
    assert any("datetime: read as dates" in notice for notice in log.notices)


@pytest.mark.parametrize(
    ("cell", "millisecond"),
    [
        ("1600000000", 1_600_000_000_000),
        ("1600000000.5", 1_600_000_000_500),
        ("1600000000123", 1_600_000_000_123),
        ("1600000000123456", 1_600_000_000_123),
        ("1600000000123456789", 1_600_000_000_123),
        ("2020-09-13 12:26:40", 1_600_000_000_000),
        ("2020-09-13T12:26:40.250Z", 1_600_000_000_250),
        ("2020-09-13T14:26:40+02:00", 1_600_000_000_000),
        ("2020-09-13", 1_599_955_200_000),
    ],
)
def test_times_in_any_unit_are_told_apart(tmp_path: Path, cell: str, millisecond: int) -> None:
    assert read(write(tmp_path, f"1,2,{cell},5")).start_millisecond == millisecond


def test_zones_may_differ_from_row_to_row(tmp_path: Path) -> None:
    log = read(write(tmp_path, "1,2,2020-09-13T14:00:00+02:00,5", "1,3,2020-09-13T12:30:00,5"))
    assert log.interactions.tick.tolist() == [0, 1_800_000]


@pytest.mark.parametrize("cells", [("0", "1"), ("17", "900000"), ("1600000000", "1600000000000")])
def test_a_unit_that_cannot_be_told_is_refused(tmp_path: Path, cells: tuple[str, str]) -> None:
    path = write(tmp_path, *(f"1,{i},{cell},5" for i, cell in enumerate(cells)))
    with pytest.raises(LogError, match=r"log.csv: timestamp: got times from .* expected a unit to be named"):
        read(path)
    assert read(path, time_unit="s").interactions.tick[-1] == (int(cells[1]) - int(cells[0])) * 1000


def test_events_flags_and_dwell_add_up(tmp_path: Path) -> None:
    rules = FeedbackRules(
        event="what",
        event_kinds={"play": Feedback.LONG_DWELL, "ban": Feedback.DISLIKE, "*": Feedback.EXAMINED},
        flags={"liked": Feedback.LIKE},
    )
    path = write(
        tmp_path,
        f"1,1,{START},play,true,1500",
        f"1,2,{START + 1},ban,0,200",
        f"1,3,{START + 2},other,1,0",
        header="user_id,item_id,timestamp,what,liked,play_ms",
    )
    log = read(path, rules, dwell="play_ms")
    assert log.interactions.feedback.tolist() == [1 | 2 | 8, 1 | 16, 1 | 8]
    np.testing.assert_allclose(log.interactions.dwell_seconds, [1.5, 0.2, 0.0])


def test_every_row_may_stand_for_a_kind(tmp_path: Path) -> None:
    path = write(tmp_path, f"1,1,{START}", header="user_id,item_id,timestamp")
    assert read(path, FeedbackRules(every=Feedback.LONG_DWELL)).interactions.feedback.tolist() == [3]
    with pytest.raises(LogError, match="feedback: got no rule"):
        read(path, FeedbackRules())


def test_unsorted_rows_are_sorted_and_told(tmp_path: Path) -> None:
    log = read(write(tmp_path, f"1,1,{START + 9},5", f"2,2,{START},5", f"1,3,{START},5", f"2,1,{START},5"))
    assert [(u, i) for u, i, _, _ in rows_of(log)] == [(1, 3), (2, 2), (2, 1), (1, 1)]
    assert any("1 steps back" in notice for notice in log.notices)
    ordered = read(write(tmp_path, f"1,1,{START},5", f"1,2,{START + 1},5"))
    assert not any("sorted" in notice for notice in ordered.notices)


def test_repeated_rows_are_dropped_and_counted_or_refused(tmp_path: Path) -> None:
    rows = [f"1,1,{START},5", f"1,2,{START},5", f"1,1,{START},5", f"1,1,{START},1", f"1,1,{START},5"]
    log = read(write(tmp_path, *rows))
    assert [(i, f) for _, i, _, f in rows_of(log)] == [(1, 9), (2, 9), (1, 17)]
    assert any(notice.startswith("2 rows that repeat another") for notice in log.notices)
    with pytest.raises(LogError, match="got 2 rows that repeat another"):
        read(write(tmp_path, *rows), duplicates="refuse")


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([f",1,{START},5"], HEADER, "log.csv:2: user_id: got an empty cell, expected an id"),
        ([f"1,2,{START},5", f"1,NaN,{START},5"], HEADER, "log.csv:3: item_id: got an empty cell, expected an id"),
        ([f"1,2,{START},5", "1,2,,5"], HEADER, "log.csv:3: timestamp: got an empty cell, expected a time"),
        ([f"1,2,{START},5", "1,2,soon,5"], HEADER, "log.csv:3: timestamp: got 'soon', expected a number of seconds"),
        (["1,2,2020-01-01,5", "1,2,2020-13-01,5"], HEADER, "log.csv:3: timestamp: got '2020-13-01', expected an ISO"),
        (["1,2,2020-01-01,5", f"1,2,{START},5"], HEADER, f"log.csv:3: timestamp: got '{START}', expected an ISO date"),
        ([f"1,2,{START},five"], HEADER, "log.csv:2: rating: got 'five', expected a number"),
        ([f"1,2,{START},"], HEADER, "log.csv:2: rating: got an empty cell, expected a number"),
        ([f"1,2,{START},5,9"], HEADER, "log.csv:2: got 5 cells, expected 4 as in the header"),
        ([f"1,2,{START},5", "", f"1,3,{START},5"], HEADER, "log.csv:3: user_id: got an empty cell"),
        ([f"1,{START},5"], "user,timestamp,rating", "user_id: got no such column (did you mean 'user'?), expected one"),
        ([f"1,2,{START},5"], "userId,item_id,timestamp,rating", "log.csv:1: user_id: got no such column"),
        ([f"1,2,{START},5"], "user_id,item_id,time,rating", "got no column timestamp or datetime"),
        ([f"1,2,{START},5,5"], HEADER + ",rating", "log.csv:1: rating: got 2 columns of this name, expected one"),
        ([], HEADER, "log.csv: got a header and no rows"),
        ([], "", "log.csv: got an empty file"),
    ],
)
def test_a_bad_log_is_refused_by_file_and_row(tmp_path: Path, rows: list[str], header: str, message: str) -> None:
    with pytest.raises(LogError, match=re.escape(message)):
        read(write(tmp_path, *rows, header=header))


def test_several_faults_are_told_at_once_up_to_a_limit(tmp_path: Path) -> None:
    with pytest.raises(LogError) as caught:
        read(write(tmp_path, *(f",{i},{START},x" for i in range(50))))
    lines = str(caught.value).splitlines()
    assert [line.split(":")[1] for line in lines[:5]] == ["2", "3", "4", "5", "6"]
    assert "user_id: got 45 more such rows" in lines[5]
    assert len(lines) == 12


def test_unknown_events_and_flags_name_file_and_row(tmp_path: Path) -> None:
    path = write(tmp_path, f"1,1,{START},play,2", f"1,2,{START},bann,1", header="user_id,item_id,timestamp,what,yes")
    rules = FeedbackRules(event="what", event_kinds={"play": Feedback.LIKE}, flags={"yes": Feedback.LIKE})
    with pytest.raises(LogError) as caught:
        read(path, rules)
    assert str(caught.value).splitlines() == [
        f"{path}:3: what: got 'bann', expected one of play, or a kind for all others (*)",
        f"{path}:2: yes: got '2', expected 1 or 0, true or false",
    ]


def test_parquet_nulls_nans_and_fractions_are_located(tmp_path: Path) -> None:
    columns = {
        "user_id": pa.array([1.0, float("nan"), 2.5]),
        "item_id": pa.array([None, "b", "c"]),
        "timestamp": pa.array([START, START, None]),
        "rating": pa.array([5.0, float("nan"), 1.0]),
    }
    pq.write_table(pa.table(columns), tmp_path / "log.parquet")
    with pytest.raises(LogError) as caught:
        read(tmp_path / "log.parquet")
    text = str(caught.value)
    for part in (":2: user_id: got an empty", ":3: user_id: got '2.5'", ":1: item_id: got an", ":2: rating: got an"):
        assert part in text
    assert ":3: timestamp: got an empty cell, expected a time" in text


@pytest.mark.parametrize(
    "content",
    [
        b"PAR1 but no more",
        b"\x1f\x8b\x08broken",
        b"\xff\xfe\x00u",
        b"user_id,item_id,timestamp,rating\n\xff,1,1600000000,5",
    ],
)
def test_files_that_are_no_table_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "log.csv").write_bytes(content)
    with pytest.raises(LogError, match=r"log.csv.* got .* expected"):
        read(tmp_path / "log.csv")
    with pytest.raises(LogError, match=r"absent\.csv: got 'No such file or directory'"):
        read(tmp_path / "absent.csv")


def test_a_first_line_without_end_is_no_header(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"log\.csv:1: got 'field larger"):
        read(write(tmp_path, header="x" * 200_000))


@pytest.mark.parametrize("kind", [pa.duration("s"), pa.time32("s"), pa.time64("us"), pa.bool_(), pa.binary()])
def test_columns_that_are_no_times_are_refused(tmp_path: Path, kind: pa.DataType) -> None:
    columns = {"user_id": pa.array([1]), "item_id": pa.array([1]), "rating": pa.array([5])}
    pq.write_table(pa.table({**columns, "timestamp": pa.array([None], kind)}), tmp_path / "log.parquet")
    with pytest.raises(LogError, match=r"timestamp: got a column of .*, expected dates, numbers or text"):
        read(tmp_path / "log.parquet")


@pytest.mark.parametrize(("unit", "bound"), [("s", "1e+09"), ("ms", "1e+12")])
def test_a_dwell_beyond_a_lifetime_is_a_located_fault(tmp_path: Path, unit: str, bound: str) -> None:
    path = write(tmp_path, f"1,1,{START},5,3", f"1,2,{START},5,1e300", header=HEADER + ",dwell")
    with pytest.raises(LogError, match=re.escape(f":3: dwell: got '1e300', expected a number >= 0 and <= {bound}")):
        read(path, dwell="dwell", dwell_unit=unit)


def test_one_user_is_told(tmp_path: Path) -> None:
    assert any("there is one user" in n for n in read(write(tmp_path, f"1,1,{START},5")).notices)


@pytest.mark.parametrize("text", ["4", ">=", "=>4", ">=x", "", ">= 4 5"])
def test_malformed_conditions_and_kinds_are_refused(text: str) -> None:
    with pytest.raises(LogError, match="got the condition"):
        parse_condition(text)
    with pytest.raises(LogError, match=r"expected one of examined, .*did you mean 'dislike'"):
        parse_kind("dislikes")


def test_a_table_of_items_gives_creators_and_topics(tmp_path: Path) -> None:
    log = write(tmp_path, f"1,a,{START},5", f"1,b,{START + 1},5", f"1,c,{START + 2},5")
    table = write(tmp_path, "b,X|Y,z", "a,Y,z", "d,W,w", header="id,topic,maker", name="items.csv")
    columns = ItemColumns("id", creator="maker", topic="topic", topic_separator="|")
    found = read_log(log, LogFormat(RATINGS), items=table, item_columns=columns)
    topic, creator = found.items.topic, found.items.creator
    assert len(set(topic.tolist())) == found.items.n_topics == 3
    assert creator[0] == creator[1] != creator[2]
    assert any("found 2 of the log's 3 items" in notice for notice in found.notices)
    twice = write(tmp_path, "a,X,z", "a,Y,z", header="id,topic,maker", name="items.csv")
    with pytest.raises(LogError, match=re.escape("items.csv:3: id: got 'a' again, as in row 2")):
        read_log(log, LogFormat(RATINGS), items=twice, item_columns=columns)


def test_items_of_the_future_change_no_duration(tmp_path: Path) -> None:
    table = write(tmp_path, "a,10", "late,9999", header="id,seconds", name="items.csv")
    columns = ItemColumns("id", duration="seconds")
    past = [f"1,a,{START},5", f"1,unknown,{START + 1},5"]
    for rows in (past, [*past, f"1,late,{START + 2},5"]):
        log = read_log(write(tmp_path, *rows), LogFormat(RATINGS), items=table, item_columns=columns)
        duration = dict(zip(log.item_ids, log.items.duration_seconds.tolist(), strict=True))
        assert (duration["a"], duration["unknown"]) == (10, 1)


ROWS = st.lists(
    st.tuples(st.integers(-3, 12), st.integers(0, 9), st.integers(0, 30), st.integers(1, 5)), min_size=1, max_size=30
)


@given(rows=ROWS, data=st.data())
def test_reading_gives_back_every_row_once_whatever_the_order(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int, int]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    shuffled = data.draw(st.permutations(rows))
    kinds = [1 | (16 if r <= 2 else 8 if r >= 4 else 0) for *_, r in rows]
    expected = {(u, i, 1000 * (START + t), f) for (u, i, t, _), f in zip(rows, kinds, strict=True)}
    log = read(write(folder, *(f"{u},{i},{START + t},{r}" for u, i, t, r in shuffled)))
    found = rows_of(log)
    assert sorted(found) == sorted(expected)
    keys = list(zip(log.interactions.tick, log.interactions.user, strict=True))
    assert keys == sorted(keys)
    assert list(log.user_ids) == sorted({u for u, *_ in rows})
    assert log.interactions.tick[0] == 0
