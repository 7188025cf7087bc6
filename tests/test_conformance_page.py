"""docs/conformance.md says what is so: its table, its code, and the output that it shows."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from docs.conformance_table import PAGE, faults_table, laws_table, shipped_table, with_table
from recommenders.conformance import CHECKS, check_recommender
from simulator.cli import main
from tests.recommenders.conformance.stubborn import Listed, Stubborn, StubbornConfig

TEXT = PAGE.read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_the_table_of_laws_is_current() -> None:
    assert with_table(TEXT, "laws", laws_table()) == TEXT, "run: python docs/conformance_table.py"


@pytest.mark.parametrize("code", CODE)
def test_its_code_runs(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(code, {"__name__": "page"})
    if "print" in code:
        assert "0 broken" in capsys.readouterr().out


def test_its_example_prints_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (code,) = [code for code in CODE if "class Mine" in code]
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    found = re.search(r"`pushback (check mine:Mine .*)` says", TEXT)
    assert found is not None
    printed = CliRunner().invoke(main, found[1].split()).stdout
    begin, end = printed.index("check_slates_are_valid:"), printed.index("\n\nmine:Mine: ")
    assert printed[begin:end] in TEXT


def test_the_names_of_checks_on_the_page_exist() -> None:
    assert set(re.findall(r"check_\w+", TEXT)) - {"check_recommender"} <= set(CHECKS)


def test_a_row_of_the_shipped_names_what_fails_and_why() -> None:
    known = check_recommender(Listed, {"fault": "dtype"}, only="valid")
    broken = check_recommender(Stubborn, {"fault": "dtype"}, only="valid")
    *_, first, second = shipped_table([known, broken]).splitlines()
    assert first.split(" | ")[1:3] == ["0", "0"]
    assert first.split(" | ")[3].startswith("`check_slates_are_valid`: scores are float64, see issue 12 (slates.score")
    assert second.split(" | ")[4].startswith("`check_slates_are_valid`: slates.score: got float64")


class Wrong(Stubborn):
    """Scores are float64 now and then."""

    def __init__(self, config: StubbornConfig) -> None:
        super().__init__(StubbornConfig(fault="dtype"))


def test_a_row_of_the_faults_says_what_caught_them_and_how() -> None:
    *_, row = faults_table({"check_slates_are_valid": [Wrong]}).splitlines()
    name, fault, check, found_by, example = row.strip("| ").split(" | ")
    assert (name, fault, check) == ("`Wrong`", "Scores are float64 now and then.", "`check_slates_are_valid`")
    assert int(found_by) > 1
    assert example == "`asks=[Ask([(7, 3)])], k=3, excluded=[]`"
    with pytest.raises(ValueError, match="got Stubborn passed, expected it caught"):
        faults_table({"check_slates_are_valid": [Stubborn]})
