"""Responses to several actions in a row, on items alike that the experiment puts on top of the slates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from recommenders.base import Bool, Int32, Recommender
from simulator.engine.clock import Service
from simulator.engine.snapshot import Snapshot
from simulator.experiment.branches import Dose, slates_after
from simulator.experiment.exposure import Exposing, items_alike
from simulator.experiment.forking import later, stop_at
from simulator.experiment.triggers import random_item_k
from simulator.scenario.counterfactuals import Counterfactual
from simulator.world.forced_action import TopSlotAction
from simulator.world.random_behaviour import RandomBehaviour
from simulator.world.world import World


def dose_responses(
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
        exposing = replace(service, build=partial(_exposing, service.build, settings.k, item))
        for count in settings.doses:
            slates = []
            for start, action in zip(parted, (settings.base, settings.action), strict=True):
                end = random_item_k(len(run), settings.k + count)
                dosed = stop_at(world, TopSlotAction(behaviour, action), exposing, start, end, until)
                after = stop_at(world, behaviour, measured, dosed.end, later(end, 1), until)
                slates.append(slates_after(after.log, run, np.full(len(run), -1), 1, settings.slate_size)[0][:, 0])
            found.append(Dose(alike, count, *slates))
    return found


def _eligible(world: World, service: Service, tick: int) -> Bool:
    """What may be shown at a tick, as of the platform's last release."""
    every = service.platform.release_every
    return world.catalogue.eligible(tick // every * every)


def _exposing(build: Callable[[], Recommender], first_step: int, item: Int32) -> Exposing:
    return Exposing(build(), first_step, item)
