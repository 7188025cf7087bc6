"""Stopping users at moments of their own, and forking the world there.

Source: ours; docs/decisions/0011 says why it is exact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from recommenders.base import Bool
from simulator.engine.clock import Service, simulate
from simulator.engine.log import EventLog
from simulator.engine.pool import Heartbeat
from simulator.engine.snapshot import Snapshot
from simulator.world.behaviour import Behaviour
from simulator.world.forced_action import ASLEEP, Moments, Pausing, wake
from simulator.world.world import World


@dataclass(frozen=True, eq=False)
class Forked:
    """What happened until every user stopped, and the world then: its users are further on than its tick says."""

    log: EventLog
    end: Snapshot


def stop_at(
    world: World,
    behaviour: Behaviour,
    service: Service,
    start: Snapshot,
    moments: Moments,
    until: int,
    heartbeat: Heartbeat | None = None,
) -> Forked:
    """Let every user live up to the request of their moment, those without one until the end.

    The world that is left is of the tick at which it started, with users further on: nobody is served before the
    request at which they stopped, and releases of the catalogue come round again.
    """
    pausing = Pausing(behaviour, moments)
    users = start.users.copy()
    pausing.put_to_sleep(users, np.arange(users.n_users))
    trajectory = simulate(world, pausing, service, replace(start, users=users), until, heartbeat=heartbeat)
    users = trajectory.end.users.copy()
    wake(users)
    return Forked(trajectory.log, replace(trajectory.end, tick=start.tick, users=users))


def only(snapshot: Snapshot, chosen: Bool) -> Snapshot:
    """The same world in which only the chosen users are ever served: bool[n_users]."""
    users = snapshot.users.copy()
    users.wake_tick[~chosen] = ASLEEP
    return replace(snapshot, users=users)


def later(moments: Moments, steps: int) -> Moments:
    """So many requests of the same session later."""
    return Moments(moments.session, np.where(moments.step < 0, moments.step, moments.step + steps), moments.slot)
