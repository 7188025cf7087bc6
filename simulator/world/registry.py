"""Find a user model by name, build it from settings, list what there is.

Three ways to name one: a built-in name (`utility`), a name that an installed package offers by an entry point of the
group `pushback.behaviours`, or `module:Class`. The class is a `Behaviour`; it names its settings in `config_class`, as
a recommender's does.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from recommenders.base import Config
from recommenders.plugins import Entry, Kind
from simulator.world.behaviour import Behaviour, BehaviourError
from simulator.world.behaviour_contract import CheckedBehaviour
from simulator.world.world import World

BUILT_IN: Mapping[str, Entry] = {
    "utility": Entry(
        "utility",
        "simulator.world.behaviour:UtilityBehaviour",
        "Utility against thresholds, with keyed noise; its settings are world.behaviour and world.engagement.",
    )
}
KIND = Kind("behaviour", "Class", BUILT_IN, BehaviourError)

_REQUIRED = ("begin", "respond", "advance")


def behaviour_of(world: World) -> Behaviour:
    """The user model that a world names; one that is not built in is checked whenever it answers.

    Raises:
        BehaviourError: the name is unknown, cannot be imported, or is not a behaviour, or its settings are wrong.
    """
    settings = world.settings.user_model
    entry = _resolve(settings.behaviour)
    try:
        behaviour: Behaviour = KIND.build(KIND.load_class(entry), entry.name, settings.config, _REQUIRED)
    except ValidationError as error:
        raise BehaviourError(f"behaviour {entry.name!r}: config: {error}") from error
    return behaviour if entry.name in BUILT_IN else CheckedBehaviour(entry.name, behaviour)


def config_class(name: str) -> type[Config]:
    """The type of a user model's settings; `Config`, which takes none, where the class does not name one.

    Raises:
        BehaviourError: the name is unknown or cannot be imported, or its `config_class` is not a `Config`.
    """
    return KIND.config_class(KIND.load_class(_resolve(name)), name)


def describe_all() -> list[Entry]:
    """All user models with a name: the built-in ones, then those of other packages, by name."""
    return [*BUILT_IN.values(), *KIND.describe_installed(KIND.load_class)]


def _resolve(name: str) -> Entry:
    return BUILT_IN[name] if name in BUILT_IN else KIND.find(name)
