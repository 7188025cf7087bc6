"""Runs from file to report: what a user's command does, on worlds small enough to run in a second or two."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from simulator.cli import main
from simulator.engine.log_files import log_hash, read_log

SCENARIO = """
question: Does a small run work?
expected: It does.
run_time: a second
seed: 3
world:
  preset: lively
  catalogue: {items: 60, creators: 12, topics: 4}
  population: {users: 30}
platform: {slate_size: 5, retrain_every: 1d, training_delay: 2h}
warm_up: 1d
arms:
  - {name: popularity, recommender: popularity}
  - {name: blind, recommender: linear_recurrent, config: {dim: 4, window: 8, epochs: 1}}
  - name: ntr
    recommender: linear_recurrent
    config: {dim: 4, window: 8, epochs: 1, dislike_input: true, negative_weight: {dislike: 16}}
control: blind
ab_test: {duration: 2d}
counterfactual: {runs: 20, k: 6, slate_size: 10}
thresholds: ["responsiveness.creator[blind] >= 0"]
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SCENARIO)
    return path


def run(scenario: Path, out: Path, *options: str, code: int = 0) -> tuple[Path, str]:
    """The run's folder and what was printed."""
    result = CliRunner().invoke(main, ["run", str(scenario), "--out", str(out), "--jobs", "1", *options])
    assert result.exit_code == code, result.output
    folders = sorted((out / scenario.stem).iterdir()) if (out / scenario.stem).exists() else []
    return folders[-1] if folders else out, result.output


def test_a_run_leaves_everything_it_promises(scenario: Path, tmp_path: Path) -> None:
    folder, output = run(scenario, tmp_path / "results")
    arms = ("popularity", "blind", "ntr")
    assert {p.name for p in folder.iterdir()} == {
        "scenario.yaml", "manifest.json", "results.json", "report.html", "events",
    }  # fmt: skip
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["complete"] is True
    for name in ("warm_up", *arms):
        assert log_hash(read_log(folder / "events" / f"{name}.parquet")) == manifest["log_sha256"][name]
    last = output.strip().splitlines()[-1]
    assert "times as much" in last
    assert str(folder / "report.html") in output


