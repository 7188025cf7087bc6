"""The logged chance of a dislike against the dislikes that came."""

from __future__ import annotations

import numpy as np

from recommenders.base import Feedback
from simulator.engine.clock import simulate
from simulator.engine.log import EventLog
from simulator.engine.snapshot import genesis
from simulator.world.behaviour import UtilityBehaviour
from tests.simulator.engine.worlds import DAY, first_model, service, small_world


def lived(seed: int, users: int) -> EventLog:
    world, built = small_world(users=users, items=60, seed=seed), service("responsive")
    start = genesis(world, UtilityBehaviour(), 12, first_model(built, world))
    return simulate(world, UtilityBehaviour(), built, start, 2 * DAY).log


def test_the_chances_add_up_to_the_dislikes() -> None:
    log = lived(3, users=400)
    pressed = (log.feedback & Feedback.DISLIKE) > 0
    chance = log.dislike_probability.astype(np.float64)
    assert pressed.sum() > 500
    # The differences are martingale increments with variance p (1 - p), though what was shown depends on what was
    # pressed before. Five standard errors: a false alarm in one of two million seeds.
    for chosen in (slice(None), chance < 0.1, chance >= 0.3):
        p, seen = chance[chosen], pressed[chosen]
        assert abs((seen - p).sum()) < 5 * np.sqrt((p * (1 - p)).sum())


def test_a_chance_is_one_and_only_of_what_was_looked_at() -> None:
    log = lived(4, users=50)
    looked = (log.feedback & Feedback.EXAMINED) > 0
    assert ((log.dislike_probability >= 0) & (log.dislike_probability <= 1)).all()
    assert (log.dislike_probability[~looked] == 0).all()
    assert (log.dislike_probability[(log.feedback & Feedback.DISLIKE) > 0] > 0).all()
