"""Collects what happens during a simulation and turns it into the event log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from recommenders.base import Feedback, Float32, Float64, Int32, Int64, UInt8
from simulator.engine.log import EventLog, FeedbackLog

_Scalar = TypeVar("_Scalar", bound=np.generic)
FOREVER = 2**62
"""Ticks that no simulation is long."""


@dataclass(frozen=True)
class Served:
    """A batch of requests and what came of them: one row a request, one column a slot.

    Attributes:
        tick: int64[n].
        user, session, step: int32[n].
        satisfaction: float32[n], after the request.
        item: int32[n, k].
        feedback: uint8[n, k].
        dwell_seconds: float32[n, k].
        done_after: int64[n, k], ticks until the user was done with the slot.
        dislike_probability: float32[n, k].
        propensity: float64[n, k], or None for a deterministic policy.
    """

    tick: Int64
    user: Int32
    session: Int32
    step: Int32
    satisfaction: Float32
    item: Int32
    feedback: UInt8
    dwell_seconds: Float32
    done_after: Int64
    dislike_probability: Float32
    propensity: Float64 | None

    def rows(self, rows: npt.NDArray[np.bool_] | slice) -> Served:
        """Some of the requests."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: column[rows] for name, column in given.items() if column is not None})


@dataclass(frozen=True)
class Taken:
    """What came of a stretch of time.

    Attributes:
        log: the rows, in order of (tick, user, slot); none where a sink takes them.
        feedback: where a sink takes the rows, what retraining reads of them, if anything will.
    """

    log: EventLog
    feedback: FeedbackLog


class Receiver(Protocol):
    """Takes what happens."""

    def add(self, served: Served) -> None:
        """Take a batch, whose users are in ascending order."""
        ...


class Sink(Receiver, Protocol):
    """Takes what happens to the users of a process out of its memory, such as `log_parts.LogWriter`."""

    def go_on(self, tick: int) -> None:
        """Begin at a tick: what an earlier sink in this place was given from that tick on is forgotten.

        What it is given of before is what that one was given; it has put it to where it lasts.
        """
        ...

    def look_ahead(self) -> int:
        """Most ticks until `passed` is next to be told, so that rows fit into memory."""
        ...

    def passed(self, tick: int) -> None:
        """Every request before a tick has been added, and none after it."""
        ...

    def flush(self) -> None:
        """Put all that was added to where it lasts; right after `passed`."""
        ...


class Sinks(Protocol):
    """Where an arm's rows go out of memory; can be sent to the processes in which its users live.

    Attributes:
        cells: ranges of users that cover all, none of which two processes may share.
    """

    @property
    def cells(self) -> Sequence[range]:
        """As above."""
        ...

    def begin(self) -> None:
        """Make the place, before any process is given a sink."""
        ...

    def sink(self, users: range) -> Sink:
        """What takes the rows of some cells."""
        ...


class Recorder(Sink, Protocol):
    """Takes what happens to the users of a process, and gives it to who asks, once all users are at the same tick."""

    def log(self) -> EventLog:
        """The rows that were kept since last taken."""
        ...

    def take(self) -> Taken:
        """What was kept since last taken."""
        ...


@dataclass
class Forwarder:
    """Hands batches on to a sink, and keeps what retraining reads of them, if anything will.

    Attributes:
        sink: takes the batches.
        keeps_feedback: whether to keep it.
        kept: the feedback so far.
    """

    sink: Sink
    keeps_feedback: bool
    kept: list[FeedbackLog] = field(default_factory=list)

    def add(self, served: Served) -> None:
        """Hand a batch on."""
        self.sink.add(served)
        if self.keeps_feedback:
            self.kept.append(_feedback(served))

    def go_on(self, tick: int) -> None:
        """As the sink does."""
        self.sink.go_on(tick)

    def look_ahead(self) -> int:
        """As the sink says."""
        return self.sink.look_ahead()

    def passed(self, tick: int) -> None:
        """As the sink does."""
        self.sink.passed(tick)

    def flush(self) -> None:
        """As the sink does."""
        self.sink.flush()

    def log(self) -> EventLog:
        """The sink has them."""
        return EventLog.empty()

    def take(self) -> Taken:
        """The feedback that was kept."""
        feedback = FeedbackLog.concatenate(self.kept)
        self.kept.clear()
        return Taken(EventLog.empty(), feedback)


def _feedback(served: Served) -> FeedbackLog:
    row, slot = np.nonzero(served.feedback & np.uint8(Feedback.EXAMINED))
    return FeedbackLog(
        tick=served.tick[row] + served.done_after[row, slot],
        user=served.user[row],
        slot=slot.astype(np.int32),
        item=served.item[row, slot],
        feedback=served.feedback[row, slot],
        dwell_seconds=served.dwell_seconds[row, slot],
    )


