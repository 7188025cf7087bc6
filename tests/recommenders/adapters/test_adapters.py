"""The adapters against the real libraries: the laws of every recommender, and what each library itself would answer.

Cases whose library is missing are skipped; `make adapters` makes an environment that has all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recommenders.base import Feedback, Interactions, Recommender, Requests, Scorer
from recommenders.conformance import CHECKS, Subject, run_checks
from recommenders.registry import EXTRAS, build
from tests.recommenders.cases import ask, make_items, make_log, make_requests, name_of

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


def test_it_keeps_the_laws(case: str) -> None:
    """On few examples, without what takes long; `pushback check` tries them all."""
    unfitted(case)
    subject = Subject(name_of(case), CASES[case])
    checks = [check for check in CHECKS.values() if check.kind != "cost" and "process" not in check.name]
    fewer = [replace(check, examples=max(1, round(0.05 * check.examples))) for check in checks]
    run_checks(subject, fewer).raise_if_broken()


def test_fitting_and_serving_are_quiet_and_leave_the_number_of_threads(
    case: str, capfd: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    ask(fitted(case), make_requests(), 3)
    assert torch.get_num_threads() == threads
    assert capfd.readouterr() == ("", "")


def test_no_requests_get_no_slates(recommender: Recommender) -> None:
    assert ask(recommender, make_requests(n=2).take(slice(0, 0)), 3).item.shape == (0, 3)


@given(seed=SEEDS)
def test_viewed_items_are_shown_again_only_where_nothing_else_is_left(recommender: Recommender, seed: int) -> None:
    requests = make_requests(seed, n=4)
    for shown, window in zip(ask(recommender, requests, 40).item, requests.history_item, strict=True):
        viewed = np.isin(shown, window)
        assert (np.diff(viewed.astype(int)) >= 0).all()


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
