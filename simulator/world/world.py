"""A world: settings, catalogue, population and draws, all frozen. What changes with time is in `state.py`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from simulator.draws import Draws
from simulator.scenario import schema
from simulator.world.catalogue import Catalogue, build_catalogue
from simulator.world.population import Population, build_population


@dataclass(frozen=True)
class World:
    """Everything about a scenario's world that no simulation changes.

    Attributes:
        settings: the `world` section of the scenario.
        catalogue: items, creators, topics.
        population: fixed traits of the users.
        draws: the source of all randomness.
    """

    settings: schema.World
    catalogue: Catalogue
    population: Population
    draws: Draws


def build_world(settings: schema.World, *, seed: int, replicate: int = 0, horizon_ticks: int, directory: Path) -> World:
    """Make a world from its settings.

    Args:
        settings: the `world` section of a scenario.
        seed: the scenario's seed.
        replicate: which of several independent copies.
        horizon_ticks: length of the whole run; synthetic releases are spread over it.
        directory: what a relative path of a table of items starts from.

    Raises:
        CatalogueError: the table of items cannot be used.
    """
    draws = Draws(seed, replicate)
    catalogue = build_catalogue(settings.catalogue, draws, horizon_ticks, directory)
    population = build_population(settings.population, settings.behaviour, catalogue, draws)
    return World(settings, catalogue, population, draws)