@dataclass
class Collector:
    """Keeps batches as they come and orders them once: the log does not depend on how work was cut into batches."""

    batches: list[Served] = field(default_factory=list)

    def add(self, served: Served) -> None:
        """Keep a batch."""
        self.batches.append(served)

    def take(self) -> EventLog:
        """All rows so far, in order of (tick, user, slot), which are then no longer kept here."""
        log = self.log()
        self.batches.clear()
        return log

    def log(self) -> EventLog:
        """All rows so far, in order of (tick, user, slot)."""
        b = self.batches
        if not b:
            return EventLog.empty()
        tick, user = np.concatenate([s.tick for s in b]), np.concatenate([s.user for s in b])
        # Requests are sorted, not impressions: a user has one request at a tick, and its slots stay together.
        order = _order(tick, user)
        k = b[0].item.shape[1]

        def by_slot(parts: list[npt.NDArray[_Scalar]]) -> npt.NDArray[_Scalar]:
            # take copies whole rows, four times as fast as indexing them
            return np.concatenate(parts).take(order, axis=0).reshape(-1)

        def by_request(parts: list[npt.NDArray[_Scalar]]) -> npt.NDArray[_Scalar]:
            return np.repeat(np.concatenate(parts)[order], k)

        tick, user = tick[order], user[order]
        feedback = by_slot([s.feedback for s in b])
        feedback_tick = np.repeat(tick, k)
        feedback_tick += by_slot([s.done_after for s in b])
        feedback_tick[feedback == 0] = -1
        return EventLog(
            tick=np.repeat(tick, k),
            user=np.repeat(user, k),
            session=by_request([s.session for s in b]),
            step=by_request([s.step for s in b]),
            slot=np.tile(np.arange(k, dtype=np.int32), len(order)),
            item=by_slot([s.item for s in b]),
            feedback=feedback,
            dwell_seconds=by_slot([s.dwell_seconds for s in b]),
            feedback_tick=feedback_tick,
            propensity=by_slot([_propensity(s) for s in b]),
            satisfaction=by_request([s.satisfaction for s in b]),
            dislike_probability=by_slot([s.dislike_probability for s in b]),
        )


@dataclass
class Keeper:
    """Keeps everything in memory until it is taken."""

    collector: Collector = field(default_factory=Collector)
    ordered: EventLog = field(default_factory=EventLog.empty)

    def add(self, served: Served) -> None:
        """Keep a batch."""
        self.collector.add(served)

    def go_on(self, tick: int) -> None:
        """Nothing of before is kept."""

    def look_ahead(self) -> int:
        """No limit."""
        return FOREVER

    def passed(self, tick: int) -> None:
        """Everything is kept."""

    def flush(self) -> None:
        """Everything is kept, here."""

    def log(self) -> EventLog:
        """The rows, in order, in which they are then kept."""
        self.ordered = EventLog.concatenate([self.ordered, self.collector.take()])
        return self.ordered

    def take(self) -> Taken:
        """The rows."""
        taken = Taken(self.log(), FeedbackLog.empty())
        self.ordered = EventLog.empty()
        return taken


def together(taken: Sequence[Taken], slate_size: int) -> Taken:
    """What came of a stretch for all users, from what came of it for each process's.

    Args:
        taken: by process.
        slate_size: rows of a request.
    """
    logs = [t.log for t in taken if len(t.log)]
    feedback = FeedbackLog.concatenate([t.feedback for t in taken])
    if len(logs) < 2:
        return Taken(EventLog.concatenate(logs), feedback)
    n_rows = sum(map(len, logs))
    whole = EventLog.over(np.empty(EventLog.n_bytes(n_rows), np.uint8), n_rows)
    for log, place in zip(logs, places([moments(log, slate_size) for log in logs]), strict=True):
        put(log, place, whole, slate_size)
    return Taken(whole, feedback)


Moments = tuple[Int64, Int32]
"""Of some requests: tick and user."""


def moments(log: EventLog, slate_size: int) -> Moments:
    """The requests of a log, in its order."""
    return np.ascontiguousarray(log.tick[::slate_size]), np.ascontiguousarray(log.user[::slate_size])


def places(of_each: Sequence[Moments]) -> list[Int64]:
    """For each process's requests, which are in order, their places among those of all, in order of (tick, user)."""
    tick, user = np.concatenate([tick for tick, _ in of_each]), np.concatenate([user for _, user in of_each])
    places = np.empty(len(tick), np.int64)
    places[_order(tick, user, "stable")] = np.arange(len(tick))  # stable sorting is fast on parts in order
    return np.split(places, np.cumsum([len(tick) for tick, _ in of_each])[:-1])


def put(log: EventLog, places: Int64, into: EventLog, slate_size: int) -> None:
    """Copy a log's requests to their places in another one."""

    def slates(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A request's rows as one value, several times as fast to copy as each by itself."""
        return column.view(np.dtype((np.void, slate_size * column.itemsize)))

    for name in EventLog.DTYPES:
        np.put(slates(getattr(into, name)), places, slates(getattr(log, name)))


def _order(tick: Int64, user: Int32, kind: Literal["quicksort", "stable"] = "quicksort") -> npt.NDArray[np.intp]:
    """Order of (tick, user): by one key of 64 bits where it fits, four times as fast as by two."""
    since, n_users = tick - tick.min(), int(user.max()) + 1
    if (int(since.max()) + 1) * n_users >= 2**63:
        return np.lexsort((user, tick))
    return np.argsort(since * n_users + user, kind=kind)


def _propensity(served: Served) -> Float32:
    if served.propensity is None:
        return np.full(served.item.shape, np.nan, np.float32)
    return served.propensity.astype(np.float32)
