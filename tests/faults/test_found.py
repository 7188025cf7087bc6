"""Faults that the campaign found, each as its smallest example."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from recommenders import storage
from recommenders.base import RecommenderError
from recommenders.files import FREE_BYTES, open_regular, read_bounded
from recommenders.offline.faults import LogError
from recommenders.registry import build
from recommenders.storage import StorageError
from simulator.cli import main
from simulator.commands.logs import LogOptions, open_log
from simulator.commands.models import parse_model
from simulator.engine.log import EventLog
from simulator.engine.log_files import LogFileError, read_log, write_log
from simulator.report.runs import load_run, write_report
from simulator.report.serialize import ReportError, results_from_json, results_to_json
from simulator.scenario.schema import ItemTable
from simulator.world.item_table import CatalogueError, read_items
from tests.faults.readers import write_model
from tests.recommenders.cases import fitted, make_items, make_log
from tests.simulator.report.samples import sample_results
from tests.simulator.report.test_runs import write_run

HEADER = "user_id,item_id,timestamp\n"
ROW = "1,2,1600000000\n"


def read(path: Path) -> Any:
    return open_log(LogOptions(str(path), every="like"))


def written(folder: Path, content: str | bytes, name: str = "log.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# Logs


def test_an_id_of_two_signs_is_text(tmp_path: Path) -> None:
    assert read(written(tmp_path, f"{HEADER}--5,2,1600000000\n")).user_ids == ("--5",)


def test_ids_that_differ_by_a_null_character_differ(tmp_path: Path) -> None:
    log = read(written(tmp_path, f"{HEADER}a,2,1600000000\na\x00,2,1600000001\n"))
    assert log.user_ids == ("a", "a\x00")
    assert log.interactions.user.tolist() == [0, 1]


def test_one_long_id_does_not_widen_all_others(tmp_path: Path) -> None:
    rows = "".join(f"u{i},2,{1_600_000_000 + i}\n" for i in range(5000))
    log = read(written(tmp_path, f"{HEADER}{rows}{'x' * 500_000},2,1600009999\n"))  # as one array: 10 GB
    assert len(log.user_ids) == 5001


def test_blank_lines_are_few(tmp_path: Path) -> None:
    assert len(read(written(tmp_path, HEADER + ROW + "\n" * 1000)).interactions) == 1
    with pytest.raises(LogError, match=r"log\.csv: got 'more than 100,000 blank lines'"):
        read(written(tmp_path, HEADER + ROW + "\n" * 300_000))


def test_a_header_has_an_end(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"log\.csv:1: got a header of more than 1,048,576 bytes"):
        read(written(tmp_path, b"a" * 2_000_000))


@pytest.mark.filterwarnings("error")
def test_a_short_row_that_is_no_utf_8_is_a_message_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LogError, match="got bytes that are not UTF-8"):
        read(written(tmp_path, HEADER.encode() + ROW.encode() + b"1,\xff\n"))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["log.csv.gz", "items.csv.gz"])
def test_a_small_gzip_file_does_not_become_a_large_one(tmp_path: Path, name: str) -> None:
    line = "7,2,x,4,1600000000\n" * 60_000
    times = FREE_BYTES // len(line) + 1
    bomb = (
        gzip.compress(b"user_id,item_id,creator_id,duration_seconds,timestamp\n") + gzip.compress(line.encode()) * times
    )
    path = written(tmp_path, bomb, name)
    with pytest.raises(
        (LogError, CatalogueError), match=rf"{name}: got 'a gzip file that becomes more than 67,108,864"
    ):
        read(path) if name.startswith("log") else read_items(ItemTable(path=name), tmp_path)


def _parquet(path: Path, value: Any, n_rows: int) -> Path:
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n_rows, np.int32)), pa.array([value]))
    time = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n_rows, np.int32)), pa.array([1_600_000_000]))
    pq.write_table(pa.table({"user_id": column, "item_id": column, "timestamp": time}), path, compression="zstd")
    return path


def test_a_small_parquet_file_has_few_rows(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"log\.parquet: got '18,000,000 cells, which become more than the 67,108,864 b"):
        read(_parquet(tmp_path / "log.parquet", 1, 6_000_000))


def test_one_long_text_does_not_stand_in_every_row(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"log\.parquet: got 'texts that become more than the 67,108,864 bytes"):
        read(_parquet(tmp_path / "log.parquet", "x" * 100_000, 1000))


@pytest.mark.parametrize("name", ["log.csv", "items.csv"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises((LogError, CatalogueError), match=rf"{name}: got 'a pipe or a device'"):
        read(tmp_path / name) if name.startswith("log") else read_items(ItemTable(path=name), tmp_path)


# Event logs


def test_an_event_log_has_its_types(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    write_log(path, "ntr", EventLog(**{name: np.arange(3).astype(kind) for name, kind in EventLog.DTYPES.items()}))
    table = pq.read_table(path)
    for name, column, got in (
        ("tick", pa.array(["a", "b", "c"]), r"dictionary<.*>, expected int64"),
        ("item", pa.array([1.5, 2.0, 3.0]), "double, expected int32"),
        ("item", pa.array([1, None, 3], pa.int32()), "an empty cell, expected int32"),
    ):
        changed = table.set_column(table.column_names.index(name), name, column)
        pq.write_table(changed, path)
        with pytest.raises(LogFileError, match=rf"events\.parquet: {name}: got {got}"):
            read_log(path)
    pq.write_table(table.drop_columns(["tick"]), path)
    with pytest.raises(LogFileError, match=r"events\.parquet: tick: got no such column"):
        read_log(path)


# Runs


def test_a_count_of_many_digits_is_no_count() -> None:
    text = results_to_json(sample_results()).replace('"users": 2000', f'"users": {"9" * 400}')
    with pytest.raises(ReportError, match=r"results\.json: users: got 999.*, expected an integer of at most 100 bits"):
        results_from_json(text)


def test_a_key_given_twice_is_found_among_many() -> None:
    keys = ",".join(f'"k{i}":1' for i in range(100_000))
    with pytest.raises(ReportError, match="key 'k99999' is given twice"):
        results_from_json(f'{{{keys},"k99999":2}}')


@pytest.mark.parametrize(
    ("found", "expected", "message"),
    [
        ('"confidence": 0.95', '"confidence": 0.0', "confidence: got 0.0, expected a number between 0 and 1"),
        ('"day": [\n', '"day": [\n0,\n', r"series\[\d+\]: got 7 values for 8 days, expected one a day"),
    ],
)
def test_a_run_that_no_run_writes_is_refused(tmp_path: Path, found: str, expected: str, message: str) -> None:
    folder = write_run(tmp_path / "run")
    text = (folder / "results.json").read_text()
    assert found in text
    (folder / "results.json").write_text(text.replace(found, expected, 1))
    with pytest.raises(ReportError, match=rf"results\.json: {message}"):
        load_run(folder)


def test_days_far_apart_make_a_page_at_once(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    record = json.loads((folder / "results.json").read_text())
    record["series"][0]["day"][-1] = 10**15
    (folder / "results.json").write_text(json.dumps(record))
    assert write_report(folder).exists()


@pytest.mark.parametrize("file", ["manifest.json", "results.json", "scenario.yaml"])
def test_a_file_of_a_run_has_a_size(tmp_path: Path, file: str) -> None:
    (tmp_path / "s").mkdir()
    folder = write_run(tmp_path / "s" / "run")
    (folder / file).unlink()
    (folder / file).symlink_to("/dev/zero")
    with pytest.raises(ReportError, match=rf"{file}: cannot be read: a pipe or a device"):
        load_run(folder)
    result = CliRunner().invoke(main, ["list", "runs", "--results", str(tmp_path)])
    assert result.exit_code == 0
    (folder / file).unlink()
    with (folder / file).open("wb") as sparse:
        sparse.truncate(2**24 + 1)
    with pytest.raises(ReportError, match=rf"{file}: cannot be read: more than 16,777,216 bytes"):
        load_run(folder)


@pytest.mark.parametrize("text", ["a: &a [x, x]\nb: &b [*a, *a, *a]\n" * 2, "a: &a [*a]\n", "a: 2001-99-99\n"])
def test_a_comparison_reads_a_scenario_as_strictly_as_a_run(tmp_path: Path, text: str) -> None:
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b", scenario=text)
    result = CliRunner().invoke(main, ["compare", str(a), str(b)])
    assert result.exit_code == (0 if "2001" in text else 2)
    assert "scenario.yaml" in result.output or result.exit_code == 0


# Models


def stored(folder: Path, case: str = "gru4rec") -> tuple[bytes, dict[str, Any]]:
    storage.save(folder, fitted(case), case, fitted(case).config.model_dump(mode="json"), make_items())
    return (folder / "weights.safetensors").read_bytes(), json.loads((folder / "model.json").read_text())


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"[" * 100_000, "damaged JSON"), (b"[" + b"[]," * 1_000_001 + b"[]]", "more than 1,000,000 brackets")],
)
def test_a_description_that_nests_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    stored(tmp_path / "model")
    (tmp_path / "model" / "model.json").write_bytes(content)
    with pytest.raises(StorageError, match=rf"model\.json: got {message}"):
        storage.load(tmp_path / "model")


@pytest.mark.parametrize("change", [{"n_creators": 2**31 - 1}, {"n_topics": 2**31 - 1}, {"n_topics": 2**40}])
@pytest.mark.parametrize("case", ["gru4rec", "pmors", "relife", "csrec", "latent_intent"])
def test_a_model_is_not_made_larger_than_its_weights(tmp_path: Path, case: str, change: dict[str, Any]) -> None:
    weights, content = stored(tmp_path / "model", case)
    write_model(tmp_path / "model", weights, content | change)
    with pytest.raises(StorageError, match=r"does not fit this configuration and catalogue|less than 2147483648"):
        storage.load(tmp_path / "model")


def test_settings_make_no_network_larger_than_the_weights(tmp_path: Path) -> None:
    weights, content = stored(tmp_path / "model", "sasrec")
    content["config"] |= {"dim": 1024, "blocks": 64, "window": 1000}  # 1.6 GB
    write_model(tmp_path / "model", weights, content)
    with pytest.raises(StorageError, match="does not fit this configuration and catalogue"):
        storage.load(tmp_path / "model")


@pytest.mark.parametrize(
    ("case", "name", "value"),
    [
        ("item_knn", "by_popularity", 256),
        ("item_knn", "similarity_indices", 10**6),
        ("item_knn", "similarity_indptr", 2**40),
        ("markov", "count_indices", -(10**6)),
        ("ease", "popular", 8_323_077),
        ("ease", "active", -5),
    ],
)
def test_a_place_that_there_is_not_is_refused(case: str, name: str, value: int) -> None:
    state = {key: np.array(array) for key, array in fitted(case).state_dict().items()}
    state[name][1] = value
    fresh = build(case, fitted(case).config.model_dump())
    with pytest.raises(RecommenderError, match=rf"state: {name[:6]}"):
        fresh.load_state_dict(state, make_items())


def test_weights_are_finite(tmp_path: Path) -> None:
    recommender = build("popularity")
    recommender.fit(make_log(), make_items(), seed=1)
    state = dict(recommender.state_dict())
    state["score"] = np.full(40, np.nan, np.float32)
    recommender.load_state_dict(state, make_items())
    storage.save(tmp_path / "model", recommender, "popularity", {}, make_items())
    with pytest.raises(StorageError, match=r"weights\.safetensors: state\.score: got a number that is not finite"):
        storage.load(tmp_path / "model")


def test_a_value_of_an_option_that_is_no_date_is_a_message() -> None:
    with pytest.raises(RecommenderError, match="got '2001-99-99', expected YAML"):
        parse_model("popularity:smoothing=2001-99-99")


# Reading


def test_what_is_read_is_bounded(tmp_path: Path) -> None:
    path = written(tmp_path, b"12345")
    assert read_bounded(path, 5) == b"12345"
    with pytest.raises(OSError, match="more than 4 bytes"):
        read_bounded(path, 4)
    for folder in (tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError):  # noqa: PT011 - whatever the system says
            open_regular(folder)
