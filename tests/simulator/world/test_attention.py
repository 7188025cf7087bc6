from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simulator.scenario import schema
from simulator.world.behaviour import UtilityBehaviour
from simulator.world.world import build_world


@pytest.mark.parametrize(("patience", "slots"), [(1.0, 10.0), (0.5, 2.0)])
def test_slots_looked_at_follow_patience(patience: float, slots: float) -> None:
    settings = schema.World(
        population=schema.Population(users=2000),
        behaviour=schema.Behaviour(patience=patience, patience_logit_sd=0.0),
        engagement=schema.Engagement(session_impressions_median=1000.0, session_sigma=0.0),
    )
    world = build_world(settings, seed=1, horizon_ticks=1, directory=Path())
    behaviour = UtilityBehaviour()
    state, users = behaviour.begin(world), np.arange(2000)
    item = np.tile(np.arange(10, dtype=np.int32), (2000, 1))
    looked = behaviour.respond(world, state, users, state.wake_tick, item).n_examined
    # Geometric with mean 2, cut at 10: the mean of 2000 users has a standard error of 0.03.
    assert looked.mean() == pytest.approx(slots, abs=0.12)
