from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from simulator.cli import main
from simulator.commands import components
from simulator.scenario.faults import ScenarioErrors
from simulator.scenario.loader import load_scenario
from tests.simulator.scenario.samples import PARTS, WRONG

FILES = sorted(WRONG.glob("*.yaml"))


def messages(file: Path) -> str:
    return file.with_suffix(".txt").read_text(encoding="utf-8").rstrip("\n")


def test_there_are_at_least_forty_and_each_has_its_messages() -> None:
    assert len(FILES) >= 40
    assert {f.stem for f in FILES} == {f.stem for f in WRONG.glob("*.txt")}


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_wrong_scenario_gives_exactly_its_located_errors(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(WRONG)
    with pytest.raises(ScenarioErrors) as raised:
        load_scenario(Path(file.name), parts=PARTS)
    assert str(raised.value) == messages(file)


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_command_line_prints_the_errors_and_exits_with_2(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(WRONG)
    monkeypatch.setattr(components, "registered_parts", lambda: PARTS)
    result = CliRunner().invoke(main, ["validate", file.name])
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    count = len(messages(file).splitlines())
    assert result.stderr == f"{messages(file)}\n{file.name}: {count} fault{'s' if count > 1 else ''}\n"
