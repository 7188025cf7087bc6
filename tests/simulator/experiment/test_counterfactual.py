"""The counterfactual protocol: one prefix, two branches, and what the recommender is shown in each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recommenders.base import Feedback, Requests, Slates
from simulator.engine.snapshot import Snapshot, genesis
from simulator.experiment.counterfactual import run_counterfactual, world_of_runs
from simulator.scenario.counterfactuals import Counterfactual
from simulator.world.behaviour import UtilityBehaviour
from simulator.world.world import World
from tests.simulator.engine.worlds import DAY, Responsive, first_model, service, small_world

K, RUNS = 7, 9
SETTINGS = Counterfactual.model_validate(
    {"runs": RUNS, "k": K, "slate_size": 10, "request_every": "5m", "dislike_probability": 0.2}
)


def start_at(world: World, tick: int) -> Snapshot:
    """A world in which nothing has happened until a tick."""
    return replace(genesis(world, UtilityBehaviour(), 12), tick=tick)


class Recording(Responsive):
    """Remembers every batch of requests."""

    seen: list[Requests]

    def recommend(self, requests: Requests, k: int, draws) -> Slates:
        self.seen.append(requests)
        return super().recommend(requests, k, draws)


@pytest.fixture
def run():
    seen: list[Requests] = []

    def build() -> Recording:
        recommender = Recording()
        recommender.seen = seen
        return recommender

    world = world_of_runs(small_world(users=3), RUNS)
    built = replace(service(ingestion_delay="1m"), build=build)
    branches = run_counterfactual(world, built, first_model(built, world), SETTINGS, start=start_at(world, DAY))
    return branches, seen


def test_each_run_has_k_requests_before_the_one_that_is_measured(run):
    branches, seen = run
    ticks = [DAY + i * SETTINGS.request_every for i in range(K - 1)]
    np.testing.assert_array_equal(np.unique(branches.prefix.tick), ticks)
    assert len(branches.prefix) == (K - 1) * RUNS * 4
    fork = DAY + (K - 1) * SETTINGS.request_every
    for branch in (branches.base, branches.action):
        np.testing.assert_array_equal(np.unique(branch.log.tick), [fork, fork + SETTINGS.request_every])
        assert branch.next_slates.shape == (RUNS, 10)
    assert [len(requests) for requests in seen] == [RUNS] * (K - 1 + 4)


def test_the_measured_request_sees_the_forced_action_on_item_k_and_nothing_else_differs(run):
    branches, seen = run
    base, action = seen[-3], seen[-1]
    np.testing.assert_array_equal(base.history_item[:, -1], branches.focus_item)
    np.testing.assert_array_equal(base.history_item, action.history_item)
    np.testing.assert_array_equal(base.history_dwell_seconds, action.history_dwell_seconds)
    np.testing.assert_array_equal(base.history_feedback[:, :-1], action.history_feedback[:, :-1])
    plain = Feedback.EXAMINED | Feedback.LONG_DWELL
    assert (base.history_feedback[:, -1] == plain).all()
    assert (action.history_feedback[:, -1] == plain | Feedback.DISLIKE).all()


def test_no_request_sees_feedback_from_the_future_or_before_its_delivery(run):
    _, seen = run
    for requests in seen:
        known = requests.history_item >= 0
        told = requests.history_tick + 60_000 <= requests.tick[:, None]
        assert (told | ~known).all()


def test_the_prefix_reacts_as_often_as_the_settings_say():
    settings = SETTINGS.model_copy(update={"k": 60, "runs": 100})
    world, built = world_of_runs(small_world(users=3), 100), service()
    log = run_counterfactual(world, built, first_model(built, world), settings, start=start_at(world, 0)).prefix
    examined = log.take((log.feedback & Feedback.EXAMINED) > 0)
    n = len(examined)
    assert n == 59 * 100
    expected = {"LONG_DWELL": 0.5, "SKIP": 0.3, "LIKE": 0.05, "DISLIKE": 0.2}
    for name, probability in expected.items():
        share = ((examined.feedback & Feedback[name]) > 0).mean()
        # Five standard errors: a false alarm in one of two million seeds.
        assert abs(share - probability) < 5 * np.sqrt(probability * (1 - probability) / n)
    slots = np.bincount(examined.slot, minlength=4) / n
    np.testing.assert_allclose(slots, 0.25, atol=5 * np.sqrt(0.25 * 0.75 / n))


def test_a_request_before_the_last_item_is_done_with_is_refused():
    settings = SETTINGS.model_copy(update={"request_every": 1_000})
    world, built = world_of_runs(small_world(users=3), RUNS), service()
    with pytest.raises(ValueError, match=r"request_every: got 1000 ticks, expected at least the \d+"):
        run_counterfactual(world, built, first_model(built, world), settings, start=start_at(world, 0))
