"""The clock: a few SimPy processes for what concerns everybody, between which the user pool runs ahead.

SimPy environments cannot be copied, so the processes keep nothing to themselves: whatever they need is in the snapshot
or follows from the tick, and `simulate` builds them anew each time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import simpy

from recommenders.base import Bool, Progress, Recommender, State
from simulator.draws import Purpose
from simulator.engine.cells import CELL_USERS, Crew, Executor, Here, Residents, Terms, cut_population
from simulator.engine.checkpoints import Checkpoint, PartCheckpoint, SimulationState, Stages
from simulator.engine.collector import Sinks
from simulator.engine.log import EventLog, FeedbackLog
from simulator.engine.pool import Heartbeat, Stopwatch
from simulator.engine.serving import EngineError, blaming, build_recommender
from simulator.engine.snapshot import Deployment, Snapshot
from simulator.scenario import schema
from simulator.world.behaviour import Behaviour
from simulator.world.catalogue import NO_EXPIRY
from simulator.world.world import World

_Process = Generator[simpy.Event, None, None]


@dataclass(frozen=True)
class Workplace:
    """Where and in what portions the users of an arm live; it never changes a row of the log.

    Attributes:
        executor: where the cells live.
        cell_users: most users of a cell, where no sinks say so.
        call_seconds: how long a recommender or a user model may take over a batch; None for ever.
    """

    executor: Executor = field(default_factory=Here)
    cell_users: int = CELL_USERS
    call_seconds: float | None = None


@dataclass(frozen=True)
class Service:
    """How one arm is served.

    Attributes:
        arm: its name.
        build: makes an unfitted recommender.
        platform: slates, delays, retraining.
        retrain_from: tick from which the retraining period counts; the first retraining is one period later.
        workplace: where its users live.
    """

    arm: str
    build: Callable[[], Recommender]
    platform: schema.Platform
    retrain_from: int = 0
    workplace: Workplace = Workplace()


@dataclass(frozen=True)
class Trajectory:
    """What a simulation gave.

    Attributes:
        log: impressions served since the start, in order of (tick, user, slot); empty where sinks took them.
        end: the world at the end, to be continued.
        stopwatch: wall-clock seconds by stage, of all processes together.
    """

    log: EventLog
    end: Snapshot
    stopwatch: Stopwatch


@dataclass(frozen=True)
class Pace:
    """How the work is cut up. It changes speed and memory, never a row of the log (tests hold it to that).

    Attributes:
        batch_users: users handled at a time.
        look_ahead: most ticks that a user runs ahead of the clock; none: up to the next global event.
    """

    batch_users: int = 8192
    look_ahead: int | None = None


@dataclass
class _Live:
    """What the processes of one simulation share."""

    world: World
    service: Service
    start: Snapshot
    crew: Crew
    sinks: Sinks | None
    deployments: list[Deployment]
    eligible: np.ndarray[tuple[int], np.dtype[np.bool_]]
    training: Progress | None
    checkpoint: Checkpoint | PartCheckpoint
    parts: list[EventLog]
    feedback: FeedbackLog

    def log(self) -> EventLog:
        """All impressions since the start, once all users have come to the same tick; none where sinks took them."""
        self._take()
        return EventLog.concatenate(self.parts)

    def learnable(self) -> EventLog | FeedbackLog:
        """What a model may be trained on, once all users have come to the same tick."""
        log = EventLog.concatenate([self.start.log, self.log()])
        return log if self.sinks is None else self.feedback

    def state(self, tick: int) -> SimulationState:
        """The world at a tick that all users have come to, and the parts of its log since the start."""
        self._take()
        self.crew.flush()
        snapshot = Snapshot(
            tick, *self.crew.state(), _needed(self.deployments, tick), EventLog.empty(), self.feedback
        )  # fmt: skip
        return snapshot, tuple(self.parts)

    def _take(self) -> None:
        taken = self.crew.take()
        self.parts += [taken.log] if len(taken.log) else []
        self.feedback = FeedbackLog.concatenate([self.feedback, taken.feedback])


def simulate(
    world: World,
    behaviour: Behaviour,
    service: Service,
    start: Snapshot,
    until: int,
    *,
    users: Bool | None = None,
    longest_delay: int = 0,
    pace: Pace | None = None,
    heartbeat: Heartbeat | None = None,
    training: Progress | None = None,
    checkpoint: Checkpoint | PartCheckpoint | None = None,
    sinks: Sinks | None = None,
    keep_feedback: bool = False,
) -> Trajectory:
    """Let one arm's world live from a snapshot to a tick.

    Args:
        world: the frozen world.
        behaviour: the user model.
        service: the arm.
        start: where to begin; not changed.
        until: ends before this tick.
        users: bool[n_users], whose requests are served. The others rest: since users do not touch each other, another
            arm may serve them over the same time afterwards, from this trajectory's end. None for everybody.
        longest_delay: of arms that will continue this world, where it is longer than this arm's ingestion delay: what
            is kept of each user's feedback must reach back behind all that they may not see yet.
        pace: how the work is cut up.
        heartbeat: told of progress.
        training: told of progress while a model retrains.
        checkpoint: keeps how far this has come, and may have kept it before: then it goes on from there.
        sinks: take the impressions, of which neither the trajectory nor its end keeps any then, so that memory is
            bounded; they are flushed at the end, and users are cut into their cells. None: impressions stay in memory.
        keep_feedback: with sinks, keep in the end's snapshot what retraining reads, although this arm never does.

    Raises:
        ValueError: with sinks, the start has a log in memory.
        EngineError: no model has been deployed, too few items are eligible, or the recommender broke its contract.
        LogFileError, OSError: a sink cannot take what it is given.
        StoppedError: the checkpoint was asked to stop.
    """
    pace, checkpoint = pace or Pace(), checkpoint or Stages().checkpoint("")
    now, parts = checkpoint.resume(start)
    platform = service.platform
    if sinks is not None and len(start.log):
        raise ValueError(f"start.log: got {len(start.log):,} rows, expected none where a sink takes the log")
    keeps = keep_feedback or platform.retrain_every is not None
    terms = Terms(
        service.arm, service.build, platform.slate_size, platform.ingestion_delay, pace.batch_users, longest_delay,
        service.workplace.call_seconds, sinks, keeps,
    )  # fmt: skip
    n_users, place = world.population.n_users, service.workplace
    everybody = Residents(range(n_users), world, behaviour, now.users, now.history, users, now.tick)
    cells = cut_population(n_users, place.cell_users) if sinks is None else sinks.cells
    if sinks is not None:
        sinks.begin()
    crew = place.executor.settle(terms, everybody, cells)
    crew.go_on(now.tick)
    live = _Live(
        world, service, start, crew, sinks, list(now.deployments), np.empty(0, np.bool_), training, checkpoint,
        list(parts), now.feedback if keeps or sinks is None else FeedbackLog.empty(),
    )  # fmt: skip
    if until > now.tick:
        _run(live, now.tick, until, pace, heartbeat)
    log = live.log()
    crew.flush()
    everything = EventLog.concatenate([start.log, log])
    end = Snapshot(until, *crew.state(), _needed(live.deployments, until), everything, live.feedback)
    return Trajectory(log, end, Stopwatch(crew.seconds()))


def _needed(deployments: list[Deployment], tick: int) -> tuple[Deployment, ...]:
    """The model that serves at a tick, and those on their way."""
    return tuple(d for d in deployments if d is _serving(deployments, tick) or d.tick >= tick)


def _run(live: _Live, start_tick: int, until: int, pace: Pace, heartbeat: Heartbeat | None) -> None:
    env = simpy.Environment(initial_time=start_tick)
    _load(live, _serving(live.deployments, start_tick + 1))
    env.process(_releases(env, live))
    for deployment in live.deployments:
        if deployment.tick > start_tick:
            env.process(_deployment(env, live, deployment))
    env.process(_trainer(env, live))
    env.process(_users(env, live, pace, heartbeat))
    env.run(until=until)


def _serving(deployments: list[Deployment], tick: int) -> Deployment | None:
    """The model that serves just before `tick`, or the first one if none has been deployed by then."""
    deployed = [d for d in deployments if d.tick < tick]
    return deployed[-1] if deployed else (deployments[0] if deployments else None)


def _load(live: _Live, deployment: Deployment | None) -> None:
    if deployment is None:
        raise EngineError(f"arm {live.service.arm}: no model has been deployed")
    live.crew.load(deployment.model)


def _users(env: simpy.Environment, live: _Live, pace: Pace, heartbeat: Heartbeat | None) -> _Process:
    """All users, running ahead to the next global event once everything else at this tick has happened."""
    while True:
        while env.peek() <= env.now:
            yield env.timeout(0)
        horizon = int(env.peek())
        if pace.look_ahead is not None:
            horizon = min(horizon, int(env.now) + pace.look_ahead)
        horizon = live.checkpoint.cut(int(env.now), horizon)
        live.crew.run_until(horizon, live.eligible, heartbeat)
        live.checkpoint.reached(partial(live.state, horizon))
        yield env.timeout(horizon - env.now)


def _releases(env: simpy.Environment, live: _Live) -> _Process:
    """New items enter and expired ones leave at whole periods; periods without either are no events."""
    every = live.service.platform.release_every
    catalogue, size = live.world.catalogue, live.service.platform.slate_size
    changes = np.concatenate(
        [catalogue.features.release_tick, catalogue.expiry_tick[catalogue.expiry_tick < NO_EXPIRY]]
    )
    periods = np.unique(-(-changes // every))
    for period in (int(env.now) // every, *periods[periods * every > env.now].tolist()):
        if period * every > env.now:
            yield env.timeout(period * every - env.now)
        live.eligible = catalogue.eligible(period * every)
        n_eligible = int(live.eligible.sum())
        if n_eligible < size:
            raise EngineError(
                f"arm {live.service.arm}: {n_eligible} items are eligible at tick {period * every}, expected at least "
                f"the slate size {size}; see catalogue.released_share and catalogue.lifetime"
            )


def _deployment(env: simpy.Environment, live: _Live, deployment: Deployment) -> _Process:
    yield env.timeout(deployment.tick - env.now)
    _load(live, deployment)


def _trainer(env: simpy.Environment, live: _Live) -> _Process:
    """Train at whole periods on the feedback delivered by then; the model serves once the training delay is over."""
    platform, first = live.service.platform, live.service.retrain_from
    if platform.retrain_every is None:
        return
    every = platform.retrain_every
    done = max(0, -(-(int(env.now) - first) // every) - 1)
    while True:
        done += 1
        yield env.timeout(first + done * every - env.now)
        model = retrain(
            live.world, live.service, live.learnable(), int(env.now), done, live.deployments[-1].model,
            progress=partial(_training, live, int(env.now)),
        )  # fmt: skip
        deployment = Deployment(int(env.now) + platform.training_delay, model)
        live.deployments.append(deployment)
        env.process(_deployment(env, live, deployment))


def _training(live: _Live, tick: int, done: int, total: int) -> None:
    """Tell of a training; it can be stopped, and is begun again by whoever goes on from the world before it."""
    if live.training is not None:
        live.training(done, total)
    live.checkpoint.stop_if_asked(partial(live.state, tick))


def retrain(
    world: World,
    service: Service,
    log: EventLog | FeedbackLog,
    tick: int,
    nth: int,
    newest: State,
    *,
    progress: Progress | None = None,
) -> State:
    """A new model of an arm, trained on the feedback that has been delivered by a tick.

    Args:
        world: the frozen world.
        service: the arm.
        log: what the arm may learn from.
        tick: now.
        nth: which retraining this is, counted from 1; decides the seed, the same for all arms.
        newest: the model trained last, from which a warm start begins.
        progress: told of progress.

    Raises:
        EngineError: the recommender could not be trained.
    """
    interactions = log.interactions(tick - service.platform.ingestion_delay + 1)
    student = build_recommender(service.arm, service.build)
    seed = world.draws.integer_seed(Purpose.FIT, nth)
    with blaming(service.arm, "retraining"):
        if student.traits.warm_start:
            student.load_state_dict(newest, world.catalogue.features)
        student.fit(interactions, world.catalogue.features, seed=seed, progress=progress)
        return student.state_dict()
