"""`pushback check`, from what is typed to what is printed, written and returned."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner, Result

from recommenders.conformance import CHECKS, Violation
from recommenders.conformance.laws import Kind
from simulator.cli import checks, main

ROOT = Path(__file__).parents[2]
STUBBORN = "tests.recommenders.conformance.stubborn:Stubborn"
LISTED = "tests.recommenders.conformance.stubborn:Listed"
ONE = ("--only", "slates_are_valid")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def check(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["check", *arguments])


def in_a_process(*arguments: str, before: str = "pass") -> subprocess.CompletedProcess[str]:
    code = f"import sys; {before}; from simulator.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, "check", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=False,
    )


def test_a_recommender_that_keeps_the_laws() -> None:
    result = check("popularity:smoothing=2", *ONE, "--only", "goes_on", "--only", "unfitted")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert re.fullmatch(r"popularity: 2 laws hold, 1 skipped, 0 broken in \d+\.\d s", lines[-1])
    assert "skipped: check_fitting_goes_on_from_a_loaded_state: does not declare" in result.stdout
    assert re.search(r"^  check_slates_are_valid +passed +\d+ +\d+\.\d\d$", result.stdout, re.MULTILINE)
    assert list(Path().iterdir()) == []


def test_a_broken_law_ends_in_code_that_raises_it() -> None:
    result = check(STUBBORN, "--config", "fault=dtype", *ONE)
    assert result.exit_code == 1
    assert (
        f"check_slates_are_valid: {CHECKS['check_slates_are_valid'].law}\nslates.score: got float64[1, 3]"
        in result.stdout
    )
    assert result.stdout.splitlines()[-1].startswith(f"{STUBBORN}: 0 laws hold, 0 skipped, 1 broken in ")
    code = result.stdout[result.stdout.index("from recommenders.conformance import") :].rpartition("\n\n")[0]
    with pytest.raises(Violation, match="got float64"):
        exec(code, {})


def test_known_failures_are_told_and_break_nothing() -> None:
    result = check(LISTED, "--config", "fault=dtype", *ONE)
    assert result.exit_code == 0
    assert "known: check_slates_are_valid: scores are float64, see issue 12" in result.stdout
    assert "1 known to fail, 0 broken" in result.stdout.splitlines()[-1]
    assert check(LISTED, *ONE).exit_code == 1


def test_json_says_all_that_was_found() -> None:
    assert check(STUBBORN, "--config", "fault=dtype", *ONE, "--seed", "2", "--json", "found.json").exit_code == 1
    found = json.loads(Path("found.json").read_text(encoding="utf-8"))
    assert (found["format"], found["subject"], found["config"], found["seed"], found["passed"]) == (
        1,
        STUBBORN,
        {"fault": "dtype"},
        2,
        False,
    )
    (outcome,) = found["outcomes"]
    assert outcome["check"] == "check_slates_are_valid"
    assert outcome["status"] == "failed"
    assert outcome["code"].startswith("from recommenders.conformance import ")
    assert set(outcome) == {
        "check", "law", "kind", "status", "message", "code", "examples", "seconds", "effect", "out_of_time",
    }  # fmt: skip


def test_piped_output_is_plain_and_the_recommender_cannot_soil_it() -> None:
    done = in_a_process(STUBBORN, "--config", "fault=prints", *ONE)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert "a word" not in done.stdout
    assert "a word on the standard output" in done.stderr
    assert max(len(line) for line in done.stdout.splitlines()[:-1]) <= 80
    assert list(Path().iterdir()) == []


def test_a_recommender_of_the_working_folder_with_settings_of_a_file(folder: Path) -> None:
    (folder / "my_own_module.py").write_text(f"from {STUBBORN.partition(':')[0]} import Stubborn as Mine\n")
    (folder / "settings.yaml").write_text("fault: dtype\n")
    (folder / "settings.json").write_text('{"fault": "none"}')
    assert check("my_own_module:Mine", "--config", "settings.yaml", *ONE).exit_code == 1
    assert check("my_own_module:Mine", "--config", "settings.yaml", "--config", "settings.json", *ONE).exit_code == 0
    assert check("my_own_module:Mine", "--config", "settings.json", "--config", "fault=dtype", *ONE).exit_code == 1


def test_what_is_wrong_is_located(folder: Path) -> None:
    (folder / "settings.yaml").write_text("temperature: 1\nsmothing: 2\n")
    (folder / "broken.yaml").write_text("a: [1\n")
    (folder / "list.yaml").write_text("[1, 2]\n")
    (folder / "raises_on_import.py").write_text("import sys\nsys.exit('not today')\n")
    (folder / "raises_when_built.py").write_text(
        "class Mine:\n    def __init__(self):\n        raise OSError('no disk')\n"
    )
    (folder / "needs_dim.py").write_text(
        "from recommenders.base import Config\n\n\nclass Settings(Config):\n    dim: int\n\n\n"
        "class Mine:\n    config_class = Settings\n"
    )
    for arguments, message in [
        (["popularty"], "did you mean 'popularity'?"),
        (["nowhere:Mine"], "cannot import 'nowhere:Mine': No module named 'nowhere'"),
        ([f"{STUBBORN}s"], "has no attribute 'Stubborns'"),
        (["raises_on_import:Mine"], "cannot import 'raises_on_import:Mine': SystemExit: not today"),
        (["raises_when_built:Mine"], "raises_when_built.py:3: no disk"),
        (["a b"], "RECOMMENDER: got 'a b', expected NAME or NAME:key=value,..."),
        (["popularity:smoothing=x"], "RECOMMENDER popularity:smoothing=x: config.smoothing: got 'x': Input should be"),
        (["popularity", "--config", "smothing=2"], "--config smothing=2: config.smothing: got an unknown key"),
        (["popularity", "--config", "settings.yaml"], "settings.yaml:2:1: config.smothing: got an unknown key"),
        (["popularity", "--config", "broken.yaml"], "broken.yaml:2:1: file: got broken YAML"),
        (["popularity", "--config", "list.yaml"], "list.yaml: got a list, expected a mapping of settings"),
        (["popularity", "--config", "absent.yaml"], "--config absent.yaml: got No such file or directory, expected"),
        (["popularity", "--config", "a.b=1,a=2,a.b=3"], "got a setting inside of 2, expected a mapping"),
        (["needs_dim:Mine"], "recommender 'needs_dim:Mine': config.dim: got nothing, expected a value"),
        (["popularity", "--only", "zzz"], "only: got 'zzz', expected part of the name of a check"),
        (["popularity", "--json", "absent/found.json"], "--json absent/found.json: got a folder that does not exist"),
        ([], "Missing argument 'RECOMMENDER'"),
    ]:
        result = check(*arguments)
        assert result.exit_code == 2, (arguments, result.output)
        assert message in result.stderr, (arguments, result.stderr)
        assert "Traceback" not in result.stderr


def test_without_hypothesis_it_says_what_to_install() -> None:
    done = in_a_process("popularity", before="sys.modules['hypothesis'] = None")
    assert done.returncode == 2
    assert done.stderr == ("pushback check needs hypothesis, which is not installed: pip install 'pushback[testing]'\n")


def test_all_laws_are_listed_by_kind() -> None:
    result = check("--list")
    assert result.exit_code == 0
    assert [name for name in result.stdout.split() if name.startswith("check_")] == list(CHECKS)
    assert "different eligible items" in " ".join(result.stdout.split())
    assert set(checks._CHECK_KINDS) == set(get_args(Kind))


def test_what_hangs_is_ended() -> None:
    result = check(STUBBORN, "--config", "fault=hangs", "--timeout", "2", *ONE, "--only", "twice")
    assert result.exit_code == 1
    assert "no answer within 2 s; it was at " in result.stdout
    assert "0 laws hold, 1 skipped, 1 broken" in result.stdout


def test_what_does_not_listen_is_ended_too() -> None:
    done = in_a_process(STUBBORN, "--config", "fault=deaf", "--timeout", "0.5", *ONE)
    assert done.returncode == 1
    assert "Timeout (0:00:02.5" in done.stderr
    assert "in wait_whatever_happens" in done.stderr
