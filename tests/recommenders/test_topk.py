from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recommenders import topk
from recommenders.base import Bool, Float32, RecommenderError
from recommenders.topk import top_k

# Few distinct values, so that ties are everywhere.
SCORES = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 5), st.integers(1, 12)), elements=st.sampled_from([-2.0, -0.0, 0.0, 1.0, 3.5])
)


def sorted_slowly(score: Float32, eligible: Bool, k: int) -> list[list[int]]:
    candidates = np.flatnonzero(eligible).tolist()
    return [sorted(candidates, key=lambda i: (-row[i], i))[:k] for row in score]


@given(score=SCORES, data=st.data())
def test_equals_a_full_sort_with_ties_to_the_lower_id(score: Float32, data: st.DataObject) -> None:
    n_items = score.shape[1]
    eligible = data.draw(hnp.arrays(np.bool_, n_items).filter(lambda mask: bool(mask.any())))
    k = data.draw(st.integers(1, int(eligible.sum())))
    before = score.copy()
    slates = top_k(score, eligible, k)
    assert slates.item.tolist() == sorted_slowly(score, eligible, k)
    np.testing.assert_array_equal(slates.score, np.take_along_axis(score, slates.item, 1))
    np.testing.assert_array_equal(score, before)


@given(n_items=st.integers(64, 400), k=st.integers(1, 6), n_values=st.integers(1, 500), seed=st.integers(0, 10_000))
def test_stripes_of_a_long_row_find_the_same(n_items: int, k: int, n_values: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    score = rng.integers(n_values, size=(3, n_items)).astype(np.float32)
    with patch.object(topk, "LONG_ROW", 64):
        slates = top_k(score, np.ones(n_items, np.bool_), k)
    assert slates.item.tolist() == sorted_slowly(score, np.ones(n_items, np.bool_), k)


def test_nan_in_a_long_row_is_an_error() -> None:
    score = np.ones((2, topk.LONG_ROW), np.float32)
    score[1, 17] = np.nan
    with pytest.raises(RecommenderError, match="got NaN"):
        top_k(score, np.ones(topk.LONG_ROW, np.bool_), 10)


def test_an_ineligible_item_may_score_anything() -> None:
    score = np.array([[np.nan, 1, 2]], np.float32)
    assert top_k(score, np.array([False, True, True]), 2).item.tolist() == [[2, 1]]


@pytest.mark.parametrize("k", [1, 3])
def test_nan_is_an_error(k: int) -> None:
    score = np.array([[np.nan, 1, 2, 3]], np.float32)
    with pytest.raises(RecommenderError, match="got NaN"):
        top_k(score, np.ones(4, np.bool_), k)
