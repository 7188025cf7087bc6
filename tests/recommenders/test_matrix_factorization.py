from __future__ import annotations

import numpy as np
import pytest

from recommenders.base import Feedback, Interactions, RecommenderError
from recommenders.matrix_factorization import MatrixFactorization, MatrixFactorizationConfig
from recommenders.sequences import is_positive
from tests.recommenders.cases import ask, make_items, make_log, make_requests


def fit(log: Interactions, **settings: float) -> MatrixFactorization:
    model = MatrixFactorization(MatrixFactorizationConfig(**{"window": 6, "dim": 4, **settings}))
    model.fit(log, make_items(), seed=3)
    return model


def solved_slowly(met: np.ndarray, other: np.ndarray, confidence: float, regularisation: float) -> np.ndarray:
    """A weighted ridge regression over all columns: the definition."""
    factor = np.zeros((len(met), other.shape[1]))
    for row, preference in enumerate(met):
        weight = np.diag(1 + confidence * preference)
        system = other.T @ weight @ other + regularisation * np.eye(other.shape[1])
        factor[row] = np.linalg.solve(system, other.T @ weight @ preference)
    return factor


def preferences(log: Interactions, n_items: int = 40) -> np.ndarray:
    met = np.zeros((int(log.user.max()) + 1, n_items))
    rows = is_positive(log.feedback, except_disliked=False)
    met[log.user[rows], log.item[rows]] = 1
    return met


def test_a_fit_is_ridge_regressions_in_turns():
    log = make_log()
    model = fit(log, iterations=3, confidence=5.0, regularisation=0.5)
    met = preferences(log)
    item = solved_slowly(met.T, np.random.default_rng(3).normal(0, 0.1, (len(met), 4)), 5.0, 0.5)
    for _ in range(3):
        user = solved_slowly(met, item, 5.0, 0.5)
        item = solved_slowly(met.T, user, 5.0, 0.5)
    np.testing.assert_allclose(model.state_dict()["factor"], item, rtol=1e-4, atol=1e-6)


def test_users_are_folded_in_as_they_would_be_fitted():
    model, requests = fit(make_log()), make_requests(n=70)
    item = model.state_dict()["factor"].astype(np.float64)
    met = np.zeros((70, 40))
    row, column = np.nonzero(
        (requests.history_item >= 0) & is_positive(requests.history_feedback, except_disliked=False)
    )
    met[row, requests.history_item[row, column]] = 1
    expected = solved_slowly(met, item, 10.0, 1.0) @ item.T
    np.testing.assert_allclose(model.scores(requests), expected, rtol=1e-3, atol=1e-5)


def test_groups_that_like_the_same_are_shown_it():
    """Two groups of users, each with ten items that it likes; a user of one who has met six is shown the other four."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(30), 8)
    item = np.concatenate([rng.permutation(10)[:8] + 10 * (u % 2) for u in range(30)])
    feedback = np.full(len(user), Feedback.EXAMINED | Feedback.LONG_DWELL, np.uint8)
    log = Interactions(
        np.arange(len(user)), user.astype(np.int32), item.astype(np.int32), feedback, np.ones(len(user), np.float32)
    )
    requests = make_requests(n=1)
    requests.history_item[:] = np.arange(10, 16)
    requests.history_feedback[:] = Feedback.EXAMINED | Feedback.LONG_DWELL
    assert set(ask(fit(log), requests, 4).item[0].tolist()) == {16, 17, 18, 19}


def test_without_history_the_most_popular_come_first():
    model, requests = fit(make_log()), make_requests(n=3, width=0)
    popular = model.state_dict()["popular"]
    np.testing.assert_array_equal(ask(model, requests, 5).item, np.tile(popular[:5], (3, 1)))


def test_a_state_of_other_dimensions_is_refused():
    state = dict(fit(make_log()).state_dict())
    other = MatrixFactorization(MatrixFactorizationConfig(dim=8))
    with pytest.raises(RecommenderError, match=r"factor: got shape \(40, 4\), expected \(40, 8\)"):
        other.load_state_dict(state, make_items())
