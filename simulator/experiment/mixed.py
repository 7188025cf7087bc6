"""One world whose users are served by several arms: the simulation beneath splits and switchbacks.

Users touch each other only through what the models learn. Between two moments at which a model or an assignment may
change, each arm can therefore serve its own users alone, one arm after the other, and the result equals serving all at
once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise

from recommenders.base import Bool, Progress, State
from simulator.engine.checkpoints import Checkpoint, PartCheckpoint, Stages
from simulator.engine.clock import Pace, Service, retrain, simulate
from simulator.engine.collector import Sinks
from simulator.engine.log import EventLog, FeedbackLog
from simulator.engine.pool import Heartbeat
from simulator.engine.snapshot import Deployment, Snapshot
from simulator.experiment.assignment import Stretch
from simulator.world.behaviour import Behaviour
from simulator.world.world import World

_EMPTY = EventLog.empty()
_Served = EventLog | FeedbackLog


@dataclass(frozen=True)
class MixedArm:
    """An arm of a mixed world.

    Attributes:
        service: how it is served, and retrained.
        model: what serves when the test begins.
        sinks: take what it serves; None: that stays in memory. The same for all arms of a world.
    """

    service: Service
    model: State
    sinks: Sinks | None = None


@dataclass(frozen=True)
class MixedState:
    """How far a mixed world has come.

    Attributes:
        stretch: which stretch between two boundaries is under way, from 0.
        turn: which arm serves in it; -1: none yet, and what is due to be trained has not been.
        now: the world, with an empty log.
        deployments: the models of each arm, oldest first.
        served: by stretch, what each arm has served, or what training reads of it where sinks take the rest; of the
            last stretch, those whose turn is over.
        parts: of the log of the turn that is under way; None before it begins.
    """

    stretch: int
    turn: int
    now: Snapshot
    deployments: tuple[tuple[Deployment, ...], ...]
    served: tuple[tuple[_Served, ...], ...]
    parts: tuple[EventLog, ...] | None

    def served_by(self, arm: int) -> list[_Served]:
        """What an arm has served, by stretch."""
        return [stretch[arm] for stretch in self.served if arm < len(stretch)]


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
    checkpoint: Checkpoint | None = None,
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
        checkpoint: keeps how far this has come, and may have kept it before: then it goes on from there.

    Returns:
        Arm -> the impressions that it served since the start, in order of (tick, user, slot); none where sinks take
        them.

    Raises:
        EngineError: too few items are eligible, or a recommender broke its contract.
        LogFileError, OSError: a sink cannot take what it is given.
        StoppedError: the checkpoint was asked to stop.
    """
    checkpoint = checkpoint or Stages().checkpoint("")
    longest_delay = max(arm.service.platform.ingestion_delay for arm in arms)
    trainings = [_trainings(arm, start.tick, stretches[-1].end_tick) for arm in arms]
    boundaries = list(pairwise(_boundaries(arms, stretches, trainings)))
    fitted = tuple((Deployment(start.tick, arm.model),) for arm in arms)
    now = _without_log(start)
    state = checkpoint.load(start.users) or MixedState(0, -1, now, fitted, ((),), None)
    while state.stretch < len(boundaries):
        begin, end = boundaries[state.stretch]
        if state.turn < 0:
            due = [t.get(begin) for t in trainings]
            state = _trained(world, arms, start, state, begin, due, pooled, training, checkpoint)
        serving = next(s.arm for s in stretches if s.start_tick <= begin < s.end_tick)
        while state.turn < len(arms):
            beat = None if heartbeat is None else _shared(heartbeat, begin, end, state.turn, len(arms))
            users, learns = serving == state.turn, bool(trainings[state.turn]) or (pooled and any(trainings))
            state = _serve(
                world, behaviour, arms[state.turn], state, (begin, end), users, learns, longest_delay, pace, beat,
                checkpoint,
            )  # fmt: skip
        state = replace(state, stretch=state.stretch + 1, turn=-1, now=replace(state.now, tick=end))
        state = replace(state, served=(*state.served, ()))
    if arms[0].sinks is not None:
        return {arm.service.arm: _EMPTY for arm in arms}
    return {arm.service.arm: EventLog.concatenate(_logs(state.served_by(i))) for i, arm in enumerate(arms)}


def _trained(
    world: World,
    arms: Sequence[MixedArm],
    start: Snapshot,
    state: MixedState,
    tick: int,
    due: Sequence[int | None],
    pooled: bool,
    training: Progress | None,
    checkpoint: Checkpoint,
) -> MixedState:
    """Train the next model of each arm for which one is due; it serves once the training delay is over."""

    def progress(done: int, total: int) -> None:
        if training is not None:
            training(done, total)
        checkpoint.stop_if_asked(lambda: state)

    streamed = arms[0].sinks is not None
    shared = _learnable(start, state.served, streamed) if pooled and any(due) else _EMPTY
    deployments = list(state.deployments)
    for i, (arm, nth) in enumerate(zip(arms, due, strict=True)):
        if nth is not None:
            log = shared if pooled else _learnable(start, [[own] for own in state.served_by(i)], streamed)
            model = retrain(world, arm.service, log, tick, nth, deployments[i][-1].model, progress=progress)
            deployments[i] = (*deployments[i], Deployment(tick + arm.service.platform.training_delay, model))
    return replace(state, turn=0, deployments=tuple(deployments))


def _learnable(start: Snapshot, stretches: Sequence[Sequence[_Served]], streamed: bool) -> _Served:
    """What was served before the test and in some stretches, for training."""
    if streamed:
        return FeedbackLog.concatenate([start.feedback, *(f for f in chain(*stretches) if isinstance(f, FeedbackLog))])
    logs = [_logs(stretch) for stretch in stretches]
    return EventLog.concatenate([start.log, *(each[0] if len(each) == 1 else EventLog.merge(each) for each in logs)])


def _logs(served: Sequence[_Served]) -> list[EventLog]:
    return [log for log in served if isinstance(log, EventLog)]


def _without_log(now: Snapshot) -> Snapshot:
    return replace(now, log=_EMPTY, feedback=FeedbackLog.empty())


def _serve(
    world: World,
    behaviour: Behaviour,
    arm: MixedArm,
    state: MixedState,
    stretch: tuple[int, int],
    users: Bool,
    keep_feedback: bool,
    longest_delay: int,
    pace: Pace | None,
    heartbeat: Heartbeat | None,
    checkpoint: Checkpoint,
) -> MixedState:
    """An arm serves its users over a stretch."""
    begin, end = stretch
    now = state.now
    log: _Served = _EMPTY if arm.sinks is None else FeedbackLog.empty()
    if users.any():
        platform = arm.service.platform.model_copy(update={"retrain_every": None})
        service = replace(arm.service, platform=platform)
        model = [d.model for d in state.deployments[state.turn] if d.tick <= begin][-1]
        loaded = replace(now, deployments=(Deployment(begin, model),))
        trajectory = simulate(
            world, behaviour, service, loaded, end, users=users, longest_delay=longest_delay, pace=pace,
            heartbeat=heartbeat,
            checkpoint=PartCheckpoint(
                checkpoint,
                None if state.parts is None else (now, state.parts),
                lambda inner: replace(state, now=inner[0], parts=inner[1]),
            ),
            sinks=arm.sinks, keep_feedback=keep_feedback,
        )  # fmt: skip
        log = trajectory.log if arm.sinks is None else trajectory.end.feedback
        now = replace(_without_log(trajectory.end), tick=begin)
    served = (*state.served[:-1], (*state.served[-1], log))
    return replace(state, turn=state.turn + 1, now=now, served=served, parts=None)


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
