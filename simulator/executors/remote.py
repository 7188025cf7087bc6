"""A crew of workers elsewhere: they are told what to do, and told again by a successor if they die.

What a worker's users are follows from how they began and from what they were told since, so that a journal of this is
enough to bring them back. A worker that is busy for long is busy in strides, each a call of its own: thereby it is seen
how far it has come, and whether it still answers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean
from time import monotonic
from typing import Any, Protocol

from recommenders.base import Bool, RecommenderError, State
from simulator.engine.cells import Crew, Host, Memory, Residents, Stride, Terms
from simulator.engine.collector import Taken, places, together
from simulator.engine.history import History
from simulator.engine.log import EventLog, FeedbackLog
from simulator.engine.log_files import LogFileError
from simulator.engine.pool import Heartbeat
from simulator.engine.serving import Blame, EngineError
from simulator.workers.process import WorkerDiedError
from simulator.world.behaviour import BehaviourError
from simulator.world.state import UserState, joined

_OURS = (EngineError, BehaviourError, RecommenderError, LogFileError)
MOST_DEATHS = 3
"""Workers of the same users that are replaced in a simulation; who kills more will kill the next one, too."""
_STRIDE_SECONDS = 1.0
_CALLS_IN_A_BATCH = 3
"""Parts that are asked for each batch, and each may take its time: recommend, respond, advance."""
_GRACE_SECONDS = 60.0
"""For what else a worker does between two answers, such as sending its state."""


@dataclass(frozen=True)
class Order:
    """Something that a worker is told: a method of its `Host`, or `settle`, which makes the host."""

    name: str
    args: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Done:
    """A worker has carried out an order."""

    value: Any


@dataclass(frozen=True)
class Failed:
    """An order raised an error; the worker is well."""

    error: Exception


@dataclass(frozen=True)
class Died:
    """The worker is gone."""

    reason: str


Answer = Done | Failed | Died


class Workers(Protocol):
    """Processes that carry out orders, one at a time each. `Seat` is what runs within them.

    Attributes:
        n: how many.
        least_shared: bytes of a log from which on it is written into memory that they share with this process; None
            where they share none.
    """

    n: int
    least_shared: int | None

    def share(self, value: Any) -> Any:
        """Make an argument of an order that many workers are given cheap to send, if it can be."""
        ...

    def memory(self, size: int) -> Memory:
        """As many bytes that they share with this process.

        Raises:
            OSError: they cannot be had.
        """
        ...

    def tell(self, worker: int, order: Order) -> None:
        """Give a worker that waits an order; should it be dead, `answers` will say so."""
        ...

    def answers(self, busy: Sequence[int], seconds: float) -> Mapping[int, Answer]:
        """What busy workers have answered; waits for the first answer, but no longer than `seconds`."""
        ...

    def replace(self, worker: int) -> None:
        """Start another worker in the place of one, which is ended if it still lives."""
        ...

    def last_call(self, worker: int) -> str:
        """What a worker that gives no answer is known to be doing, to end an error's message; may be empty."""
        ...


class Seat:
    """What a worker process runs: the host of its users, once there are any."""

    def __init__(self) -> None:
        self._host: Host | None = None

    def carry_out(self, order: Order) -> Answer:
        """Do as told. An error is an answer, too."""
        try:
            if order.name == "settle":
                self._host = Host(*order.args)
                return Done(None)
            assert self._host is not None, "nobody has settled"
            return Done(getattr(self._host, order.name)(*order.args))
        except Exception as error:
            return Failed(_sendable(error))


def _sendable(error: Exception) -> Exception:
    """An error of ours or of the system, or one in words: others may hold what no message can."""
    if isinstance(error, OSError):
        return OSError(error.errno, error.strerror or str(error), error.filename)
    return error if type(error) in _OURS else EngineError(f"{type(error).__name__}: {error}")


@dataclass
class _Post:
    """One worker's part of a crew.

    Attributes:
        settle: how its users began.
        orders: still to be carried out; the last one is what the crew waits for, earlier ones are the journal's.
        asked_at: when it was last told something.
        deaths: workers of these users that died.
        tick: about where its users are, once it has said so.
    """

    settle: Order
    orders: deque[Order] = field(default_factory=deque)
    asked_at: float = 0.0
    deaths: int = 0
    tick: float | None = None


