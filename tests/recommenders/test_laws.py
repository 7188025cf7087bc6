"""What every recommender must keep, whatever it is."""

from __future__ import annotations

import copy
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recommenders.base import PADDING, Int32, Recommender, RecommenderError, Requests, Scorer, Slates
from recommenders.registry import build
from tests.recommenders.cases import CASES, ask, assert_same, fitted, make_items, make_log, make_requests, name_of

HISTORY = ("history_item", "history_feedback", "history_dwell_seconds", "history_tick")
SEEDS = st.integers(0, 10_000)


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def recommender(case: str) -> Recommender:
    return fitted(case)


def rows_of(slates: Slates, rows: object) -> Slates:
    propensity = None if slates.propensity is None else slates.propensity[rows]
    return Slates(slates.item[rows], slates.score[rows], propensity)


@given(seed=SEEDS, data=st.data())
def test_slates_are_k_different_eligible_items(recommender: Recommender, seed: int, data: st.DataObject) -> None:
    eligible = np.random.default_rng(seed).random(40) < 0.5
    eligible[[0, 39]] = True
    k = data.draw(st.integers(1, int(eligible.sum())))
    slates = ask(recommender, make_requests(seed, eligible=eligible), k)
    assert slates.item.dtype == np.int32
    assert slates.score.dtype == np.float32
    assert slates.item.shape == slates.score.shape == (5, k)
    assert eligible[slates.item].all()
    assert all(len(set(row)) == k for row in slates.item.tolist())
    assert np.isfinite(slates.score).all()
    if slates.propensity is not None:
        assert slates.propensity.dtype == np.float64
        assert ((slates.propensity > 0) & (slates.propensity <= 1)).all()


@given(seed=SEEDS, n=st.integers(1, 300))
def test_a_row_does_not_depend_on_its_batch(recommender: Recommender, seed: int, n: int) -> None:
    requests = make_requests(seed, n=n)
    together = ask(recommender, requests, 7)
    order = np.random.default_rng(seed).permutation(n)
    assert_same(ask(recommender, requests.take(order), 7), rows_of(together, order))
    one = order[:1]
    assert_same(ask(recommender, requests.take(one), 7), rows_of(together, one))


@pytest.fixture(scope="module", params=["popularity", "item_knn", "gru4rec", "linear_recurrent"])
def filtering(request: pytest.FixtureRequest) -> Recommender:
    return fitted(str(request.param))


@given(seed=SEEDS)
def test_viewed_items_are_shown_again_only_where_nothing_else_is_left(filtering: Recommender, seed: int) -> None:
    requests = make_requests(seed, n=4)
    slates = ask(filtering, requests, 40)
    width = filtering.traits.history_length
    for shown, window in zip(slates.item, requests.history_item[:, -width:], strict=True):
        viewed = np.isin(shown, window)
        assert viewed.sum() == len(set(window.tolist()) - {PADDING})
        assert (np.diff(viewed.astype(int)) >= 0).all()


@given(seed=SEEDS)
def test_arguments_are_not_modified(recommender: Recommender, seed: int) -> None:
    requests = make_requests(seed)
    before = copy.deepcopy(requests)
    ask(recommender, requests, 5)
    for field in fields(Requests):
        if field.name != "utility":
            np.testing.assert_array_equal(getattr(requests, field.name), getattr(before, field.name))


def test_fit_modifies_neither_its_log_nor_a_global_generator(case: str) -> None:
    log = make_log()
    before = copy.deepcopy(log)
    state = torch.get_rng_state()
    fitted(case, log)
    assert torch.equal(torch.get_rng_state(), state)
    for field in fields(log):
        np.testing.assert_array_equal(getattr(log, field.name), getattr(before, field.name))


def test_a_loaded_state_answers_bit_for_bit(case: str, recommender: Recommender) -> None:
    loaded = build(name_of(case), CASES[case])
    saved = {name: value.copy() for name, value in recommender.state_dict().items()}
    loaded.load_state_dict(saved, make_items())
    requests = make_requests(11, n=20)
    assert_same(ask(loaded, requests, 10), ask(recommender, requests, 10))


