"""A world: settings, catalogue, population and draws, all frozen. What changes with time is in `state.py`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recommenders.base import Float32, Int32
from simulator.draws import Draws
from simulator.scenario import schema
from simulator.world.appeal import creator_appeal, creator_appeal_table
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

    @property
    def first_user(self) -> int:
        """Which user row 0 is: not 0 in a part of a world."""
        return self.draws.first_user

    def part(self, users: range) -> World:
        """The world of a range of users alone: its row r is row `users.start + r` here, with the same traits and draws.

        The settings stay those of the whole world. Everything is shared with it, nothing is copied.
        """
        if users == range(self.population.n_users):
            return self
        draws = replace(self.draws, first_user=self.first_user + users.start)
        part = replace(self, population=self.population.part(users), draws=draws)
        table = self._creator_table
        vars(part)["_creator_table"] = None if table is None else table[users.start : users.stop]
        return part

    def creator_appeal(self, user: npt.NDArray[np.intp], creator: Int32) -> Float32:
        """Utility that the creator adds for the user of the same row: intp[m], int32[m] -> float32[m]."""
        table = self._creator_table
        if table is None:
            return creator_appeal(self.settings.population, self.draws, user, creator)
        appeal: Float32 = table.reshape(-1).take(user * table.shape[1] + creator)
        return appeal

    @cached_property
    def _creator_table(self) -> Float32 | None:
        n_users, n_creators = self.population.n_users, self.catalogue.features.n_creators
        return creator_appeal_table(self.settings.population, self.draws, n_users, n_creators)


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
