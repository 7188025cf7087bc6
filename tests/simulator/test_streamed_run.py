"""A run whose logs are streamed finds what the same run finds with its logs in memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import simulator
from simulator.cli import main
from simulator.engine.log import EventLog
from simulator.engine.log_files import read_columns, read_log
from simulator.engine.log_parts import cell_hash, cells_hash, read_cells, stored_cells
from simulator.scenario.event_logs import MOST_USER_DAYS, streams
from tests.simulator.engine.test_log_parts import same_rows

SCENARIO = """
question: Are logs in files the logs in memory?
expected: They are.
run_time: a second
seed: 3
world:
  preset: lively
  catalogue: {items: 60, creators: 12, topics: 4}
  population: {users: 30}
platform: {slate_size: 5, training_delay: 2h}
warm_up: 1d
arms:
  - {name: chance, recommender: random}
  - {name: popular, recommender: popularity, platform: {retrain_every: 12h}}
control: chance
ab_test: {duration: 2d, exclude_first: 6h}
execution: {cell_users: 7}
"""
LOGS = ("warm_up", "chance", "popular")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several of them, also in a world of 30 users."""
    monkeypatch.setattr("simulator.experiment.streaming.PART_ROWS", 200)
    monkeypatch.setattr("simulator.engine.log_parts._LEAST_ROWS", 40)


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SCENARIO)
    return path


def run(scenario: Path, out: Path, *settings: str, labour: Sequence[str] = ("--jobs", "1")) -> Path:
    """The run's folder."""
    options = [option for setting in settings for option in ("--set", setting)]
    result = CliRunner().invoke(main, ["run", str(scenario), "--out", str(out), *labour, *options])
    assert result.exit_code == 0, result.output
    (folder,) = (out / scenario.stem).iterdir()
    return folder


def found(folder: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((folder / name).read_text()))


def test_workers_write_the_log_of_one_process(scenario: Path, tmp_path: Path) -> None:
    settings = ("counterfactual={runs: 12, prefix: lived, follow: 1d, trigger_within: 12h}", "log.stream=always")
    one = run(scenario, tmp_path / "one", *settings)
    two = run(scenario, tmp_path / "two", *settings, labour=("--workers", "2"))
    assert (one / "results.json").read_bytes() == (two / "results.json").read_bytes()
    assert found(one, "manifest.json")["log_sha256"] == found(two, "manifest.json")["log_sha256"]
    for arm in LOGS:
        cells = [stored_cells(folder / "events" / arm) for folder in (one, two)]
        assert [cell.users for cell in cells[0]] == [cell.users for cell in cells[1]]
        assert len(cells[0]) == 5


LIVED = "counterfactual={runs: 12, prefix: lived, follow: 1d, trigger_within: 12h}"
RAMP = "ramp: [{after: 12h, treated_share: 0.4}, {after: 1d, treated_share: 1}]"


@pytest.mark.parametrize(
    "asked",
    [
        "counterfactual={runs: 20, k: 6, slate_size: 10}",
        LIVED,
        "ab_test={design: split, duration: 2d, exclude_first: 6h, holdout: 0.2, training: pooled}",
        f"ab_test={{design: split, duration: 2d, shares: {{chance: 0.3, popular: 0.7}}, {RAMP}}}",
        "ab_test={design: switchback, duration: 2d, exclude_first: 6h, period: 6h, washout: 1h, training: pooled}",
    ],
)
def test_a_streamed_run_finds_what_one_in_memory_finds(scenario: Path, tmp_path: Path, asked: str) -> None:
    memory = run(scenario, tmp_path / "memory", asked, LIVED if "ab_test" in asked else asked)
    streamed = run(scenario, tmp_path / "streamed", asked, LIVED if "ab_test" in asked else asked, "log.stream=always")
    expected, results = (found(folder, "results.json") for folder in (memory, streamed))
    sums_of_cells = ("levels", "comparisons", "verdicts", "answer") if "switchback" in asked else ()
    for key in expected:
        if key in ("series", *sums_of_cells):
            assert_close(results[key], expected[key])
        else:
            assert results[key] == expected[key], key
    names = [*LOGS, "holdout"] if "holdout" in asked else LOGS
    for name in names:
        cells = list(read_cells(streamed / "events" / name))
        assert len(cells) > 3  # a cell none of whose users an arm served has no files
        assert same_rows(EventLog.merge([log for _, log in cells]), read_log(memory / "events" / f"{name}.parquet"))
        hashes = found(streamed, "manifest.json")["log_sha256"]
        assert hashes[name] == cells_hash([(users, cell_hash(log)) for users, log in cells])
    assert found(streamed, "manifest.json")["impressions"] == found(memory, "manifest.json")["impressions"]
    assert len(stored_cells(streamed / "events" / "chance")[0].parts()) > 1


