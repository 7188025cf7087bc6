from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommenders.random import distinct_ranks
from tests.recommenders.cases import ask, fitted, make_requests


def shuffled_slowly(uniform: list[float], population: int) -> list[int]:
    deck = list(range(population))
    for i, u in enumerate(uniform):
        r = i + int(u * (population - i))
        deck[i], deck[r] = deck[r], deck[i]
    return deck[: len(uniform)]


@given(seed=st.integers(0, 10_000), population=st.integers(1, 12), data=st.data())
def test_equals_a_fisher_yates_shuffle(seed: int, population: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, population))
    uniform = np.random.default_rng(seed).random((6, k))
    expected = [shuffled_slowly(row.tolist(), population) for row in uniform]
    assert distinct_ranks(uniform, population).tolist() == expected


@pytest.mark.parametrize(("population", "k"), [(4, 2), (3, 3)])
def test_every_ordered_slate_is_equally_likely(population: int, k: int) -> None:
    # The midpoints of the cells of all steps: a complete enumeration, so the counts are exact.
    cells = [[(j + 0.5) / (population - i) for j in range(population - i)] for i in range(k)]
    uniform = np.array(list(itertools.product(*cells)))
    slates = distinct_ranks(uniform, population)
    assert len({tuple(row) for row in slates.tolist()}) == len(uniform)


def test_extreme_draws_stay_in_range() -> None:
    for edge in (2.0**-33, 1 - 2.0**-33, 1 - 2.0**-53):
        ranks = distinct_ranks(np.full((1, 5), edge), 10_000_019)
        assert len(set(ranks[0].tolist())) == 5
        assert 0 <= ranks.min() <= ranks.max() < 10_000_019


def test_propensity_is_one_over_the_eligible_items() -> None:
    slates = ask(fitted("random"), make_requests(eligible=np.arange(40) < 25), 3)
    assert slates.propensity is not None
    np.testing.assert_array_equal(slates.propensity, np.full((5, 3), 1 / 25))
