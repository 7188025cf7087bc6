"""Everything that reads a file which a user may have been handed, with a way to write a damaged one for it."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from click.testing import CliRunner

from recommenders import storage
from recommenders.base import RecommenderError
from simulator.cli import main
from simulator.commands.logs import LogOptions, open_log
from simulator.commands.models import read_models
from simulator.engine.log import EventLog
from simulator.engine.log_files import read_log, write_log
from simulator.experiment.replay import read_histories
from simulator.report.serialize import manifest_to_json, results_to_json
from simulator.scenario.schema import ItemTable
from simulator.world.item_table import read_items
from tests.faults.mutations import (
    Rows,
    as_csv,
    as_gzip,
    as_parquet,
    damaged_bytes,
    damaged_data,
    damaged_rows,
)
from tests.faults.unfinished import (
    checkpoint_bombs,
    read_checkpoint,
    read_unfinished,
    write_checkpoint,
    write_unfinished,
)
from tests.recommenders.cases import ask, fitted, make_items, make_requests, name_of
from tests.simulator.report.samples import SCENARIO_YAML, sample_manifest, sample_results, split_results

_ROOT = Path(__file__).resolve().parent.parent.parent
MODELS = ("popularity", "item_knn", "markov", "ease", "lsgrec", "gru4rec", "sasrec", "block_disliked", "csrec", "pmors")
"""Whose saved files are damaged."""

Write = Callable[[Path, np.random.Generator], None]


class RefusedError(Exception):
    """A command told the user what is wrong, and exited with 2."""


@dataclass(frozen=True)
class Reader:
    """A place that reads files.

    Attributes:
        name: as the table calls it.
        write: writes damaged files into an empty folder.
        read: reads them from there: returns, or raises one of the errors of `simulator.cli.shell`, or `RefusedError`.
        crafted: files that somebody thought of, by what they are.
    """

    name: str
    write: Write
    read: Callable[[Path], object]
    crafted: Mapping[str, Callable[[Path], object]] = field(default_factory=dict)


def _run(*arguments: str | Path) -> None:
    """A command, in this process."""
    done = CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)
    if done.exit_code == 2:
        raise RefusedError(done.output)
    assert done.exit_code in (0, 1), done.output


# Scenarios and lists of models


def _write_scenario(folder: Path, rng: np.random.Generator) -> None:
    files = sorted((_ROOT / "scenarios").glob("*.yaml")) + sorted((_ROOT / "simulator/scenario/presets").glob("*.yaml"))
    text = files[int(rng.integers(len(files)))].read_bytes()
    if rng.random() < 0.5:
        text = _yaml(damaged_data(yaml.safe_load(text), rng))
    if rng.random() < 0.5:
        text = damaged_bytes(text, rng)
    (folder / "scenario.yaml").write_bytes(text)


def _yaml(data: Any) -> bytes:
    try:
        return yaml.safe_dump(data, allow_unicode=True).encode("utf-8", "surrogatepass")
    except yaml.YAMLError:
        return json.dumps(data).encode()


def _write_models(folder: Path, rng: np.random.Generator) -> None:
    text = (_ROOT / "examples/backtest_models.yaml").read_bytes()
    if rng.random() < 0.5:
        text = _yaml(damaged_data(yaml.safe_load(text), rng))
    if rng.random() < 0.5:
        text = damaged_bytes(text, rng)
    (folder / "models.yaml").write_bytes(text)


_ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
_HOSTILE_YAML: dict[str, bytes] = {
    "brackets that nest": b"question: " + b"[" * 100_000,
    "braces that nest": b"{a: " * 60_000,
    "dashes that nest": b"- " * 100_000,
    "question marks that nest": b"? " * 100_000,
    "aliases that multiply": _ALIASES.encode(),
    "an alias of itself": b"question: &a [*a]\n",
    "a line of 50 MB": b"question: " + b"a" * 50_000_000,
    "many keys": b"".join(b"k%d: 1\n" % i for i in range(25_000)),
    "one key many times": b"question: 1\n" * 20_000,
    "tags that make objects": b"question: !!python/object/apply:os.system ['true']\n",
    "a number of 200,000 digits": b"seed: " + b"9" * 200_000,
    "a date that is none": b"question: 2001-99-99\n",
    "null characters": b"\x00" * 1000,
    "quotes left open": b'question: "' + b"\\n" * 100_000,
}


def _crafted_text(name: str, contents: Mapping[str, bytes]) -> dict[str, Callable[[Path], object]]:
    return {what: partial(_write_into, name=name, content=content) for what, content in contents.items()}


def _write_into(folder: Path, *, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)


# Tables of items


@cache
def _items() -> Rows:
    header = ["item_id", "creator_id", "topics", "duration_seconds", "release"]
    rows = [[str(i), f"c{i % 5}", f"t{i % 3},t{i % 4}", str(1 + i % 7), f"2022-04-{1 + i % 28:02d}"] for i in range(40)]
    return [header, *rows]


def _write_table(folder: Path, rng: np.random.Generator, *, name: str, rows: Callable[[], Rows]) -> None:
    table = damaged_rows(rows(), rng) if rng.random() < 0.7 else rows()
    if name.endswith(".parquet"):
        data = as_parquet(table, rng)
    else:
        data = as_csv(table)
        if rng.random() < 0.3:
            data = damaged_bytes(data, rng)
        data = as_gzip(data) if name.endswith(".gz") else data
    if rng.random() < 0.4:
        data = damaged_bytes(data, rng)
    (folder / name).write_bytes(data)


def _read_catalogue(folder: Path, *, name: str) -> None:
    table = {"path": name, "columns": {"release": "release"}}
    read_items(ItemTable.model_validate(table), folder)


def _gzip_bomb(line: bytes, times: int) -> bytes:
    """Two gigabytes and more, as members that follow each other; small on the disk."""
    return as_gzip(line * (2**24 // len(line))) * times


def _csv_bombs(header: bytes, line: bytes) -> dict[str, bytes]:
    cells = header.count(b",") + 1
    return {
        "a line of 50 MB": header + b"\n" + b"a" * 50_000_000,
        "a header of 50 MB": b"a" * 50_000_000,
        "a cell of 2 MB among many rows": header + b"\n" + line * 2000 + b"x" * 2_000_000 + b"," * (cells - 1) + b"\n",
        "100,000 columns": header + b"," + b",".join(b"c%d" % i for i in range(100_000)) + b"\n" + b"1," * 100_000,
        "5 million blank lines": header + b"\n" + line + b"\n" * 5_000_000,
        "quotes left open": header + b"\n" + b'"' * 1_000_001,
        "only line ends": b"\n" * 1_000_000,
        "only null characters": b"\x00" * 1_000_000,
        "a zip file": b"PK\x03\x04" + b"\x00" * 100,
        "a pickle": b"cos\nsystem\n(S'true'\ntR.",
    }


def _gzip_bombs(header: bytes, line: bytes) -> dict[str, bytes]:
    return {
        "2 GB of rows in a small gzip file": as_gzip(header + b"\n") + _gzip_bomb(line, 128),
        "2 GB of one line in a small gzip file": _gzip_bomb(b"a", 128),
        "2 GB of null characters in a small gzip file": _gzip_bomb(b"\x00", 128),
        "2 GB of line ends in a small gzip file": as_gzip(header + b"\n" + line) + _gzip_bomb(b"\n", 128),
        "a gzip file within a gzip file": as_gzip(as_gzip(header + b"\n" + line)),
    }


def _parquet_bombs(header: bytes, line: bytes) -> dict[str, Callable[[Path], bytes]]:
    names = header.decode().split(",")
    cells = line.decode().strip().split(",")
    return {
        "30 million equal rows": lambda _: _repeated_row(names, cells, 30),
        "a text of 1 MB in every row": lambda _: _repeated_row(names, ["x" * 1_000_000] * len(names), 1, 20_000),
        "a footer of 4 GB": lambda _: _repeated_row(names, cells, 1, 10)[:-8] + b"\xff\xff\xff\xffPAR1",
        "a footer of 2 GB": lambda _: _repeated_row(names, cells, 1, 10)[:-8] + b"\xff\xff\xff\x7fPAR1",
        "100,000 columns": lambda _: _wide(names),
        "nothing but the magic": lambda _: b"PAR1" * 3,
    }


def _repeated_row(names: list[str], cells: list[str], groups: int, rows: int = 1_000_000) -> bytes:
    one = pa.array(np.zeros(rows, np.int32))
    columns = {
        n: pa.DictionaryArray.from_arrays(one, pa.array([int(c) if c.isdecimal() else c]))
        for n, c in zip(names, cells, strict=True)
    }
    table, file = pa.table(columns), BytesIO()
    with pq.ParquetWriter(file, table.schema, compression="zstd") as writer:
        for _ in range(groups):
            writer.write_table(table)
    return file.getvalue()


def _wide(names: list[str]) -> bytes:
    file = BytesIO()
    columns = {n: ["1"] for n in [*names, *(f"c{i}" for i in range(20_000))]}
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def _table_bombs(name: str, header: bytes, line: bytes) -> dict[str, Callable[[Path], object]]:
    if name.endswith(".parquet"):
        return {w: partial(_write_made, name=name, make=m) for w, m in _parquet_bombs(header, line).items()}
    bombs = _gzip_bombs(header, line) if name.endswith(".gz") else _csv_bombs(header, line)
    return _crafted_text(name, bombs)


def _write_made(folder: Path, *, name: str, make: Callable[[Path], bytes]) -> None:
    (folder / name).write_bytes(make(folder))


# Logs of users


@cache
def _events() -> Rows:
    header = ["user_id", "item_id", "timestamp", "action", "rating", "is_hate", "play_time_ms"]
    actions = ("play", "ban", "like")
    rows = [
        [str(i % 7), str(i % 11), str(1_600_000_000 + i), actions[i % 3], str(1 + i % 5), str(i % 2), str(100 * i)]
        for i in range(60)
    ]
    return [header, *rows]


@cache
def _dated_events() -> Rows:
    rows = _events()
    return [rows[0], *([f"u{r[0]}", f"i{r[1]}", f"2022-04-09T10:00:{i:02d}Z", *r[3:]] for i, r in enumerate(rows[1:]))]


_LOG = LogOptions("", event="action", event_map="play=long_dwell,ban=dislike,like=like", rating="rating", like=">=4",
                  flags=("is_hate=dislike",), dwell="play_time_ms")  # fmt: skip


def _write_log(folder: Path, rng: np.random.Generator, *, name: str) -> None:
    _write_table(folder, rng, name=name, rows=_events if rng.random() < 0.5 else _dated_events)


def _read_user_log(folder: Path, *, name: str) -> Any:
    return open_log(LogOptions(**{**vars(_LOG), "log": str(folder / name)}))


def _replay(folder: Path, *, name: str) -> None:
    log = open_log(LogOptions(str(folder / name), event="action", event_map="ban=dislike,*=examined"))
    read_histories(log.interactions, log.item_ids, [str(i) for i in range(8)], 5, log.file)


def _write_movielens(folder: Path, rng: np.random.Generator) -> None:
    ratings = [["userId", "movieId", "rating", "timestamp"], *([r[0], r[1], r[4], r[2]] for r in _events()[1:])]
    movies = [["movieId", "title", "genres"], *([str(i), f"Film {i}", f"g{i % 3}|g{i % 2}"] for i in range(11))]
    which = int(rng.integers(3))
    _write_table(folder, rng if which < 2 else np.random.default_rng(0), name="ratings.csv", rows=lambda: ratings)
    if which:
        _write_table(folder, rng, name="movies.csv", rows=lambda: movies)
    else:
        (folder / "movies.csv").write_bytes(as_csv(movies))
    if which == 2:
        (folder / "ratings.csv").write_bytes(as_csv(ratings))


def _read_movielens(folder: Path) -> None:
    open_log(LogOptions(str(folder), "movielens"))


# Event logs of runs


def _event_log(folder: Path) -> bytes:
    n = 50
    columns = {name: np.arange(n).astype(dtype) for name, dtype in EventLog.DTYPES.items()}
    write_log(folder / "whole.parquet", "ntr", EventLog(**columns))
    return (folder / "whole.parquet").read_bytes()


def _write_event_log(folder: Path, rng: np.random.Generator) -> None:
    data = _event_log(folder)
    if rng.random() < 0.5:
        table = pq.read_table(BytesIO(data))
        rows = [table.column_names, *([str(v) for v in row.values()] for row in table.to_pylist())]
        data = as_parquet(damaged_rows(rows, rng), rng)
    if rng.random() < 0.6:
        data = damaged_bytes(data, rng)
    (folder / "events.parquet").write_bytes(data)


# Runs


@cache
def _run_files() -> Mapping[str, str]:
    return {"manifest.json": manifest_to_json(sample_manifest()), "results.json": results_to_json(sample_results())}


@cache
def _split_results() -> str:
    return results_to_json(split_results())


def _write_run(folder: Path, rng: np.random.Generator) -> None:
    run = folder / "quickstart" / "run"
    run.mkdir(parents=True)
    files = {**_run_files(), "scenario.yaml": SCENARIO_YAML}
    if rng.random() < 0.4:
        files["results.json"] = _split_results()
    damaged = list(files)[int(rng.choice(3, p=[0.3, 0.5, 0.2]))]
    for name, text in files.items():
        content = text.encode()
        if name == damaged:
            content = _damaged_scenario(text, rng) if name == "scenario.yaml" else _damaged_json(text, rng)
        (run / name).write_bytes(content)


def _damaged_json(text: str, rng: np.random.Generator) -> bytes:
    content = text.encode()
    if rng.random() < 0.75:
        content = json.dumps(damaged_data(json.loads(text), rng)).encode()
    return damaged_bytes(content, rng) if rng.random() < 0.3 else content


def _damaged_scenario(text: str, rng: np.random.Generator) -> bytes:
    if rng.random() < 0.5:
        return _yaml(damaged_data(yaml.safe_load(text), rng))
    return damaged_bytes(text.encode(), rng)


_HOSTILE_JSON: dict[str, bytes] = {
    "brackets that nest": b"[" * 500_000,
    "objects that nest": b'{"a":' * 300_000,
    "a number of 1 MB": b'{"schema": ' + b"9" * 1_000_000 + b"}",
    "a number of 4,000 digits": b'{"schema": ' + b"9" * 4_000 + b"}",
    "200,000 keys, the last given twice": b"{" + b",".join(b'"k%d":1' % i for i in range(200_000)) + b',"k199999":2}',
    "a text of 50 MB": b'{"schema": "' + b"a" * 50_000_000 + b'"}',
    "20 million empty lists": b"[" + b"[]," * 20_000_000 + b"[]]",
    "null characters": b"\x00" * 10_000,
    "a list": b"[1, 2]",
    "no text": b"",
}


def _bombed_run(folder: Path, *, name: str, content: bytes) -> None:
    run = folder / "quickstart" / "run"
    run.mkdir(parents=True)
    for file, text in {**_run_files(), "scenario.yaml": SCENARIO_YAML}.items():
        (run / file).write_text(text)
    (run / name).write_bytes(content)


def _run_bombs() -> dict[str, Callable[[Path], object]]:
    files = {f"{file}: {what}": (file, content) for file in _run_files() for what, content in _HOSTILE_JSON.items()}
    files |= {f"scenario.yaml: {what}": ("scenario.yaml", content) for what, content in _HOSTILE_YAML.items()}
    wide = _run_files()["results.json"].replace('"users": 2000', f'"users": {"9" * 400}')
    files["results.json: a count of 400 digits"] = ("results.json", wide.encode())
    return {what: partial(_bombed_run, name=file, content=content) for what, (file, content) in files.items()}


def _compare(folder: Path) -> None:
    _bombed_run(folder / "other", name="manifest.json", content=_run_files()["manifest.json"].encode())
    _run("compare", folder / "quickstart/run", folder / "other/quickstart/run")


# Saved models


@cache
def _model(case: str) -> tuple[bytes, bytes]:
    """Weights and description, as `storage.save` writes them."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        ids = tuple(range(100, 140))
        storage.save(path, fitted(case), name_of(case), _config(case), make_items(), item_ids=ids, user_ids=("a", "b"))
        return (path / storage.WEIGHTS_FILE).read_bytes(), (path / storage.MODEL_FILE).read_bytes()


