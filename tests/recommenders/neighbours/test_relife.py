"""The re-ranker that reads clicks and non-clicks of whole past lists."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from recommenders.base import (
    PADDING,
    TICKS_PER_SECOND,
    Bool,
    Feedback,
    Interactions,
    ItemFeatures,
    RecommenderError,
    Requests,
)
from recommenders.neighbours.past_lists import list_numbers, lists_of_histories
from recommenders.neighbours.relife import Relife, standardised
from recommenders.neighbours.relife_network import Lists, Read, ReRanker, contrast, disentanglement
from recommenders.registry import build
from tests.recommenders.cases import ask, assert_same, make_items, make_log, make_requests

SEEDS = st.integers(0, 10_000)
N_USERS, PER_USER, N_ITEMS, N_CREATORS, N_TOPICS, WIDTH = 400, 40, 120, 24, 6, 20


def likes(user: np.ndarray, item: np.ndarray) -> Bool:
    """Each user likes two topics, but for one creator in three of theirs."""
    topic, creator = item % N_TOPICS, item % N_CREATORS
    liked = (topic == user % N_TOPICS) | (topic == (user + 1) % N_TOPICS)
    averse = (creator + user) % 3 == 0
    wanted: Bool = liked & ~averse
    return wanted


def catalogue() -> ItemFeatures:
    return make_items(N_ITEMS, N_CREATORS, N_TOPICS)


def interactions(user: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random items for the users, and their feedback: the wanted are dwelt on, a third of the others disliked."""
    rng = np.random.default_rng(seed)
    item = rng.integers(N_ITEMS, size=user.shape).astype(np.int32)
    wanted = likes(user, item)
    feedback = Feedback.EXAMINED | np.where(wanted, int(Feedback.LONG_DWELL), int(Feedback.SKIP))
    feedback |= np.where(~wanted & (rng.random(user.shape) < 0.3), int(Feedback.DISLIKE), 0)
    return item, feedback.astype(np.uint8)


