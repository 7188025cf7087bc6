"""Paired counterfactual trajectories: one prefix, forked at item k into branches that differ by one action.

The prefix is simulated once, each user up to the request of their own item k; every branch continues from there, under
the same keyed draws. With a random prefix the users go on at random, as in the paper; with a lived one they live on, so
that what the action does to their own future shows, too.

Source: Wang et al. 2023 (arXiv 2308.12256), section 4; the lived prefix, triggers, curves and doses are ours.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from recommenders.base import State
from simulator.engine.checkpoints import Stages
from simulator.engine.clock import Service, simulate
from simulator.engine.log import EventLog
from simulator.engine.pool import Heartbeat
from simulator.engine.serving import build_recommender
from simulator.engine.snapshot import Snapshot, deploy, genesis
from simulator.experiment.branches import Branch, Branches, Dose, focus_of, slates_after
from simulator.experiment.doses import dose_responses
from simulator.experiment.forking import Forked, later, only, stop_at
from simulator.experiment.replay import Histories, replayed
from simulator.experiment.triggers import find_moments, random_item_k
from simulator.scenario.counterfactuals import Action, Counterfactual, actions_label
from simulator.world.behaviour import Behaviour
from simulator.world.forced_action import ForcedAction
from simulator.world.population import build_population
from simulator.world.random_behaviour import RandomBehaviour
from simulator.world.registry import behaviour_of
from simulator.world.world import World


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
    start: Snapshot,
    histories: Histories | None = None,
    heartbeat: Heartbeat | None = None,
    stages: Stages | None = None,
) -> Branches:
    """Simulate the prefix once and all branches from its end.

    Args:
        world: the world of the scenario.
        service: the arm; it does not retrain here.
        model: the fitted model that serves throughout.
        settings: the protocol.
        start: the world when the warm-up ends; other prefixes than a lived one take its tick only, at which the
            catalogue is.
        histories: of a replayed prefix, at least one a run.
        heartbeat: told of progress.
        stages: keeps the prefix and the branches that took long.

    Raises:
        EngineError: the recommender broke its contract.
    """
    service = replace(service, platform=service.platform.model_copy(update={"retrain_every": None}))
    if settings.prefix == "lived":
        return _lived(world, service, model, settings, start, heartbeat, stages or Stages())
    return _random(world, service, model, settings, start.tick, histories, heartbeat, stages or Stages())


def _random(
    world: World,
    service: Service,
    model: State,
    settings: Counterfactual,
    start_tick: int,
    histories: Histories | None,
    heartbeat: Heartbeat | None,
    stages: Stages,
) -> Branches:
    """Users who do random things from the beginning, or from the end of a history that they are given."""
    world = world_of_runs(world, settings.runs)
    behaviour = RandomBehaviour(settings, start_tick)
    step = partial(stages.once, like=lambda: behaviour.begin(world), least_seconds=stages.worth_seconds)

    def beat(tick: float, n_requests: int) -> None:
        stages.stop_if_asked()
        if heartbeat is not None:
            heartbeat(tick, n_requests)

    length = build_recommender(service.arm, service.build).traits.history_length
    beginning = deploy(replace(genesis(world, behaviour, length), tick=start_tick), model)
    past, k = EventLog.empty(), settings.k
    if histories is not None:
        beginning, past = replayed(beginning, histories.take(settings.runs), service.platform.ingestion_delay)
        k = 1
    moments, until = random_item_k(settings.runs, k), start_tick + k * settings.request_every
    if settings.trigger != "item_k":
        until = start_tick + settings.trigger_within
        probe = step("probe", lambda: simulate(world, behaviour, service, beginning, until, heartbeat=beat).log)
        moments = find_moments(world, settings, EventLog.empty(), probe)
    fork = step("prefix", lambda: stop_at(world, behaviour, service, beginning, moments, until, beat))
    going_on = only(fork.end, moments.step >= 0)
    measured = replace(service, platform=service.platform.model_copy(update={"slate_size": settings.slate_size}))
    last = start_tick + settings.duration

    def pulse(*_: float) -> None:
        stages.stop_if_asked()

    def part(action: tuple[Action, ...]) -> Forked:
        forced = ForcedAction(behaviour, moments, action)
        return stop_at(world, forced, service, going_on, later(moments, 1), last, pulse)

    def follow(label: str, parted: Forked) -> Branch:
        return step(f"branch {label}", lambda: measured_branch(parted))

    def measured_branch(parted: Forked) -> Branch:
        after = stop_at(world, behaviour, measured, parted.end, later(moments, 1 + settings.requests), last, pulse)
        log = EventLog.concatenate([parted.log, after.log])
        measured_slates = slates_after(after.log, run, np.full(len(run), -1), settings.requests, settings.slate_size)
        return Branch(log, *measured_slates, focus_of(parted.log, moments).done_tick)

    parted_base = step("parting base", lambda: part(settings.base))
    focus = focus_of(parted_base.log, moments)
    run, focus_item, tick = focus.run, focus.item, focus.tick
    base = follow("base", parted_base)
    parted = {
        actions_label(action): step(f"parting {actions_label(action)}", partial(part, action))
        for action in settings.branches
    }
    doses: list[Dose] = []
    if settings.doses:
        pair = (parted_base.end, parted[actions_label(settings.action)].end)
        doses = step(
            "doses", lambda: dose_responses(world, service, measured, behaviour, settings, pair, focus_item, last)
        )
    others = {label: follow(label, each) for label, each in parted.items()}
    prefix = EventLog.concatenate([past, fork.log])
    return Branches(prefix, run, tick, moments, focus_item, base, others, tuple(doses))


def _lived(
    world: World,
    service: Service,
    model: State,
    settings: Counterfactual,
    start: Snapshot,
    heartbeat: Heartbeat | None,
    stages: Stages,
) -> Branches:
    behaviour = behaviour_of(world)
    step = partial(stages.once, like=lambda: start.users, least_seconds=stages.worth_seconds)

    def live(name: str, behaviour: Behaviour, begin: Snapshot, until: int) -> EventLog:
        return simulate(
            world, behaviour, service, begin, until, heartbeat=heartbeat, checkpoint=stages.checkpoint(name)
        ).log

    beginning = deploy(start, model)
    beginning = only(beginning, np.arange(world.population.n_users) < settings.runs)
    until = start.tick + settings.trigger_within
    probe = step("probe", lambda: live("probe", behaviour, beginning, until))
    moments = find_moments(world, settings, start.log, probe)
    fork = step("prefix", lambda: stop_at(world, behaviour, service, beginning, moments, until))
    end_tick = start.tick + settings.duration
    going_on = only(fork.end, moments.step >= 0)

    def branch(label: str, action: tuple[Action, ...]) -> Branch:
        forced, name = ForcedAction(behaviour, moments, action), f"branch {label}"
        log = step(name, lambda: live(name, forced, going_on, end_tick))
        measured_slates = slates_after(log, run, tick, settings.requests, service.platform.slate_size)
        return Branch(log, *measured_slates, focus_of(log, moments).done_tick)

    focus = focus_of(probe, moments)
    run, focus_item, tick = focus.run, focus.item, focus.tick
    base = branch("base", settings.base)
    others = {actions_label(action): branch(actions_label(action), action) for action in settings.branches}
    return Branches(fork.log, run, tick, moments, focus_item, base, others, end_tick=end_tick)
