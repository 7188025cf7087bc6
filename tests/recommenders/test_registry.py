from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest
from pydantic import ValidationError

from recommenders import registry
from recommenders.base import (
    Config,
    Interactions,
    ItemFeatures,
    Progress,
    Recommender,
    RecommenderError,
    RequestDraws,
    Requests,
    Slates,
    State,
    Traits,
)
from recommenders.popularity import Popularity, PopularityConfig


class Plain:
    """A recommender that takes no settings.

    More words, which no listing needs.
    """

    def __init__(self) -> None:
        self.traits = Traits()

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None: ...

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        raise NotImplementedError

    def state_dict(self) -> State:
        return {}

    def load_state_dict(self, state: State, items: ItemFeatures) -> None: ...


class Unfinished:
    """Has nothing."""


class WrongSettings(Plain):
    """Names settings of a wrong type."""

    config_class = dict


HERE = __name__


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        metadata.EntryPoint("plain", f"{HERE}:Plain", registry.KIND.group),
        metadata.EntryPoint("broken", "no_such_module:Thing", registry.KIND.group),
        metadata.EntryPoint("popularity", f"{HERE}:Plain", registry.KIND.group),
    ]
    monkeypatch.setattr(metadata, "entry_points", lambda group: points)
    monkeypatch.setitem(sys.modules, HERE, sys.modules[Plain.__module__])


NEEDS_SETTINGS = ["http"]


@pytest.mark.parametrize("name", NEEDS_SETTINGS)
def test_a_built_in_name_that_cannot_have_defaults_says_what_it_needs(name: str) -> None:
    with pytest.raises(ValidationError, match="Field required"):
        registry.build(name)


@pytest.mark.parametrize("name", [name for name in registry.BUILT_IN if name not in NEEDS_SETTINGS])
def test_every_other_built_in_name_builds_with_its_defaults(name: str) -> None:
    extra = registry.EXTRAS.get(name)
    if extra is not None and extra.is_missing():
        pytest.skip(f"needs {extra.install}")
    recommender = registry.build(name)
    assert isinstance(recommender, Recommender)
    assert type(recommender).__doc__
    assert registry.config_class(name)() == recommender.config  # type: ignore[attr-defined]


@pytest.mark.usefixtures("installed")
def test_installed_recommenders_are_listed_after_ours_in_order_of_name() -> None:
    assert [entry.name for entry in registry.describe_all()] == [*registry.BUILT_IN, "broken", "plain"]


def test_settings_reach_the_recommender() -> None:
    built = registry.build("popularity", {"temperature": 0.5})
    assert isinstance(built, Popularity)
    assert built.config == PopularityConfig(temperature=0.5)
    assert registry.build("recommenders.popularity:Popularity", {"temperature": 0.5}).config == built.config  # type: ignore[attr-defined]


def test_wrong_settings_are_located() -> None:
    with pytest.raises(ValidationError) as caught:
        registry.build("popularity", {"temperature": -1, "smooth": 2})
    assert {error["loc"] for error in caught.value.errors()} == {("temperature",), ("smooth",)}
    with pytest.raises(ValidationError):
        registry.build("random", {"anything": 1})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("popularty", r"got 'popularty', expected one of random, .*did you mean 'popularity'\?"),
        ("zzz", r"got 'zzz', expected one of random, popularity, .*, or module:Class$"),
        ("no_such_module:Thing", "cannot import 'no_such_module:Thing': No module named"),
        ("recommenders.base:Thing", "cannot import .* has no attribute 'Thing'"),
        ("recommenders.base:PADDING", "got -1, expected a class"),
        (":Thing", "cannot import ':Thing'"),
    ],
)
def test_a_name_that_leads_nowhere_is_an_error(name: str, message: str) -> None:
    with pytest.raises(RecommenderError, match=message):
        registry.build(name)


@pytest.mark.usefixtures("installed")
def test_another_package_offers_a_recommender_by_entry_point() -> None:
    assert type(registry.build("plain")).__name__ == "Plain"
    assert registry.config_class("plain") is Config
    with pytest.raises(ValidationError):
        registry.build("plain", {"anything": 1})
    with pytest.raises(RecommenderError, match="did you mean 'plain'"):
        registry.build("plane")


@pytest.mark.usefixtures("installed")
def test_a_listing_survives_a_broken_plug_in_and_protects_built_in_names() -> None:
    entries = {entry.name: entry for entry in registry.describe_all()}
    assert len(entries) == len(registry.BUILT_IN) + 2
    assert entries["plain"].summary == "A recommender that takes no settings."
    assert "cannot import" in entries["broken"].summary
    assert entries["popularity"].target == "recommenders.popularity:Popularity"


@pytest.mark.usefixtures("installed")
def test_what_is_no_recommender_is_an_error() -> None:
    with pytest.raises(RecommenderError, match="Unfinished lacks traits, fit, recommend, state_dict, load_state_dict"):
        registry.build(f"{HERE}:Unfinished")
    with pytest.raises(RecommenderError, match="config_class: got <class 'dict'>"):
        registry.build(f"{HERE}:WrongSettings")


def test_simple_recommenders_do_not_import_torch() -> None:
    code = "import sys; from recommenders import registry; registry.build('popularity'); registry.describe_all(); "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
