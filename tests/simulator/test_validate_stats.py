"""The command from scenario to folder, on populations far too small to find anything."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from simulator.cli import main
from simulator.commands import validate_stats
from simulator.experiment.calibration import Calibration, calibrate

TINY = (
    "world.population.users=20", "world.catalogue.items=60", "warm_up=4h", "ab_test.duration=8h",
    "metrics=[long_view_rate]",
)  # fmt: skip


def run(out: Path, *arguments: str) -> Result:
    settings = [part for setting in TINY for part in ("--set", setting)]
    return CliRunner().invoke(main, ["validate-stats", "aa", "--out", str(out), *settings, *arguments])


def only_folder(out: Path) -> Path:
    (folder,) = (out / "aa").iterdir()
    return folder


def test_results_are_the_same_whatever_the_number_of_jobs(tmp_path: Path) -> None:
    found = {}
    for jobs in ("1", "2"):
        result = run(tmp_path / jobs, "--replicates", "12", "--jobs", jobs)
        assert result.exit_code in (0, 1), result.output
        folder = only_folder(tmp_path / jobs)
        assert sorted(f.name for f in folder.iterdir()) == ["manifest.json", "validity.html", "validity.json"]
        found[jobs] = (folder / "validity.json").read_text(encoding="utf-8")
    assert found["1"] == found["2"]
    record = json.loads(found["1"])
    assert record["replicates"] == 12
    assert {r["question"] for r in record["rates"]} == {"false positives", "coverage", "power", "watching"}
    page = (only_folder(tmp_path / "1") / "validity.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert record["answer"] in page
    assert result.output.strip().splitlines()[-1] == record["answer"]
    listed = CliRunner().invoke(main, ["list", "runs", "--results", str(tmp_path / "1"), "--json"])
    assert [r["state"] for r in json.loads(listed.output)] == ["complete"]


@pytest.mark.parametrize(("p_value", "code"), [(0.0, 1), (0.5, 0)])
def test_a_failed_check_sets_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, p_value: float, code: int
) -> None:
    def judged(*arguments: Any, **settings: Any) -> Calibration:
        found = calibrate(*arguments, **settings)
        rates = [replace(r, p_value=p_value if i == 0 else 1.0) for i, r in enumerate(found.rates)]
        reductions = [replace(r, p_value=1.0) for r in found.reductions]
        return replace(found, rates=tuple(rates), reductions=tuple(reductions))

    monkeypatch.setattr(validate_stats, "calibrate", judged)
    result = run(tmp_path, "--replicates", "2")
    assert result.exit_code == code
    assert ("1 of" in result.output and "FAIL" in result.output) == (code == 1)


LEARNING = (
    "logging_policy={recommender: random}",
    "arms=[{name: noisy, recommender: ease}, {name: less_noisy, recommender: ease, config: {dislike_value: -2}}]",
    "platform.retrain_every=2h",
)


def test_arms_that_learn_are_counted_and_not_judged_whatever_the_number_of_jobs(tmp_path: Path) -> None:
    settings = [part for setting in LEARNING for part in ("--set", setting)]
    found = {}
    for jobs in ("1", "2"):
        result = run(tmp_path / jobs, "--replicates", "3", "--jobs", jobs, *settings)
        assert result.exit_code == 0, result.output
        found[jobs] = (only_folder(tmp_path / jobs) / "validity.json").read_text(encoding="utf-8")
    assert found["1"] == found["2"]
    record = json.loads(found["1"])
    assert (record["replicates"], record["checks"], record["failures"]) == (3, 0, 0)
    designs = ["paired", "split apart", "split pooled", "split own"]
    assert [b["design"] for b in record["biases"] if b["estimand"] == "lift"] == designs
    assert [r["design"] for r in record["coverage"] if r["statement"] == "lift"] == designs
    assert not any(r["judged"] for r in record["coverage"])
    page = (only_folder(tmp_path / "1") / "validity.html").read_text(encoding="utf-8")
    assert "Nothing is judged" in page
    assert record["answer"] in page
    assert result.output.strip().splitlines()[-1] == record["answer"]


def test_what_cannot_be_validated_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    result = run(tmp_path, "--set", "arms=[{name: noisy, recommender: random}]")
    assert result.exit_code == 2
    assert "arms: got 1, expected 2" in result.output
    assert not (tmp_path / "aa").exists()


def test_interrupting_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(validate_stats, "run_batch", interrupted)
    result = run(tmp_path, "--replicates", "2")
    assert result.exit_code == 130
    assert not (tmp_path / "aa").exists()