def _config(case: str) -> Mapping[str, Any]:
    from tests.recommenders.cases import CASES

    return CASES[case]


def write_model(folder: Path, weights: bytes, content: Any) -> None:
    """A model whose checksums are right, whatever it holds: who writes a file writes its checksum too."""
    if isinstance(content, dict):
        content = {**content, "weights_sha256": hashlib.sha256(weights).hexdigest()}
        bare = {key: value for key, value in content.items() if key != "sha256"}
        text = json.dumps(bare, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        content["sha256"] = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    (folder / storage.WEIGHTS_FILE).write_bytes(weights)
    (folder / storage.MODEL_FILE).write_text(json.dumps(content), encoding="utf-8")


def _write_model(folder: Path, rng: np.random.Generator) -> None:
    weights, text = _model(MODELS[int(rng.integers(len(MODELS)))])
    draw = rng.random()
    if draw < 0.15:  # damage that the checksums find
        (folder / storage.WEIGHTS_FILE).write_bytes(damaged_bytes(weights, rng) if draw < 0.07 else weights)
        (folder / storage.MODEL_FILE).write_bytes(text if draw < 0.07 else damaged_bytes(text, rng))
        return
    content = json.loads(text)
    if draw < 0.5:
        content = damaged_data(content, rng)
    elif draw < 0.65:
        content = {**content, "config": damaged_data(content["config"], rng)}
    elif draw < 0.85:
        weights = damaged_arrays(weights, rng)
    else:
        weights = damaged_bytes(weights, rng)
    write_model(folder, weights, content)


def damaged_arrays(weights: bytes, rng: np.random.Generator) -> bytes:
    """Numbers within one array replaced, names and shapes as they were."""
    (length,) = struct.unpack("<Q", weights[:8])
    header = json.loads(weights[8 : 8 + length])
    arrays = [entry for key, entry in header.items() if key != "__metadata__"]
    first, last = arrays[int(rng.integers(len(arrays)))]["data_offsets"]
    data = bytearray(weights)
    for _ in range(int(rng.integers(1, 20)) if last > first else 0):
        place = 8 + length + first + int(rng.integers(last - first))
        data[place] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))
    return bytes(data)