def test_a_report_that_fails_does_not_cost_the_run(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "def page(run, folder):\n    (folder / 'page.md').write_text(run.results.answer)\n"
    (tmp_path / "report_for_test.py").write_text(f"{text}\ndef fails(run, folder):\n    raise ValueError('no')\n")
    monkeypatch.syspath_prepend(tmp_path)
    named = ("--set", "reports=[report_for_test:page, report_for_test:fails]")
    quick = ("--set", "arms=[{name: blind, recommender: random}]")
    folder, output = run(scenario, tmp_path / "results", *named, *quick, code=2)
    assert json.loads((folder / "manifest.json").read_text())["complete"] is True
    assert (folder / "page.md").read_text() == json.loads((folder / "results.json").read_text())["answer"]
    assert "report 'report_for_test:fails': " in output
    assert f"pushback report {folder} --with report_for_test:page --with report_for_test:fails" in output


def test_a_user_model_of_ones_own_lives_in_every_experiment(scenario: Path, tmp_path: Path) -> None:
    own = ("--set", "world.user_model.behaviour=simulator.world.behaviour:UtilityBehaviour")
    lived = (
        "--set", "counterfactual={runs: 10, prefix: lived, follow: 1d}",
        "--set", "arms=[{name: popularity, recommender: popularity}, {name: blind, recommender: random}]",
    )  # fmt: skip
    hashes = [
        json.loads((run(scenario, tmp_path / name, *options)[0] / "manifest.json").read_text())["log_sha256"]
        for name, options in (("standard", lived), ("own", (*own, *lived)))
    ]
    assert hashes[0] == hashes[1]


def test_the_same_seed_gives_the_same_logs_and_estimates(scenario: Path, tmp_path: Path) -> None:
    first, _ = run(scenario, tmp_path / "a")
    second, _ = run(scenario, tmp_path / "b")
    other, _ = run(scenario, tmp_path / "c", "--seed", "4")
    hashes = [json.loads((folder / "manifest.json").read_text())["log_sha256"] for folder in (first, second, other)]
    assert hashes[0] == hashes[1]
    assert all(hashes[0][name] != hashes[2][name] for name in hashes[0])
    assert (first / "results.json").read_bytes() == (second / "results.json").read_bytes()


def test_the_number_of_jobs_changes_nothing(scenario: Path, tmp_path: Path) -> None:
    alone, _ = run(scenario, tmp_path / "a")
    result = CliRunner().invoke(main, ["run", str(scenario), "--out", str(tmp_path / "b"), "--jobs", "2"])
    assert result.exit_code == 0, result.output
    together = next((tmp_path / "b" / "small").iterdir())
    assert (alone / "results.json").read_bytes() == (together / "results.json").read_bytes()


ONE_WORLD = [
    "ab_test={design: split, duration: 2d, holdout: 0.2, training: pooled, watch: true}",
    "ab_test={design: switchback, duration: 3d, period: 12h, washout: 1h}",
]


@pytest.mark.parametrize("ab_test", ONE_WORLD, ids=["split", "switchback"])
def test_arms_that_share_a_world_leave_a_log_each(scenario: Path, tmp_path: Path, ab_test: str) -> None:
    folder, _ = run(scenario, tmp_path / "a", "--set", ab_test)
    arms = ["popularity", "blind", "ntr", *(["holdout"] if "holdout" in ab_test else [])]
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in arms:
        assert log_hash(read_log(folder / "events" / f"{name}.parquet")) == manifest["log_sha256"][name]
    results = json.loads((folder / "results.json").read_text())
    assert results["arms"] == arms
    assert results["design"] in ab_test
    assert all(pair["kind"] == "counterfactual" for pair in results["pairs"])


def test_a_split_alone_runs_without_a_counterfactual(scenario: Path, tmp_path: Path) -> None:
    options = [
        "--set",
        "ab_test={design: split, duration: 1d}",
        "--set",
        "counterfactual=null",
        "--set",
        "thresholds=[]",
    ]
    folder, _ = run(scenario, tmp_path, *options)
    names = {p.stem for p in (folder / "events").iterdir()}
    assert names == {"warm_up", "popularity", "blind", "ntr"}


def test_an_arm_equal_to_the_control_differs_by_exactly_nothing(scenario: Path, tmp_path: Path) -> None:
    folder, _ = run(scenario, tmp_path, "--set", "arms[2].config={dim: 4, window: 8, epochs: 1}")
    results = json.loads((folder / "results.json").read_text())
    differences = [c["difference"] for c in results["comparisons"] if c["arm"] == "ntr"]
    assert len(differences) > 10
    for difference in differences:
        assert difference["value"] in (0.0, None)
    assert all(r["response"]["value"] == 0 for r in results["responsiveness"])


def test_a_failed_threshold_sets_the_exit_code_and_is_told_first(scenario: Path, tmp_path: Path) -> None:
    _, output = run(scenario, tmp_path, "--set", "thresholds=['lift.dislike_rate[ntr] <= -0.99']", code=1)
    assert output.index("lift.dislike_rate[ntr] <= -0.99") < output.index("Responsiveness")


def test_ctrl_c_leaves_nothing_that_looks_whole(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("simulator.running.run_arm", interrupted)
    folder, output = run(scenario, tmp_path, code=130)
    assert folder.name.endswith(".partial")
    assert f"interrupted; the unfinished run is left in {folder}" in output
    assert json.loads((folder / "manifest.json").read_text())["complete"] is False
    listed = CliRunner().invoke(main, ["list", "runs", "--results", str(tmp_path)])
    assert "resumable" in listed.output


def test_a_full_disk_is_told_and_leaves_no_half_file(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("simulator.engine.log_files.pq.write_table", full)
    folder, output = run(scenario, tmp_path, code=2)
    assert "No space left on device" in output
    assert folder.name.endswith(".partial")
    assert not list(folder.rglob("*.tmp"))


def test_a_folder_that_cannot_be_written_is_told(scenario: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    result = CliRunner().invoke(main, ["run", str(scenario), "--out", str(blocked / "results")])
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert "expected a folder that can be written" in result.output


def test_a_recommender_of_one_file_runs(scenario: Path, tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "freshest.py"
    assert len(example.read_text().splitlines()) < 40
    folder, _ = run(scenario, tmp_path, "--set", "arms[0]={name: freshest, recommender: 'examples.freshest:Freshest'}")
    results = json.loads((folder / "results.json").read_text())
    creator = next(r for r in results["responsiveness"] if r["arm"] == "freshest" and r["similarity"] == "creator")
    assert creator["action"]["value"] == 0  # it blocks the creator outright
    assert creator["base"]["value"] > 0


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from simulator.cli import main; main(['--help'], standalone_mode=False);"
    code += "print('torch' in sys.modules, 'numpy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip().splitlines()[-1] == "False False"
