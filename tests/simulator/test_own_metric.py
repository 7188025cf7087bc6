"""A metric of the user's own, from its file to the report, as the documentation says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from docs.metric_table import PAGE, with_table
from simulator.engine.log_files import read_log

ROOT = Path(__file__).parents[2]
SCENARIO = """
question: Is one arm more monotonous?
expected: It is.
run_time: a second
seed: 3
world:
  preset: lively
  catalogue: {items: 40, creators: 5, topics: 4}
  population: {users: 30}
platform: {slate_size: 5}
warm_up: 1d
arms:
  - {name: chance, recommender: random}
  - {name: popular, recommender: popularity}
control: chance
ab_test: {duration: 1d 12h}
metrics: [dislike_rate, "METRIC"]
thresholds: ["level.monotony[popular] >= 0"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "small.yaml").write_text(SCENARIO.replace("METRIC", "my_metric:monotony"))
    shutil.copy(ROOT / "examples" / "my_metric.py", tmp_path)
    return tmp_path


def pushback(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as it is installed: Python itself does not look for modules in the working folder (-P)."""
    command = [sys.executable, "-P", "-c", "from simulator.cli import main; main()", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def monotony(folder: Path, arm: str) -> float:
    """Of one arm, by hand from its log and the catalogue's creators as the run's report knows them."""
    code = (
        "import sys; from pathlib import Path; from simulator.commands.components import load; "
        "from simulator.world.world import build_world; from simulator.experiment.study import horizon; "
        "s = load(Path('small.yaml')).scenario; import json; "
        "w = build_world(s.world, seed=s.seed, horizon_ticks=horizon(s), directory=Path('.')); "
        "print(json.dumps(w.catalogue.features.creator.tolist()))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    told = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, check=True)
    creator = json.loads(told.stdout)
    log = read_log(next(folder.glob(f"results/small/*/events/{arm}.parquet")))
    above: dict[tuple[int, int, int], int] = {}
    same = n = 0
    for user, session, step, slot, item in zip(
        *(getattr(log, name).tolist() for name in ("user", "session", "step", "slot", "item")), strict=True
    ):
        if slot > 0:
            n += 1
            same += creator[item] == above[user, session, step]
        above[user, session, step] = creator[item]
    return same / n


def test_the_example_runs_in_worker_processes_and_gives_what_its_definition_says(folder: Path) -> None:
    done = pushback(folder, "run", "small.yaml", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert "Monotony" in done.stdout
    results = json.loads(next(folder.glob("results/small/*/results.json")).read_text())
    assert [metric["name"] for metric in results["metrics"]] == ["dislike_rate", "monotony"]
    levels = {row["arm"]: row["mean"]["value"] for row in results["levels"] if row["metric"] == "monotony"}
    assert 0 < levels["popular"] < 1
    for arm in ("chance", "popular"):
        assert levels[arm] == pytest.approx(monotony(folder, arm), rel=1e-12)
    assert [verdict["passed"] for verdict in results["verdicts"]] == [True]
    assert "Items by the creator of the item above them" in next(folder.glob("results/small/*/report.html")).read_text()


def test_thresholds_know_a_metric_by_its_own_name(folder: Path) -> None:
    assert pushback(folder, "validate", "small.yaml").returncode == 0
    done = pushback(folder, "validate", "small.yaml", "--set", "thresholds=['level.monotny[popular] > 0']")
    assert done.returncode == 2
    assert "got 'monotny', expected one of dislike_rate, monotony (did you mean 'monotony'?)" in done.stderr


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x = [][1]", "got 'my_metric:monotony', expected a metric that can be loaded (metric 'my_metric:monotony': "),
        ("monotony = 3", "got 3, expected a Metric or a WorldMetric"),
    ],
)
def test_a_metric_that_cannot_be_loaded_is_a_located_fault(folder: Path, line: str, message: str) -> None:
    with (folder / "my_metric.py").open("a") as file:
        file.write(f"\n{line}\n")
    done = pushback(folder, "validate", "small.yaml")
    assert done.returncode == 2
    assert done.stderr.startswith("small.yaml:17:25: metrics[1]: got 'my_metric:monotony', expected")
    assert message in done.stderr


def test_a_broken_metric_ends_the_run_before_the_arms_start(folder: Path) -> None:
    text = (folder / "my_metric.py").read_text()
    (folder / "my_metric.py").write_text(text.replace("view.count(below),", "-view.count(below),"))
    done = pushback(folder, "run", "small.yaml", "--jobs", "1")
    assert done.returncode == 2
    [message] = done.stderr.strip().splitlines()
    assert message.startswith("metric monotony: denominator: got -")
    assert message.endswith("for user 0, expected 0 or more for every user")
    assert list(folder.glob("results/small/*/events/popular.parquet")) == []


def test_the_page_of_metrics_is_current() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_table(page), "run: python docs/metric_table.py"
