"""Paired counterfactual trajectories: one prefix, forked at item k into branches that differ by one action.

The prefix is simulated once; each branch continues its snapshot.

Source: Wang et al. 2023 (arXiv 2308.12256), section 4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from recommenders.base import Feedback, Int32, State
from simulator.engine.clock import Service, Trajectory, simulate
from simulator.engine.log import EventLog
from simulator.engine.pool import Heartbeat
from simulator.engine.snapshot import Snapshot, deploy, genesis
from simulator.scenario.counterfactuals import Action, Counterfactual
from simulator.world.behaviour import Behaviour
from simulator.world.population import build_population
from simulator.world.random_behaviour import ForcedAction, RandomBehaviour
from simulator.world.world import World


@dataclass(frozen=True)
class Branch:
    """What followed one action.

    Attributes:
        log: the request of item k and the one after it, whose slates have the measured size.
        next_slates: int32[n_runs, slate_size], the slate after item k.
    """

    log: EventLog
    next_slates: Int32


@dataclass(frozen=True)
class Branches:
    """One arm's runs.

    Attributes:
        prefix: items 1 to k - 1.
        focus_item: int32[n_runs], item k, the same in both branches.
        base, action: the two branches.
    """

    prefix: EventLog
    focus_item: Int32
    base: Branch
    action: Branch


def world_of_runs(world: World, runs: int) -> World:
    """The same catalogue with one user per run."""
    population = world.settings.population.model_copy(update={"users": runs})
    settings = world.settings.model_copy(update={"population": population})
    users = build_population(population, settings.behaviour, world.catalogue, world.draws)
    return replace(world, settings=settings, population=users)


def run_counterfactual(
    world: World,
    service: Service,
    model: State,
    settings: Counterfactual,
    *,
    start_tick: int,
    heartbeat: Heartbeat | None = None,
) -> Branches:
    """Simulate the prefix once and both branches from its end.

    Args:
        world: one user per run (`world_of_runs`).
        service: the arm; it does not retrain here.
        model: the fitted model that serves throughout.
        settings: the protocol.
        start_tick: tick of the first request; the catalogue is as of then.
        heartbeat: told of progress.

    Raises:
        EngineError: the recommender broke its contract.
    """
    platform = service.platform.model_copy(update={"retrain_every": None})
    service = replace(service, platform=platform)
    behaviour = RandomBehaviour(settings, start_tick)
    beginning = replace(genesis(world, behaviour, service.build().traits.history_length), tick=start_tick)
    fork_tick = start_tick + (settings.k - 1) * settings.request_every
    prefix = simulate(world, behaviour, service, deploy(beginning, model), fork_tick, heartbeat=heartbeat)

    def branch(action: tuple[Action, ...]) -> Branch:
        forced = ForcedAction(behaviour, settings.k - 1, action)
        return _branch(world, service, forced, prefix.end, settings)

    base, action = branch(settings.base), branch(settings.action)
    of_item_k = base.log.take((base.log.tick == fork_tick) & ((base.log.feedback & np.uint8(Feedback.EXAMINED)) > 0))
    return Branches(prefix.log, of_item_k.item, base, action)


def _branch(world: World, service: Service, behaviour: Behaviour, start: Snapshot, settings: Counterfactual) -> Branch:
    parted = simulate(world, behaviour, service, start, start.tick + settings.request_every)
    measured = replace(service, platform=service.platform.model_copy(update={"slate_size": settings.slate_size}))
    following: Trajectory = simulate(world, behaviour, measured, parted.end, parted.end.tick + 1)
    slates = following.log.item.reshape(world.population.n_users, settings.slate_size)
    return Branch(EventLog.concatenate([parted.log, following.log]), slates)
