"""How users change between sessions, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.world.behaviour import Responses
from simulator.world.engagement import end_of_request, start_session
from simulator.world.state import new_state
from tests.simulator.engine.worlds import DAY, HOUR, small_world


def quiet(n: int, k: int) -> Responses:
    """Responses of users who look at everything and feel nothing."""
    shape = (n, k)
    return Responses(
        np.full(n, k, np.int32), np.ones(shape, np.uint8), np.ones(shape, np.float32),
        np.full(shape, 1_000), np.zeros(shape, np.bool_), np.zeros(shape, np.float32),
    )  # fmt: skip


def test_drift_follows_the_transition_of_an_ornstein_uhlenbeck_process():
    world = small_world(users=4000, engagement={"same_day_probability": 1.0})
    state = new_state(world.population.taste)
    users = np.arange(4000)
    start_session(world, state, users, np.zeros(4000, np.int64), first=True)
    settings = world.settings.population
    elapsed = state.wake_tick
    sd = settings.drift_sd * np.sqrt(1 - np.exp(-2 * elapsed / settings.drift_time))
    z = (state.taste - world.population.taste) / sd[:, None]
    # Mean and variance of 20,000 standard normals: five standard errors, a false alarm in two million seeds.
    assert abs(z.mean()) < 5 / np.sqrt(z.size)
    assert abs(z.var() - 1) < 5 * np.sqrt(2 / z.size)


def test_annoyance_and_satiation_fade_with_their_time_constants():
    world = small_world(users=5, engagement={"feedback": False, "session_impressions_median": 1e6})
    state = new_state(world.population.taste)
    state.annoyance[:], state.satiation[:], state.budget[:] = 2.0, 1.0, 1e6
    users, item = np.arange(5), np.zeros((5, 3), np.int32)
    end_of_request(world, state, users, np.full(5, 6 * HOUR), item, quiet(5, 3))
    engagement = world.settings.engagement
    np.testing.assert_allclose(state.annoyance, 2 * np.exp(-6 * HOUR / engagement.annoyance_time), rtol=1e-5)
    np.testing.assert_allclose(state.satiation, np.exp(-6 * HOUR / engagement.satiation_time), rtol=1e-5)


@pytest.mark.parametrize(("feedback", "sooner"), [(True, True), (False, False)])
def test_pleased_users_come_back_sooner_unless_the_way_is_cut(feedback, sooner):
    world = small_world(users=50, engagement={"feedback": feedback})
    gaps = []
    for satisfaction in (-1.0, 1.0):
        state = new_state(world.population.taste)
        state.satisfaction[:] = satisfaction
        start_session(world, state, np.arange(50), np.full(50, DAY))
        gaps.append(state.wake_tick - DAY)
    assert (gaps[1] < gaps[0]).all() if sooner else (gaps[1] == gaps[0]).all()


def test_seeing_again_what_was_pushed_back_on_annoys():
    world = small_world(users=2, engagement={"session_impressions_median": 1e6})
    state = new_state(world.population.taste)
    state.budget[:] = 1e6
    features = world.catalogue.features
    state.pushed_creator[0, 0], state.pushed_topic[0, 0] = features.creator[3], features.topic[3]
    state.pushed_tick[0, 0], state.n_pushed[0] = 0, 1
    item = np.full((2, 1), 3, np.int32)
    end_of_request(world, state, np.arange(2), np.full(2, HOUR), item, quiet(2, 1))
    engagement = world.settings.engagement
    assert state.annoyance[0] == pytest.approx(engagement.annoyance_creator + engagement.annoyance_topic)
    assert state.annoyance[1] == 0
