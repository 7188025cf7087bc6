from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from recommenders.base import Feedback
from recommenders.item_knn import ItemKnn, ItemKnnConfig, nearest_neighbours
from recommenders.sequences import is_positive
from tests.recommenders.cases import ask, make_items, make_log, make_requests


@given(seed=st.integers(0, 1000), neighbours=st.integers(1, 8), shrinkage=st.floats(0, 20))
def test_neighbours_equal_a_loop(seed: int, neighbours: int, shrinkage: float) -> None:
    windows = (np.random.default_rng(seed).random((9, 7)) < 0.4).astype(np.float32)
    found = nearest_neighbours(sparse.csr_array(windows), neighbours, shrinkage).toarray()
    common = windows.T @ windows
    count = common.diagonal()
    for i in range(7):
        scored = [
            (-np.float32(common[i, j] / (np.sqrt(count[i] * count[j]) + shrinkage)), j)
            for j in range(7)
            if j != i and common[i, j]
        ]
        kept = {j: -value for value, j in sorted(scored)[:neighbours]}
        np.testing.assert_allclose(found[i], [kept.get(j, 0) for j in range(7)], rtol=1e-5)


@given(seed=st.integers(0, 1000))
def test_scores_sum_over_the_positive_history_and_fill_up_by_popularity(seed: int) -> None:
    log, n_items = make_log(seed, n_rows=300), 40
    knn = ItemKnn(ItemKnnConfig(window=6, neighbours=3, filter_viewed=False))
    knn.fit(log, make_items(), seed=0)
    popular = knn.state_dict()["by_popularity"]
    requests = make_requests(seed)
    slates = ask(knn, requests, n_items)
    similarity = np.zeros((n_items, n_items), np.float32)
    assert knn._similarity is not None
    similarity[:, popular] = knn._similarity.toarray()
    positive = is_positive(requests.history_feedback, except_disliked=False)
    rank = np.argsort(popular)
    for i in range(len(requests)):
        score = similarity[requests.history_item[i][positive[i]]].sum(0)
        np.testing.assert_allclose(slates.score[i], score[slates.item[i]], rtol=1e-5, atol=1e-6)
        untouched = [item for item in slates.item[i] if score[item] == 0]
        assert untouched == sorted(untouched, key=lambda item: rank[item])


def test_dislikes_and_dismissals_change_nothing() -> None:
    log = make_log()
    cleaned = make_log()
    cleaned.feedback[:] &= np.uint8(255 - (Feedback.DISLIKE | Feedback.DISMISS))
    slates = []
    for one in (log, cleaned):
        knn = ItemKnn(ItemKnnConfig(window=6))
        knn.fit(one, make_items(), seed=0)
        slates.append(ask(knn, make_requests(), 10))
    np.testing.assert_array_equal(slates[0].item, slates[1].item)