def _load_and_ask(folder: Path) -> None:
    found = storage.load(folder)
    width = found.recommender.traits.history_length or 1
    n = min(found.items.n_items, 40)
    requests = make_requests(5, n=3, width=min(width, 20), n_items=n, eligible=np.ones(found.items.n_items, np.bool_))
    try:
        ask(found.recommender, requests, min(5, n))
    except RecommenderError as error:  # it was loaded: what it then says is checked as of any recommender
        raise RefusedError(f"{folder}: {error}") from error


def _model_bombs() -> dict[str, Callable[[Path], object]]:
    def changed(case: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
        def write(folder: Path) -> None:
            weights, text = _model(case)
            content = json.loads(text)
            change(content)
            write_model(folder, weights, content)

        return write

    def header(size: int, rest: bytes = b"") -> Callable[[Path], object]:
        return lambda folder: write_model(folder, struct.pack("<Q", size) + rest, json.loads(_model("popularity")[1]))

    def text(content: bytes) -> Callable[[Path], object]:
        def write(folder: Path) -> None:
            (folder / storage.WEIGHTS_FILE).write_bytes(_model("popularity")[0])
            (folder / storage.MODEL_FILE).write_bytes(content)

        return write

    nested: Any = []
    for _ in range(900):
        nested = [nested]
    big = json.dumps({"state.x": {"dtype": "F32", "shape": [2**60, 2**60], "data_offsets": [0, 2**62]}}).encode()
    return {
        "a header of 2**60 bytes": header(2**60),
        "a header of 2**64 - 1 bytes": header(2**64 - 1),
        "a header that nests": header(300_000, b"[" * 300_000),
        "a tensor of 2**62 bytes": header(len(big), big),
        "a network of 10**9 dimensions": changed("gru4rec", lambda c: c["config"].update(dim=10**9)),
        "a window of 10**12": changed("sasrec", lambda c: c["config"].update(window=10**12)),
        "10**12 creators": changed("gru4rec", lambda c: c.update(n_creators=10**12)),
        "10**9 topics": changed("gru4rec", lambda c: c.update(n_topics=10**9)),
        "settings that nest": changed("popularity", lambda c: c.update(config={"x": nested})),
        "code to import": changed("popularity", lambda c: c.update(recommender="os:system")),
        "a server to ask": changed("popularity", lambda c: c.update(recommender="http", config={"url": "http://x"})),
        "an array with another name": changed("popularity", lambda c: c["arrays"].update(x=c["arrays"].popitem()[1])),
        **{f"model.json: {what}": text(content) for what, content in _HOSTILE_JSON.items()},
    }


_ITEM_HEADER, _ITEM_LINE = b"item_id,creator_id,topics,duration_seconds,release", b"1,2,3,4,2022-04-09\n"
_LOG_HEADER, _LOG_LINE = b"user_id,item_id,timestamp,action,rating,is_hate,play_time_ms", b"1,2,1600000000,play,3,0,5\n"


def _tables() -> list[Reader]:
    readers = []
    for ending in ("csv", "csv.gz", "parquet"):
        items, log = f"items.{ending}", f"events.{ending}"
        readers.append(
            Reader(
                f"catalogue, {ending}",
                partial(_write_table, name=items, rows=_items),
                partial(_read_catalogue, name=items),
                _table_bombs(items, _ITEM_HEADER, _ITEM_LINE),
            )
        )
        readers.append(
            Reader(
                f"log, {ending}",
                partial(_write_log, name=log),
                partial(_read_user_log, name=log),
                _table_bombs(log, _LOG_HEADER, _LOG_LINE),
            )
        )
    return readers


READERS: Mapping[str, Reader] = {
    reader.name: reader
    for reader in (
        Reader(
            "scenario",
            _write_scenario,
            lambda folder: _run("validate", folder / "scenario.yaml"),
            _crafted_text("scenario.yaml", _HOSTILE_YAML),
        ),
        Reader(
            "models of a backtest",
            _write_models,
            lambda folder: read_models(folder / "models.yaml"),
            _crafted_text("models.yaml", _HOSTILE_YAML),
        ),
        *_tables(),
        Reader("log, movielens", _write_movielens, _read_movielens),
        Reader("histories to replay", partial(_write_log, name="h.csv"), partial(_replay, name="h.csv")),
        Reader("event log", _write_event_log, lambda folder: read_log(folder / "events.parquet")),
        Reader("pushback report", _write_run, lambda folder: _run("report", folder / "quickstart/run"), _run_bombs()),
        Reader("pushback compare", _write_run, _compare, _run_bombs()),
        Reader("pushback power", _write_run, lambda folder: _run("power", folder / "quickstart/run", "--effect", "1%"),
               _run_bombs()),
        Reader("pushback list runs", _write_run, lambda folder: _run("list", "runs", "--results", folder),
               _run_bombs()),
        Reader("saved model", _write_model, _load_and_ask, _model_bombs()),
        Reader("checkpoint", write_checkpoint, read_checkpoint, checkpoint_bombs(_HOSTILE_JSON)),
        Reader("unfinished run", write_unfinished, read_unfinished),
    )
}  # fmt: skip
"""By name."""
