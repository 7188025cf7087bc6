"""The parts as their users meet them: by name, in a scenario."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from recommenders.base import Feedback
from simulator.cli import main
from simulator.engine.log_files import read_log
from simulator.report import Run, load_run

SCENARIO = str(Path(__file__).parents[1] / "scenario.yaml")
TINY = ("--set", "world.population.users=60", "--set", "counterfactual.runs=60", "--jobs", "1")


def pushback(*arguments: str) -> str:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def run(out: Path, *settings: str) -> Run:
    pushback("run", SCENARIO, "--out", str(out), *TINY, *settings)
    (folder,) = out.glob("scenario/*")
    return load_run(folder)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("recommenders", "trending"), ("metrics", "regret"), ("behaviours", "hasty"), ("reports", "summary")],
)
def test_pushback_finds_the_part_by_its_name(kind: str, name: str) -> None:
    (line,) = [line for line in pushback("list", kind).splitlines() if line.startswith(f"  {name} ")]
    assert "cannot import" not in line


def test_after_a_dislike_trending_shows_less_of_the_creator(tmp_path: Path) -> None:
    results = run(tmp_path).results
    (response,) = [r.response for r in results.responsiveness if (r.arm, r.similarity) == ("trending", "creator")]
    assert response.value < -0.5


def test_all_parts_work_together(tmp_path: Path) -> None:
    settings = ("metrics=[dislike_rate,regret]", "world.user_model.behaviour=hasty", "reports=[summary]")
    made = run(tmp_path, *(option for setting in settings for option in ("--set", setting)))
    assert [metric.name for metric in made.results.metrics] == ["dislike_rate", "regret"]
    assert "| trending | regret |" in (made.folder / "summary.md").read_text(encoding="utf-8")


def test_hasty_users_look_no_further_than_a_long_dwell(tmp_path: Path) -> None:
    never = run(tmp_path / "never", "--set", "world.user_model={behaviour: hasty, config: {leave_probability: 0}}")
    assert never.manifest.log_sha256 == run(tmp_path / "standard").manifest.log_sha256
    always = run(tmp_path / "always", "--set", "world.user_model={behaviour: hasty, config: {leave_probability: 1}}")
    slates = read_log(always.folder / "events" / "chance.parquet").feedback.reshape(-1, 10)
    watched = (slates & Feedback.LONG_DWELL) > 0
    below = np.cumsum(watched, axis=1) - watched > 0
    assert below.any()
    assert not slates[below].any()
