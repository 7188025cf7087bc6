"""One world whose users are served by several arms: the simulation beneath splits and switchbacks.

Users touch each other only through what the models learn. Between two moments at which a model or an assignment may
change, each arm can therefore serve its own users alone, one arm after the other, and the result equals serving all at
once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from recommenders.base import Progress, State
from simulator.engine.clock import Pace, Service, retrain, simulate
from simulator.engine.log import EventLog
from simulator.engine.pool import Heartbeat
from simulator.engine.snapshot import Deployment, Snapshot
from simulator.experiment.assignment import Stretch
from simulator.world.behaviour import Behaviour
from simulator.world.world import World

_EMPTY = EventLog.empty()


@dataclass(frozen=True)
class MixedArm:
    """An arm of a mixed world.

    Attributes:
        service: how it is served, and retrained.
        model: what serves when the test begins.
    """

    service: Service
    model: State


@dataclass
class _LiveArm:
    """An arm as it goes: its models, oldest first, and what it has served."""

    arm: MixedArm
    deployments: list[Deployment]
    served: list[EventLog] = field(default_factory=list)

    def model(self, tick: int) -> State:
        """The model that serves from a tick on."""
        return [d.model for d in self.deployments if d.tick <= tick][-1]

    def retrain(self, world: World, log: EventLog, tick: int, nth: int, progress: Progress | None) -> None:
        """Train the next model, which serves once the training delay is over."""
        service = self.arm.service
        model = retrain(world, service, log, tick, nth, self.deployments[-1].model, progress=progress)
        self.deployments.append(Deployment(tick + service.platform.training_delay, model))


def simulate_mixed(
    world: World,
    behaviour: Behaviour,
    arms: Sequence[MixedArm],
    start: Snapshot,
    stretches: Sequence[Stretch],
    *,
    pooled: bool,
    pace: Pace | None = None,
    heartbeat: Heartbeat | None = None,
    training: Progress | None = None,
) -> dict[str, EventLog]:
    """Let all arms serve their users in one world.

    Args:
        world: the frozen world.
        behaviour: the user model.
        arms: in the order that the stretches number them.
        start: the world when the test begins; its log is what all arms have learnt from; not changed.
        stretches: who is served by whom, in order of time without gaps; the first begins at `start.tick`.
        pooled: arms retrain on everybody's feedback; else on that of the log before the test and of what they served
            themselves.
        pace: how the work is cut up.
        heartbeat: told of progress.
        training: told of progress while a model retrains.

    Returns:
        Arm -> the impressions that it served since the start, in order of (tick, user, slot).

    Raises:
        EngineError: too few items are eligible, or a recommender broke its contract.
    """
    live = [_LiveArm(arm, [Deployment(start.tick, arm.model)]) for arm in arms]
    now = replace(start, log=_EMPTY)
    everything = [start.log]
    longest_delay = max(arm.service.platform.ingestion_delay for arm in arms)
    trainings = [_trainings(arm, start.tick, stretches[-1].end_tick) for arm in arms]
    for begin, end in pairwise(_boundaries(arms, stretches, trainings)):
        shared = EventLog.concatenate(everything) if pooled and any(begin in t for t in trainings) else _EMPTY
        for one, due in zip(live, trainings, strict=True):
            if begin in due:
                log = shared if pooled else EventLog.concatenate([start.log, *one.served])
                one.retrain(world, log, begin, due[begin], training)
        serving = next(s.arm for s in stretches if s.start_tick <= begin < s.end_tick)
        served = []
        for i, one in enumerate(live):
            users = serving == i
            if not users.any():
                continue
            platform = one.arm.service.platform.model_copy(update={"retrain_every": None})
            service = replace(one.arm.service, platform=platform)
            loaded = replace(now, deployments=(Deployment(begin, one.model(begin)),))
            beat = None if heartbeat is None else _shared(heartbeat, begin, end, i, len(live))
            trajectory = simulate(
                world, behaviour, service, loaded, end, users=users, longest_delay=longest_delay, pace=pace,
                heartbeat=beat,
            )  # fmt: skip
            now = replace(trajectory.end, tick=begin, log=_EMPTY)
            one.served.append(trajectory.log)
            served.append(trajectory.log)
        everything.append(EventLog.merge(served))
        now = replace(now, tick=end)
    return {one.arm.service.arm: EventLog.concatenate(one.served) for one in live}


def _trainings(arm: MixedArm, start: int, until: int) -> dict[int, int]:
    """Tick -> which retraining of the arm begins then, counted from 1."""
    every = arm.service.platform.retrain_every
    if every is None:
        return {}
    return {tick: nth for nth, tick in enumerate(range(start + every, until, every), start=1)}


def _boundaries(
    arms: Sequence[MixedArm], stretches: Sequence[Stretch], trainings: Sequence[Mapping[int, int]]
) -> list[int]:
    """The moments at which a model or an assignment may change, and the end."""
    until = stretches[-1].end_tick
    ticks = {s.start_tick for s in stretches}
    for arm, due in zip(arms, trainings, strict=True):
        ticks |= set(due) | {tick + arm.service.platform.training_delay for tick in due}
    return [*sorted(tick for tick in ticks if tick < until), until]


def _shared(heartbeat: Heartbeat, begin: int, end: int, place: int, n_arms: int) -> Heartbeat:
    """Arms take turns over the same time, so that each moves the clock on by its part of it."""

    def beat(tick: float, n_requests: int) -> None:
        heartbeat(begin + (place * (end - begin) + (tick - begin)) / n_arms, n_requests)

    return beat
