"""`pushback power` on a finished run, against the planning functions themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from simulator.cli import main
from simulator.experiment.power import detectable_effect, needed_users
from simulator.report.serialize import manifest_to_json, results_to_json
from tests.simulator.report.samples import sample_manifest, sample_results


@pytest.fixture
def pilot(tmp_path: Path) -> Path:
    (tmp_path / "results.json").write_text(results_to_json(sample_results()), encoding="utf-8")
    (tmp_path / "manifest.json").write_text(manifest_to_json(sample_manifest()), encoding="utf-8")
    (tmp_path / "scenario.yaml").write_text("question: x\n", encoding="utf-8")
    return tmp_path


def test_plans_are_those_of_the_planning_functions(pilot: Path) -> None:
    done = CliRunner().invoke(main, ["power", str(pilot), "--effect", "-2%", "--users", "5000", "--json"])
    assert done.exit_code == 0, done.output
    plans = json.loads(done.output)
    results = sample_results()
    arm = [a for a in results.arms if a != results.control][-1]
    lifts = {c.metric: c.lift for c in results.comparisons if c.arm == arm}
    assert len(plans) == 2 * len(lifts)
    for p in plans:
        at = {"power": 0.8, "confidence": 0.95, "paired": p["paired"], "pilot_confidence": results.confidence}
        needed = needed_users(lifts[p["metric"]], effect=0.02, **at)
        assert p["needed"] == (None if needed.note else needed.value)
        assert p["detectable"] == pytest.approx(detectable_effect(lifts[p["metric"]], users=5000, **at).value)


def test_the_table_names_pilot_treatment_and_both_designs(pilot: Path) -> None:
    done = CliRunner().invoke(main, ["power", str(pilot)])
    assert done.exit_code == 0, done.output
    results = sample_results()
    for words in (results.scenario, results.control, "Dislike rate", "paired", "split", "fewer users"):
        assert words in done.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--effect", "banana"],
            "--effect: got 'banana', expected a relative effect other than 0",
        ),
        (["--effect", "0"], "--effect: got '0'"),
        (["--effect", "nan%"], "--effect: got 'nan%'"),
        (["--arm", "nobody"], "--arm: got nobody, expected one of"),
    ],
)
def test_wrong_options_are_told(pilot: Path, options: list[str], message: str) -> None:
    done = CliRunner().invoke(main, ["power", str(pilot), *options])
    assert done.exit_code == 2
    assert message in done.stderr
