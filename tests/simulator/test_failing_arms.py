"""Runs that outlive an arm, by the commands that a user types."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import simulator
from simulator.cli import main
from simulator.engine.checkpoints import StoppedError
from simulator.workers.process import WorkerDiedError
from tests.simulator.failing_arms import MENDED

SCENARIO = """
question: Does a run outlive an arm?
expected: It does.
run_time: a second
seed: 3
world:
  preset: lively
  catalogue: {items: 60, creators: 12, topics: 4}
  population: {users: 12}
platform: {slate_size: 5}
warm_up: 7d
arms:
  - {name: chance, recommender: random}
  - {name: failing, recommender: "tests.simulator.failing_arms:InSecondWeek"}
  - {name: popular, recommender: popularity, platform: {retrain_every: 2d}}
control: chance
ab_test: {duration: 9d, guardrails: [{metric: dislike_rate, margin: 0.5}]}
counterfactual: {runs: 12, k: 6, slate_size: 10}
thresholds:
  - lift.dislike_rate[popular] <= 10
  - lift.dislike_rate[failing] <= 10
  - responsiveness.creator[failing].high < 9
  - level.dislike_rate[failing] >= 0
execution: {on_arm_error: continue, cell_users: 5}
"""
STREAMED = "log.stream=always"


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SCENARIO)
    return path


def run(scenario: Path, out: Path, *settings: str, labour: Sequence[str] = ("--jobs", "1")) -> Result:
    options = [option for setting in settings for option in ("--set", setting)]
    return CliRunner().invoke(main, ["run", str(scenario), "--out", str(out), *labour, *options])


def failing(name: str) -> str:
    return f"arms[1].recommender=tests.simulator.failing_arms:{name}"


def only_folder(out: Path) -> Path:
    [folder] = (out / "small").iterdir()
    return folder


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


def told(result: Result) -> str:
    return " ".join(result.output.split())


@pytest.mark.parametrize("stream", ["never", "always"])
def test_the_other_arms_are_finished_and_everything_tells_of_the_failure(
    scenario: Path, tmp_path: Path, stream: str
) -> None:
    result = run(scenario, tmp_path / "out", f"log.stream={stream}")
    assert result.exit_code == 3, result.output
    folder = only_folder(tmp_path / "out")
    results, manifest = read(folder, "results.json"), read(folder, "manifest.json")
    failure = {"arm": "failing", "stage": "A/B test, recommend", "error": "KeyError", "message": "'second week'"}
    assert results["failures"] == [{**failure, "where": ""}]
    [of_manifest] = manifest["failures"]
    assert of_manifest.items() >= failure.items()
    assert of_manifest["where"].startswith("on a batch of ")
    words = "failing: A/B test, recommend failed: KeyError: 'second week' (on a batch of "
    assert told(result).count(words) == 2  # when it fails, and above all that was found
    assert result.output.index("Arms that failed") < result.output.index("Thresholds")
    assert result.output.splitlines()[-1].endswith("(without failing, which failed)")
    page = (folder / "report.html").read_text()
    assert 0 < page.index("A/B test, recommend failed") < page.index('id="thresholds"') < page.index('id="question"')
    assert {path.name.partition(".")[0] for path in (folder / "events").iterdir()} == {"warm_up", "chance", "popular"}
    assert {name.partition(".")[0] for name in manifest["log_sha256"]} == {"warm_up", "chance", "popular"}
    assert manifest["complete"] is True


def test_no_threshold_comparison_or_guardrail_of_it_disappears(scenario: Path, tmp_path: Path) -> None:
    assert run(scenario, tmp_path / "out").exit_code == 3
    results = read(only_folder(tmp_path / "out"), "results.json")
    assert results["arms"] == ["chance", "failing", "popular"]
    why = "arm failing failed (A/B test, recommend)"
    assert [(v["passed"], v["reason"]) for v in results["verdicts"]] == [(True, ""), *3 * [(False, why)]]
    for part, value in (("levels", "mean"), ("comparisons", "lift"), ("responsiveness", "response")):
        of = {arm: [row for row in results[part] if row["arm"] == arm] for arm in ("failing", "popular")}
        assert len(of["failing"]) == len(of["popular"]) > 0
        assert {(row[value]["value"], row[value]["note"]) for row in of["failing"]} == {(None, why)}
    rails = {rail["arm"]: (rail["verdict"], rail["reason"]) for rail in results["guardrails"]}
    assert rails["failing"] == ("open", why)
    assert rails.keys() == {"failing", "popular"}


def test_the_other_arms_find_what_they_find_without_it(scenario: Path, tmp_path: Path) -> None:
    popular = {"name": "popular", "recommender": "popularity", "platform": {"retrain_every": "2d"}}
    fewer = {"arms": [{"name": "chance", "recommender": "random"}, popular]}
    with_it, without = (
        simulator.run(scenario, set={"thresholds": [], **settings}, out=tmp_path / str(i))
        for i, settings in enumerate(({}, fewer))
    )
    assert not with_it.passed
    assert without.passed
    hashes = with_it.manifest.log_sha256
    assert hashes == without.manifest.log_sha256
    lifts = [found.lifts().where(arm="popular").rows() for found in (with_it, without)]
    assert repr(lifts[0]) == repr(lifts[1])
    assert "failing failed (A/B test, recommend: KeyError) and is not compared." in with_it.results.answer
    assert with_it.logs() == without.logs()


@pytest.mark.parametrize(
    ("name", "stage", "error", "message"),
    [
        ("InFit", "training", "ValueError", "<b>no</b> ideas!!!"),
        ("WhenBuilt", "building the recommender", "OSError", "no such model"),
        ("Exiting", "training", "SystemExit", ""),
        ("WithOddState", "training", "CheckpointError", "state_dict: /weights: got a builtins:set, expected arrays"),
        ("Speechless", "A/B test, recommend", "UntellableError", "its message cannot be had: RuntimeError"),
        ("Hanging", "A/B test, recommend", "OutOfTime", "no answer within 1 s (execution.call_timeout)"),
        ("InBranches", "counterfactual, recommend", "KeyError", "'ten'"),
        ("Repeating", "A/B test, recommend", "RecommenderError", "user "),
    ],
)
def test_whatever_an_arm_does_wrong_it_alone_is_given_up(
    scenario: Path, tmp_path: Path, name: str, stage: str, error: str, message: str
) -> None:
    result = run(scenario, tmp_path / "out", failing(name), "execution.call_timeout=1s", STREAMED)
    assert result.exit_code == 3, result.output
    folder = only_folder(tmp_path / "out")
    [failure] = read(folder, "results.json")["failures"]
    assert (failure["stage"], failure["error"]) == (stage, error)
    assert failure["message"].startswith(message)
    assert len(failure["message"]) < 600
    assert not [path.name for path in (folder / "events").iterdir() if "failing" in path.name]
    assert "<b>no</b>" not in (folder / "report.html").read_text()


@pytest.mark.parametrize("labour", [("--jobs", "2"), ("--workers", "2")], ids=["jobs", "workers"])
@pytest.mark.parametrize("name", ["InSecondWeek", "Speechless"])
def test_processes_give_up_the_same_arm(scenario: Path, tmp_path: Path, labour: tuple[str, ...], name: str) -> None:
    settings = (failing(name), "execution.cell_users=5")
    results = [
        run(scenario, tmp_path / str(i), *settings, labour=way) for i, way in enumerate((("--jobs", "1"), labour))
    ]
    assert [result.exit_code for result in results] == [3, 3], results[1].output
    here, there = (only_folder(tmp_path / str(i)) for i in range(2))
    assert (here / "results.json").read_bytes() == (there / "results.json").read_bytes()
    assert read(here, "manifest.json")["log_sha256"] == read(there, "manifest.json")["log_sha256"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["execution.on_arm_error=stop"], "arm failing: recommend on a batch of "),
        (["control=failing", "thresholds=[]"], "failing is the control, without which there is nothing to compare"),
        (["arms[2].recommender=tests.simulator.failing_arms:InFit"], "no treatment is left to compare"),
        (["logging_policy.recommender=tests.simulator.failing_arms:InFit"], "arm logging_policy: training failed"),
    ],
    ids=["stop", "control", "no treatment", "logging policy"],
)
def test_a_run_ends_where_it_shall_or_nothing_is_left_to_compare(
    scenario: Path, tmp_path: Path, settings: list[str], message: str
) -> None:
    result = run(scenario, tmp_path / "out", *settings)
    assert result.exit_code == 2
    assert message in told(result)
    assert only_folder(tmp_path / "out").suffix == ".partial"


@pytest.mark.parametrize(
    ("error", "code"),
    [(OSError(28, "No space left on device"), 2), (StoppedError(), 130), (WorkerDiedError("gone"), 2)],
    ids=["disk full", "stopped", "worker died"],
)
def test_what_is_not_the_arms_fault_ends_the_run(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("simulator.running.run_arm", fail)
    result = run(scenario, tmp_path / "out")
    assert result.exit_code == code
    assert "pushback resume" in result.output


def test_an_error_of_ours_ends_the_run(scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("simulator.running.run_arm", fail)
    assert isinstance(run(scenario, tmp_path / "out").exception, ZeroDivisionError)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.experiment.streaming.PART_ROWS", 200)
    monkeypatch.setattr("simulator.engine.log_parts._LEAST_ROWS", 40)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("settings", [(), (STREAMED,)], ids=["in memory", "streamed"])
def test_a_run_that_is_stopped_goes_on_to_the_same_failure(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: tuple[str, ...]
) -> None:
    assert run(scenario, tmp_path / "whole", *settings).exit_code == 3
    looks, goes = [], 1

    def asked(_: object) -> bool:
        looks.append(1)
        return len(looks) > 9 * goes

    monkeypatch.setattr("simulator.interruption.Asked.__call__", asked)
    result = run(scenario, tmp_path / "cut", *settings)
    while result.exit_code == 130:
        looks.clear()
        goes += 1
        result = CliRunner().invoke(main, ["resume", str(only_folder(tmp_path / "cut")), "--jobs", "1"])
    assert result.exit_code == 3, result.output
    assert goes > 2
    whole, cut = (only_folder(tmp_path / name) for name in ("whole", "cut"))
    assert (whole / "results.json").read_bytes() == (cut / "results.json").read_bytes()
    assert read(whole, "manifest.json")["log_sha256"] == read(cut, "manifest.json")["log_sha256"]
    assert {p.name for p in (whole / "events").iterdir()} == {p.name for p in (cut / "events").iterdir()}


@pytest.mark.usefixtures("small_parts")
def test_an_arm_that_was_given_up_begins_anew_where_the_run_goes_on(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checkpoints would go on with a log whose first rows were removed."""
    settings = (failing("Mendable"), STREAMED)

    def stop(*_: object) -> None:
        raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr("simulator.engine.checkpoints.Period.due", lambda _: True)
        patch.setattr("simulator.running.estimate", stop)
        assert run(scenario, tmp_path / "cut", *settings).exit_code == 130
    monkeypatch.setenv(MENDED, "1")
    result = CliRunner().invoke(main, ["resume", str(only_folder(tmp_path / "cut")), "--jobs", "1"])
    assert result.exit_code == 0, result.output
    assert run(scenario, tmp_path / "whole", *settings).exit_code == 0
    whole, cut = (only_folder(tmp_path / name) for name in ("whole", "cut"))
    assert (whole / "results.json").read_bytes() == (cut / "results.json").read_bytes()
    assert read(whole, "manifest.json")["log_sha256"] == read(cut, "manifest.json")["log_sha256"]


def test_the_folder_can_be_reported_compared_listed_and_planned_from(scenario: Path, tmp_path: Path) -> None:
    assert run(scenario, tmp_path / "a").exit_code == 3
    assert run(scenario, tmp_path / "b", "arms[1].recommender=random").exit_code == 0
    a, b = (only_folder(tmp_path / name) for name in ("a", "b"))
    page = (a / "report.html").read_bytes()
    (a / "report.html").unlink()

    def command(*arguments: str) -> str:
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        return told(result)

    command("report", str(a))
    assert (a / "report.html").read_bytes() == page
    compared = command("compare", str(a), str(b))
    assert "In A, arm failing: A/B test, recommend failed: KeyError: 'second week'." in compared
    assert "arms[failing].recommender" in compared
    assert "complete without failing, which failed" in command("list", "runs", "--results", str(tmp_path / "a"))
    assert "popular against chance" in command("power", str(a))
    refused = CliRunner().invoke(main, ["power", str(a), "--arm", "failing"])
    assert "got failing, expected one of popular" in refused.output
    assert simulator.load(a).results.failures[0].arm == "failing"
