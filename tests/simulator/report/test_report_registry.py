from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from simulator.cli import main
from simulator.report import ReportError, Run, registry, write_report, write_reports
from tests.simulator.report.test_runs import write_run

HERE = "reports_for_tests"


def answer(run: Run, folder: Path) -> None:
    """The answer as a line of text."""
    (folder / "answer.txt").write_text(f"{run.results.scenario}: {(run.folder / 'results.json').exists()}")


def spoils(run: Run, folder: Path) -> None:
    (folder / "fine.txt").touch()
    (folder / "results.json").write_text("{}")


def nothing(run: Run, folder: Path) -> None: ...


def fails(run: Run, folder: Path) -> None:
    (folder / "half.txt").touch()
    raise KeyError("x")


def nests(run: Run, folder: Path) -> None:
    (folder / "more").mkdir()


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(HERE)
    vars(module).update(answer=answer, spoils=spoils, nothing=nothing, fails=fails, nests=nests, number=3)
    monkeypatch.setitem(sys.modules, HERE, module)
    points = [
        metadata.EntryPoint("answer", f"{HERE}:answer", "pushback.reports"),
        metadata.EntryPoint("broken", "no_such_module:thing", "pushback.reports"),
    ]
    monkeypatch.setattr(metadata, "entry_points", lambda group: points if group == "pushback.reports" else [])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = write_run(tmp_path / "run")
    write_report(made)
    return made


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_report_adds_files_to_a_finished_run_and_replaces_its_own(folder: Path) -> None:
    before = contents(folder)
    assert write_reports(["answer"], folder) == (folder / "answer.txt",)
    assert write_reports([f"{HERE}:answer"], folder) == (folder / "answer.txt",)
    after = contents(folder)
    assert after.pop("answer.txt").endswith(b": True")
    assert after == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "answr",
            r"^report: got 'answr', expected one of answer, broken, or module:function; did you mean 'answer'\?$",
        ),
        ("broken", "^report 'broken': cannot import 'no_such_module:thing': No module"),
        (f"{HERE}:number", "got 3, expected a function"),
        (f"{HERE}:nothing", "got no file, expected at least one"),
        (f"{HERE}:spoils", r"got results\.json, expected a name that no file of every run has"),
        (f"{HERE}:nests", "got the folder more, expected files only"),
        (f"{HERE}:fails", r"failed at test_report_registry\.py:\d+: KeyError: 'x'"),
    ],
)
def test_a_report_that_breaks_a_rule_leaves_the_run_as_it_was(folder: Path, name: str, message: str) -> None:
    before = contents(folder)
    with pytest.raises(ReportError, match=message):
        write_reports([name], folder)
    assert contents(folder) == before


def test_an_unknown_report_is_told_before_any_is_written(folder: Path) -> None:
    before = contents(folder)
    with pytest.raises(ReportError, match="got 'answr'"):
        write_reports(["answer", "answr"], folder)
    assert contents(folder) == before


def test_reports_are_listed_with_what_is_wrong_with_them() -> None:
    listed = {entry.name: entry.summary for entry in registry.describe_all()}
    assert listed["answer"] == "The answer as a line of text."
    assert listed["broken"].startswith("report 'broken': cannot import")


def test_the_command_line_writes_reports_of_a_run(folder: Path) -> None:
    result = CliRunner().invoke(main, ["report", str(folder), "--with", "answer"])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [str(folder / "report.html"), str(folder / "answer.txt")]
    result = CliRunner().invoke(main, ["report", str(folder), "--with", f"{HERE}:fails"])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"report '{HERE}:fails': ")
