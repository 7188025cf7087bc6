from __future__ import annotations

import errno
import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from simulator.experiment.results import Manifest, Results
from simulator.report import ReportError, compare_runs, load_run, write_report
from simulator.report.compare import flatten
from simulator.report.serialize import manifest_to_json, results_to_json
from tests.simulator.report.samples import SCENARIO_YAML, estimate, failed_results, sample_manifest, sample_results


def write_run(
    folder: Path, results: Results | None = None, manifest: Manifest | None = None, scenario: str = SCENARIO_YAML
) -> Path:
    folder.mkdir()
    (folder / "results.json").write_text(results_to_json(results or sample_results()))
    (folder / "manifest.json").write_text(manifest_to_json(manifest or sample_manifest()))
    (folder / "scenario.yaml").write_text(scenario)
    return folder


def compared(a: Path, b: Path) -> str:
    stream = io.StringIO()
    compare_runs(a, b, Console(file=stream, width=100))
    return stream.getvalue()


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = load_run(write_run(tmp_path / "run"))
    assert run.results == sample_results()
    assert run.manifest == sample_manifest()
    assert run.scenario_yaml == SCENARIO_YAML


def test_report_is_written_whole_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    report = write_report(folder)
    assert report == folder / "report.html"
    assert report.read_text(encoding="utf-8").endswith("</html>")
    assert sorted(p.name for p in folder.iterdir()) == ["manifest.json", "report.html", "results.json", "scenario.yaml"]


def test_report_replaces_an_older_one_and_is_the_same_again(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    (folder / "report.html").write_text("old")
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first != b"old"


def test_a_lone_surrogate_does_not_stop_the_report(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", replace(sample_results(), question="what \ud800?"))
    assert b"what &#55296;?" in write_report(folder).read_bytes()


def test_report_may_be_written_before_the_manifest_is_complete(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", manifest=replace(sample_manifest(), complete=False))
    assert write_report(folder).exists()
    with pytest.raises(ReportError, match="the run was interrupted"):
        load_run(folder)


def test_an_interrupted_run_without_results_says_so(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", manifest=replace(sample_manifest(), complete=False))
    (folder / "results.json").unlink()
    with pytest.raises(ReportError, match="the run was interrupted"):
        write_report(folder)


@pytest.mark.parametrize("name", ["results.json", "manifest.json", "scenario.yaml"])
def test_a_missing_or_corrupt_file_is_named(tmp_path: Path, name: str) -> None:
    folder = write_run(tmp_path / "run")
    (folder / name).write_bytes(b"\xff\xfe")
    with pytest.raises(ReportError, match=rf"{name}: not UTF-8 text at byte 0"):
        load_run(folder)
    (folder / name).unlink()
    with pytest.raises(ReportError, match=rf"{name}: missing"):
        load_run(folder)
    (folder / name).mkdir()
    with pytest.raises(ReportError, match=rf"{name}: cannot be read"):
        load_run(folder)


def test_a_report_that_cannot_be_written_is_a_located_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_run(tmp_path / "run")
    (folder / "report.html").mkdir()
    with pytest.raises(ReportError, match=r"run/report.html: got Is a directory, expected a file"):
        write_report(folder)
    assert not list(folder.glob("*.tmp"))

    def refuse(path: Path, mode: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    # Not by the folder's mode: a superuser, who runs the tests in many containers, may write anyway.
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ReportError, match=r"run/report.html: got Permission denied, expected"):
        write_report(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="nowhere: no such folder"):
        load_run(tmp_path / "nowhere")


def test_equal_runs_differ_in_nothing(tmp_path: Path) -> None:
    text = compared(write_run(tmp_path / "a"), write_run(tmp_path / "b"))
    assert "All 12 settings are equal." in text
    assert "All 106 estimates are equal." in text
    assert "Event logs: identical in 4 of 4 shared logs." in text
    assert "that differ" not in text


def test_comparison_shows_only_what_differs(tmp_path: Path) -> None:
    full = sample_results()
    changed = replace(full.responsiveness[3], response=estimate(-0.5, 0.0175))
    # The second change is below what is printed, so it must not show.
    tiny = replace(full.responsiveness[2], response=replace(full.responsiveness[2].response, n=1))
    results = replace(full, responsiveness=(*full.responsiveness[:2], tiny, changed, *full.responsiveness[4:]))
    manifest = replace(sample_manifest(), seed=2, log_sha256={**sample_manifest().log_sha256, "gru": "ff"})
    scenario = SCENARIO_YAML.replace("ntr_weight: 64", "ntr_weight: 4").replace("seed: 1", "seed: 2")
    text = compared(write_run(tmp_path / "a"), write_run(tmp_path / "b", results, manifest, scenario))
    rows = [line.split() for line in text.splitlines()]
    assert ["arms[gru_ntr].config.ntr_weight", "64", "4"] in rows
    assert ["seed", "1", "2"] in rows
    assert next(r for r in rows if r and r[0] == "responsiveness.creator[gru_ntr]")[-1] == "+11.3pp"
    assert "10 other settings are equal." in text
    assert "105 other estimates are equal." in text
    assert "gru_input" not in text
    assert "Event logs: identical in 3 of 4 shared logs." in text


def test_comparison_of_runs_with_other_arms_marks_what_is_absent(tmp_path: Path) -> None:
    b = write_run(tmp_path / "b", sample_results(("popularity", "other")))
    rows = [line.split() for line in compared(write_run(tmp_path / "a"), b).splitlines()]
    only_b = next(r for r in rows if r and r[0] == "lift.dislike_rate[other]")
    assert only_b[1] == "–"
    assert only_b[-1] == "–"


def test_comparison_tells_of_arms_that_failed(tmp_path: Path) -> None:
    text = compared(write_run(tmp_path / "a"), write_run(tmp_path / "b", failed_results()))
    assert text.index("In B, arm silent: training failed: SystemExit.") < text.index("Estimates that differ")


def test_comparison_refuses_a_scenario_that_is_not_yaml(tmp_path: Path) -> None:
    b = write_run(tmp_path / "b", scenario="a: [")
    with pytest.raises(ReportError, match=r"b/scenario.yaml:1:5: file: got broken YAML"):
        compared(write_run(tmp_path / "a"), b)


def test_flattening_keeps_every_leaf() -> None:
    nested = {"a": {"b": [1, {"c": None}]}, "d": [], "arms": [{"name": "x", "w": 1}, {"name": "y", "w": 2}]}
    assert flatten(nested) == {
        "a.b[0]": "1", "a.b[1].c": "none", "d": "[]", "arms[x].name": "x", "arms[x].w": "1", "arms[y].name": "y",
        "arms[y].w": "2",
    }  # fmt: skip
