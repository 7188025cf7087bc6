from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from recommenders import item_knn
from recommenders.base import Feedback
from recommenders.item_knn import ItemKnn, ItemKnnConfig, nearest_neighbours, top_k_of_dense, top_k_of_sparse
from recommenders.sequences import is_positive
from tests.recommenders.cases import ask, assert_same, make_items, make_log, make_requests


@given(
    seed=st.integers(0, 1000),
    neighbours=st.integers(1, 8),
    shrinkage=st.floats(0, 20),
    block_cells=st.sampled_from([1, 9, 20, 1000]),
)
def test_neighbours_equal_a_loop(seed: int, neighbours: int, shrinkage: float, block_cells: int) -> None:
    windows = (np.random.default_rng(seed).random((9, 7)) < 0.4).astype(np.float32)
    found = nearest_neighbours(sparse.csr_array(windows), neighbours, shrinkage, block_cells).toarray()
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


@given(
    seed=st.integers(0, 1000),
    density=st.sampled_from([0.0, 0.05, 0.5]),
    width=st.integers(0, 6),
    n=st.integers(0, 5),
    data=st.data(),
)
def test_ranking_without_the_zeros_equals_ranking_with_them(
    seed: int, density: float, width: int, n: int, data: st.DataObject
) -> None:
    n_items, rng = 30, np.random.default_rng(seed)
    eligible = rng.random(n_items) < rng.choice([0.2, 0.9])
    eligible[3] = True
    k = data.draw(st.integers(1, int(eligible.sum())))
    # Few values, so that there are ties.
    score = sparse.csr_array(
        (rng.integers(1, 4, (n, n_items)) * (rng.random((n, n_items)) < density)).astype(np.float32)
    )
    viewed = np.where(rng.random((n, width)) < 0.3, -1, rng.integers(n_items, size=(n, width))).astype(np.int32)
    stored = sparse.csr_array(score.astype(np.float32))
    assert_same(top_k_of_sparse(stored, viewed, eligible, k), top_k_of_dense(stored, viewed, eligible, k))


@pytest.mark.parametrize("filter_viewed", [True, False])
def test_a_big_catalogue_is_served_alike(monkeypatch: pytest.MonkeyPatch, filter_viewed: bool) -> None:
    knn = ItemKnn(ItemKnnConfig(window=6, neighbours=5, filter_viewed=filter_viewed))
    knn.fit(make_log(), make_items(), seed=0)
    requests = make_requests(n=20, eligible=np.arange(40) % 3 != 1)
    small = ask(knn, requests, 12)
    monkeypatch.setattr(item_knn, "SPARSE_FROM_ITEMS", 0)
    assert_same(ask(knn, requests, 12), small)


@given(seed=st.integers(0, 1000))
def test_relabelling_items_permutes_the_scores(seed: int) -> None:
    log, requests = make_log(seed, n_rows=300), make_requests(seed)
    label = np.random.default_rng(seed).permutation(40).astype(np.int32)
    relabelled = replace(requests, history_item=np.where(requests.history_item < 0, -1, label[requests.history_item]))
    scores = []
    for one, asked in ((log, requests), (replace(log, item=label[log.item]), relabelled)):
        # As many neighbours as there are items: which of equally near ones are kept goes by their numbers.
        knn = ItemKnn(ItemKnnConfig(window=6, neighbours=40))
        knn.fit(one, make_items(), seed=0)
        scores.append(knn.scores(asked))
    np.testing.assert_allclose(scores[1][:, label], scores[0], rtol=1e-5, atol=1e-7)
