"""What branches tell: similarities against loops, the course by hand, the future of users whose branches are equal."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommenders.base import Feedback
from simulator.engine.clock import simulate
from simulator.engine.log import EventLog
from simulator.engine.snapshot import genesis
from simulator.experiment.counterfactual import run_counterfactual
from simulator.experiment.responses import analyse_branches, course_summary, future_effects
from simulator.experiment.responsiveness import PAPER_KINDS, SELECTIVITY_KINDS, Runs, liked_topics, measure, respond
from simulator.experiment.results import Estimate, Responsiveness
from simulator.scenario.counterfactuals import Counterfactual
from simulator.world.behaviour import UtilityBehaviour
from tests.simulator.engine.worlds import DAY, HOUR, first_model, service, small_world

WORLD = small_world(items=30)
ITEMS = WORLD.catalogue.features
SLATE = st.lists(st.integers(0, 29), min_size=4, max_size=4, unique=True)


def one(kind: str, slate: list[int], base: list[int], focus: int, likes: list[bool]) -> float:
    topic, creator, embedding = ITEMS.topic, ITEMS.creator, WORLD.catalogue.embedding
    values = {
        "topic": lambda i: topic[i] == topic[focus],
        "creator": lambda i: creator[i] == creator[focus],
        "embedding": lambda i: float(embedding[i].astype(np.float64) @ embedding[focus].astype(np.float64)),
        "rest_of_topic": lambda i: topic[i] == topic[focus] and creator[i] != creator[focus],
        "liked_topics": lambda i: topic[i] != topic[focus] and likes[topic[i]],
        "kept": lambda i: i in base,
    }
    return sum(float(values[kind](i)) for i in slate) / len(slate)


@given(
    rows=st.lists(
        st.tuples(SLATE, SLATE, st.integers(0, 29), st.lists(st.booleans(), min_size=5, max_size=5)),
        min_size=1, max_size=5,
    ),
    kind=st.sampled_from(PAPER_KINDS + SELECTIVITY_KINDS),
)  # fmt: skip
def test_measures_count_items(rows, kind) -> None:
    slate, base, focus, likes = (np.array(column) for column in zip(*rows, strict=True))
    runs = Runs(focus.astype(np.int32), likes, ITEMS, WORLD.catalogue.embedding)
    got = measure(kind, slate.astype(np.int32), base.astype(np.int32), runs)
    np.testing.assert_allclose(got, [one(kind, *row) for row in rows], atol=1e-6)


def test_liked_topics_are_those_dwelt_on_and_never_pushed_back_on() -> None:
    built = service()
    start = genesis(WORLD, UtilityBehaviour(), 12, first_model(built, WORLD))
    log = simulate(WORLD, UtilityBehaviour(), built, start, DAY).log
    run = np.array([1, 4], np.int32)
    got = liked_topics(log, run, ITEMS)
    for row, user in enumerate(run):
        mine = log.take(log.user == user)
        for topic in range(ITEMS.n_topics):
            flags = mine.feedback[ITEMS.topic[mine.item] == topic]
            liked = any(f & (Feedback.LONG_DWELL | Feedback.LIKE) for f in flags)
            pushed = any(f & (Feedback.DISLIKE | Feedback.DISMISS) for f in flags)
            assert got[row, topic] == (liked and not pushed)
    assert got.any()


def course_of(values: list[float], half_width: float) -> list[Responsiveness]:
    nothing = Estimate(0.1, 0.1, 0.1)
    return [
        Responsiveness("arm", "topic", nothing, nothing, Estimate(v, v - half_width, v + half_width), request=i + 1)
        for i, v in enumerate(values)
    ]


def test_half_life_and_recovery_by_hand() -> None:
    found = course_summary(course_of([-0.8, -0.6, -0.2, -0.05], 0.1))
    assert found.half_life_requests == pytest.approx(1.5)  # -0.4 lies half-way between the second and the third
    assert (found.recovered_request, found.note) == (4, "")
    lasting = course_summary(course_of([-0.8, -0.7, -0.6], 0.1))
    assert math.isnan(lasting.half_life_requests)
    assert (lasting.recovered_request, lasting.note) == (0, "more than half is left after 3 requests")
    total = course_of([-1.0, -1.0, -0.2], math.nan)
    assert course_summary(total).half_life_requests == pytest.approx(1 + 0.5 / 0.8)
    assert course_summary(total).recovered_request == 0
    holed = course_summary(course_of([-0.8, math.nan, -0.1], 0.2))
    assert holed.half_life_requests == pytest.approx(2 * 0.5 / 0.875)
    assert (holed.recovered_request, holed.note) == (3, "")
    unclear = course_summary(course_of([-0.05, -0.6], 0.1))
    assert (math.isnan(unclear.half_life_requests), unclear.note) == (True, "no clear first response")


def test_equal_actions_have_no_effect_on_anything() -> None:
    world, built = small_world(users=8), service()
    start = genesis(world, UtilityBehaviour(), 12, first_model(built, world))
    start = simulate(world, UtilityBehaviour(), built, start, 10 * HOUR).end
    written = {"runs": 8, "prefix": "lived", "k": 2, "requests": 3, "follow": "12h", "action": ["like", "long_dwell"]}
    settings = Counterfactual.model_validate(written)
    branches = run_counterfactual(world, built, first_model(built, world), settings, start=start)
    same = replace(branches, others={"the same": branches.base})
    found = analyse_branches("arm", same, start.log, world.catalogue, ingestion_delay=0, confidence=0.9, segmented=True)
    rows = [*found.responsiveness, *found.selectivity, *found.course, *found.segments]
    measured = [r.response for r in rows if not r.response.note]
    assert measured
    assert all((e.value, e.low, e.high) == (0.0, 0.0, 0.0) for e in measured)
    effects = future_effects(
        "arm", same, start.log, (), world.catalogue.features, n_users=8, start_tick=start.tick, confidence=0.9
    )
    known = [e.difference for e in effects if not e.difference.note]
    assert len(known) > 5
    assert all((e.value, e.low, e.high) == (0.0, 0.0, 0.0) for e in known)


def test_the_forced_dislike_is_no_effect_of_itself_but_known_to_look_back_on() -> None:
    # Slates that nothing changes, for users whom nothing drives away: both branches live on alike.
    world, built = small_world(users=40, items=60, engagement={"feedback": False}), service("uniform")
    start = genesis(world, UtilityBehaviour(), 12, first_model(built, world))
    start = simulate(world, UtilityBehaviour(), built, start, 2 * HOUR).end
    written = {"runs": 40, "prefix": "lived", "k": 1, "trigger_within": "8h", "follow": "1d"}
    settings = Counterfactual.model_validate(written)
    found = run_counterfactual(world, built, first_model(built, world), settings, start=start)
    pressed = [int(((log.feedback & Feedback.DISLIKE) > 0).sum()) for log in (found.base.log, found.action.log)]
    assert pressed[1] == pressed[0] + len(found.run)
    begins = start.tick + settings.trigger_within
    rate, repeated = future_effects(
        "arm", found, start.log, ("dislike_rate", "repeat_dislikes_creator"), world.catalogue.features, n_users=40,
        start_tick=begins, confidence=0.9,
    )  # fmt: skip
    assert (rate.difference.value, rate.difference.note) == (0.0, "")
    counts = []
    for branch in (found.action, found.base):
        log, creator = EventLog.merge([start.log, found.prefix, branch.log]), world.catalogue.features.creator
        before: set[tuple[int, int]] = set()
        n = 0
        for e in np.flatnonzero((log.feedback & Feedback.DISLIKE) > 0):
            pair = (int(log.user[e]), int(creator[log.item[e]]))
            n += pair in before and log.tick[e] >= begins
            before.add(pair)
        counts.append(n)
    looked = ((found.base.log.feedback & Feedback.EXAMINED) > 0) & (found.base.log.tick >= begins)
    assert len(found.run) > 20
    assert counts[0] > counts[1]
    assert repeated.difference.value == pytest.approx((counts[0] - counts[1]) / looked.sum())


def test_responses_of_no_run_say_so() -> None:
    none = np.empty(0, np.int32)
    runs = Runs(none, np.empty((0, ITEMS.n_topics), np.bool_), ITEMS, WORLD.catalogue.embedding)
    for kind in PAPER_KINDS + SELECTIVITY_KINDS:
        empty = np.empty((0, 4), np.int32)
        found = respond("arm", kind, empty, empty, runs, 0.95)
        assert math.isnan(found.response.value)
        assert found.response.note
