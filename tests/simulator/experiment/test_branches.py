"""Branches of a prefix against replays from the beginning, triggers against a loop, doses against the history."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders.base import Feedback
from simulator.engine.clock import Service, simulate
from simulator.engine.log import EventLog
from simulator.engine.snapshot import Snapshot, deploy, genesis
from simulator.experiment.branches import Branches
from simulator.experiment.counterfactual import run_counterfactual, world_of_runs
from simulator.experiment.exposure import items_alike
from simulator.experiment.responses import NOT_DELIVERED, analyse_branches
from simulator.experiment.triggers import find_moments
from simulator.scenario.counterfactuals import Counterfactual
from simulator.world.appeal import creator_aversion
from simulator.world.behaviour import UtilityBehaviour
from simulator.world.forced_action import ForcedAction
from simulator.world.random_behaviour import RandomBehaviour
from simulator.world.world import World
from tests.simulator.engine.worlds import DAY, HOUR, first_model, service, small_world

COLUMNS = tuple(EventLog.DTYPES)
PLAIN = Feedback.EXAMINED | Feedback.LONG_DWELL


def warm(world: World, built: Service, until: int) -> Snapshot:
    begin = genesis(world, UtilityBehaviour(), 12, first_model(built, world))
    return simulate(world, UtilityBehaviour(), built, begin, until).end


def warm_with_history(world: World, built: Service, until: int, length: int) -> Snapshot:
    begin = genesis(world, UtilityBehaviour(), length, first_model(built, world))
    return simulate(world, UtilityBehaviour(), built, begin, until).end


def run(world: World, built: Service, start: Snapshot, **protocol: object) -> Branches:
    written = {"runs": world.population.n_users, "slate_size": 6, "dislike_probability": 0.3, **protocol}
    return run_counterfactual(
        world, built, first_model(built, world), Counterfactual.model_validate(written), start=start
    )


def assert_same(a: EventLog, b: EventLog) -> None:
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def rows_of(log: EventLog, users: np.ndarray) -> EventLog:
    return log.take(np.isin(log.user, users))


def in_order(*parts: EventLog) -> EventLog:
    log = EventLog.concatenate(list(parts))
    return log.take(np.lexsort((log.slot, log.user, log.tick)))


protocols = st.fixed_dictionaries(
    {
        "k": st.integers(1, 15),
        "trigger": st.sampled_from(["item_k", "averse_creator", "repeated_topic"]),
        "trigger_dislikes": st.integers(1, 3),
        "trigger_within": st.sampled_from(["6h", "1d"]),
    }
)


@given(
    protocol=protocols, seed=st.integers(0, 2**30), delay=st.sampled_from(["0s", "45s", "2h"]),
    released_share=st.sampled_from([1.0, 0.6]),
)  # fmt: skip
@settings(max_examples=25)
def test_a_lived_branch_equals_a_replay_from_the_beginning(protocol, seed, delay, released_share):
    world = small_world(users=6, seed=seed, released_share=released_share, items=40)
    built = service(ingestion_delay=delay, release_every="6h")
    start = warm(world, built, 10 * HOUR)
    found = run(world, built, start, prefix="lived", follow="12h", **protocol)
    model = first_model(built, world)
    for label, branch in (("base", found.base), *found.others.items()):
        action = ("long_dwell",) if label == "base" else ("long_dwell", "dislike")
        forced = ForcedAction(UtilityBehaviour(), found.moments, action)
        replay = simulate(world, forced, built, deploy(start, model), found.end_tick).log
        assert_same(in_order(rows_of(found.prefix, found.run), branch.log), rows_of(replay, found.run))


@given(protocol=protocols, seed=st.integers(0, 2**30))
@settings(max_examples=20)
def test_a_random_branch_equals_a_replay_up_to_the_measured_slates(protocol, seed):
    world = small_world(users=5, seed=seed, items=40)
    built = service()
    found = run(world, built, replace(genesis(world, UtilityBehaviour(), 12), tick=DAY), requests=3, **protocol)
    runs = world_of_runs(world, 5)
    written = Counterfactual.model_validate({"dislike_probability": 0.3})
    behaviour = RandomBehaviour(written, DAY)
    start = deploy(replace(genesis(runs, behaviour, 12), tick=DAY), first_model(built, world))
    forced = ForcedAction(behaviour, found.moments, ("long_dwell", "dislike"))
    replay = simulate(runs, forced, built, start, DAY + 2 * DAY).log
    for user, tick in zip(found.run, found.moment_tick, strict=True):
        mine = in_order(*(log.take(log.user == user) for log in (found.prefix, found.action.log)))
        mine = mine.take(mine.tick <= tick)
        theirs = replay.take((replay.user == user) & (replay.tick <= tick))
        assert_same(mine, theirs)


def slow_moment(world: World, protocol: Counterfactual, before: EventLog, log: EventLog, user: int):
    topic, creator = world.catalogue.features.topic, world.catalogue.features.creator
    disliked = [
        int(topic[i]) for i, u, f in zip(before.item, before.user, before.feedback, strict=True)
        if u == user and f & Feedback.DISLIKE
    ]  # fmt: skip
    place = 0
    for e in range(len(log)):
        if log.user[e] != user or not log.feedback[e] & Feedback.EXAMINED:
            continue
        item = int(log.item[e])
        cost = creator_aversion(world.settings.population, world.draws, np.array([user]), creator[[item]])[0]
        wanted = {
            "item_k": True,
            "averse_creator": cost >= 0.5 * world.settings.population.creator_aversion,
            "repeated_topic": disliked.count(int(topic[item])) == protocol.trigger_dislikes - 1,
        }[protocol.trigger]
        if place >= protocol.k - 1 and wanted:
            return int(log.session[e]), int(log.step[e]), int(log.slot[e])
        place += 1
        if log.feedback[e] & Feedback.DISLIKE:
            disliked.append(int(topic[item]))
    return -1, -1, -1


@given(protocol=protocols, seed=st.integers(0, 2**30))
@settings(max_examples=25)
def test_a_moment_is_the_first_impression_that_the_trigger_waits_for(protocol, seed):
    world = small_world(users=5, seed=seed)
    built = service()
    start = warm(world, built, 12 * HOUR)
    log = simulate(world, UtilityBehaviour(), built, start, 30 * HOUR).log
    written = Counterfactual.model_validate(protocol)
    moments = find_moments(world, written, start.log, log)
    found = list(zip(moments.session.tolist(), moments.step.tolist(), moments.slot.tolist(), strict=True))
    assert found == [slow_moment(world, written, start.log, log, user) for user in range(5)]


@given(
    seed=st.integers(0, 2**30), group=st.lists(st.integers(0, 4), min_size=1, max_size=20), n=st.integers(1, 6),
    users=st.integers(1, 5), some_expired=st.booleans(),
)  # fmt: skip
def test_items_alike_are_others_of_the_group_and_differ_while_there_are_enough(seed, group, n, users, some_expired):
    world = small_world(seed=seed % 5)
    groups = np.array(group, np.int32)
    focus = (np.arange(users) * 7 % len(group)).astype(np.int32)
    eligible = np.array([(seed >> i) % 4 > 0 for i in range(len(group))]) if some_expired else np.ones(len(group), bool)
    found = items_alike(groups, focus, n, world.draws, eligible)
    assert found.shape == (users, n)
    for row, item in zip(found, focus, strict=True):
        alike = {i for i in range(len(group)) if group[i] == group[item] and i != item and eligible[i]}
        others = alike or {int(item)}
        assert set(row.tolist()) <= others
        assert len(set(row.tolist())) == min(n, len(others))


@pytest.mark.parametrize("released_share", [1.0, 0.5])
def test_a_dose_is_so_many_dislikes_in_a_row_on_items_alike(released_share):
    world, built = small_world(users=4, items=60, released_share=released_share), service()
    seen = []
    build = built.build

    class Recording:
        def __call__(self):
            recommender = build()
            inner = recommender.recommend

            def recommend(requests, k, draws):
                seen.append((requests, k))
                return inner(requests, k, draws)

            recommender.recommend = recommend
            return recommender

    built = replace(built, build=Recording())
    start = replace(genesis(world, UtilityBehaviour(), 12), tick=DAY)
    found = run(world, built, start, k=5, doses=[3])
    assert [(dose.alike, dose.count) for dose in found.doses] == [("creator", 3), ("topic", 3)]
    items = world.catalogue.features
    measured = [requests for requests, k in seen if k == 6 and (requests.step == 7).all()]
    assert len(measured) == 4
    for requests, group, flags in zip(
        measured, (items.creator, items.creator, items.topic, items.topic), (PLAIN, PLAIN | Feedback.DISLIKE) * 2,
        strict=True,
    ):  # fmt: skip
        last = requests.history_item[:, -3:]
        np.testing.assert_array_equal(last[:, 0], found.focus_item)
        np.testing.assert_array_equal(group[last], np.repeat(group[found.focus_item][:, None], 3, axis=1))
        assert (requests.history_feedback[:, -3:] == flags).all()


def test_only_the_users_of_runs_live_in_a_lived_counterfactual():
    world, built = small_world(users=6), service()
    start = warm(world, built, 12 * HOUR)
    found = run(world, built, start, runs=2, k=2, prefix="lived")
    assert set(found.run.tolist()) <= {0, 1}
    assert set(found.base.log.user.tolist()) == set(found.run.tolist())
    everybody = run(world, built, start, k=2, prefix="lived")
    assert_same(rows_of(everybody.base.log, found.run), found.base.log)


def test_the_window_is_that_of_the_arm_where_others_read_longer_histories():
    world, built = small_world(users=6), service()
    start = warm(world, built, 12 * HOUR)
    longer = warm_with_history(world, built, 12 * HOUR, 30)
    assert longer.history.length > start.history.length
    one, other = (run(world, built, s, k=2, prefix="lived") for s in (start, longer))
    assert_same(one.action.log, other.action.log)


def test_doses_of_an_arm_that_hears_late_say_so():
    world, built = small_world(users=12, items=60), service(ingestion_delay="1h")
    start = replace(genesis(world, UtilityBehaviour(), 12), tick=DAY)
    found = run(world, built, start, k=5, doses=[2])
    analysis = analyse_branches(
        "arm", found, EventLog.empty(), world.catalogue, ingestion_delay=HOUR, confidence=0.9, segmented=False
    )
    for row in (*analysis.responsiveness, *analysis.doses):
        assert row.response.note
        assert not abs(row.response.value) > 0
    at_once = run(world, service(), start, k=5)
    told = analyse_branches(
        "arm", at_once, EventLog.empty(), world.catalogue, ingestion_delay=0, confidence=0.9, segmented=False
    )
    assert NOT_DELIVERED not in [row.response.note for row in told.responsiveness]


@pytest.mark.parametrize("prefix", ["random", "lived"])
def test_measured_slates_are_the_requests_after_item_k(prefix):
    world, built = small_world(users=6), service()
    start = warm(world, built, 12 * HOUR)
    found = run(world, built, start, k=3, requests=4, prefix=prefix, trigger_within="1d")
    assert len(found.run) > 0
    for branch in (found.base, found.action):
        for row, (user, moment) in enumerate(zip(found.run, found.moment_tick, strict=True)):
            log = branch.log.take((branch.log.user == user) & (branch.log.tick > moment))
            ticks = np.unique(log.tick)[:4]
            expected = np.full(4, -1)
            expected[: len(ticks)] = ticks
            np.testing.assert_array_equal(branch.tick[row], expected)
            for nth, tick in enumerate(ticks):
                np.testing.assert_array_equal(branch.slates[row, nth], log.item[log.tick == tick])