def planted_log() -> Interactions:
    user = np.tile(np.arange(N_USERS, dtype=np.int32), PER_USER)
    item, feedback = interactions(user, 0)
    # Ten interactions a minute apart, then an hour's pause.
    step = np.repeat(np.arange(PER_USER), N_USERS)
    tick = (step * 60 + step // 10 * 3600) * TICKS_PER_SECOND
    return Interactions(tick, user, item, feedback, np.where(feedback & 2, 20, 2).astype(np.float32))


def planted_requests(n: int = 200) -> Requests:
    user = np.arange(n, dtype=np.int32)
    item, feedback = interactions(np.tile(user[:, None], (1, WIDTH)), 9)
    shape = make_requests(0, n=n, width=WIDTH, n_items=N_ITEMS)
    tick = np.tile(np.arange(WIDTH, dtype=np.int64) * 60 * TICKS_PER_SECOND, (n, 1))
    return replace(
        shape,
        user=user,
        history_item=item,
        history_feedback=feedback,
        history_tick=tick,
        tick=np.full(n, 10**8, np.int64),
    )


@pytest.fixture(scope="module")
def model() -> Relife:
    base = {"recommender": "popularity", "config": {"filter_viewed": False}}
    model = build("relife", {"model": base, "window": WIDTH, "candidates": 60, "dim": 16, "epochs": 8})
    assert isinstance(model, Relife)
    model.fit(planted_log(), catalogue(), seed=1)
    return model


def test_the_order_of_candidates_follows_past_clicks_and_non_clicks(model: Relife) -> None:
    requests = planted_requests()
    user = requests.user[:, None]
    ours, base = ask(model, requests, 5).item, ask(model.model, requests, 5).item
    assert likes(user, base).mean() < 0.35
    assert likes(user, ours).mean() > 0.6


def test_a_dislike_on_what_was_dwelt_on_lowers_its_like(model: Relife) -> None:
    requests = planted_requests()
    dwelt, disliked = requests.history_feedback.copy(), requests.history_feedback.copy()
    dwelt[:, -1] = Feedback.EXAMINED | Feedback.LONG_DWELL
    disliked[:, -1] = Feedback.EXAMINED | Feedback.LONG_DWELL | Feedback.DISLIKE
    creator = requests.history_item[:, -1:] % N_CREATORS

    def share(feedback: np.ndarray) -> float:
        shown = ask(model, replace(requests, history_feedback=feedback), 10).item % N_CREATORS
        return float((shown == creator).mean())

    assert share(disliked) < 0.5 * share(dwelt)


def test_the_base_model_picks_the_candidates_and_orders_the_others(model: Relife) -> None:
    requests = planted_requests(20)
    base = ask(model.model, requests, N_ITEMS).item
    ours = ask(model, requests, N_ITEMS).item
    for mine, theirs in zip(ours, base, strict=True):
        assert set(mine[:60]) == set(theirs[:60])
        assert mine[:60].tolist() != theirs[:60].tolist()
        assert mine[60:].tolist() == theirs[60:].tolist()


def test_viewed_items_come_last() -> None:
    inner = {"recommender": "item_knn", "config": {"window": 6}}
    model = build("relife", {"model": inner, "window": 9, "candidates": 5, "dim": 8, "epochs": 1})
    model.fit(make_log(), make_items(), seed=2)
    requests = make_requests(3, n=30, width=9)
    for shown, history in zip(ask(model, requests, 40).item, requests.history_item[:, -6:], strict=True):
        viewed = set(history.tolist()) - {PADDING}
        assert set(shown[40 - len(viewed) :].tolist()) == viewed


def test_before_training_the_order_is_the_base_model_s() -> None:
    network, embedding, lists = untrained()
    with torch.no_grad():
        torch.testing.assert_close(network(lists, embedding).logit, lists.base)


def untrained(n: int = 4, h: int = 7, c: int = 5, seed: int = 0) -> tuple[ReRanker, Tensor, Lists]:
    generator = torch.Generator().manual_seed(seed)
    network = ReRanker(make_items(), 8, generator)
    read = torch.rand((n, h), generator=generator) < 0.7
    lists = Lists(
        item=torch.randint(40, (n, h), generator=generator) * read,
        read=read,
        click=read & (torch.rand((n, h), generator=generator) < 0.5),
        list_number=torch.where(read, torch.arange(h) // 3, -1),
        candidate=torch.stack([torch.randperm(40, generator=generator)[:c] for _ in range(n)]),
        base=torch.randn((n, c), generator=generator),
    )
    return network, network.embedding().detach(), lists


def perturbed(network: ReRanker, seed: int) -> ReRanker:
    """The network with parameters at which every part matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return network


@given(seed=SEEDS)
@torch.no_grad()
def test_padding_never_leaks(seed: int) -> None:
    network, embedding, lists = untrained(seed=seed)
    perturbed(network, seed)
    wider = replace(
        lists,
        item=torch.cat([torch.zeros((4, 3), dtype=torch.int64), lists.item], 1),
        read=torch.cat([torch.zeros((4, 3), dtype=torch.bool), lists.read], 1),
        click=torch.cat([torch.zeros((4, 3), dtype=torch.bool), lists.click], 1),
        list_number=torch.cat([torch.full((4, 3), -1), lists.list_number], 1),
    )
    elsewhere = replace(lists, item=torch.where(lists.read, lists.item, 17))
    plain = network(lists, embedding).logit
    torch.testing.assert_close(network(wider, embedding).logit, plain, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(network(elsewhere, embedding).logit, plain, rtol=1e-4, atol=1e-4)


@given(seed=SEEDS)
@torch.no_grad()
def test_the_order_of_candidates_carries_no_meaning(seed: int) -> None:
    network, embedding, lists = untrained(seed=seed)
    perturbed(network, seed)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    moved = replace(lists, candidate=lists.candidate[:, order], base=lists.base[:, order])
    plain = network(lists, embedding).logit[:, order]
    torch.testing.assert_close(network(moved, embedding).logit, plain, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_every_part_is_read() -> None:
    network, embedding, lists = untrained(seed=3)
    perturbed(network, 3)
    plain = network(lists, embedding).logit
    others = replace(lists, click=lists.read & ~lists.click)
    one_list = replace(lists, list_number=torch.where(lists.read, 0, -1))
    turned = replace(lists, base=-lists.base)
    for changed in (others, one_list, turned):
        assert (network(changed, embedding).logit - plain).abs().max() > 1e-3


@torch.no_grad()
def test_the_pattern_is_the_mean_signed_difference_within_lists() -> None:
    network, _, _ = untrained()
    x = torch.tensor([[[1.0], [3.0], [10.0], [4.0]]]).expand(1, 4, 8).contiguous()
    number = torch.tensor([[0, 0, 1, -1]])
    click = torch.tensor([[False, True, True, False]])
    counts = torch.tensor([[True, True, True, False]])
    # 1 and 3 lie one below and one above their mean, 10 is alone: (-1 * -1 + 1 * 1 + 0) / 3.
    expected = 2 / 3 * torch.ones(8) @ network.compare
    torch.testing.assert_close(network.pattern(x, number, click, counts)[0], expected)


@given(seed=SEEDS, length=st.integers(1, 4), gap=st.integers(0, 6))
def test_lists_are_cut_at_owners_pauses_and_length(seed: int, length: int, gap: int) -> None:
    rng = np.random.default_rng(seed)
    owner = np.sort(rng.integers(3, size=20)).astype(np.int32)
    tick = np.cumsum(rng.integers(0, 8, size=20)).astype(np.int64)
    number, expected, held = -1, [], 0
    for i in range(20):
        if i == 0 or owner[i] != owner[i - 1] or tick[i] - tick[i - 1] > gap or held == length:
            number, held = number + 1, 0
        held += 1
        expected.append(number)
    assert list_numbers(owner, tick, gap, length).tolist() == expected


def test_lists_of_histories_leave_padding_out() -> None:
    item = np.array([[-1, 4, 5, 6], [-1, -1, -1, -1], [7, 8, 9, 1]], np.int32)
    tick = np.array([[0, 10, 11, 50], [0, 0, 0, 0], [50, 51, 52, 53]], np.int64)
    assert lists_of_histories(item, tick, 5, 3).tolist() == [[-1, 0, 0, 1], [-1] * 4, [2, 2, 2, 3]]
    nothing = lists_of_histories(np.empty((2, 0), np.int32), np.empty((2, 0), np.int64), 5, 3)
    assert nothing.shape == (2, 0)


def test_training_lists_hold_what_was_shown_and_the_base_model_s_best() -> None:
    base = {"recommender": "popularity", "config": {"filter_viewed": False}}
    model = build("relife", {"model": base, "window": WIDTH, "candidates": 15, "list_length": 10})
    assert isinstance(model, Relife)
    log, items = planted_log(), catalogue()
    model.model.fit(log, items, seed=0)
    lists, labels = model._training_lists(log, items, np.random.default_rng(0))
    assert len(lists.item) == N_USERS * PER_USER // 10
    best = ask(model.model, planted_requests(1), N_ITEMS).item[0]
    # The first list belongs to user 0, who has no history yet.
    rows = np.flatnonzero(log.user == 0)[:10]
    shown = set(log.item[rows].tolist())
    clicked = {int(i) for i, f in zip(log.item[rows], log.feedback[rows], strict=True) if f & Feedback.LONG_DWELL}
    candidate = lists.candidate[0]
    assert not lists.read[0].any()
    assert set(candidate[labels.shown[0]].tolist()) == shown
    assert set(candidate[labels.click[0]].tolist()) <= clicked
    filled = [item for item in best.tolist() if item not in shown][: 15 - len(shown)]
    assert set(candidate[~labels.shown[0]].tolist()) == set(filled)


def test_interest_near_clicked_items_and_disinterest_near_others_costs_least() -> None:
    past = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]])
    clicked = torch.tensor([[True, False]])

    def loss(interest: float, disinterest: float, unclicked: Tensor = ~clicked) -> float:
        vectors = [torch.tensor([[[sign, 0.0]]]) for sign in (interest, disinterest)]
        read = Read(torch.zeros(1, 1), vectors[0], vectors[1], torch.zeros(1, 2), torch.zeros(1, 1, 2))
        return float(disentanglement(read, past, clicked, unclicked))

    assert loss(1, -1) == pytest.approx(2 * math.log(1 + math.exp(-2)))
    assert loss(-1, 1) == pytest.approx(2 * math.log(1 + math.exp(2)))
    assert loss(-1, 1, torch.zeros((1, 2), dtype=torch.bool)) == 0


def test_patterns_are_aligned_with_their_own_user() -> None:
    pattern = torch.eye(3)
    aligned = math.log(1 + 2 * math.exp(-5))
    assert float(contrast(pattern, 7 * pattern)) == pytest.approx(aligned, rel=1e-4)
    assert float(contrast(pattern, pattern[[1, 2, 0]])) == pytest.approx(aligned + 5, rel=1e-4)
    without_one = torch.cat([pattern, torch.zeros(1, 3)])
    assert float(contrast(without_one, torch.cat([pattern, torch.ones(1, 3)]))) == pytest.approx(aligned, rel=1e-4)
    assert float(contrast(torch.zeros(3, 3), pattern)) == 0


def test_scores_are_standardised_over_eligible_items() -> None:
    score = np.array([[1.0, 3.0, 100.0], [2.0, 2.0, 5.0]], np.float32)
    result = standardised(score, np.array([True, True, False]))
    np.testing.assert_allclose(result, [[-1, 1, 98], [0, 0, 3]])


def test_a_state_of_another_catalogue_is_refused(model: Relife) -> None:
    state = model.state_dict()
    fresh = build("relife", model.config.model_dump())
    with pytest.raises(RecommenderError, match="state: does not fit this configuration and catalogue"):
        fresh.load_state_dict(state, make_items(N_ITEMS + 1, N_CREATORS, N_TOPICS))
    fresh.load_state_dict(state, make_items(N_ITEMS, N_CREATORS, N_TOPICS))
    requests = planted_requests()
    assert_same(ask(fresh, requests, 30), ask(model, requests, 30))
