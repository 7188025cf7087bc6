from __future__ import annotations

from pathlib import Path

import pytest

from simulator.scenario import shipped
from simulator.scenario.shipped import find_scenario, find_table, shipped_scenarios, shipped_tables


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for an installed package, with one scenario inside."""
    package = tmp_path / "simulator"
    (package / "shipped_scenarios").mkdir(parents=True)
    (package / "shipped_scenarios" / "quickstart.yaml").touch()
    monkeypatch.setattr(shipped, "_PACKAGE", package)
    return tmp_path


def test_scenarios_come_from_the_package_once_installed(installed: Path) -> None:
    assert shipped_scenarios() == {"quickstart": installed / "simulator" / "shipped_scenarios" / "quickstart.yaml"}


def test_scenarios_come_from_the_checkout_where_there_is_one(installed: Path) -> None:
    (installed / "pyproject.toml").touch()
    (installed / "scenarios").mkdir()
    (installed / "scenarios" / "other.yaml").touch()
    assert list(shipped_scenarios()) == ["other"]


def test_bare_name_is_a_shipped_scenario_and_an_unknown_one_is_told(installed: Path) -> None:
    assert find_scenario("quickstart").name == "quickstart.yaml"
    with pytest.raises(LookupError, match="did you mean 'quickstart'"):
        find_scenario("quikstart")


def test_paths_stay_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").touch()
    for path in ("mine", "absent.yaml", "folder/absent"):
        assert find_scenario(path) == Path(path)


def test_real_catalogue_is_shipped() -> None:
    assert find_table("shipped:kuairand_videos", Path("any.yaml")) == shipped_tables()["kuairand_videos"]
    with pytest.raises(LookupError, match="kuairand_videos"):
        find_table("shipped:absent", Path("any.yaml"))
