"""Paired counterfactual trajectories: one prefix, forked at item k into branches that differ by one action.

The prefix is simulated once, each user up to the request of their own item k; every branch continues from there, under
the same keyed draws. With a random prefix the users go on at random, as in the paper; with a lived one they live on, so
that what the action does to their own future shows, too.

Source: Wang et al. 2023 (arXiv 2308.12256), section 4; the lived prefix, triggers, curves and doses are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from recommenders.base import Bool, Int32, Int64, State
from simulator.engine.clock import Service, simulate
from simulator.engine.log import EventLog
from simulator.engine.pool import Heartbeat
from simulator.engine.snapshot import Snapshot, deploy, genesis
from simulator.experiment.exposure import Exposing, items_alike
from simulator.experiment.triggers import find_moments, impressions_by_user, random_item_k
from simulator.scenario.counterfactuals import Action, Counterfactual, actions_label
from simulator.world.behaviour import Behaviour, UtilityBehaviour
from simulator.world.forced_action import ANY_SLOT, ASLEEP, ForcedAction, Moments, Pausing, TopSlotAction
from simulator.world.population import build_population
from simulator.world.random_behaviour import RandomBehaviour
from simulator.world.world import World


@dataclass(frozen=True, eq=False)
class Branch:
    """What followed one action; row i is the run of user `Branches.run[i]`.

    Attributes:
        log: from the request of item k on.
        slates: int32[n_runs, requests, slate_size], the slates after item k; -1 for a request that was not made.
        tick: int64[n_runs, requests], when each was asked for; -1 likewise.
        done_tick: int64[n_runs], when the user was done with item k.
    """

    log: EventLog
    slates: Int32
    tick: Int64
    done_tick: Int64

    @property
    def next_slates(self) -> Int32:
        """int32[n_runs, slate_size], the slate after item k."""
        return self.slates[:, 0]


@dataclass(frozen=True, eq=False)
class Dose:
    """The slates after several actions in a row.

    Attributes:
        alike: `creator` or `topic`: what the items have in common.
        count: how many actions, item k included.
        base_slates, action_slates: int32[n_runs, slate_size], the next slate in each branch.
    """

    alike: str
    count: int
    base_slates: Int32
    action_slates: Int32


@dataclass(frozen=True, eq=False)
class Branches:
    """One arm's runs.

    Attributes:
        prefix: what came before item k; a lived one without the warm-up.
        run: int32[n_runs], the user of each run whose moment came, ascending.
        moment_tick: int64[n_runs], when the slate with item k was asked for.
        moments: of all users.
        focus_item: int32[n_runs], item k, the same in all branches.
        base: the branch to compare with.
        others: label -> branch; the main action first.
        doses: responses to more than one action.
        end_tick: a lived branch ends before it.
    """

    prefix: EventLog
    run: Int32
    moment_tick: Int64
    moments: Moments
    focus_item: Int32
    base: Branch
    others: Mapping[str, Branch]
    doses: tuple[Dose, ...] = field(default=())
    end_tick: int = 0

    @property
    def action(self) -> Branch:
        """The branch of the main action."""
        return next(iter(self.others.values()))


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
    heartbeat: Heartbeat | None = None,
) -> Branches:
    """Simulate the prefix once and all branches from its end.

    Args:
        world: the world of the scenario.
        service: the arm; it does not retrain here.
        model: the fitted model that serves throughout.
        settings: the protocol.
        start: the world when the warm-up ends; a random prefix takes its tick only, at which the catalogue is.
        heartbeat: told of progress.

    Raises:
        EngineError: the recommender broke its contract.
    """
    service = replace(service, platform=service.platform.model_copy(update={"retrain_every": None}))
    protocol = _lived if settings.prefix == "lived" else _random
    return protocol(world, service, model, settings, start, heartbeat)


def _random(
    world: World, service: Service, model: State, settings: Counterfactual, start: Snapshot, heartbeat: Heartbeat | None
) -> Branches:
    world = world_of_runs(world, settings.runs)
    behaviour = RandomBehaviour(settings, start.tick)
    beginning = replace(genesis(world, behaviour, service.build().traits.history_length), tick=start.tick)
    beginning = deploy(beginning, model)
    moments, until = random_item_k(settings.runs, settings.k), start.tick + settings.k * settings.request_every
    if settings.trigger != "item_k":
        until = start.tick + settings.trigger_within
        probe = simulate(world, behaviour, service, beginning, until, heartbeat=heartbeat)
        moments = find_moments(world, settings, EventLog.empty(), probe.log)
    fork = _stop_at(world, behaviour, service, beginning, moments, until, heartbeat)
    going_on = _only(fork.end, moments.step >= 0)
    measured = replace(service, platform=service.platform.model_copy(update={"slate_size": settings.slate_size}))
    last = start.tick + settings.duration

    def part(action: tuple[Action, ...]) -> _Forked:
        forced = ForcedAction(behaviour, moments, action)
        return _stop_at(world, forced, service, going_on, _later(moments, 1), last)

    def follow(parted: _Forked) -> Branch:
        after = _stop_at(world, behaviour, measured, parted.end, _later(moments, 1 + settings.requests), last)
        log = EventLog.concatenate([parted.log, after.log])
        measured_slates = _slates(after.log, run, np.full(len(run), -1), settings.requests, settings.slate_size)
        return Branch(log, *measured_slates, _focus(parted.log, moments).done_tick)

    parted_base = part(settings.base)
    focus = _focus(parted_base.log, moments)
    run, focus_item, tick = focus.run, focus.item, focus.tick
    base = follow(parted_base)
    parted = {actions_label(action): part(action) for action in settings.branches}
    doses: list[Dose] = []
    if settings.doses:
        pair = (parted_base.end, parted[actions_label(settings.action)].end)
        doses = _doses(world, service, measured, behaviour, settings, pair, focus_item, last)
    others = {label: follow(each) for label, each in parted.items()}
    return Branches(fork.log, run, tick, moments, focus_item, base, others, tuple(doses))


def _lived(
    world: World, service: Service, model: State, settings: Counterfactual, start: Snapshot, heartbeat: Heartbeat | None
) -> Branches:
    behaviour = UtilityBehaviour()
    beginning = deploy(start, model)
    beginning = _only(beginning, np.arange(world.population.n_users) < settings.runs)
    until = start.tick + settings.trigger_within
    probe = simulate(world, behaviour, service, beginning, until, heartbeat=heartbeat)
    moments = find_moments(world, settings, start.log, probe.log)
    fork = _stop_at(world, behaviour, service, beginning, moments, until)
    end_tick = start.tick + settings.duration
    going_on = _only(fork.end, moments.step >= 0)

    def branch(action: tuple[Action, ...]) -> Branch:
        forced = ForcedAction(behaviour, moments, action)
        log = simulate(world, forced, service, going_on, end_tick, heartbeat=heartbeat).log
        measured_slates = _slates(log, run, tick, settings.requests, service.platform.slate_size)
        return Branch(log, *measured_slates, _focus(log, moments).done_tick)

    focus = _focus(probe.log, moments)
    run, focus_item, tick = focus.run, focus.item, focus.tick
    base = branch(settings.base)
    others = {actions_label(action): branch(action) for action in settings.branches}
    return Branches(fork.log, run, tick, moments, focus_item, base, others, end_tick=end_tick)


@dataclass(frozen=True, eq=False)
class _Forked:
    """What happened until every user stopped, and the world then: its users are further on than its tick says."""

    log: EventLog
    end: Snapshot


def _stop_at(
    world: World,
    behaviour: Behaviour,
    service: Service,
    start: Snapshot,
    moments: Moments,
    until: int,
    heartbeat: Heartbeat | None = None,
) -> _Forked:
    """Let every user live up to the request of their moment, those without one until the end.

    The world that is left is of the tick at which it started, with users further on: nobody is served before the
    request at which they stopped, and releases of the catalogue come round again.
    """
    pausing = Pausing(behaviour, moments, np.full(world.population.n_users, -1, np.int64))
    users = start.users.copy()
    pausing.put_to_sleep(users, np.arange(users.n_users))
    trajectory = simulate(world, pausing, service, replace(start, users=users), until, heartbeat=heartbeat)
    users = trajectory.end.users.copy()
    pausing.wake(users)
    return _Forked(trajectory.log, replace(trajectory.end, tick=start.tick, users=users))


def _only(snapshot: Snapshot, chosen: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Snapshot:
    """The same world in which only the chosen users are ever served: bool[n_users]."""
    users = snapshot.users.copy()
    users.wake_tick[~chosen] = ASLEEP
    return replace(snapshot, users=users)


def _later(moments: Moments, steps: int) -> Moments:
    """So many requests of the same session later."""
    return Moments(moments.session, np.where(moments.step < 0, moments.step, moments.step + steps), moments.slot)


@dataclass(frozen=True, eq=False)
class _Focus:
    """The impressions at which runs part: user, item, tick of the slate, tick at which the user was done; [n] each."""

    run: Int32
    item: Int32
    tick: Int64
    done_tick: Int64


def _focus(log: EventLog, moments: Moments) -> _Focus:
    """Item k of every run whose moment is in a log."""
    seen = impressions_by_user(log)
    here = (seen.session == moments.session[seen.user]) & (seen.step == moments.step[seen.user])
    slot = moments.slot[seen.user]
    here &= (slot == ANY_SLOT) | (seen.slot == slot)
    run, first = np.unique(seen.user[here], return_index=True)
    row = np.flatnonzero(here)[first]
    return _Focus(run, seen.item[row], seen.tick[row], seen.done_tick[row])


def _slates(log: EventLog, run: Int32, after: Int64, n_requests: int, size: int) -> tuple[Int32, Int64]:
    """The first requests of each run after a tick.

    Args:
        log: of one slate size.
        run: int32[n], whose.
        after: int64[n], later than this.
        n_requests, size: how many requests, and slots of each.

    Returns:
        int32[n, n_requests, size] and int64[n, n_requests]; -1 where there was no such request.
    """
    slates = np.full((len(run), n_requests, size), -1, np.int32)
    tick = np.full((len(run), n_requests), -1, np.int64)
    opens = np.flatnonzero(log.slot == 0)
    row = np.searchsorted(run, log.user[opens])
    known = row < len(run)
    known[known] = run[row[known]] == log.user[opens][known]
    opens, row = opens[known], row[known]
    later = log.tick[opens] > after[row]
    opens, row = opens[later], row[later]
    order = np.argsort(row, kind="stable")
    opens, row = opens[order], row[order]
    nth = np.arange(len(row)) - np.searchsorted(row, row, side="left")
    opens, row, nth = opens[nth < n_requests], row[nth < n_requests], nth[nth < n_requests]
    tick[row, nth] = log.tick[opens]
    slates[row, nth] = log.item[opens[:, None] + np.arange(size)]
    return slates, tick


def _eligible(world: World, service: Service, tick: int) -> Bool:
    """What may be shown at a tick, as of the platform's last release."""
    every = service.platform.release_every
    return world.catalogue.eligible(tick // every * every)


def _exposing(service: Service, first_step: int, item: Int32) -> Exposing:
    return Exposing(service.build(), first_step, item)


def _doses(
    world: World,
    service: Service,
    measured: Service,
    behaviour: RandomBehaviour,
    settings: Counterfactual,
    parted: tuple[Snapshot, Snapshot],
    focus_item: Int32,
    until: int,
) -> list[Dose]:
    """More of the same action, on items like item k that the experiment puts on top of the slates.

    Args:
        world: one user per run, all of whom part at item k.
        service, measured: the arm, with the platform's slates and with those that are measured.
        behaviour: the prefix's.
        settings: the protocol.
        parted: the worlds after item k, of the base branch and of the action's.
        focus_item: int32[n_users], item k.
        until: later than all of it.
    """
    features = world.catalogue.features
    run = np.arange(len(focus_item), dtype=np.int32)
    most = max(settings.doses)
    begun = parted[0].tick + settings.k * settings.request_every
    eligible = _eligible(world, service, begun) & _eligible(world, service, begun + most * settings.request_every)
    found = []
    for alike, group in (("creator", features.creator), ("topic", features.topic)):
        item = items_alike(group, focus_item, most - 1, world.draws, eligible)
        exposing = replace(service, build=partial(_exposing, service, settings.k, item))
        for count in settings.doses:
            slates = []
            for start, action in zip(parted, (settings.base, settings.action), strict=True):
                end = random_item_k(len(run), settings.k + count)
                dosed = _stop_at(world, TopSlotAction(behaviour, action), exposing, start, end, until)
                after = _stop_at(world, behaviour, measured, dosed.end, _later(end, 1), until)
                slates.append(_slates(after.log, run, np.full(len(run), -1), 1, settings.slate_size)[0][:, 0])
            found.append(Dose(alike, count, *slates))
    return found
