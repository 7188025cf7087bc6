"""The pre-ranker that agrees with its ranker and remembers push-back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recommenders.base import PADDING, Feedback, Float64, Interactions, RecommenderError, Requests
from recommenders.heuristics.negatives import TICKS_PER_DAY
from recommenders.neighbours.logged_requests import logged_requests
from recommenders.neighbours.pmors import Pmors, pareto_weight
from recommenders.registry import build
from tests.recommenders.cases import ask, assert_same, make_items, make_log, make_requests

SEEDS = st.integers(0, 10_000)
N_USERS, PER_USER, N_ITEMS, N_CREATORS, N_TOPICS, WIDTH = 300, 40, 120, 24, 6, 20


def liking_topics(seed: int = 0) -> Interactions:
    """Users who like two of the topics and dislike some of everything at random."""
    rng = np.random.default_rng(seed)
    user = np.tile(np.arange(N_USERS, dtype=np.int32), PER_USER)
    item = rng.integers(N_ITEMS, size=len(user)).astype(np.int32)
    liked = (item % N_TOPICS == user % N_TOPICS) | (item % N_TOPICS == (user + 1) % N_TOPICS)
    feedback = Feedback.EXAMINED | np.where(liked, int(Feedback.LONG_DWELL), 0)
    feedback |= np.where(rng.random(len(user)) < 0.1, int(Feedback.DISLIKE), 0)
    return Interactions(
        tick=np.arange(len(user), dtype=np.int64) * 1000,
        user=user,
        item=item,
        feedback=feedback.astype(np.uint8),
        dwell_seconds=np.where(liked, 20, 2).astype(np.float32),
    )


def histories(seed: int = 1, n: int = 128) -> Requests:
    """Requests of users who dwelt long on the items of topics 0 and 1, without push-back."""
    rng = np.random.default_rng(seed)
    item = rng.integers(N_ITEMS, size=(n, WIDTH)).astype(np.int32)
    feedback = np.where(item % N_TOPICS < 2, Feedback.EXAMINED | Feedback.LONG_DWELL, Feedback.EXAMINED)
    shape = make_requests(seed, n=n, width=WIDTH, n_items=N_ITEMS)
    return replace(
        shape,
        tick=np.full(n, WIDTH * TICKS_PER_DAY, np.int64),
        history_item=item,
        history_feedback=feedback.astype(np.uint8),
        history_tick=np.tile(np.arange(WIDTH, dtype=np.int64) * TICKS_PER_DAY, (n, 1)),
    )


def disliking(requests: Requests, back: int) -> Requests:
    """The same, with a dislike on the interaction that is so many back."""
    feedback = requests.history_feedback.copy()
    feedback[:, -back] |= int(Feedback.DISLIKE)
    return replace(requests, history_feedback=feedback)


def creator_share(model: Any, requests: Requests, back: int, k: int = 20) -> float:
    """How much of the slates is by the creator of the item that is so many back."""
    shown = ask(model, requests, k).item % N_CREATORS
    return float((shown == requests.history_item[:, -back, None] % N_CREATORS).mean())


def fitted(**settings: Any) -> Pmors:
    inner = {"window": WIDTH, "dim": 16, "epochs": 3, "filter_viewed": False}
    config = {
        "model": {"recommender": "linear_recurrent", "config": inner},
        "window": WIDTH,
        "candidates": 20,
        "memory": 5.0,
        "dim": 16,
        "training_requests": 6000,
    }
    model = build("pmors", config | settings)
    assert isinstance(model, Pmors)
    model.fit(liking_topics(), make_items(N_ITEMS, N_CREATORS, N_TOPICS), seed=1)
    return model


@pytest.fixture(scope="module")
def model() -> Pmors:
    return fitted()


def test_without_push_back_the_pre_ranker_agrees_with_the_ranker(model: Pmors) -> None:
    requests = histories()
    together = np.mean(
        [
            len(set(a) & set(b))
            for a, b in zip(
                ask(model, requests, 20).item.tolist(), ask(model.model, requests, 20).item.tolist(), strict=True
            )
        ]
    )
    assert together > 12  # of 20; by chance it would be 3.3


def test_candidates_keep_the_ranker_s_scores_and_order(model: Pmors) -> None:
    requests = histories()
    slates = ask(model, requests, 20)
    ranked = model.model.scores(requests)  # type: ignore[union-attr]
    np.testing.assert_array_equal(slates.score, np.take_along_axis(ranked, slates.item.astype(np.intp), 1))
    every = ask(model, requests, N_ITEMS)
    assert (every.score[:, 20:].max(1) < every.score[:, 19]).all()


def test_a_creator_pushed_back_goes_and_comes_back_as_it_is_forgotten(model: Pmors) -> None:
    requests = histories()
    left = [
        creator_share(model, disliking(requests, back), back) / creator_share(model, requests, back)
        for back in (1, 10, 20)
    ]
    assert left[0] < 0.3
    assert left[0] < left[1] < left[2]


def test_the_ranker_alone_does_not_respond(model: Pmors) -> None:
    requests = histories()
    assert creator_share(model.model, disliking(requests, 1), 1) == creator_share(model.model, requests, 1)


def test_memory_counts_in_days_where_it_is_told_to() -> None:
    model = fitted(unit="days", memory=5.0)
    requests = histories()
    long_after = replace(requests, tick=requests.tick + 20 * TICKS_PER_DAY)
    fresh = creator_share(model, disliking(requests, 1), 1) / creator_share(model, requests, 1)
    old = creator_share(model, disliking(long_after, 1), 1) / creator_share(model, long_after, 1)
    assert fresh < 0.3
    assert old > fresh + 0.2


def test_viewed_items_come_last() -> None:
    items, log = make_items(), make_log()
    inner = {"window": 6, "dim": 8, "epochs": 1}
    model = build("pmors", {"model": {"config": inner}, "window": 9, "candidates": 5, "epochs": 1})
    model.fit(log, items, seed=2)
    requests = make_requests(3, n=30, width=9)
    slates = ask(model, requests, 40)
    for shown, history in zip(slates.item, requests.history_item[:, -6:], strict=True):
        viewed = set(history.tolist()) - {PADDING}
        assert set(shown[40 - len(viewed) :].tolist()) == viewed


@given(seed=SEEDS, size=st.integers(1, 6), least=st.sampled_from([0.0, 0.1, 0.5]))
def test_the_pareto_weight_gives_the_shortest_joint_gradient(seed: int, size: int, least: float) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, size)) * rng.lognormal(size=(2, 1))

    def joint(weight: float | Float64) -> Float64:
        return np.multiply.outer(weight, first) + np.multiply.outer(1 - np.asarray(weight), second)

    halves = [[torch.from_numpy(part) for part in np.array_split(g, 2)] for g in (first, second)]
    weight = pareto_weight(halves[0], halves[1], least)
    assert least <= weight <= 1 - least
    grid = np.linspace(least, 1 - least, 1001)
    shortest = np.sqrt((joint(grid) ** 2).sum(1).min())
    assert np.linalg.norm(joint(weight)) <= shortest + 1e-12
    if least == 0:
        square = joint(weight) @ joint(weight)
        assert joint(weight) @ first >= square - 1e-9
        assert joint(weight) @ second >= square - 1e-9


def test_an_objective_without_gradient_leaves_the_step_to_the_other() -> None:
    zero, one = [torch.zeros(2)], [torch.ones(2)]
    assert pareto_weight(one, zero, 0.0) == 1
    assert pareto_weight(zero, one, 0.0) == 1
    assert pareto_weight(one, one, 0.2) == 0.5


@given(seed=SEEDS, window=st.integers(1, 9), n_rows=st.integers(1, 40))
def test_logged_requests_are_what_the_user_did_before(seed: int, window: int, n_rows: int) -> None:
    log = make_log(seed, n_users=4, n_rows=n_rows)
    rows = np.random.default_rng(seed).integers(n_rows, size=7)
    eligible = np.ones(40, np.bool_)
    requests = logged_requests(log, rows, window, eligible)
    assert requests.history_item.shape == (7, window)
    for i, row in enumerate(rows):
        before = [r for r in range(row) if log.user[r] == log.user[row]][-window:]
        pad = window - len(before)
        assert requests.user[i] == log.user[row]
        assert requests.tick[i] == log.tick[row]
        assert requests.history_item[i].tolist() == [PADDING] * pad + log.item[before].tolist()
        assert requests.history_feedback[i].tolist() == [0] * pad + log.feedback[before].tolist()
        assert requests.history_tick[i].tolist() == [0] * pad + log.tick[before].tolist()
        assert requests.history_dwell_seconds[i].tolist() == [0.0] * pad + log.dwell_seconds[before].tolist()
    assert requests.history_item.dtype == np.int32
    assert requests.history_feedback.dtype == np.uint8
    assert requests.history_dwell_seconds.dtype == np.float32


def test_a_state_of_another_catalogue_is_refused(model: Pmors) -> None:
    state = model.state_dict()
    fresh = build("pmors", model.config.model_dump())
    with pytest.raises(RecommenderError, match="state: does not fit this configuration and catalogue"):
        fresh.load_state_dict(state, make_items(N_ITEMS + 1, N_CREATORS, N_TOPICS))
    fresh.load_state_dict(state, make_items(N_ITEMS, N_CREATORS, N_TOPICS))
    requests = histories()
    assert_same(ask(fresh, requests, 30), ask(model, requests, 30))
