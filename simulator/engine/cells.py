"""Cells: ranges of users that live apart between two global events, so that they may live anywhere.

Users do not touch each other between global events, and no row of the log depends on who else is in a batch; so neither
how a population is cut nor where its cells live ever changes a result. A `Host` holds the users of one process: cells
that follow each other, which it serves as one. An `Executor` says where the hosts are; the clock speaks to all users of
a simulation through the `Crew` that it makes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from time import perf_counter
from typing import Protocol

from recommenders.base import Bool, Int64, Recommender, State, UInt8
from simulator.engine.collector import Forwarder, Keeper, Moments, Recorder, Sinks, Taken, moments, put
from simulator.engine.history import History
from simulator.engine.log import EventLog
from simulator.engine.pool import Heartbeat, Stopwatch, UserPool
from simulator.engine.serving import blaming, build_recommender, limited
from simulator.world.behaviour import Behaviour, part_of
from simulator.world.state import UserState
from simulator.world.world import World

CELL_USERS = 8192
"""Most users of a cell, where nobody says otherwise."""


@dataclass(frozen=True)
class Terms:
    """What all users of a simulation share.

    Attributes:
        arm: who serves them.
        build: makes the arm's unfitted recommender; can be pickled where users live in other processes.
        slate_size, ingestion_delay, batch_users, longest_delay, call_seconds: as in `UserPool`.
        sinks: where rows go; None: they are kept until they are taken.
        keeps_feedback: whether what retraining reads is kept of rows that go to sinks.
    """

    arm: str
    build: Callable[[], Recommender]
    slate_size: int
    ingestion_delay: int
    batch_users: int
    longest_delay: int
    call_seconds: float | None
    sinks: Sinks | None = None
    keeps_feedback: bool = False

    def recorder(self, users: range) -> Recorder:
        """What takes what happens to the users of a process."""
        return Keeper() if self.sinks is None else Forwarder(self.sinks.sink(users), self.keeps_feedback)


@dataclass(frozen=True, eq=False)
class Residents:
    """Users and all that they are when a simulation begins.

    Attributes:
        users: a range of the world's, of whole cells.
        world, behaviour: of these users alone.
        state, history: of these users alone; not changed.
        served: bool[len(users)], whose requests are served; None for everybody's.
        tick: when it begins.
    """

    users: range
    world: World
    behaviour: Behaviour
    state: UserState
    history: History
    served: Bool | None
    tick: int

    def part(self, users: range) -> Residents:
        """Some of them; views.

        Args:
            users: a range, counted from the first of them.
        """
        return Residents(
            self.users[users.start : users.stop],
            self.world.part(users),
            part_of(self.behaviour, users),
            self.state.part(users),
            self.history.part(users),
            None if self.served is None else self.served[users.start : users.stop],
            self.tick,
        )


def cut_population(n_users: int, cell_users: int) -> tuple[range, ...]:
    """Cells of at most `cell_users` users, as even in size as can be.

    >>> [len(cell) for cell in cut_population(10, 4)]
    [3, 3, 4]
    """
    n_cells = -(-n_users // cell_users)
    bounds = [n_users * nth // n_cells for nth in range(n_cells + 1)]
    return tuple(range(first, stop) for first, stop in pairwise(bounds))


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


class Memory(Protocol):
    """Bytes that several processes share."""

    def map(self) -> UInt8:
        """All of them, to be read and written.

        Raises:
            OSError: the system gives no place for them.
        """
        ...


class Host:
    """The users that live in one process, served by one recommender. Everything it is told, it can be told again."""

    def __init__(self, terms: Terms, residents: Residents) -> None:
        """Settle copies of users.

        Raises:
            EngineError: the recommender cannot be built, or declares what cannot be.
        """
        self._terms = terms
        self._recommender = build_recommender(terms.arm, terms.build)
        self._stopwatch = Stopwatch()
        self._recorder = terms.recorder(residents.users)
        self._pool = UserPool(
            residents.world, residents.behaviour, residents.state.copy(), residents.history.copy(), self._recorder,
            terms.arm, terms.slate_size, terms.ingestion_delay, terms.batch_users, terms.longest_delay,
            residents.served, terms.call_seconds, self._stopwatch,
        )  # fmt: skip
        self._tick = residents.tick

    def go_on(self, tick: int) -> None:
        """Let a sink begin at a tick, the first or a later one: what it was given from then on is forgotten.

        Raises:
            LogFileError, OSError: the sink cannot go on from there.
        """
        self._recorder.go_on(tick)

    def load(self, model: State) -> None:
        """Let a model serve from now on.

        Raises:
            EngineError: the recommender refuses it.
        """
        terms, items = self._terms, self._pool.world.catalogue.features
        with limited(terms.arm, "load_state_dict", terms.call_seconds), blaming(terms.arm, "load_state_dict"):
            self._recommender.load_state_dict(model, items)

    def run_until(self, tick: int, eligible: Bool, heartbeat: Heartbeat | None = None, seconds: float = inf) -> Stride:
        """Serve the requests that are due before `tick`.

        Args:
            tick: the next global event.
            eligible: bool[n_items], what may be shown until then.
            heartbeat: told of progress after each batch.
            seconds: after as long, no batch is begun.

        Raises:
            EngineError, BehaviourError: the recommender or the user model failed, broke its contract, or took too long.
            OSError: rows cannot be written.
        """
        eligible.setflags(write=False)  # a recommender is given this very array
        stop_at, n_requests, now = perf_counter() + seconds, 0, float(tick)

        def count(tick: float, n: int) -> None:
            nonlocal n_requests, now
            n_requests, now = n_requests + n, tick
            if heartbeat is not None:
                heartbeat(tick, n)

        while self._tick < tick:
            until = min(tick, self._tick + self._recorder.look_ahead())
            if not self._pool.run_until(until, self._recommender, eligible, count, stop_at=stop_at):
                return Stride(False, now, n_requests)
            clock = perf_counter()
            self._recorder.passed(until)
            self._stopwatch.add("log", clock)
            self._tick = until
        return Stride(True, float(tick), n_requests)

    def flush(self) -> None:
        """Put the rows that were given to a sink to where they last; right after `run_until`.

        Raises:
            OSError: they cannot be written.
        """
        clock = perf_counter()
        self._recorder.flush()
        self._stopwatch.add("log", clock)

    def take(self) -> Taken:
        """What was kept of what happened since last taken."""
        clock = perf_counter()
        taken = self._recorder.take()
        self._stopwatch.add("log", clock)
        return taken

    def moments(self) -> Moments:
        """Of the requests whose rows `take` would give, in order."""
        clock = perf_counter()
        found = moments(self._recorder.log(), self._terms.slate_size)
        self._stopwatch.add("log", clock)
        return found

    def put(self, memory: Memory, n_rows: int, places: Int64) -> bool:
        """Write the rows that `take` would give to their places in a log of all users, in memory that is shared.

        Args:
            memory: of the log, as `EventLog.over` lays it out.
            n_rows: of all users.
            places: int64[n], of the requests in order.

        Returns:
            Whether the system gave a place for the memory; if not, nothing is done.
        """
        clock = perf_counter()
        try:
            into = EventLog.over(memory.map(), n_rows)
        except OSError:
            return False
        put(self._recorder.log(), places, into, self._terms.slate_size)
        self._stopwatch.add("log", clock)
        return True

    def drop(self) -> None:
        """As `take`, for who has it already."""
        self._recorder.take()

    def state(self) -> tuple[UserState, History]:
        """The users as they are; not a copy."""
        return self._pool.state, self._pool.history

    def seconds(self) -> dict[str, float]:
        """Wall-clock seconds by stage so far."""
        return self._stopwatch.seconds


class Crew(Protocol):
    """All users of one simulation, wherever they live: see `Host`."""

    def go_on(self, tick: int) -> None:
        """Let sinks begin at a tick."""
        ...

    def load(self, model: State) -> None:
        """Let a model serve all of them from now on."""
        ...

    def run_until(self, tick: int, eligible: Bool, heartbeat: Heartbeat | None) -> object:
        """Serve every request that is due before `tick`."""
        ...

    def flush(self) -> None:
        """Put the rows that were given to sinks to where they last; right after `run_until`."""
        ...

    def take(self) -> Taken:
        """What was kept of what happened to all users since last asked."""
        ...

    def state(self) -> tuple[UserState, History]:
        """All users as they are; to be copied by whoever wants them to stay so."""
        ...

    def seconds(self) -> dict[str, float]:
        """Seconds by stage so far, of all processes together."""
        ...


class Executor(Protocol):
    """Where cells live."""

    def settle(self, terms: Terms, everybody: Residents, cells: Sequence[range]) -> Crew:
        """Let users begin to live; those of an earlier simulation end.

        Args:
            terms: what they share.
            everybody: all users.
            cells: ranges of users that follow each other and cover all.
        """
        ...


class Here:
    """All cells live in this process."""

    def settle(self, terms: Terms, everybody: Residents, cells: Sequence[range]) -> Crew:
        """As `Executor` says."""
        return Host(terms, everybody)
