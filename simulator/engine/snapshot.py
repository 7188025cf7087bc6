"""The whole state of one arm's world at a tick, as data: to fork it, replay it, store it or hand it on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from recommenders.base import State
from simulator.engine.history import History
from simulator.engine.log import EventLog, FeedbackLog
from simulator.world.behaviour import Behaviour
from simulator.world.state import UserState
from simulator.world.world import World


@dataclass(frozen=True)
class Deployment:
    """A model and the tick from which on it serves."""

    tick: int
    model: State


@dataclass(frozen=True)
class Snapshot:
    """A world between two ticks: everything before `tick` has happened, nothing at it or after.

    A snapshot is never changed, so it can be continued any number of times; to fork a trajectory is to continue it with
    another recommender or behaviour.

    Attributes:
        tick: now.
        users: their state.
        history: their feedback, as the platform keeps it.
        deployments: models, oldest first; the last one whose tick has come serves, later ones are on their way.
        log: all impressions so far, which retraining may use; empty where a sink takes them.
        feedback: what retraining reads of impressions that a sink has taken.
    """

    tick: int
    users: UserState
    history: History
    deployments: tuple[Deployment, ...]
    log: EventLog
    feedback: FeedbackLog = field(default_factory=FeedbackLog.empty)

    @property
    def learnable(self) -> EventLog | FeedbackLog:
        """What a model may be trained on: the log, or what was kept of it."""
        return self.log if len(self.log) else self.feedback


def genesis(world: World, behaviour: Behaviour, history_length: int, model: State | None = None) -> Snapshot:
    """The beginning: nobody has come yet.

    Args:
        world: the world.
        behaviour: decides when each user first comes.
        history_length: the longest window that any recommender of the run will ask for.
        model: what serves from tick 0 on; none if the caller deploys one.
    """
    return Snapshot(
        tick=0,
        users=behaviour.begin(world),
        history=History.empty(world.population.n_users, history_length),
        deployments=() if model is None else (Deployment(0, model),),
        log=EventLog.empty(),
    )


def deploy(snapshot: Snapshot, model: State) -> Snapshot:
    """The same world with another model serving from now on; models on their way are dropped."""
    return replace(snapshot, deployments=(Deployment(snapshot.tick, model),))


def equal(a: Snapshot, b: Snapshot) -> bool:
    """Whether two snapshots are the same, bit for bit, logs and models left out."""
    pairs = [(a.users, b.users), (a.history, b.history)]
    return a.tick == b.tick and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for one, other in pairs for name in vars(one)
    )
