"""Similarity and responsiveness against counts by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recommenders.base import Int32
from simulator.experiment.responsiveness import PAPER_KINDS, Runs, respond, similarity
from tests.simulator.experiment.strategies import N_ITEMS, items

ITEMS = items()


def runs_of(focus_item: Int32) -> Runs:
    likes_nothing = np.zeros((len(focus_item), ITEMS.n_topics), np.bool_)
    return Runs(focus_item, likes_nothing, ITEMS, np.empty((N_ITEMS, 0), np.float32))


@st.composite
def slates(draw: st.DrawFn) -> tuple[Int32, Int32]:
    """Slates int32[n, k] and focus items int32[n]; n may be 0."""
    n, k = draw(st.integers(0, 6)), draw(st.integers(1, 5))
    ids = st.integers(0, N_ITEMS - 1)
    return draw(hnp.arrays(np.int32, (n, k), elements=ids)), draw(hnp.arrays(np.int32, n, elements=ids))


@given(drawn=slates())
@settings(deadline=None, max_examples=50)
def test_similarity_counts_members(drawn: tuple[Int32, Int32]) -> None:
    slate_item, focus_item = drawn
    got = similarity(slate_item, focus_item, ITEMS)
    for kind, group in (("topic", ITEMS.topic), ("creator", ITEMS.creator)):
        expected = [
            sum(group[item] == group[focus] for item in slate) / len(slate)
            for slate, focus in zip(slate_item, focus_item, strict=True)
        ]
        np.testing.assert_allclose(getattr(got, kind), expected)


@given(drawn=slates())
@settings(deadline=None, max_examples=50)
def test_equal_branches_respond_by_exactly_zero_or_not_at_all(drawn: tuple[Int32, Int32]) -> None:
    slate_item, focus_item = drawn
    for kind in PAPER_KINDS:
        found = respond("arm", kind, slate_item, slate_item.copy(), runs_of(focus_item), 0.95)
        if found.response.note:
            assert len(focus_item) < 2 or found.base.value == 0
        else:
            assert (found.response.value, found.response.low, found.response.high) == (0.0, 0.0, 0.0)


def test_responsiveness_by_hand() -> None:
    # Creators are item mod 3, topics item // 3 mod 2; both runs part at item 0 (creator 0, topic 0).
    base = np.array([[0, 3, 1, 5], [6, 1, 2, 5]], np.int32)
    action = np.array([[3, 1, 2, 5], [4, 1, 2, 5]], np.int32)
    runs = runs_of(np.array([0, 0], np.int32))
    topic, creator = (respond("arm", kind, base, action, runs, 0.95) for kind in PAPER_KINDS)
    assert (topic.similarity, creator.similarity) == ("topic", "creator")
    assert creator.base.value == pytest.approx((2 / 4 + 1 / 4) / 2)
    assert creator.action.value == pytest.approx((1 / 4 + 0) / 2)
    assert creator.response.value == pytest.approx(1 / 3 - 1)
    assert topic.base.value == pytest.approx((2 / 4 + 3 / 4) / 2)
    assert topic.action.value == pytest.approx((2 / 4 + 2 / 4) / 2)
    assert topic.response.n == 2
