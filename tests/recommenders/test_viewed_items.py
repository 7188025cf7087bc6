"""What the contract leaves open and these recommenders have in common: viewed items go last."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommenders.base import PADDING, Recommender
from tests.recommenders.cases import ask, fitted, make_requests


@pytest.fixture(scope="module", params=["popularity", "item_knn", "gru4rec", "linear_recurrent"])
def filtering(request: pytest.FixtureRequest) -> Recommender:
    return fitted(str(request.param))


@given(seed=st.integers(0, 10_000))
def test_viewed_items_are_shown_again_only_where_nothing_else_is_left(filtering: Recommender, seed: int) -> None:
    requests = make_requests(seed, n=4)
    slates = ask(filtering, requests, 40)
    width = filtering.traits.history_length
    for shown, window in zip(slates.item, requests.history_item[:, -width:], strict=True):
        viewed = np.isin(shown, window)
        assert viewed.sum() == len(set(window.tolist()) - {PADDING})
        assert (np.diff(viewed.astype(int)) >= 0).all()
