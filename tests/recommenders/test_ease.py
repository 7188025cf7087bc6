from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommenders import ease
from recommenders.base import Feedback, Interactions, RecommenderError, Requests
from recommenders.ease import Ease, EaseConfig, latest_entries
from tests.recommenders.cases import ask, make_items, make_log, make_requests

N_ITEMS = 40
DISLIKE_VALUES = st.sampled_from([None, 0.0, -1.0, -0.3])


def value_of(feedback: int, dislike_value: float | None) -> float | None:
    if dislike_value is not None and feedback & Feedback.DISLIKE:
        return dislike_value
    return 1.0 if feedback & (Feedback.LONG_DWELL | Feedback.LIKE) else None


def matrix_by_loops(log: Interactions, dislike_value: float | None) -> np.ndarray:
    x = np.zeros((int(log.user.max()) + 1, N_ITEMS))
    for user, item, feedback in zip(log.user, log.item, log.feedback.tolist(), strict=True):
        value = value_of(feedback, dislike_value)
        if value is not None:
            x[user, item] = value
    return x


def history_by_loops(requests: Requests, window: int, dislike_value: float | None) -> np.ndarray:
    x = np.zeros((len(requests), N_ITEMS))
    for i in range(len(requests)):
        recent = slice(-window, None)
        for item, feedback in zip(
            requests.history_item[i, recent], requests.history_feedback[i, recent].tolist(), strict=True
        ):
            value = value_of(feedback, dislike_value)
            if item >= 0 and value is not None:
                x[i, item] = value
    return x


def ridge_by_item(x: np.ndarray, regularisation: float) -> np.ndarray:
    """Each item regressed on all the others: what EASE solves at once."""
    weight = np.zeros((N_ITEMS, N_ITEMS))
    for j in range(N_ITEMS):
        others = np.delete(np.arange(N_ITEMS), j)
        left = x[:, others].T @ x[:, others] + regularisation * np.eye(N_ITEMS - 1)
        weight[others, j] = np.linalg.solve(left, x[:, others].T @ x[:, j])
    return weight


@given(
    seed=st.integers(0, 1000),
    dislike_value=DISLIKE_VALUES,
    regularisation=st.sampled_from([0.1, 3.0, 100.0]),
    rows_at_a_time=st.sampled_from([7, 256]),
)
def test_scores_equal_a_ridge_regression_per_item(
    seed: int, dislike_value: float | None, regularisation: float, rows_at_a_time: int
) -> None:
    log, requests = make_log(seed, n_rows=300), make_requests(seed, width=8)
    model = Ease(EaseConfig(window=6, regularisation=regularisation, dislike_value=dislike_value))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ease, "ROWS_AT_A_TIME", rows_at_a_time)
        model.fit(log, make_items(), seed=0)
    weight = ridge_by_item(matrix_by_loops(log, dislike_value), regularisation)
    expected = history_by_loops(requests, 6, dislike_value) @ weight
    np.testing.assert_allclose(model.scores(requests), expected, rtol=1e-4, atol=1e-6)


@given(seed=st.integers(0, 1000), dislike_value=DISLIKE_VALUES)
def test_the_latest_word_on_an_item_counts(seed: int, dislike_value: float | None) -> None:
    log = make_log(seed, n_rows=200, n_users=3, n_items=12)
    entries = latest_entries(log.user.astype(np.intp), log.item, log.feedback, dislike_value)
    cells: dict[tuple[int, int], float] = {}
    for user, item, feedback in zip(log.user.tolist(), log.item.tolist(), log.feedback.tolist(), strict=True):
        value = value_of(feedback, dislike_value)
        if value is not None:
            cells.pop((user, item), None)
            cells[user, item] = value
    found = zip(entries.row.tolist(), entries.item.tolist(), entries.value.tolist(), strict=True)
    assert [((row, item), value) for row, item, value in found] == list(cells.items())


def two_tastes(n_users: int = 60) -> Interactions:
    """Even users like even items and dislike odd ones, odd users the other way round; each sees half of the items."""
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
    requests.history_item[:] = -1
    requests.history_feedback[:] = 0
    requests.history_item[0, 6 - len(item) :] = item
    requests.history_feedback[0, 6 - len(item) :] = feedback
    return requests


