"""The adapters against the real libraries: the laws of every recommender, and what each library itself would answer.

Cases whose library is missing are skipped; `make adapters` makes an environment that has all of them.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recommenders.base import Feedback, Interactions, Recommender, RecommenderError, Requests, Scorer, Slates
from recommenders.registry import EXTRAS, build
from tests.recommenders.cases import ask, assert_same, make_items, make_log, make_requests, name_of

RECTOOLS = {"window": 6, "dim": 8, "heads": 2, "epochs": 2, "batch_size": 16, "negatives": 8}
CASES: Mapping[str, Mapping[str, Any]] = {
    "implicit_als": {"window": 6, "dim": 8},
    "implicit_als dislikes": {"window": 6, "dim": 8, "dislike_confidence": 10},
    "lenskit_item_knn": {"window": 6},
    "lenskit_item_knn dropped": {"window": 6, "drop_disliked": True, "neighbours": 2, "saved_neighbours": 5},
    "lenskit_als": {"window": 6, "dim": 8},
    "lenskit_als dropped": {"window": 6, "dim": 8, "drop_disliked": True},
    "lenskit_biased_mf": {"window": 6, "dim": 8},
    "rectools_sasrec": RECTOOLS,
    "rectools_sasrec dropped": RECTOOLS | {"drop_disliked": True, "loss": "gBCE"},
    "rectools_bert4rec": RECTOOLS | {"loss": "sampled_softmax"},
}
HEARS_DISLIKES = {case for case in CASES if case.endswith(("dislikes", "dropped", "biased_mf"))}
HISTORY = ("history_item", "history_feedback", "history_dwell_seconds", "history_tick")
SEEDS = st.integers(0, 10_000)


def unfitted(case: str) -> Recommender:
    for module in EXTRAS[name_of(case)].modules:
        pytest.importorskip(module, reason=f"{name_of(case)} needs {module}, which `make adapters` installs")
    return build(name_of(case), CASES[case])


def fitted(case: str, log: Interactions | None = None, seed: int = 3) -> Recommender:
    recommender = unfitted(case)
    recommender.fit(make_log() if log is None else log, make_items(), seed=seed)
    return recommender


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def recommender(case: str) -> Recommender:
    return fitted(case)


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


@given(seed=SEEDS, n=st.integers(1, 300))
def test_a_row_does_not_depend_on_its_batch(recommender: Recommender, seed: int, n: int) -> None:
    requests = make_requests(seed, n=n)
    together = ask(recommender, requests, 7)
    order = np.random.default_rng(seed).permutation(n)
    assert_same(ask(recommender, requests.take(order), 7), Slates(together.item[order], together.score[order]))
    one = order[:1]
    assert_same(ask(recommender, requests.take(one), 7), Slates(together.item[one], together.score[one]))


def test_no_requests_get_no_slates(recommender: Recommender) -> None:
    assert ask(recommender, make_requests(n=2).take(slice(0, 0)), 3).item.shape == (0, 3)


@given(seed=SEEDS)
def test_viewed_items_are_shown_again_only_where_nothing_else_is_left(recommender: Recommender, seed: int) -> None:
    requests = make_requests(seed, n=4)
    for shown, window in zip(ask(recommender, requests, 40).item, requests.history_item, strict=True):
        viewed = np.isin(shown, window)
        assert (np.diff(viewed.astype(int)) >= 0).all()


@given(seed=SEEDS)
def test_arguments_are_not_modified(recommender: Recommender, seed: int) -> None:
    requests = make_requests(seed)
    before = copy.deepcopy(requests)
    ask(recommender, requests, 5)
    for field in fields(Requests):
        if field.name != "utility":
            np.testing.assert_array_equal(getattr(requests, field.name), getattr(before, field.name))


@given(seed=SEEDS)
def test_nothing_before_the_declared_history_matters(recommender: Recommender, seed: int) -> None:
    requests, older = make_requests(seed), make_requests(seed + 1, width=3)
    longer = {name: np.hstack([getattr(older, name), getattr(requests, name)]) for name in HISTORY}
    assert_same(ask(recommender, replace(requests, **longer), 7), ask(recommender, requests, 7))


def test_fitting_and_serving_leave_the_process_as_it_was(case: str, capfd: pytest.CaptureFixture[str]) -> None:
    unfitted(case)
    log = make_log()
    before = copy.deepcopy(log)
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    threads = torch.get_num_threads()
    ask(fitted(case, log), make_requests(), 3)
    assert torch.equal(torch.get_rng_state(), states[0])
    np.testing.assert_array_equal(np.random.get_state()[1], states[1][1])  # noqa: NPY002
    assert random.getstate() == states[2]
    assert torch.get_num_threads() == threads
    assert capfd.readouterr() == ("", "")
    for field in fields(log):
        np.testing.assert_array_equal(getattr(log, field.name), getattr(before, field.name))


def test_a_loaded_state_answers_bit_for_bit(case: str, recommender: Recommender) -> None:
    loaded = unfitted(case)
    loaded.load_state_dict({name: value.copy() for name, value in recommender.state_dict().items()}, make_items())
    requests = make_requests(11, n=20)
    assert_same(ask(loaded, requests, 10), ask(recommender, requests, 10))
    again = loaded.state_dict()
    for name, value in recommender.state_dict().items():
        assert isinstance(value, np.ndarray)
        assert value.dtype == again[name].dtype != np.dtype(object)
        assert value.tobytes() == again[name].tobytes(), name


def test_a_refit_with_one_seed_gives_the_same_state(case: str, recommender: Recommender) -> None:
    again = fitted(case, make_log(1))
    again.fit(make_log(), make_items(), seed=3)
    ours, theirs = recommender.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert ours[name].tobytes() == theirs[name].tobytes(), name


@pytest.mark.parametrize("n_rows", [0, 1, 2])
def test_logs_of_next_to_nothing_can_be_fitted_and_saved(case: str, n_rows: int) -> None:
    model = fitted(case, make_log(n_rows=n_rows))
    loaded = unfitted(case)
    loaded.load_state_dict(model.state_dict(), make_items())
    assert_same(ask(loaded, make_requests(), 3), ask(model, make_requests(), 3))


def test_too_few_eligible_items_are_an_error(recommender: Recommender) -> None:
    with pytest.raises(RecommenderError, match="got 3 eligible items, expected at least k = 4"):
        ask(recommender, make_requests(eligible=np.arange(40) < 3), 4)


def test_serving_before_fitting_is_an_error(case: str) -> None:
    with pytest.raises(RecommenderError, match=rf"{name_of(case)}: .* expected `fit` or `load_state_dict` first"):
        ask(unfitted(case), make_requests(), 3)


def test_a_state_of_another_catalogue_or_size_is_an_error(case: str, recommender: Recommender) -> None:
    state = dict(recommender.state_dict())
    with pytest.raises(RecommenderError, match=r"state: popular: got \(40,\), expected an array of shape \(41,\)"):
        unfitted(case).load_state_dict(state, make_items(41))
    del state[next(name for name in reversed(state) if name != "popular")]
    with pytest.raises(RecommenderError, match="state: "):
        unfitted(case).load_state_dict(state, make_items())


@given(seed=SEEDS)
def test_who_is_not_told_dislikes_hears_none(seed: int, case: str, recommender: Recommender) -> None:
    requests = make_requests(seed)
    disliked = requests.history_feedback | np.uint8(Feedback.DISLIKE)
    told = replace(requests, history_feedback=np.where(requests.history_item < 0, 0, disliked).astype(np.uint8))
    untold = replace(requests, history_feedback=requests.history_feedback & ~np.uint8(Feedback.DISLIKE))
    assert isinstance(recommender, Scorer)
    same = np.array_equal(recommender.scores(told), recommender.scores(untold))
    anything = ((untold.history_feedback & (Feedback.LONG_DWELL | Feedback.LIKE)) != 0).any()
    if case not in HEARS_DISLIKES:
        assert same
    elif anything:
        assert not same


def liked(*items: int) -> Requests:
    """One request after liking some items of six, the newest last."""
    requests = make_requests(n=1).take(slice(0, 1))
    item = np.full((1, 6), -1, np.int32)
    item[0, 6 - len(items) :] = items
    feedback = np.where(item < 0, 0, int(Feedback.EXAMINED | Feedback.LIKE)).astype(np.uint8)
    return replace(requests, history_item=item, history_feedback=feedback)


def two_tastes() -> Interactions:
    """A log in which even users like even items and odd users odd ones."""
    log = make_log()
    item = (log.item // 2 * 2 + log.user % 2).astype(np.int32)
    return replace(log, item=item, feedback=np.full(len(log), Feedback.EXAMINED | Feedback.LIKE, np.uint8))


@pytest.mark.parametrize("case", ["implicit_als", "lenskit_item_knn", "lenskit_als", "rectools_sasrec"])
def test_what_goes_with_the_history_comes_first(case: str) -> None:
    unfitted(case)
    model = build(case, CASES[case] | ({"epochs": 40, "learning_rate": 0.02} if case == "rectools_sasrec" else {}))
    model.fit(two_tastes(), make_items(), seed=3)
    for parity in (0, 1):
        slates = ask(model, liked(parity, parity + 2, parity + 4), 8)
        assert (slates.item % 2 == parity).all()


def test_a_dislike_counts_against_what_is_like_it() -> None:
    unfitted("implicit_als")
    model = build("implicit_als", {"window": 6, "dim": 2, "dislike_confidence": 10})
    model.fit(two_tastes(), make_items(), seed=3)
    assert isinstance(model, Scorer)
    before = liked(0, 1)
    feedback = before.history_feedback.copy()
    feedback[0, -1] = Feedback.EXAMINED | Feedback.LONG_DWELL | Feedback.DISLIKE
    change = (model.scores(replace(before, history_feedback=feedback)) - model.scores(before))[0]
    assert change[3::2].max() < -0.1
    assert change[2::2].min() > -0.1


@pytest.mark.parametrize("case", ["implicit_als", "implicit_als dislikes"])
def test_implicit_itself_recommends_the_same(case: str) -> None:
    model: Any = fitted(case)
    requests = make_requests(5, n=20)
    row, place = np.nonzero(requests.history_item >= 0)
    matrix = model._matrix(
        row, requests.history_item[row, place], requests.history_feedback[row, place], 20, len(model._state.popular)
    )
    item, score = model._state.model.recommend(
        np.arange(20), matrix, N=5, filter_already_liked_items=False, recalculate_user=True
    )
    ours = np.take_along_axis(model.scores(requests), item, 1)
    np.testing.assert_allclose(ours, score, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.sort(model.scores(requests), 1)[:, :-6:-1], score, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", ["lenskit_item_knn", "lenskit_item_knn dropped", "lenskit_als", "lenskit_biased_mf"])
def test_a_trained_component_of_lenskit_scores_the_same(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is taken apart."""
    model: Any = unfitted(case)
    kept = []
    arrays = type(model._parts).arrays
    monkeypatch.setattr(type(model._parts), "arrays", lambda self, c: kept.append(c) or arrays(self, c))
    model.fit(make_log(), make_items(), seed=3)
    ours = model.scores(make_requests(5, n=20))
    model._state = model._state._replace(component=kept[0])
    np.testing.assert_array_equal(ours, model.scores(make_requests(5, n=20)))


