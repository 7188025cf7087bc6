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
    done_tick: Int64
    propensity: Float64 | None


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
        b = self.batches
        tick, user = np.concatenate([s.tick for s in b]), np.concatenate([s.user for s in b])
        # Requests are sorted, not impressions: a user has one request at a tick, and its slots stay together.
        order = np.lexsort((user, tick))
        k = b[0].item.shape[1]
        feedback = np.concatenate([s.feedback for s in b])[order]
        done_tick = np.concatenate([s.done_tick for s in b])[order]
        done_tick[(feedback & np.uint8(Feedback.EXAMINED)) == 0] = -1
        return EventLog(
            tick=np.repeat(tick[order], k),
            user=np.repeat(user[order], k),
            session=np.repeat(np.concatenate([s.session for s in b])[order], k),
            step=np.repeat(np.concatenate([s.step for s in b])[order], k),
            slot=np.tile(np.arange(k, dtype=np.int32), len(order)),
            item=np.concatenate([s.item for s in b])[order].reshape(-1),
            feedback=feedback.reshape(-1),
            dwell_seconds=np.concatenate([s.dwell_seconds for s in b])[order].reshape(-1),
            feedback_tick=done_tick.reshape(-1),
            propensity=np.concatenate([_propensity(s) for s in b])[order].reshape(-1),
            satisfaction=np.repeat(np.concatenate([s.satisfaction for s in b])[order], k),
        )


def _propensity(served: Served) -> Float32:
    if served.propensity is None:
        return np.full(served.item.shape, np.nan, np.float32)
    return served.propensity.astype(np.float32)
