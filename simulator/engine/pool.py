"""The user pool: all users of one world, served in rounds between two global events.

Between global events users do not touch each other, so each user's own chain of requests may run ahead to the next
global event: round r serves the r-th due request of every active user as one batch. The result equals serving one
request at a time in order of the clock (`tests/reference.py` does that, and must agree row for row).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from time import perf_counter

import numpy as np
import numpy.typing as npt

from recommenders.base import Bool, Float64, Int32, Recommender, Requests
from simulator.engine.collector import Receiver, Served
from simulator.engine.history import History
from simulator.engine.serving import limited, limited_users, serve
from simulator.world.behaviour import Behaviour
from simulator.world.state import UserState
from simulator.world.utility import UtilityOf
from simulator.world.world import World

Rows = npt.NDArray[np.intp]

Heartbeat = Callable[[float, int], None]
"""Called as `heartbeat(tick, n_requests)` after each batch of requests."""


@dataclass
class Stopwatch:
    """Wall-clock seconds by stage, for benchmarks and manifests; never read by the simulation."""

    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, since: float) -> float:
        """Count the time since `since` towards a stage, and return now."""
        now = perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - since
        return now


@dataclass
class UserPool:
    """All users of one arm's world, or of a part of it.

    Attributes:
        world: the frozen world, or the part.
        behaviour: the user model.
        state, history: changed in place as users live.
        collector: takes what happens.
        arm: name of the arm, for errors.
        slate_size: items per slate.
        ingestion_delay: ticks until feedback can be seen.
        batch_users: users handled at a time; keeps temporaries in the cache and never changes a result.
        longest_delay: the longest ingestion delay that anybody will ask the history with, now or after a fork; at least
            `ingestion_delay`.
        users: bool[n_users], whose requests are served; the others wait as they are. None for everybody's.
        call_seconds: how long the recommender and the user model may take over a batch; None for ever.
        stopwatch: seconds by stage.
    """

    world: World
    behaviour: Behaviour
    state: UserState
    history: History
    collector: Receiver
    arm: str
    slate_size: int
    ingestion_delay: int
    batch_users: int = 8192
    longest_delay: int = 0
    users: Bool | None = None
    call_seconds: float | None = None
    stopwatch: Stopwatch = field(default_factory=Stopwatch)

    def run_until(
        self,
        tick: int,
        recommender: Recommender,
        eligible: Bool,
        heartbeat: Heartbeat | None = None,
        *,
        stop_at: float = inf,
    ) -> bool:
        """Serve every request that is due before `tick`.

        Args:
            tick: the next global event.
            recommender: what serves until then.
            eligible: bool[n_items], what may be shown until then.
            heartbeat: told of progress after each batch.
            stop_at: moment of the wall clock (`perf_counter`) after which no batch is begun.

        Returns:
            Whether all are served; if not, the same call goes on.
        """
        is_due = self.state.wake_tick < tick
        due = np.flatnonzero(is_due if self.users is None else is_due & self.users)
        while len(due):
            for start in range(0, len(due), self.batch_users):
                if perf_counter() >= stop_at:
                    return False
                batch = due[start : start + self.batch_users]
                self._serve(batch, recommender, eligible)
                if heartbeat is not None:
                    heartbeat(float(self.state.wake_tick[batch].clip(max=tick).mean()), len(batch))
            due = due[self.state.wake_tick[due] < tick]
        return True

    def _serve(self, users: Rows, recommender: Recommender, eligible: Bool) -> None:
        clock = perf_counter()
        requests = self.requests(users, recommender, eligible)
        clock = self.stopwatch.add("requests", clock)
        where = _batch(requests.user, requests.session, requests.step)
        with limited(self.arm, "recommend", self.call_seconds, where):
            slates = serve(self.arm, recommender, requests, self.slate_size, self.world.draws)
        self.stopwatch.add("scoring", clock)
        self.collector.add(self.respond(users, slates.item, slates.propensity))

    def respond(self, users: Rows, item: Int32, propensity: Float64 | None = None) -> Served:
        """Serve slates to users at their due requests; they respond, and live on to their next requests.

        Args:
            users: intp[n], no user twice.
            item: int32[n, k], different eligible items for each user.
            propensity: float64[n, k], or None for a deterministic policy.
        """
        clock = perf_counter()
        state = self.state
        tick, session, step = state.wake_tick[users], state.session[users], state.step[users]
        where = _batch(users + self.world.first_user, session, step)
        with limited_users(self.arm, "respond of the user model", self.call_seconds, where):
            responses = self.behaviour.respond(self.world, state, users, tick, item)
        clock = self.stopwatch.add("behaviour", clock)
        with limited_users(self.arm, "advance of the user model", self.call_seconds, where):
            self.behaviour.advance(self.world, state, users, tick, item, responses)
        clock = self.stopwatch.add("state", clock)
        self.history.append(
            users,
            tick,
            max(self.ingestion_delay, self.longest_delay),
            item,
            responses.feedback,
            responses.dwell_seconds,
            responses.done_after,
        )
        self.stopwatch.add("history", clock)
        return Served(
            tick,
            (users + self.world.first_user).astype(np.int32),
            session,
            step,
            state.satisfaction[users],
            item,
            responses.feedback,
            responses.dwell_seconds,
            responses.done_after,
            responses.dislike_probability,
            propensity,
        )

    def requests(self, users: Rows, recommender: Recommender, eligible: Bool) -> Requests:
        """The due requests of users, as a recommender is given them.

        Args:
            users: intp[n].
            recommender: its traits say what it reads.
            eligible: bool[n_items], what may be shown to all of them.
        """
        tick = self.state.wake_tick[users]
        windows = self.history.windows(users, tick, self.ingestion_delay, recommender.traits.history_length)
        utility = UtilityOf(self.world, self.state, users) if recommender.traits.needs_utility else None
        return Requests(
            user=(users + self.world.first_user).astype(np.int32),
            session=self.state.session[users],
            step=self.state.step[users],
            tick=tick,
            history_item=windows.item,
            history_feedback=windows.feedback,
            history_dwell_seconds=windows.dwell_seconds,
            history_tick=windows.tick,
            eligible=eligible,
            utility=utility,
        )


def _batch(user: Rows | Int32, session: Int32, step: Int32) -> str:
    return f"on a batch of {len(user)} that begins with user {user[0]}, session {session[0]}, step {step[0]}"
