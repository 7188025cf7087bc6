from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from recommenders.base import Feedback, Interactions, RecommenderError, Requests
from recommenders.neighbours.lsgrec import (
    LsgRec,
    LsgRecConfig,
    Network,
    Objective,
    SignedGraph,
    propagate,
    sign_aware_bpr,
)
from tests.recommenders.cases import ask, make_items, make_log, make_requests

N_ITEMS = 40
SMALL = LsgRecConfig(dim=8, window=6, epochs=2, batch_size=64, negatives=8)


def fitted(config: LsgRecConfig = SMALL, log: Interactions | None = None) -> LsgRec:
    model = LsgRec(config)
    model.fit(make_log() if log is None else log, make_items(), seed=3)
    return model


def network_of(log: Interactions, layers: int) -> Network:
    config = SMALL.model_copy(update={"layers": layers})
    return Network(SignedGraph.of(log, N_ITEMS), config, torch.Generator().manual_seed(1))


def edges_by_loops(log: Interactions) -> dict[tuple[int, int], int]:
    """The latest sign of each user for each item; users numbered in the order of their ids."""
    number = {user: i for i, user in enumerate(sorted(set(log.user.tolist())))}
    sign = {}
    for user, item, feedback in zip(log.user.tolist(), log.item.tolist(), log.feedback.tolist(), strict=True):
        if feedback & Feedback.DISLIKE:
            sign[number[user], item] = -1
        elif feedback & (Feedback.LONG_DWELL | Feedback.LIKE):
            sign[number[user], item] = 1
    return sign


