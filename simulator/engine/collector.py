"""Collects what happens during a simulation and turns it into the event log."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recommenders.base import Feedback, Float32, Float64, Int32, Int64, UInt8
from simulator.engine.log import EventLog


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
        done_tick: int64[n, k], when each slot was done with.
        propensity: float64[n, k] or None.
    """

    tick: Int64
    user: Int32
    session: Int32
    step: Int32
    satisfaction: Float32
    item: Int32
    feedback: UInt8
    dwell_seconds: Float32
    done_tick: Int64
    propensity: Float64 | None

    def rows(self) -> EventLog:
        """One row an impression, in the order of the requests."""
        n, k = self.item.shape
        examined = (self.feedback & np.uint8(Feedback.EXAMINED)) > 0
        propensity = np.full((n, k), np.nan) if self.propensity is None else self.propensity

        def each(column: Int32 | Int64 | Float32) -> Int32 | Int64 | Float32:
            return np.repeat(column, k)

        return EventLog(
            tick=each(self.tick),
            user=each(self.user),
            session=each(self.session),
            step=each(self.step),
            slot=np.tile(np.arange(k, dtype=np.int32), n),
            item=self.item.reshape(-1),
            feedback=self.feedback.reshape(-1),
            dwell_seconds=self.dwell_seconds.reshape(-1),
            feedback_tick=np.where(examined, self.done_tick, -1).reshape(-1),
            propensity=propensity.astype(np.float32).reshape(-1),
            satisfaction=each(self.satisfaction),
        )


@dataclass
class Collector:
    """Keeps batches as they come and orders them once: the log does not depend on how work was cut into batches."""

    batches: list[Served] = field(default_factory=list)

    def add(self, served: Served) -> None:
        """Keep a batch."""
        self.batches.append(served)

    def log(self) -> EventLog:
        """All rows so far, in order of (tick, user, slot)."""
        if not self.batches:
            return EventLog.empty()
        log = EventLog.concatenate([batch.rows() for batch in self.batches])
        k = self.batches[0].item.shape[1]
        first = slice(None, None, k)
        order = np.lexsort((log.user[first], log.tick[first]))
        return log.take((order[:, None] * k + np.arange(k)).reshape(-1))
