"""Recommenders whose library is not installed: still listed and validated, and refused with the command that helps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from recommenders import extras, registry
from recommenders.base import RecommenderError
from simulator.commands.components import load
from simulator.commands.listing import list_recommenders
from simulator.scenario.faults import ScenarioErrors
from simulator.scenario.shipped import shipped_scenarios

NAMES = list(registry.EXTRAS)


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda module: None)


def test_there_are_recommenders_with_extras() -> None:
    assert {"implicit_als", "lenskit_item_knn", "rectools_sasrec"} <= set(NAMES)


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize("name", NAMES)
def test_a_missing_library_is_told_with_the_command_that_installs_it(name: str) -> None:
    library = name.partition("_")[0]
    message = rf"^recommender '{name}' needs the extra: pip install 'pushback\[{library}\]'"
    for ask in (registry.build, registry.require_extra):
        with pytest.raises(RecommenderError, match=message):
            ask(name)


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize("name", NAMES)
def test_settings_are_known_without_the_library(name: str) -> None:
    assert registry.config_class(name)().model_dump()["window"] == 50


@pytest.mark.usefixtures("nothing_installed")
def test_the_loader_says_where_a_library_is_missing_and_what_else_is_wrong(tmp_path: Path) -> None:
    text = shipped_scenarios()["adapters"].read_text(encoding="utf-8")
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace("drop_disliked: true", "dim: 33, heads: 2"), encoding="utf-8")
    with pytest.raises(ScenarioErrors) as caught:
        load(file)
    faults = str(caught.value)
    assert "arms[3].recommender: got 'rectools_sasrec', expected a recommender whose library is installed" in faults
    assert "needs the extra: pip install 'pushback[implicit]'" in faults
    assert "dim: got 33, expected a multiple of heads = 2" in faults


@pytest.mark.usefixtures("nothing_installed")
def test_a_wrapped_model_without_its_library_is_told_at_its_place(tmp_path: Path) -> None:
    text = shipped_scenarios()["quickstart"].read_text(encoding="utf-8")
    file = tmp_path / "mine.yaml"
    wrapped = "recommender: block_disliked\n    config: {model: {recommender: implicit_als}}"
    file.write_text(text.replace("recommender: popularity", wrapped), encoding="utf-8")
    with pytest.raises(ScenarioErrors, match=r"arms\[0\]\.config\.model\.recommender: .*pushback\[implicit\]"):
        load(file)


def test_a_list_says_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda module: None if module == "lenskit" else object())
    summary = {record["name"]: str(record["summary"]) for record in list_recommenders()}
    assert summary["lenskit_als"].endswith("Not installed: pip install 'pushback[lenskit]'")
    assert "Not installed" not in summary["implicit_als"] + summary["rectools_sasrec"] + summary["popularity"]


def test_listing_and_validating_import_no_library() -> None:
    code = (
        "import sys; from recommenders import registry; from simulator.commands.listing import list_recommenders;"
        f"list_recommenders(); assert 'torch' not in sys.modules; [registry.config_class(n) for n in {NAMES}];"
        "print(sorted({'implicit', 'lenskit', 'rectools', 'pytorch_lightning', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