class RemoteCrew:
    """The users of one simulation on workers elsewhere; see `Crew`."""

    def __init__(self, workers: Workers, terms: Terms, everybody: Residents, cells: Sequence[range]) -> None:
        """Let users settle, each worker's an equal share of the cells, which follow each other.

        Raises:
            EngineError: the recommender cannot be built, or what is to be sent cannot be.
            WorkerDiedError: workers died, and so did those in their place.
        """
        self._workers, self._terms = workers, terms
        n, terms_sent = min(workers.n, len(cells)), workers.share(terms)
        bounds = [len(cells) * i // n for i in range(n + 1)]
        shares = [range(cells[first].start, cells[last - 1].stop) for first, last in pairwise(bounds)]
        self._posts = [_Post(Order("settle", (terms_sent, everybody.part(users)))) for users in shares]
        self._begin: list[Order] = []
        self._journal: list[Order] = []
        self._all([post.settle for post in self._posts])

    def go_on(self, tick: int) -> None:
        """As `Crew` says."""
        order = Order("go_on", (tick,))
        self._all([order] * len(self._posts))
        self._begin = [order]

    def load(self, model: State) -> None:
        """As `Crew` says."""
        order = Order("load", (self._workers.share(model),))
        self._all([order] * len(self._posts))
        self._journal.append(order)

    def run_until(self, tick: int, eligible: Bool, heartbeat: Heartbeat | None) -> None:
        """As `Crew` says."""
        order = Order("run_until", (tick, eligible, None, _STRIDE_SECONDS))
        self._all([order] * len(self._posts), heartbeat)
        self._journal.append(order)

    def flush(self) -> None:
        """As `Crew` says. Who has to live through the simulation again then begins to write here."""
        self._all([Order("flush")] * len(self._posts))
        ticks = [order.args[0] for order in self._journal if order.name == "run_until"]
        if ticks:
            self._begin = [Order("go_on", (ticks[-1],))]

    def take(self) -> Taken:
        """As `Crew` says."""
        log = self._put_together() if self._terms.sinks is None else None
        if log is None:
            taken = together(self._all([Order("take")] * len(self._posts)), self._terms.slate_size)
        else:
            self._all([Order("drop")] * len(self._posts))
            taken = Taken(log, FeedbackLog.empty())
        self._journal.append(Order("drop"))
        return taken

    def _put_together(self) -> EventLog | None:
        """The log, written by the workers; None where rows are few, or no memory can be had: they can be sent."""
        if self._workers.least_shared is None:
            return None
        of_each = self._all([Order("moments")] * len(self._posts))
        n_rows = sum(len(tick) for tick, _ in of_each) * self._terms.slate_size
        size = EventLog.n_bytes(n_rows)
        if not n_rows or size < self._workers.least_shared:
            return None
        try:
            memory = self._workers.memory(size)
            log = EventLog.over(memory.map(), n_rows)
        except OSError:  # such as no descriptor left
            return None
        done = self._all([Order("put", (memory, n_rows, place)) for place in places(of_each)])
        return log if all(done) else None

    def state(self) -> tuple[UserState, History]:
        """As `Crew` says."""
        states = self._all([Order("state")] * len(self._posts))
        return joined([users for users, _ in states]), History.joined([history for _, history in states])

    def seconds(self) -> dict[str, float]:
        """As `Crew` says."""
        total: dict[str, float] = {}
        for seconds in self._all([Order("seconds")] * len(self._posts)):
            for stage, took in seconds.items():
                total[stage] = total.get(stage, 0.0) + took
        return total

    def _all(self, orders: Sequence[Order], heartbeat: Heartbeat | None = None) -> list[Any]:
        """Give every worker its order, and wait until all are carried out: their values."""
        values: dict[int, Any] = {}
        with self._nobody_left_busy():
            for worker, order in enumerate(orders):
                self._posts[worker].orders = deque([order])
                self._tell_next(worker)
            while len(values) < len(orders):
                busy = [worker for worker in range(len(orders)) if worker not in values]
                for worker, answer in self._workers.answers(busy, _STRIDE_SECONDS).items():
                    if isinstance(answer, Failed):
                        raise answer.error
                    if isinstance(answer, Died):
                        self._bring_back(worker, orders[worker], answer.reason)
                    else:
                        self._answered(worker, answer.value, values, heartbeat)
                self._end_who_hangs([worker for worker in busy if worker not in values])
        return [values[worker] for worker in range(len(orders))]

    def _answered(self, worker: int, value: Any, values: dict[int, Any], heartbeat: Heartbeat | None) -> None:
        post = self._posts[worker]
        is_last = len(post.orders) == 1
        if isinstance(value, Stride):
            if is_last and heartbeat is not None:
                post.tick = value.tick
                heartbeat(fmean(p.tick for p in self._posts if p.tick is not None), value.n_requests)
            if not value.done:
                self._tell_next(worker)
                return
        post.orders.popleft()
        if is_last:
            values[worker] = value
        else:
            self._tell_next(worker)

    def _tell_next(self, worker: int) -> None:
        post = self._posts[worker]
        post.asked_at = monotonic()
        self._workers.tell(worker, post.orders[0])

    def _bring_back(self, worker: int, order: Order, reason: str) -> None:
        post = self._posts[worker]
        post.deaths += 1
        if post.deaths > MOST_DEATHS:
            users = post.settle.args[1].users
            raise WorkerDiedError(
                f"arm {self._terms.arm}: {post.deaths} workers of users {users.start} to {users.stop - 1} died, the "
                f"last one {reason}; expected at most {MOST_DEATHS} in a simulation (out of memory? try fewer workers)"
            )
        self._workers.replace(worker)
        again = [] if order is post.settle else [post.settle, *self._begin, *self._journal]
        post.orders = deque([*again, order])
        self._tell_next(worker)

    def _end_who_hangs(self, busy: Sequence[int]) -> None:
        limit = self._terms.call_seconds
        if limit is None:
            return
        for worker in busy:
            waited = monotonic() - self._posts[worker].asked_at
            if waited > _CALLS_IN_A_BATCH * limit + _GRACE_SECONDS:
                doing, call = self._posts[worker].orders[0].name, self._workers.last_call(worker)
                raise EngineError(
                    f"arm {self._terms.arm}: {doing} of worker {worker}: no answer within "
                    f"{waited:.0f} s, expected one (execution.call_timeout){call}",
                    Blame(doing, "TimeoutError", "no answer (execution.call_timeout)", f"of worker {worker}{call}"),
                )

    @contextmanager
    def _nobody_left_busy(self) -> Iterator[None]:
        """Whatever ends an order early leaves workers that go on with it: new ones take their places."""
        try:
            yield
        except BaseException:
            for worker, post in enumerate(self._posts):
                if post.orders:
                    self._workers.replace(worker)
            raise


@dataclass(frozen=True)
class Elsewhere:
    """An executor whose cells live on workers."""

    workers: Workers

    def settle(self, terms: Terms, everybody: Residents, cells: Sequence[range]) -> Crew:
        """As `Executor` says."""
        return RemoteCrew(self.workers, terms, everybody, cells)
