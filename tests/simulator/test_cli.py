from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

import simulator.running
from recommenders.base import RecommenderError
from simulator.cli import main
from simulator.experiment.results import ArmFailure, Manifest, Results, Verdict
from simulator.report import manifest_to_json
from simulator.running import Labour
from tests.simulator.scenario.samples import MINIMAL

MANIFEST = Manifest(
    run="one",
    scenario="mine",
    seed=4,
    scenario_sha256="",
    log_sha256={},
    versions={},
    machine="",
    started_utc="2026-01-01T00:00:00+00:00",
    seconds={"warm-up": 1.5, "total": 2.0},
    impressions=1000,
    impressions_per_second=500.0,
    command="",
    complete=True,
)
RESULTS = Results(
    scenario="mine",
    question="why?",
    expected="so",
    control="base",
    arms=("base",),
    confidence=0.95,
    users=1,
    runs=0,
    base_action="",
    other_action="",
    ab_days=1.0,
    answer="Nothing changed.",
)


@pytest.fixture
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("mine.yaml").write_text(MINIMAL)
    return "mine.yaml"


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def run_that(monkeypatch: pytest.MonkeyPatch, outcome: Exception | BaseException | Results) -> list[dict[str, object]]:
    """Put a stand-in in place of `run_scenario`; returns what it was called with."""
    calls: list[dict[str, object]] = []

    def run_scenario(loaded: object, **options: object) -> SimpleNamespace:
        calls.append({"loaded": loaded, **options})
        if isinstance(outcome, BaseException):
            raise outcome
        return SimpleNamespace(folder=Path("results/mine/one"), results=outcome, manifest=MANIFEST)

    monkeypatch.setattr(simulator.running, "run_scenario", run_scenario)
    return calls


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, simulator.cli; print([m for m in ('torch', 'scipy', 'numpy', 'pydantic') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("command", [None, *main.commands])
def test_every_command_has_help_with_an_example(command: str | None) -> None:
    result = invoke(*([command] if command else []), "--help")
    assert result.exit_code == 0
    assert "pushback " in result.stdout.partition("\n")[2]


def test_validate_tells_ok_and_faults_of_all_files(scenario: str) -> None:
    Path("wrong.yaml").write_text(MINIMAL + "sede: 1\n")
    result = invoke("validate", "wrong.yaml", scenario, "absent.yaml", "no_such_name")
    assert result.exit_code == 2
    assert result.stdout == "mine.yaml: OK: Does it respond?\n"
    assert "wrong.yaml:9:1: sede: got an unknown key" in result.stderr
    assert "absent.yaml: file: got no such file or directory" in result.stderr
    assert "scenario: got 'no_such_name', expected a file or" in result.stderr


def test_validate_names_the_override_at_fault(scenario: str) -> None:
    result = invoke("validate", scenario, "--set", "platform.slate_size=0")
    assert result.exit_code == 2
    assert result.stderr.startswith("--set platform.slate_size=0: platform.slate_size: got 0, expected 1 or more")


@pytest.mark.parametrize("body", ["raise RuntimeError('no')", "import sys; sys.exit(3)", "class Other: pass", "def ("])
def test_recommender_whose_module_fails_is_a_located_fault(
    scenario: str, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    name = f"faulty_plugin_{len(body)}"
    Path(f"{name}.py").write_text(body)
    Path(scenario).write_text(MINIMAL.replace("popularity", f'"{name}:Mine"'))
    result = invoke("validate", scenario)
    assert result.exit_code == 2
    assert "mine.yaml:6:18: arms[0].recommender: got" in result.stderr


def test_recommender_in_the_working_folder_is_found(scenario: str) -> None:
    Path("my_own_plugin.py").write_text("class Mine:\n    pass\n")
    Path(scenario).write_text(MINIMAL.replace("popularity", '"my_own_plugin:Mine"'))
    assert invoke("validate", scenario).exit_code == 0
    Path(scenario).write_text(MINIMAL.replace("popularity", '"my_own_plugin:Mine"\n    config: {x: 1}'))
    assert "arms[0].config.x: got an unknown key, expected no settings" in invoke("validate", scenario).stderr


@pytest.mark.parametrize("module", ["..a", "a..b", ".", "", "a\\0b"])
def test_odd_module_names_are_faults(scenario: str, module: str) -> None:
    Path(scenario).write_text(MINIMAL.replace("popularity", f'"{module}:Mine"'))
    assert invoke("validate", scenario).exit_code == 2


def test_run_passes_its_options_and_ends_with_the_answer(scenario: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = run_that(monkeypatch, RESULTS)
    result = invoke("run", scenario, "--seed", "7", "--set", "warm_up=1d", "--out", "elsewhere", "--jobs", "2")
    assert result.exit_code == 0
    [call] = calls
    assert (call["out"], call["labour"]) == (Path("elsewhere"), Labour(jobs=2))
    assert (call["loaded"].scenario.seed, call["loaded"].scenario.warm_up) == (7, 86_400_000)  # type: ignore[attr-defined]
    assert "Report: results/mine/one/report.html" in result.stdout.splitlines()[-2]


def test_a_failed_threshold_exits_with_1(scenario: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run_that(monkeypatch, replace(RESULTS, verdicts=(Verdict("a < 0", -1.0, True), Verdict("b < 0", 1.0, False))))
    assert invoke("run", scenario).exit_code == 1


@pytest.mark.parametrize("passed", [True, False])
def test_a_run_that_gave_up_an_arm_exits_with_3(scenario: str, monkeypatch: pytest.MonkeyPatch, passed: bool) -> None:
    failure = ArmFailure("ntr", "training", "ValueError", "no")
    run_that(monkeypatch, replace(RESULTS, failures=(failure,), verdicts=(Verdict("a < 0", -1.0, passed),)))
    assert invoke("run", scenario).exit_code == 3


@pytest.mark.parametrize(
    "outcome", [KeyboardInterrupt(), simulator.running.RunInterruptedError("interrupted; left in x")]
)
def test_interruption_exits_with_130_and_a_message(
    scenario: str, monkeypatch: pytest.MonkeyPatch, outcome: BaseException
) -> None:
    run_that(monkeypatch, outcome)
    result = invoke("run", scenario)
    assert result.exit_code == 130
    assert "interrupted" in result.stderr


@pytest.mark.parametrize(
    "outcome",
    [RecommenderError("arm base: got 3, expected 4"), PermissionError(13, "Permission denied", "results/mine")],
)
def test_errors_of_the_users_making_are_one_message(
    scenario: str, monkeypatch: pytest.MonkeyPatch, outcome: Exception
) -> None:
    run_that(monkeypatch, outcome)
    result = invoke("run", scenario)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


def test_without_ray_a_run_on_it_leaves_nothing(scenario: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    result = invoke("run", scenario, "--out", str(tmp_path / "out"), "--ray", "local")
    assert result.exit_code == 2
    assert "expected Ray: pip install 'pushback[ray]'" in result.output
    assert not (tmp_path / "out").exists()


def test_errors_of_ours_keep_their_traceback(scenario: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run_that(monkeypatch, KeyError("a bug"))
    assert isinstance(invoke("run", scenario).exception, KeyError)


def test_report_and_compare_tell_what_is_wrong_with_a_folder(scenario: str) -> None:
    for arguments in (["report", "absent"], ["compare", "absent", "absent"]):
        result = invoke(*arguments)
        assert result.exit_code == 2
        assert result.stderr.startswith("absent: no such folder")


def test_list_runs_shows_what_is_not_whole_as_such(scenario: str) -> None:
    texts = {
        "one": manifest_to_json(MANIFEST),
        "two": manifest_to_json(replace(MANIFEST, complete=False)),
        "three.partial": manifest_to_json(MANIFEST),
        "four": '{"schema": 3}',
        "five": None,
    }
    for name, text in texts.items():
        folder = Path("results/mine") / name
        folder.mkdir(parents=True)
        if text is not None:
            (folder / "manifest.json").write_text(text)
    (Path("results/mine/six")).touch()
    result = invoke("list", "runs", "--json")
    states = {Path(record["name"]).name: record["state"] for record in json.loads(result.stdout)}
    expected = {"one": "complete", "two": "incomplete", "three.partial": "resumable", "four": "unreadable"}
    assert states == {**expected, "five": "incomplete"}
    assert "complete: seed 4, 1,000 impressions, 2 s" in " ".join(invoke("list", "runs").stdout.split())


def test_list_shows_every_kind(scenario: str) -> None:
    found = json.loads(invoke("list", "--json").stdout)
    assert list(found) == ["recommenders", "metrics", "behaviours", "reports", "scenarios", "presets", "runs"]
    for kind in ("recommenders", "metrics", "scenarios", "presets"):
        assert all(record["name"] and record["summary"] for record in found[kind])
    assert {"lively", "music", "short_video"} <= {record["name"] for record in found["presets"]}
    assert "dislike_rate" in invoke("list").stdout
    [dislikes] = [record for record in found["metrics"] if record["name"] == "dislike_rate"]
    assert (dislikes["unit"], dislikes["better"], dislikes["provider"]) == ("share", "lower", "pushback")
    assert dislikes["definition"] == "Dislikes per impression looked at"
    assert dislikes["summary"] == "Dislike rate (share, lower is better): Dislikes per impression looked at"
    assert invoke("list", "metric").exit_code == 2


def test_list_shows_metrics_of_other_packages_and_why_one_is_broken(
    scenario: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(Path(__file__).parents[2] / "examples" / "my_metric.py", "listed_metric.py")
    monkeypatch.syspath_prepend(".")
    points = {"monotony": "listed_metric:monotony", "broken": "no_such_module:thing"}
    monkeypatch.setattr(
        metadata, "entry_points", lambda group: [metadata.EntryPoint(*point, group) for point in points.items()]
    )
    found = {record["name"]: record for record in json.loads(invoke("list", "metrics", "--json").stdout)}
    assert found["monotony"]["definition"].startswith("Items by the creator of the item above")
    assert found["monotony"]["summary"].endswith("[unknown]")
    assert "cannot import 'no_such_module:thing'" in found["broken"]["summary"]


def test_the_schema_leaves_open_what_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = metadata.EntryPoint("broken", "no_such_module:thing", "pushback.recommenders")
    monkeypatch.setattr(metadata, "entry_points", lambda group: [broken] if group == broken.group else [])
    result = invoke("schema")
    assert result.exit_code == 0
    assert result.stderr.startswith("Settings left open: ")
    assert "cannot import 'no_such_module:thing'" in result.stderr
    arm = json.loads(result.stdout)["$defs"]["Arm"]
    assert "broken" in arm["properties"]["recommender"]["anyOf"][0]["enum"]
    asked = [branch["if"]["properties"]["recommender"]["const"] for branch in arm["allOf"]]
    assert "random" in asked
    assert "broken" not in asked


def test_committed_schema_is_current() -> None:
    committed = Path(__file__).parents[2] / "docs" / "scenario.schema.json"
    result = invoke("schema")
    assert json.loads(result.stdout) == json.loads(committed.read_text()), (
        "run: pushback schema --out docs/scenario.schema.json"
    )


def test_schema_goes_to_a_file_or_tells_why_not(scenario: str) -> None:
    assert invoke("schema", "--out", "s.json").exit_code == 0
    assert json.loads(Path("s.json").read_text())["$schema"].endswith("2020-12/schema")
    result = invoke("schema", "--out", "no/such/s.json")
    assert result.exit_code == 2
    assert result.stderr == "no/such/s.json: got No such file or directory, expected a file that can be written\n"
