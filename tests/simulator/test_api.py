"""The interface for Python: the same runs as the command line's, as objects and data frames."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

import simulator
from recommenders.base import RecommenderError
from recommenders.random import Random
from simulator.cli import main
from simulator.engine.log_files import read_log
from simulator.report import Frame, ReportError, results_to_json
from simulator.running import RunInterruptedError
from simulator.scenario.faults import ScenarioErrors

SCENARIO: dict[str, Any] = {
    "question": "Does a small run work?",
    "expected": "It does.",
    "run_time": "a second",
    "seed": 3,
    "world": {
        "preset": "lively",
        "catalogue": {"items": 60, "creators": 12, "topics": 4},
        "population": {"users": 30},
    },
    "platform": {"slate_size": 5},
    "warm_up": "1d",
    "arms": [{"name": "popularity", "recommender": "popularity"}, {"name": "chance", "recommender": "random"}],
    "control": "popularity",
    "ab_test": {"duration": "1d"},
    "counterfactual": {"runs": 20, "k": 6, "slate_size": 10},
    "metrics": ["dislike_rate", "long_view_rate"],
}


class Mine(Random):
    """A recommender of a module that is no plug-in."""


@pytest.fixture(scope="module")
def found() -> simulator.FinishedRun:
    return simulator.run(SCENARIO)


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import simulator, sys; print(dir(simulator).count('run'), len(sys.modules)); "
    code += "print([m for m in ('numpy', 'torch', 'click', 'pyarrow', 'simulator.api') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    count, modules = out.splitlines()[0].split()
    assert (count, out.splitlines()[1]) == ("1", "[]")
    assert int(modules) < 200
    with pytest.raises(AttributeError, match="module 'simulator' has no attribute 'ruin'"):
        simulator.ruin  # noqa: B018


def test_a_run_equals_the_command_lines(found: simulator.FinishedRun, tmp_path: Path) -> None:
    (tmp_path / "scenario.yaml").write_text(json.dumps(SCENARIO))
    result = CliRunner().invoke(main, ["run", str(tmp_path / "scenario.yaml"), "--out", str(tmp_path), "--jobs", "1"])
    assert result.exit_code == 0, result.output
    folder = next((tmp_path / "scenario").iterdir())
    for name in ("results.json", "scenario.yaml"):
        assert (folder / name).read_bytes() == (found.folder / name).read_bytes()
    assert simulator.load(folder).manifest.log_sha256 == found.manifest.log_sha256


def test_a_temporary_run_goes_with_its_object_unless_it_is_saved(tmp_path: Path) -> None:
    made = simulator.run(SCENARIO, set={"counterfactual": None})
    folder = made.folder
    kept = made.save(tmp_path / "kept")
    assert made.report.is_file()
    del made
    gc.collect()
    assert not folder.parents[1].exists()
    assert results_to_json(simulator.load(tmp_path / "kept").results) == results_to_json(kept.results)
    assert len(kept.events("chance")) > 0


def test_an_interrupted_temporary_run_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("simulator.running.run_arm", interrupted)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(RunInterruptedError, match="nothing is left"):
        simulator.run(SCENARIO)
    assert list(tmp_path.iterdir()) == []


def test_frames_hold_what_the_results_hold(found: simulator.FinishedRun) -> None:
    results = found.results
    lifts = found.lifts()
    assert lifts["arm"].tolist() == ["chance", "chance"]
    assert lifts["lift"].tolist() == [c.lift.value for c in results.comparisons]
    assert found.metrics().where(arm="chance", metric="dislike_rate")["mean"].tolist() == [
        row.mean.value for row in results.levels if (row.arm, row.metric) == ("chance", "dislike_rate")
    ]
    assert found.daily()["value"].tolist() == [v for series in results.series for v in series.value]
    assert found.responsiveness()["response"].tolist() == [r.response.value for r in results.responsiveness]
    assert set(found.responses()["part"]) >= {"responsiveness", "selectivity"}


def test_events_hold_every_column_of_the_logs_and_the_feedback_by_kind(found: simulator.FinishedRun) -> None:
    events = found.events()
    assert set(events["arm"]) == {"popularity", "chance"}
    log = read_log(found.folder / "events" / "chance.parquet")
    ours = events.where(arm="chance")
    for name in log.DTYPES:
        np.testing.assert_array_equal(ours[name], getattr(log, name))
    assert ours["dislike"].tolist() == ((log.feedback & 16) > 0).tolist()
    assert len(found.events("chance.prefix", "warm_up")) > 0
    with pytest.raises(LookupError, match=r"events: got 'chanc', expected .*did you mean 'chance'"):
        found.events("chanc")


def test_a_log_that_is_gone_is_told(found: simulator.FinishedRun, tmp_path: Path) -> None:
    copy = found.save(tmp_path / "copy")
    (copy.folder / "events" / "chance.parquet").unlink()
    with pytest.raises(ReportError, match=r"chance\.parquet: got .*, expected an event log"):
        copy.events("chance")


def test_other_libraries_take_a_frame_over(found: simulator.FinishedRun) -> None:
    assert pa.table(found.lifts()).equals(found.lifts().arrow)


def test_a_notebook_shows_numbers_and_no_markup_of_names() -> None:
    frame = Frame(pa.table({"arm": ["<b>"] * 30, "value": [0.123456] * 30}))
    assert "&lt;b&gt;" in frame._repr_html_()
    assert "0.1235" in frame._repr_html_()
    assert "30 rows" in repr(frame)
    assert frame.rows()[0] == {"arm": "<b>", "value": 0.123456}
    for ask in (lambda: frame["valu"], lambda: frame.where(valu=1)):
        with pytest.raises(KeyError, match="did you mean 'value'"):
            ask()


def test_a_run_shows_itself(found: simulator.FinishedRun) -> None:
    assert str(found.folder) in repr(found)
    assert found.results.question in found._repr_html_()
    assert found.passed


def test_a_class_is_an_arm_and_an_arm_of_its_name_is_replaced() -> None:
    scenario = simulator.make_scenario(
        SCENARIO, arms={"mine": Mine, "chance": {"recommender": Mine, "platform": {"ingestion_delay": "1h"}}}
    ).scenario
    assert [arm.name for arm in scenario.arms] == ["popularity", "chance", "mine"]
    assert scenario.arms[1].recommender == scenario.arms[2].recommender == f"{Mine.__module__}:Mine"
    made = simulator.run(SCENARIO, arms={"mine": Mine}, set={"counterfactual": None}, jobs=2)
    assert made.manifest.log_sha256["mine"] == made.manifest.log_sha256["chance"]


def test_what_is_no_class_of_a_module_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Local(Random):
        """Nobody can find it again."""

    with pytest.raises(RecommenderError, match=r"arms\['mine'\]: got .*<locals>\.Local, expected a class at the top"):
        simulator.make_scenario(SCENARIO, arms={"mine": Local})
    with pytest.raises(RecommenderError, match=r"arms\['mine'\]: got an object of type Mine, expected its class"):
        simulator.make_scenario(SCENARIO, arms={"mine": Mine(Random.config_class())})  # type: ignore[dict-item]
    session = type(sys)("__main__")
    session.Mine = type("Mine", (Random,), {"__module__": "__main__"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "__main__", session)
    with pytest.raises(RecommenderError, match="got jobs of several processes, expected jobs=1, or Mine in a module"):
        simulator.run(SCENARIO, arms={"mine": session.Mine}, jobs=2)


def test_faults_of_objects_name_the_setting() -> None:
    with pytest.raises(ScenarioErrors) as raised:
        simulator.make_scenario({**SCENARIO, "platform": {"slate_size": 0}, "sede": 1})
    assert str(raised.value).splitlines()[0].startswith("scenario: platform.slate_size: got 0, expected 1 or more")
    assert "sede: got an unknown key" in str(raised.value)
    with pytest.raises(ScenarioErrors, match=r"scenario: arms\[0\]\.name: got an object of type Random, expected text"):
        simulator.make_scenario({"arms": [{"name": Random(Random.config_class())}]})
    with pytest.raises(ScenarioErrors, match="scenario: world: got the key 3, expected keys that are text"):
        simulator.make_scenario({"world": {3: 1}})
    with pytest.raises(ScenarioErrors, match="more than 40 levels"):
        simulator.make_scenario(endless())


def endless() -> dict[str, Any]:
    data: dict[str, Any] = {}
    data["world"] = data
    return data


def test_faults_of_set_are_the_command_lines() -> None:
    with pytest.raises(ScenarioErrors, match=r"^--set platform\.slate_size=0: platform\.slate_size: got 0"):
        simulator.make_scenario("quickstart", set={"platform.slate_size": np.int64(0)})
    with pytest.raises(ScenarioErrors, match="set: warm_up: got an object of type set"):
        simulator.make_scenario("quickstart", set={"warm_up": set()})
    with pytest.raises(LookupError, match="scenario: got 'quikstart', expected"):
        simulator.make_scenario("quikstart")


def test_a_scenario_can_be_altered_again_and_its_source_stays() -> None:
    first = simulator.make_scenario(SCENARIO, seed=5)
    second = simulator.make_scenario(first, set={"expected": "line\nbreak: \u00e9", "world.population.users": 31})
    assert (first.scenario.world.population.users, second.scenario.world.population.users) == (30, 31)
    assert (second.scenario.seed, second.scenario.expected) == (5, "line\nbreak: \u00e9")
    assert SCENARIO["world"]["population"] == {"users": 30}


def test_compare_tells_what_differs(found: simulator.FinishedRun, tmp_path: Path) -> None:
    other = simulator.run(SCENARIO, set={"warm_up": "2d"}, out=tmp_path)
    differs = simulator.compare(found, other.folder)
    assert differs.setting_frame().rows() == [{"setting": "warm_up", "a": "1d", "b": "2d"}]
    name = "lift.dislike_rate[chance]"
    row = differs.estimate_frame().where(estimate=name).rows()[0]
    assert row["difference"] == row["b"] - row["a"]
    assert "warm_up" in repr(differs)
    assert "warm_up" in differs._repr_html_()
    assert simulator.compare(found, found).identical_logs == len(found.logs())