def share_even(model: Ease, requests: Requests) -> float:
    return float((ask(model, requests, 10).item % 2 == 0).mean())


def test_finds_two_tastes_and_reads_them_from_dislikes_alone_if_signed() -> None:
    plain, signed = Ease(EaseConfig(window=6)), Ease(EaseConfig(window=6, dislike_value=-1.0))
    for model in (plain, signed):
        model.fit(two_tastes(), make_items(), seed=0)
        assert share_even(model, history_of([2, 8], Feedback.LIKE)) == 1
        assert share_even(model, history_of([3], Feedback.LIKE)) == 0
    odd_is_disliked = history_of([3, 9, 21], Feedback.DISLIKE)
    assert share_even(signed, odd_is_disliked) == 1
    np.testing.assert_array_equal(plain.scores(odd_is_disliked), 0)


def test_a_user_without_history_gets_what_is_popular() -> None:
    model = Ease(EaseConfig(window=6))
    log = make_log()
    model.fit(log, make_items(), seed=0)
    requests = history_of([], Feedback.LIKE)
    count = np.bincount(log.item[(log.feedback & (Feedback.LIKE | Feedback.LONG_DWELL)) != 0], minlength=N_ITEMS)
    assert ask(model, requests, 40).item[0].tolist() == np.argsort(-count, kind="stable").tolist()


def test_too_many_items_are_an_error_and_items_without_an_entry_do_not_count() -> None:
    log = make_log().take(np.flatnonzero(make_log().item < 15))
    Ease(EaseConfig(max_items=15)).fit(log, make_items(), seed=0)
    with pytest.raises(RecommenderError, match=r"got 15 items with an entry, expected at most max_items = 14: .* GB"):
        Ease(EaseConfig(max_items=14)).fit(log, make_items(), seed=0)


def test_a_penalty_below_rounding_is_an_error() -> None:
    log = two_tastes(4)
    with pytest.raises(RecommenderError, match=r"regularisation: got 1e-20, expected enough"):
        Ease(EaseConfig(regularisation=1e-20)).fit(log, make_items(), seed=0)


def test_weights_of_another_shape_are_an_error() -> None:
    model = Ease(EaseConfig(window=6))
    model.fit(make_log(), make_items(), seed=0)
    with pytest.raises(RecommenderError, match=r"weight: got shape \(39, 40\), expected \(40, 40\)"):
        model.load_state_dict({**model.state_dict(), "weight": model.state_dict()["weight"][1:]}, make_items())


@given(seed=st.integers(0, 1000), dislike_value=DISLIKE_VALUES)
def test_relabelling_items_permutes_the_scores(seed: int, dislike_value: float | None) -> None:
    log, requests = make_log(seed, n_rows=300), make_requests(seed)
    label = np.random.default_rng(seed).permutation(N_ITEMS).astype(np.int32)
    relabelled = replace(requests, history_item=np.where(requests.history_item < 0, -1, label[requests.history_item]))
    scores = []
    for one, asked in ((log, requests), (replace(log, item=label[log.item]), relabelled)):
        model = Ease(EaseConfig(window=6, dislike_value=dislike_value))
        model.fit(one, make_items(), seed=0)
        scores.append(model.scores(asked))
    np.testing.assert_allclose(scores[1][:, label], scores[0], rtol=1e-4, atol=1e-7)


def test_dislikes_matter_only_with_a_value() -> None:
    log, cleaned = make_log(), make_log()
    cleaned.feedback[:] &= np.uint8(255 - Feedback.DISLIKE)
    for dislike_value in (None, 0.0, -1.0):
        weights = []
        for one in (log, cleaned):
            model = Ease(EaseConfig(window=6, dislike_value=dislike_value))
            model.fit(one, make_items(), seed=0)
            weights.append(model.state_dict()["weight"].tobytes())
        assert (weights[0] == weights[1]) == (dislike_value is None)


def test_history_beyond_the_window_does_not_matter() -> None:
    model = Ease(EaseConfig(window=6))
    model.fit(make_log(), make_items(), seed=0)
    wide = make_requests(3, n=20, width=9)
    narrow = replace(wide, history_item=wide.history_item[:, 3:], history_feedback=wide.history_feedback[:, 3:])
    np.testing.assert_array_equal(model.scores(wide), model.scores(narrow))
