"""Runs that are stopped and resumed, by the commands that a user types."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from simulator.cli import main
from simulator.engine.checkpoints import StoppedError
from tests.simulator.test_run import SCENARIO
from tests.simulator.test_run import run as run_whole

ROOT = Path(__file__).parents[2]
SPLIT = ("--set", "ab_test={design: split, duration: 2d, training: pooled}")
LIVED = ("--set", "counterfactual={runs: 20, prefix: lived, follow: 1d}")


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SCENARIO)
    return path


def resume(run: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["resume", str(run), "--jobs", "1", *options])


def same(a: Path, b: Path) -> bool:
    hashes = [json.loads((folder / "manifest.json").read_text())["log_sha256"] for folder in (a, b)]
    return hashes[0] == hashes[1] and (a / "results.json").read_bytes() == (b / "results.json").read_bytes()


@pytest.mark.parametrize("options", [(), SPLIT, LIVED], ids=["paired", "one world", "lived"])
def test_a_run_that_is_stopped_wherever_it_can_be_goes_on_to_the_same_results(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    whole, _ = run_whole(scenario, tmp_path / "whole", *options)
    looks, goes = [], 1

    def asked(_: object) -> bool:
        looks.append(1)
        return len(looks) > 7 * goes  # what is kept is looked at, too, before a go comes to what is new

    monkeypatch.setattr("simulator.interruption.Asked.__call__", asked)
    arguments = ["run", str(scenario), "--out", str(tmp_path / "cut"), "--jobs", "1", *options]
    result = CliRunner().invoke(main, arguments)
    while result.exit_code == 130:
        [part] = (tmp_path / "cut" / "small").iterdir()
        assert f"to go on: pushback resume {part}" in result.output
        looks.clear()
        goes += 1
        result = resume(part)
    assert result.exit_code == 0, result.output
    [cut] = (tmp_path / "cut" / "small").iterdir()
    assert goes > 3
    assert same(whole, cut)
    manifest = json.loads((cut / "manifest.json").read_text())
    assert (manifest["resumed"], manifest["complete"], manifest["directory"]) == (goes - 1, True, "")
    assert {p.name for p in cut.iterdir()} == {p.name for p in whole.iterdir()}


def stopped(scenario: Path, out: Path, monkeypatch: pytest.MonkeyPatch, at: str = "run_arm") -> Path:
    """A run that was stopped after its warm-up."""

    def stop(*_: object) -> None:
        raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(f"simulator.running.{at}", stop)
        folder, _ = run_whole(scenario, out, code=130)
    return folder


def test_a_run_is_found_by_its_name_and_listed_as_resumable(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = stopped(scenario, tmp_path / "results", monkeypatch)
    listed = CliRunner().invoke(main, ["list", "runs", "--results", str(tmp_path / "results"), "--json"])
    assert [record["state"] for record in json.loads(listed.output)] == ["resumable"]
    name = part.name.removesuffix(".partial")
    result = resume(Path(name), "--results", str(tmp_path / "results"))
    assert result.exit_code == 0, result.output
    again = resume(Path(name), "--results", str(tmp_path / "results"))
    assert again.exit_code == 2
    assert "the run is complete" in again.output
    assert "no such unfinished run" in resume(tmp_path / "absent").output


def test_a_run_that_is_still_being_written_is_left_alone(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = stopped(scenario, tmp_path / "results", monkeypatch)
    code = "import fcntl, os, sys, time; f = open(sys.argv[1], 'r+'); fcntl.flock(f, fcntl.LOCK_EX); f.truncate(0)"
    code += "; f.write(str(os.getpid())); f.flush(); print('locked', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, part / "lock"], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        result = resume(part)
        writer.kill()
    assert result.exit_code == 2
    assert f"still being written, by process {writer.pid}" in result.output
    assert resume(part).exit_code == 0


@pytest.mark.parametrize(("name", "told"), [("scenario.yaml", "scenario.yaml: got SHA-256"), ("manifest.json", "run")])
def test_a_changed_scenario_or_manifest_is_refused_by_name(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, told: str
) -> None:
    part = stopped(scenario, tmp_path / "results", monkeypatch)
    text = (part / name).read_text()
    (part / name).write_text(text.replace("seed: 3", "seed: 4").replace('"seed": 3', '"seed": 4'))
    result = resume(part)
    assert result.exit_code == 2
    assert str(part / name) in result.output
    assert told in result.output


def test_other_versions_are_told(scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = stopped(scenario, tmp_path / "results", monkeypatch)
    manifest = json.loads((part / "manifest.json").read_text())
    manifest["versions"]["numpy"] = "1.0"
    (part / "manifest.json").write_text(json.dumps(manifest))
    result = resume(part)
    assert result.exit_code == 0
    assert "numpy 1.0, now" in result.output.replace("\n", " ")


def test_a_table_of_items_is_found_from_elsewhere(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"i{i},c{i % 6},t{i % 4},{5 + i % 7}" for i in range(60)]
    (tmp_path / "items.csv").write_text("item_id,creator_id,topics,duration_seconds\n" + "\n".join(rows) + "\n")
    text = SCENARIO.replace("catalogue: {items: 60, creators: 12, topics: 4}", "catalogue: {table: {path: items.csv}}")
    scenario.write_text(text)
    part = stopped(scenario, tmp_path / "results", monkeypatch)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = resume(part)
    assert result.exit_code == 0, result.output


def test_a_disk_that_is_full_as_a_run_stops_is_told(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        raise StoppedError

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("simulator.running.run_arm", stop)
    monkeypatch.setattr("simulator.interruption.Interruption.handle", lambda self, *_: setattr(self, "orderly", True))
    monkeypatch.setattr("simulator.engine.checkpoints.Stages.keep_waiting", full)
    _, said = run_whole(scenario, tmp_path / "out", code=2)
    assert "No space left on device" in said
    assert "once this is mended: pushback resume" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_answered_at_once_and_the_run_goes_on_with_workers(
    scenario: Path, tmp_path: Path, number: signal.Signals
) -> None:
    whole, _ = run_whole(scenario, tmp_path / "whole", "--set", "ab_test.duration=20d")
    code = "from simulator.cli import main; main()"
    arguments = ["run", str(scenario), "--out", str(tmp_path / "cut"), "--jobs", "2", "--set", "ab_test.duration=20d"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, text=True, env=environment
    ) as command:
        until = time.monotonic() + 120
        while not list((tmp_path / "cut").glob("small/*.partial/checkpoints/arms/*/training.json")):
            assert time.monotonic() < until
            assert command.poll() is None
            time.sleep(0.01)
        command.send_signal(number)
        assert command.stderr is not None
        told = command.stderr.read()
    assert command.returncode == 128 + number
    assert "finishing the current round, again to stop now" in told
    [part] = (tmp_path / "cut" / "small").iterdir()
    assert f"pushback resume {part}" in told
    assert (part / "checkpoints" / "world" / "warm_up.json").exists()
    result = resume(part)
    assert result.exit_code == 0, result.output
    assert same(whole, part.with_suffix(""))


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("5m", 300.0), ("1h", 3600.0), ("0", None), ("never", None)]
)
def test_periods_of_checkpoints(text: str, seconds: float | None) -> None:
    from simulator.cli.shell import Seconds

    assert Seconds().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "1.5h", "0m", "٣m"])
def test_odd_periods_are_refused(text: str) -> None:
    result = CliRunner().invoke(main, ["run", "quickstart", "--checkpoint-every", text])
    assert result.exit_code == 2
    assert "expected a duration such as 90s" in result.output
