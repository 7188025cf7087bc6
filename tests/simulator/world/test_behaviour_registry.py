from __future__ import annotations

import sys
from dataclasses import replace
from importlib import metadata
from types import ModuleType

import pytest

from recommenders.base import Config
from simulator.scenario import schema
from simulator.world import registry
from simulator.world.behaviour import Behaviour, BehaviourError, UtilityBehaviour
from simulator.world.behaviour_contract import CheckedBehaviour
from tests.simulator.engine.worlds import small_world

HERE = "behaviours_for_tests"
WORLD = small_world()


class HastyConfig(Config):
    speed: float = 1.0


class Hasty(UtilityBehaviour):
    """In a hurry."""

    config_class = HastyConfig

    def __init__(self, config: HastyConfig) -> None:
        self.config = config


class Unfinished:
    """Has nothing."""


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(HERE)
    vars(module).update(Hasty=Hasty, Unfinished=Unfinished)
    monkeypatch.setitem(sys.modules, HERE, module)
    points = [
        metadata.EntryPoint("hasty", f"{HERE}:Hasty", "pushback.behaviours"),
        metadata.EntryPoint("utility", f"{HERE}:Hasty", "pushback.behaviours"),
    ]
    monkeypatch.setattr(metadata, "entry_points", lambda group: points if group == "pushback.behaviours" else [])


def named(behaviour: str, **config: object) -> Behaviour:
    model = schema.UserModel(behaviour=behaviour, config=config)
    return registry.behaviour_of(replace(WORLD, settings=WORLD.settings.model_copy(update={"user_model": model})))


def test_the_standard_user_model_is_built_in_and_needs_no_checks() -> None:
    assert type(registry.behaviour_of(WORLD)) is UtilityBehaviour
    assert registry.config_class("utility") is Config


@pytest.mark.parametrize("name", ["hasty", f"{HERE}:Hasty"])
def test_another_user_model_is_built_from_its_settings_and_checked(name: str) -> None:
    built = named(name, speed=3.0)
    assert isinstance(built, CheckedBehaviour)
    assert built.name == name
    assert built.behaviour.config == HastyConfig(speed=3.0)  # type: ignore[attr-defined]
    assert registry.config_class(name) is HastyConfig


def test_names_that_lead_nowhere_and_wrong_settings_are_errors() -> None:
    with pytest.raises(BehaviourError, match=r"^behaviour: got 'hastie', .* or module:Class; did you mean 'hasty'\?$"):
        named("hastie")
    with pytest.raises(BehaviourError, match="Unfinished lacks begin, respond, advance"):
        named(f"{HERE}:Unfinished")
    with pytest.raises(BehaviourError, match=r"^behaviour 'hasty': config: 1 validation error"):
        named("hasty", haste=1)


def test_user_models_are_listed() -> None:
    assert [(entry.name, entry.summary) for entry in registry.describe_all()][1:] == [("hasty", "In a hurry.")]