def assert_close(found: Any, expected: Any) -> None:
    """The same but for the last digits of numbers."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        found, expected = list(found.values()), list(expected.values())
    if isinstance(expected, list):
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other)
    else:
        assert found == (pytest.approx(expected, rel=1e-9) if isinstance(expected, float) else expected)


def test_workers_find_the_same(scenario: Path, tmp_path: Path) -> None:
    found_here, found_there = (
        simulator.run(scenario, set={"log.stream": "always"}, out=tmp_path / str(jobs), jobs=jobs) for jobs in (1, 2)
    )
    assert found_here.manifest.log_sha256 == found_there.manifest.log_sha256
    assert repr(found_here.results) == repr(found_there.results)


@pytest.mark.parametrize("stream", ["never", "always"])
def test_what_is_left_out_changes_nothing_else(scenario: Path, tmp_path: Path, stream: str) -> None:
    whole = run(scenario, tmp_path / "whole", f"log.stream={stream}")
    part = run(
        scenario, tmp_path / "part", f"log={{stream: {stream}, columns: [tick, user, item], user_share: 0.4}}"
    )  # fmt: skip
    assert found(part, "results.json") == found(whole, "results.json")
    assert found(part, "manifest.json")["log_sha256"] == found(whole, "manifest.json")["log_sha256"]
    sides = [(one, other) for name in LOGS for one, other in zip(*(files(f, name) for f in (whole, part)), strict=True)]
    sampled = {user for _, other in sides for user in read_columns(other, ("user",))["user"].tolist()}
    assert 0 < len(sampled) < 30
    for one, other in sides:
        assert pq.read_schema(other).names == ["arm", "tick", "user", "item"]
        expected = read_log(one).take(np.isin(read_log(one).user, list(sampled)))
        for name, column in read_columns(other, ("tick", "user", "item")).items():
            np.testing.assert_array_equal(column, getattr(expected, name))


def files(folder: Path, name: str) -> list[Path]:
    """Of a log, streamed or not."""
    path = folder / "events" / name
    return [p for c in stored_cells(path) for p in c.parts()] if path.is_dir() else [path.with_suffix(".parquet")]


def test_events_of_a_streamed_run_can_be_read(scenario: Path, tmp_path: Path) -> None:
    settings = {"log.stream": "always"}
    all_columns = simulator.run(scenario, set=settings, out=tmp_path / "all")
    rows = sum(len(log) for _, log in read_cells(all_columns.folder / "events" / "popular"))
    assert len(all_columns.events("popular")) == rows > 0
    assert all_columns.events("popular")["dislike"].sum() > 0
    few = simulator.run(scenario, set={**settings, "log.columns": ["user", "tick"]}, out=tmp_path / "few")
    assert list(few.events("popular").columns) == ["arm", "tick", "user"]


def test_a_metric_over_all_users_is_refused_before_the_arms_run(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "whole_log_metric.py").write_text(
        "import numpy as np\nfrom simulator.experiment.metrics import Metric, MetricInfo, PerUser\n"
        "def rows(view):\n    return PerUser(view.every_user(float(len(view.rows))), view.every_user(1.0))\n"
        "metric = Metric(MetricInfo('rows', 'Rows', 'Rows of everybody', 'count', 'neither'), rows)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    named = ["--set", "metrics=[whole_log_metric:metric]", "--set", "log.stream=always"]
    result = CliRunner().invoke(main, ["run", str(scenario), "--out", str(tmp_path / "out"), "--jobs", "1", *named])
    assert result.exit_code == 2
    assert "metric rows: numerator: got" in result.output
    assert "as logs are streamed (log.stream)" in result.output


def test_whether_logs_are_streamed_follows_from_the_scenario(scenario: Path) -> None:
    def asked(**settings: Any) -> bool:
        return streams(simulator.make_scenario(scenario, set=settings).scenario)

    users = MOST_USER_DAYS // 3
    assert asked(**{"world.population.users": users + 1})
    assert not asked(**{"world.population.users": users})
    assert asked(**{"log.stream": "always"})
    assert not asked(**{"world.population.users": users + 1, "log.stream": "never"})
    split = {"design": "split", "duration": "2d"}
    assert asked(**{"world.population.users": users + 1, "ab_test": split})
    assert not asked(**{"world.population.users": users + 1, "ab_test": {**split, "watch": True}})
    assert asked(**{"world.population.users": users + 1, "ab_test": {**split, "design": "switchback"}})
    assert not asked(**{"world.population.users": users + 1, "ab_test.watch": True})