def test_a_refit_with_one_seed_gives_the_same_state(case: str, recommender: Recommender) -> None:
    again = fitted(case, make_log(1))
    again.fit(make_log(), make_items(), seed=3)
    ours, theirs = recommender.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert ours[name].dtype == theirs[name].dtype
        assert ours[name].tobytes() == theirs[name].tobytes(), name


N_ITEMS = 41
"""A number that no other axis of a state has."""

CLOSED_FORM = ("popularity", "item_knn", "markov", "ease")
"""Fitting them draws nothing, so that a fit on a relabelled log is the relabelled fit."""


@pytest.fixture(scope="module")
def relabelling(case: str) -> tuple[Recommender, Recommender, Int32]:
    """A fitted scorer, the same under other item ids, and the new id of each item."""
    if not isinstance(build(name_of(case), CASES[case]), Scorer) or name_of(case) == "oracle":
        pytest.skip("draws slates, or scores nothing of its own")
    new_id = np.random.default_rng(4).permutation(N_ITEMS).astype(np.int32)
    old_id = np.argsort(new_id)
    items, log = make_items(N_ITEMS), make_log(n_items=N_ITEMS)
    others = replace(items, creator=items.creator[old_id], topic=items.topic[old_id])
    model, relabelled = (build(name_of(case), CASES[case]) for _ in range(2))
    model.fit(log, items, seed=3)
    if name_of(case) in CLOSED_FORM:
        relabelled.fit(replace(log, item=new_id[log.item]), others, seed=3)
    else:
        state = {name: value.copy() for name, value in model.state_dict().items()}
        for name, value in state.items():
            for axis in np.flatnonzero(np.array(value.shape) == N_ITEMS):
                state[name] = state[name].take(old_id, axis=axis)
        relabelled.load_state_dict(state, others)
    return model, relabelled, new_id


@given(seed=SEEDS)
def test_relabelling_items_permutes_the_scores(relabelling: tuple[Recommender, Recommender, Int32], seed: int) -> None:
    model, relabelled, new_id = relabelling
    assert isinstance(model, Scorer)
    assert isinstance(relabelled, Scorer)
    requests = make_requests(seed, n=3, n_items=N_ITEMS)
    item = np.where(requests.history_item < 0, PADDING, new_id[requests.history_item]).astype(np.int32)
    found = relabelled.scores(replace(requests, history_item=item))[:, new_id]
    np.testing.assert_allclose(found, model.scores(requests), rtol=1e-4, atol=1e-5)


@given(seed=SEEDS)
def test_nothing_before_the_declared_history_matters(recommender: Recommender, seed: int) -> None:
    requests = make_requests(seed, width=recommender.traits.history_length)
    older = make_requests(seed + 1, width=3)
    longer = {name: np.hstack([getattr(older, name), getattr(requests, name)]) for name in HISTORY}
    assert_same(ask(recommender, replace(requests, **longer), 7), ask(recommender, requests, 7))


def test_an_empty_log_can_be_fitted(case: str) -> None:
    recommender = fitted(case, make_log(n_rows=0))
    assert ask(recommender, make_requests(), 3).item.shape == (5, 3)


def test_too_few_eligible_items_are_an_error(recommender: Recommender) -> None:
    with pytest.raises(RecommenderError, match="got 3 eligible items, expected at least k = 4"):
        ask(recommender, make_requests(eligible=np.arange(40) < 3), 4)


@pytest.mark.parametrize("case", [c for c in CASES if "random" not in c and "oracle" not in c])
def test_serving_before_fitting_is_an_error(case: str) -> None:
    with pytest.raises(RecommenderError, match="expected `fit` or `load_state_dict` first"):
        ask(build(name_of(case), CASES[case]), make_requests(), 3)


@pytest.mark.parametrize("case", ["popularity", "item_knn", "gru4rec", "linear_recurrent"])
def test_a_state_of_another_catalogue_is_an_error(case: str) -> None:
    state = fitted(case).state_dict()
    with pytest.raises(RecommenderError, match="state"):
        build(case, CASES[case]).load_state_dict(state, make_items(41))
