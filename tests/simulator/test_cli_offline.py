"""`pushback backtest` and `pushback train`, from options to files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from recommenders import storage
from recommenders.base import Feedback
from recommenders.popularity import Popularity
from simulator.cli import main
from simulator.commands import models
from simulator.commands.logs import SHIPPED, LogOptions, open_log
from simulator.commands.models import default_models, parse_model

LOG = ["--event", "what", "--map", "like=like,ban=dislike,*=examined"]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = ["user_id,item_id,timestamp,what"]
    for second, (user, item) in enumerate(zip(rng.integers(0, 30, 900), rng.integers(0, 40, 900), strict=True)):
        what = "ban" if item % 7 == user % 7 else "like" if rng.random() < 0.6 else "seen"
        rows.append(f"u{user},i{item},{1_600_000_000 + second},{what}")
    Path("my log.csv").write_text("\n".join(rows))
    return "my log.csv"


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def only_run(name: str = "my_log") -> Path:
    (folder,) = Path("results/backtest", name).iterdir()
    return folder


def test_a_backtest_writes_results_table_and_page(log: str) -> None:
    result = invoke("backtest", "--log", log, *LOG, "--model", "popularity", "--model", "item_knn:window=5", "--k", "3")
    assert result.exit_code == 0, result.output
    assert "delta HR@3" in " ".join(result.stdout.split())
    assert result.stdout.splitlines()[-1].endswith(".")
    folder = only_run()
    assert sorted(f.name for f in folder.iterdir()) == ["report.html", "results.json", "table.md"]
    found = json.loads((folder / "results.json").read_text())
    assert [m["name"] for m in found["models"]] == ["popularity", "item_knn:window=5"]
    assert found["models"][1]["config"] == {"window": 5}
    figures = found["models"][0]["figures"]
    assert figures["delta_hr@3"]["value"] == pytest.approx(figures["hr@3"]["value"] - figures["hr_minus@3"]["value"])
    assert figures["hr@3"]["interval"] == "users"
    assert figures["hr@3"]["low"] <= figures["hr@3"]["value"] <= figures["hr@3"]["high"]
    assert found["split"]["negative_rows"] > 0
    page = (folder / "report.html").read_text()
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "item_knn:window=5" in page
    table = (folder / "table.md").read_text()
    assert f"{figures['hr@3']['value']:.4f}" in table
    assert "| popularity |" in table


def test_jobs_never_change_a_figure_and_seeds_give_intervals(log: str) -> None:
    Path("models.yaml").write_text(
        "models:\n  - {name: <b>light</b>, recommender: linear_recurrent, config: {dim: 4, window: 5, epochs: 1}}\n"
        "  - {name: pop, recommender: popularity}\n"
    )
    options = ["backtest", "--log", log, *LOG, "--models", "models.yaml", "--seeds", "2"]
    for jobs, name in (("1", "one"), ("2", "two")):
        assert invoke(*options, "--jobs", jobs, "--name", name).exit_code == 0
    one, two = (json.loads((only_run(name) / "results.json").read_text()) for name in ("one", "two"))
    for a, b in zip(one["models"], two["models"], strict=True):
        assert a["figures"] == b["figures"]
    light, pop = (m["figures"]["ndcg@10"] for m in one["models"])
    assert light["interval"] == "seeds"
    assert len(set(light["by_seed"])) == 2
    assert (pop["interval"], pop["low"], pop["note"]) == ("none", None, "the same for every seed")
    assert "&lt;b&gt;light" in (only_run("one") / "report.html").read_text()


def test_a_log_without_dislikes_has_no_negative_metrics(log: str) -> None:
    result = invoke(
        "backtest", "--log", log, "--event", "what", "--map", "like=like,*=examined", "--model", "popularity"
    )
    assert result.exit_code == 0, result.output
    assert "No test row is disliked: the negative metrics cannot be had." in " ".join(result.stdout.split())
    figures = json.loads((only_run() / "results.json").read_text())["models"][0]["figures"]
    assert figures["hr_minus@10"]["value"] is None
    assert figures["dislike_auc"]["value"] is None
    assert figures["hr@10"]["value"] > 0


def test_backtests_are_no_runs_of_a_scenario(log: str) -> None:
    assert invoke("backtest", "--log", log, *LOG, "--model", "popularity").exit_code == 0
    assert json.loads(invoke("list", "runs", "--json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "popularity"], "feedback: got no rule"),
        ([*LOG, "--model", "popularty"], "did you mean 'popularity'"),
        ([*LOG, "--model", "popularity:smooth=1"], "config.smooth"),
        ([*LOG, "--model", "popularity", "--model", "popularity"], "got the name twice"),
        ([*LOG, "--model", "popularity:=2"], "got '=2', expected key=value"),
        ([*LOG, "--models", "absent.yaml"], "absent.yaml: got No such file"),
        ([*LOG, "--model", "oracle"], "reads latent utilities"),
        ([*LOG, "--negative", "hate"], "--negative: got 'hate', expected one or more of dislike"),
        (
            [*LOG, "--negative", "dislike,like"],
            "--negative: got 'like', expected one or more of dislike, dismiss, skip",
        ),
        ([*LOG, "--name", "../../escaped"], "--name: got '../../escaped', expected the name of one folder"),
        ([*LOG, "--name", "/tmp/escaped"], "--name: got '/tmp/escaped', expected the name of one folder"),
        ([*LOG, "--name", ""], "--name: got '', expected the name of one folder"),
        ([*LOG, "--separator", ";;"], "separator: got ';;', expected one ASCII character"),
        ([*LOG, "--separator", ""], "separator: got '', expected one ASCII character"),
        ([*LOG, "--time-unit", "ns"], "timestamp: got the unit ns for times from 1600000000 to"),
        ([*LOG, "--test-from", "yesterday"], "--test-from: got 'yesterday', expected an ISO date"),
        ([*LOG, "--test-from", "2031-01-01"], "split: got no test row"),
        ([*LOG, "--columns", "usr=u"], "--columns: got 'usr', expected one of: user, item, timestamp"),
        ([*LOG, "--columns", "user=u"], "u: got no such column"),
        (["--event", "what", "--map", "like=love"], "feedback: got 'love'"),
        (["--event", "what"], "expected both a column and what it stands for"),
        (["--rating", "what", "--like", ">=4"], "what: got 'ban', expected a number"),
        (["--event", "what", "--map", "like=like"], "my log.csv:"),
        (["--flag", "dislike"], "--flag: got 'dislike', expected COLUMN=KIND"),
        ([*LOG, "--items", "items.csv"], "expected --item-columns"),
        ([*LOG, "--topic-separator", "|"], "expected --items FILE"),
        ([*LOG, "--dwell", "timestamp"], "dwell: timestamp: got a name that ends in no unit"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_written(log: str, arguments: list[str], message: str) -> None:
    if "--model" not in arguments and "--models" not in arguments:
        arguments = [*arguments, "--model", "popularity"]
    result = invoke("backtest", "--log", log, *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert not Path("results").exists()


def test_a_file_of_models_is_checked_by_line(log: str) -> None:
    Path("models.yaml").write_text("models:\n  - {name: a, recommnder: popularity}\n")
    result = invoke("backtest", "--log", log, *LOG, "--models", "models.yaml")
    assert result.exit_code == 2
    assert "models.yaml:2:15: models[0].recommnder" in result.stderr


def test_settings_in_a_file_of_models_are_as_strict_as_a_scenario(log: str) -> None:
    Path("models.yaml").write_text(
        "models:\n"
        "  - {name: a, recommender: gru4rec, config: {dim: '16'}}\n"
        "  - {name: b, recommender: block_disliked, config: {model: {recommender: item_knn, config: {window: true}}}}\n"
        "  - {name: c, recommender: popularty}\n"
    )
    result = invoke("backtest", "--log", log, *LOG, "--models", "models.yaml")
    assert result.exit_code == 2
    for fault in (
        "models.yaml:2:51: models[0].config.dim: got '16', expected a whole number",
        "models[1].config.model.config.window: got true, expected a whole number",
        "models.yaml:4:28: models[2].recommender: got 'popularty'",
    ):
        assert fault in result.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--out", "n" * 300],
        ["train", "--out", "my log.csv/model"],
        ["backtest", "--name", "n" * 300],
        ["backtest", "--out", "my log.csv/results"],
    ],
)
def test_a_folder_that_cannot_be_written_is_told_before_any_training(
    log: str, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[object] = []
    monkeypatch.setattr(Popularity, "fit", lambda self, *_, **__: fitted.append(self))
    result = invoke(*command, "--log", log, *LOG, "--model", "popularity")
    assert result.exit_code == 2, result.output
    assert "expected a new folder to write to" in result.stderr
    assert fitted == []
    assert [path.name for path in Path().iterdir()] == ["my log.csv"]


def test_train_saves_what_load_gives_back(log: str) -> None:
    result = invoke("train", "--log", log, *LOG, "--model", "item_knn:neighbours=7", "--out", "model")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Saved model: ")
    found = storage.load(Path("model"))
    assert found.info.config["neighbours"] == 7
    assert found.info.item_ids[:2] == ["i0", "i1"]
    assert found.info.training["rows"] <= 900
    again = invoke("train", "--log", log, *LOG, "--model", "item_knn", "--out", "model")
    assert again.exit_code == 2
    assert "model: exists, expected the name of a new folder" in again.stderr
    assert invoke("train", "--log", log, *LOG, "--model", "oracle", "--out", "other").exit_code == 2
    assert not Path("other").exists()


def test_the_shipped_log_reads_as_its_readme_says() -> None:
    path, _ = SHIPPED["kuairand_likes"]
    readme = (path.parent.parent / "README.md").read_text()
    found = open_log(LogOptions(log="shipped:kuairand_likes"))
    feedback = found.interactions.feedback
    for count in (len(feedback), int(((feedback & Feedback.DISLIKE) != 0).sum()), len(found.item_ids)):
        assert f"{count:,}" in readme
    assert found.interactions.dwell_seconds.max() > 1


def test_movielens_is_read_by_its_folder(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,31,2.0,1260759144\n1,9,4.0,1260759179\n")
    (tmp_path / "movies.csv").write_text('movieId,title,genres\n31,"One, two",Drama|War\n9,B,Comedy\n')
    found = open_log(LogOptions(log=str(tmp_path), log_format="movielens"))
    assert found.interactions.feedback.tolist() == [17, 9]
    assert found.item_ids == (9, 31)
    assert found.items.n_topics == 2


def test_models_are_parsed_from_text() -> None:
    spec = parse_model("gru4rec:dim=16,negative_weight.dislike=64,sampling=uniform")
    assert spec.config == {"dim": 16, "negative_weight": {"dislike": 64}, "sampling": "uniform"}
    assert parse_model("my.module:Mine").recommender == "my.module:Mine"
    assert parse_model("my.module:Mine:a=[1, 2],b={c: 3}").config == {"a": [1, 2], "b": {"c": 3}}


def test_default_models_can_all_be_built_and_need_no_world() -> None:
    names = [model.recommender for model in default_models()]
    assert {"popularity", "item_knn", "gru4rec", "linear_recurrent"} <= set(names)
    assert not {"oracle", "random"} & set(names)
    models.check_models(default_models())


def test_the_example_models_can_all_be_built() -> None:
    found = models.choose_models((), Path(__file__).parents[2] / "examples" / "backtest_models.yaml")
    assert len(found) >= 10