@pytest.mark.parametrize("case", ["rectools_sasrec", "rectools_bert4rec"])
def test_rectools_itself_scores_the_same(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = unfitted(case)
    columns = pytest.importorskip("rectools").Columns
    trained = model._trained
    kept: list[Any] = []

    def keep(positive: Interactions, progress: Any) -> Any:
        kept.append(trained(positive, progress))
        return kept[0]

    monkeypatch.setattr(model, "_trained", keep)
    log = make_log()
    model.fit(log, make_items(), seed=3)
    width = model.config.window - (case == "rectools_bert4rec")
    positive = log.take((log.feedback & (Feedback.LONG_DWELL | Feedback.LIKE)) != 0)
    history = [positive.item[positive.user == user][-width:] for user in range(30)]
    padded = np.array([[-1] * (6 - len(h)) + h.tolist() for h in history], np.int32)
    requests = make_requests(n=30).take(slice(0, 30))
    feedback = np.where(padded < 0, 0, int(Feedback.LIKE)).astype(np.uint8)
    ours = model.scores(replace(requests, history_item=padded, history_feedback=feedback))
    theirs = _recommended(kept[0], positive, len(model._state.known), columns)
    for user, item, score in theirs:
        assert ours[user, item] == pytest.approx(score, rel=1e-4, abs=1e-5)
    assert len(theirs) == 30 * len(model._state.known)


def _recommended(model: Any, positive: Interactions, k: int, columns: Any) -> list[tuple[int, int, float]]:
    import pandas as pd
    from rectools.dataset import Dataset

    frame = pd.DataFrame(
        {
            columns.User: positive.user,
            columns.Item: positive.item,
            columns.Weight: 1.0,
            columns.Datetime: pd.to_datetime(positive.tick, unit="ms"),
        }
    )
    table = model.recommend(users=np.arange(30), dataset=Dataset.construct(frame), k=k, filter_viewed=False)
    return list(table[[columns.User, columns.Item, columns.Score]].itertuples(index=False, name=None))


@pytest.mark.parametrize("case", ["implicit_als", "rectools_sasrec"])
def test_progress_is_told_to_the_end(case: str) -> None:
    told: list[tuple[int, int]] = []
    unfitted(case).fit(make_log(), make_items(), seed=3, progress=lambda *step: told.append(step))
    done, total = zip(*told, strict=True)
    assert done == tuple(range(1, total[0] + 1))
    assert set(total) == {done[-1]}