@given(seed=st.integers(0, 1000), layers=st.integers(1, 3))
def test_layers_equal_dense_products(seed: int, layers: int) -> None:
    log = make_log(seed, n_rows=200)
    network = network_of(log, layers)
    sign = edges_by_loops(log)
    adjacency = {}
    for which in (1, -1):
        edge = np.zeros((network.n_users, N_ITEMS))
        for (user, item), value in sign.items():
            edge[user, item] = value == which
        with np.errstate(divide="ignore"):
            root = [np.where(d > 0, d**-0.5, 0) for d in (edge.sum(1), edge.sum(0))]
        adjacency[which] = root[0][:, None] * edge * root[1]
    users, item = network.user.detach().double().numpy(), network.item_positive.detach().double().numpy()
    user = np.tile(users[0], (network.n_users, 1))
    negative_user, negative_item = user, item
    positive, negative = network()
    for layer in range(layers):
        through = adjacency[1 if layer else -1]
        negative_user, negative_item = through @ negative_item, through.T @ negative_user
        user, item = adjacency[1] @ item, adjacency[1].T @ user
        for found, expected in (
            (positive.user, user),
            (positive.item, item),
            (negative.user, negative_user),
            (negative.item, negative_item),
        ):
            np.testing.assert_allclose(found[layer + 1].detach().numpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_user_of_the_graph_is_served_with_the_embedding_that_was_trained(layers: int) -> None:
    log = make_log(n_rows=300)
    network, model = network_of(log, layers), LsgRec(LsgRecConfig(dim=8, window=300, layers=layers))
    positive, negative = network()
    with torch.no_grad():
        model.load_state_dict(network.tables()._asdict(), make_items())
    users = np.unique(log.user)
    requests = make_requests(n=len(users), width=300)
    requests.history_item[:], requests.history_feedback[:] = -1, 0
    for row, user in enumerate(users):
        rows = np.flatnonzero(log.user == user)
        requests.history_item[row, 300 - len(rows) :] = log.item[rows]
        requests.history_feedback[row, 300 - len(rows) :] = log.feedback[rows]
    found = model.embed(requests)
    for space, embedding in ((positive, found.positive), (negative, found.negative)):
        expected = torch.stack(space.user).mean(0).detach().numpy()
        np.testing.assert_allclose(embedding, expected, rtol=1e-4, atol=1e-6)
    items = [torch.stack(space.item).mean(0).detach().numpy() for space in (positive, negative)]
    np.testing.assert_allclose(model.scores(requests), found.positive @ items[0].T, rtol=1e-4, atol=1e-6)
    weighted = LsgRec(LsgRecConfig(dim=8, window=300, layers=layers, negative_weight=0.7))
    weighted.load_state_dict(model.state_dict(), make_items())
    expected = found.positive @ items[0].T - 0.7 * found.negative @ items[1].T
    np.testing.assert_allclose(weighted.scores(requests), expected, rtol=1e-4, atol=1e-6)


def test_an_edge_is_trained_on_without_itself() -> None:
    log = make_log(n_rows=300)
    graph = SignedGraph.of(log, N_ITEMS)
    network = Network(graph, SMALL, torch.Generator().manual_seed(1))
    objective = Objective(network, graph, SMALL, torch.Generator().manual_seed(1))
    layers = network()
    batch = torch.arange(len(graph.user))
    own = objective.own_edge(layers, batch)
    # All that a user's edges add is all that the user is, but for what users share.
    for space, added, shared in zip(layers, own, network.user / 3, strict=True):
        summed = torch.zeros(network.n_users, 8).index_add(0, torch.from_numpy(graph.user), added)
        torch.testing.assert_close(summed + shared, torch.stack(space.user).mean(0), rtol=1e-4, atol=1e-6)


def test_gradients_of_the_propagation_equal_torch() -> None:
    generator = torch.Generator().manual_seed(1)
    dense = torch.randn(5, 7, generator=generator) * (torch.rand(5, 7, generator=generator) < 0.4)
    matrix = sparse.csr_array(dense.numpy())
    x, weight = torch.randn(7, 3, generator=generator, requires_grad=True), torch.randn(5, 3, generator=generator)
    (ours,) = torch.autograd.grad((propagate(matrix, sparse.csr_array(matrix.T), x).square() * weight).sum(), x)
    (theirs,) = torch.autograd.grad(((dense @ x).square() * weight).sum(), x)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("below", [False, True])
def test_sign_aware_bpr_equals_a_loop(below: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    score, other = torch.randn(6, generator=generator).double(), torch.randn(6, 4, generator=generator).double()
    counts, ours = torch.rand(6, 4, generator=generator) < 0.6, torch.arange(6) % 2 == 0
    counts[5] = False
    expected = 0.0
    for i in range(6):
        terms = []
        for j in range(4):
            if ours[i]:
                margin = score[i] - other[i, j]
            else:
                margin = other[i, j] - score[i] if below else 2 * score[i] - other[i, j]
            if counts[i, j]:
                terms.append(float(torch.log1p(torch.exp(-margin))))
        expected += float(np.mean(terms)) / 6 if terms else 0.0
    assert float(sign_aware_bpr(score, other, counts, ours, below=below)) == pytest.approx(expected, rel=1e-12)


def test_an_item_with_an_edge_is_no_negative_of_its_user() -> None:
    log = make_log()
    graph = SignedGraph.of(log, N_ITEMS)
    network = Network(graph, SMALL, torch.Generator().manual_seed(1))
    objective = Objective(network, graph, SMALL, torch.Generator().manual_seed(1))
    user, item = torch.tensor([4, 0, 4, 29]), torch.tensor([7, 39, 0, 3, 12])
    found = objective.has_edge(user, item)
    sign = edges_by_loops(log)
    assert found.tolist() == [[(u, i) in sign for i in item.tolist()] for u in user.tolist()]
    assert len(graph.user) == len(sign)
    assert {(u, i): s for u, i, s in zip(graph.user, graph.item, graph.sign, strict=True)} == sign


def camps(n_users: int = 80) -> Interactions:
    """Two camps of users; each likes the items of its parity and dislikes those of the other, and sees half of all."""
    rng = np.random.default_rng(5)
    user, item = np.nonzero(rng.random((n_users, N_ITEMS)) < 0.5)
    liked = user % 2 == item % 2
    return Interactions(
        tick=np.arange(len(user), dtype=np.int64),
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        feedback=np.where(liked, Feedback.LIKE, Feedback.DISLIKE).astype(np.uint8),
        dwell_seconds=np.zeros(len(user), np.float32),
    )


def history_of(item: list[int], feedback: Feedback) -> Requests:
    requests = make_requests(n=1, width=6)
    requests.history_item[:], requests.history_feedback[:] = -1, 0
    requests.history_item[0, 6 - len(item) :] = item
    requests.history_feedback[0, 6 - len(item) :] = feedback
    return requests


def share_even(model: LsgRec, requests: Requests) -> float:
    return float((ask(model, requests, 10).item % 2 == 0).mean())


def test_finds_the_camps_from_likes_and_with_the_negative_space_from_dislikes() -> None:
    options = {
        "dim": 8,
        "window": 6,
        "epochs": 40,
        "batch_size": 256,
        "negatives": 16,
        "learning_rate": 0.02,
        "disliked_goes": "below",
    }
    by_likes = LsgRec(LsgRecConfig.model_validate(options))
    by_likes.fit(camps(), make_items(), seed=3)
    assert share_even(by_likes, history_of([2, 8], Feedback.LIKE)) == 1
    assert share_even(by_likes, history_of([3, 9], Feedback.LIKE)) == 0
    by_both = LsgRec(LsgRecConfig.model_validate({**options, "negative_weight": 1.0}))
    by_both.load_state_dict(by_likes.state_dict(), make_items())
    # The positive space has no edge to read; the negative one knows what those who dislike odd items dislike.
    assert share_even(by_both, history_of([3, 9, 21], Feedback.DISLIKE)) == 1
    assert share_even(by_both, history_of([2, 8, 20], Feedback.DISLIKE)) == 0
    nobody = by_likes.scores(history_of([], Feedback.LIKE))
    np.testing.assert_array_equal(by_likes.scores(history_of([3, 9, 21], Feedback.DISLIKE)), nobody)


@pytest.fixture(scope="module")
def model() -> LsgRec:
    return fitted(SMALL.model_copy(update={"negative_weight": 0.5}))


@given(seed=st.integers(0, 1000))
def test_relabelling_the_items_of_a_model_permutes_its_scores(model: LsgRec, seed: int) -> None:
    # A relabelled log trains another model, since items start from random numbers in their order.
    label = np.random.default_rng(seed).permutation(N_ITEMS).astype(np.int32)
    state = {}
    for name, table in model.state_dict().items():
        state[name] = np.array(table)
        if name != "user":
            state[name][label] = table
    relabelled = LsgRec(model.config)
    relabelled.load_state_dict(state, make_items())
    requests = make_requests(seed)
    item = np.where(requests.history_item < 0, -1, label[requests.history_item])
    found = relabelled.scores(replace(requests, history_item=item))
    np.testing.assert_allclose(found[:, label], model.scores(requests), rtol=1e-4, atol=1e-6)


def test_history_beyond_the_window_does_not_matter(model: LsgRec) -> None:
    wide = make_requests(3, n=20, width=9)
    narrow = replace(wide, history_item=wide.history_item[:, 3:], history_feedback=wide.history_feedback[:, 3:])
    np.testing.assert_array_equal(model.scores(wide), model.scores(narrow))


def test_a_state_that_does_not_fit_is_an_error() -> None:
    state = fitted().state_dict()
    with pytest.raises(RecommenderError, match=r"liked_positive: got shape \(40, 8\), expected \(41, 8\)"):
        LsgRec(SMALL).load_state_dict(state, make_items(41))
    with pytest.raises(RecommenderError, match=r"state: user: got shape \(2, 8\), expected \(2, 9\)"):
        LsgRec(SMALL.model_copy(update={"dim": 9})).load_state_dict(state, make_items())
    with pytest.raises(RecommenderError, match=r"state: got no user, expected user, liked_positive"):
        LsgRec(SMALL).load_state_dict({k: v for k, v in state.items() if k != "user"}, make_items())
