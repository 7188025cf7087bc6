"""Cells: ranges of users that live apart between two global events, so that they may live anywhere.

Users do not touch each other between global events, and no row of the log depends on who else is in a batch; so neither
how a population is cut nor where its cells live ever changes a result. A `Host` holds the cells of one process. An
`Executor` says where the hosts are; the clock speaks to all cells of a simulation through the `Crew` that it makes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from time import perf_counter
from typing import Protocol

from recommenders.base import Bool, Recommender, State
from simulator.engine.collector import Collector, Served
from simulator.engine.history import History
from simulator.engine.pool import Heartbeat, Stopwatch, UserPool
from simulator.engine.serving import blaming, build_recommender, limited
from simulator.world.behaviour import Behaviour, part_of
from simulator.world.state import UserState, joined
from simulator.world.world import World

CELL_USERS = 8192
"""Most users of a cell, where nobody says otherwise."""


@dataclass(frozen=True)
class Terms:
    """What all cells of a simulation share.

    Attributes:
        arm: who serves them.
        build: makes the arm's unfitted recommender; can be pickled where the cells live in other processes.
        slate_size, ingestion_delay, batch_users, longest_delay, call_seconds: as in `UserPool`.
    """

    arm: str
    build: Callable[[], Recommender]
    slate_size: int
    ingestion_delay: int
    batch_users: int
    longest_delay: int
    call_seconds: float | None


@dataclass(frozen=True, eq=False)
class Cell:
    """A range of users and all that they are when a simulation begins.

    Attributes:
        users: which of the world's.
        world, behaviour: of these users alone.
        state, history: of these users alone; not changed.
        served: bool[len(users)], whose requests are served; None for everybody's.
    """

    users: range
    world: World
    behaviour: Behaviour
    state: UserState
    history: History
    served: Bool | None


def cut_population(n_users: int, cell_users: int) -> tuple[range, ...]:
    """Cells of at most `cell_users` users, as even in size as can be.

    >>> [len(cell) for cell in cut_population(10, 4)]
    [3, 3, 4]
    """
    n_cells = -(-n_users // cell_users)
    bounds = [n_users * nth // n_cells for nth in range(n_cells + 1)]
    return tuple(range(first, stop) for first, stop in pairwise(bounds))


def cut(
    world: World, behaviour: Behaviour, state: UserState, history: History, served: Bool | None, cell_users: int
) -> list[Cell]:
    """The cells of a population; views of what is given.

    Args:
        world, behaviour, state, history: of all users.
        served: bool[n_users], whose requests are served; None for everybody's.
        cell_users: most users of a cell.
    """
    cells = cut_population(world.population.n_users, cell_users)
    if len(cells) == 1:
        return [Cell(cells[0], world, behaviour, state, history, served)]
    return [
        Cell(
            users,
            world.part(users),
            part_of(behaviour, users),
            state.part(users),
            history.part(users),
            None if served is None else served[users.start : users.stop],
        )
        for users in cells
    ]


@dataclass(frozen=True)
class Stride:
    """How far a host has come with a `run_until`.

    Attributes:
        done: all requests are served; if not, the same call goes on.
        tick: about where its users are.
        n_requests: served by this call.
    """

    done: bool
    tick: float
    n_requests: int


class Host:
    """The cells that live in one process, served by one recommender. Everything it is told, it can be told again."""

    def __init__(self, terms: Terms, cells: Sequence[Cell]) -> None:
        """Settle copies of the cells.

        Raises:
            EngineError: the recommender cannot be built, or declares what cannot be.
        """
        self._terms = terms
        self._recommender = build_recommender(terms.arm, terms.build)
        self._stopwatch = Stopwatch()
        self._pools = [
            UserPool(
                cell.world, cell.behaviour, cell.state.copy(), cell.history.copy(), Collector(), terms.arm,
                terms.slate_size, terms.ingestion_delay, terms.batch_users, terms.longest_delay, cell.served,
                terms.call_seconds, self._stopwatch,
            )
            for cell in cells
        ]  # fmt: skip

    def load(self, model: State) -> None:
        """Let a model serve from now on.

        Raises:
            EngineError: the recommender refuses it.
        """
        terms, items = self._terms, self._pools[0].world.catalogue.features
        with limited(terms.arm, "load_state_dict", terms.call_seconds), blaming(terms.arm, "load_state_dict"):
            self._recommender.load_state_dict(model, items)

    def run_until(self, tick: int, eligible: Bool, heartbeat: Heartbeat | None = None, seconds: float = inf) -> Stride:
        """Serve the requests that are due before `tick`, in all cells.

        Args:
            tick: the next global event.
            eligible: bool[n_items], what may be shown until then.
            heartbeat: told of progress after each batch.
            seconds: after as long, no batch is begun.

        Raises:
            EngineError, BehaviourError: the recommender or the user model failed, broke its contract, or took too long.
        """
        eligible.setflags(write=False)  # a recommender is given this very array
        stop_at, n_requests, now = perf_counter() + seconds, 0, float(tick)

        def count(tick: float, n: int) -> None:
            nonlocal n_requests, now
            n_requests, now = n_requests + n, tick
            if heartbeat is not None:
                heartbeat(tick, n)

        for pool in self._pools:
            if not pool.run_until(tick, self._recommender, eligible, count, stop_at=stop_at):
                return Stride(False, now, n_requests)
        return Stride(True, float(tick), n_requests)

    def take(self) -> list[Served]:
        """The batches served since last asked, each with its users in ascending order."""
        batches = [batch for pool in self._pools for batch in pool.collector.batches]
        for pool in self._pools:
            pool.collector.batches.clear()
        return batches

    def state(self) -> tuple[UserState, History]:
        """The users of all cells, as they are; of a single cell not a copy."""
        return joined([p.state for p in self._pools]), History.joined([p.history for p in self._pools])

    def seconds(self) -> dict[str, float]:
        """Wall-clock seconds by stage so far."""
        return self._stopwatch.seconds


class Crew(Protocol):
    """All cells of one simulation, wherever they live."""

    def load(self, model: State) -> None:
        """Let a model serve all of them from now on."""
        ...

    def run_until(self, tick: int, eligible: Bool, heartbeat: Heartbeat | None) -> object:
        """Serve every request that is due before `tick`: see `Host.run_until`."""
        ...

    def take(self) -> list[Served]:
        """The batches served since last asked, each with its users in ascending order."""
        ...

    def state(self) -> tuple[UserState, History]:
        """All users as they are; to be copied by whoever wants them to stay so."""
        ...

    def seconds(self) -> dict[str, float]:
        """Seconds by stage so far, of all processes together."""
        ...


class Executor(Protocol):
    """Where cells live."""

    def settle(self, terms: Terms, cells: Sequence[Cell]) -> Crew:
        """Let cells begin to live; those of an earlier simulation end."""
        ...


class Here:
    """All cells live in this process."""

    def settle(self, terms: Terms, cells: Sequence[Cell]) -> Crew:
        """As `Executor` says."""
        return Host(terms, cells)
