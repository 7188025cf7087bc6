from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommenders.base import Float64, Slates
from recommenders.plackett_luce import plackett_luce, shared_plackett_luce

WEIGHT = np.array([4.0, 2.0, 1.0, 9.0, 1.0])
ELIGIBLE = np.array([True, True, True, False, True])
N = 40_000


@dataclass(frozen=True)
class Given:
    """Draws that were made before."""

    table: Float64

    def uniform(self, n_columns: int) -> Float64:
        return self.table[:, :n_columns]


def by_gumbel(draws: Float64, score: Float64, k: int, temperature: float) -> Slates:
    table = np.broadcast_to(score.astype(np.float32), (len(draws), len(score)))
    return plackett_luce(table, ELIGIBLE, k, temperature, Given(draws))


def by_inverse_cdf(draws: Float64, score: Float64, k: int, temperature: float) -> Slates:
    return shared_plackett_luce(score.astype(np.float32), ELIGIBLE, k, temperature, Given(draws))


Draw = Callable[[Float64, Float64, int, float], Slates]
WAYS = pytest.mark.parametrize("draw", [by_gumbel, by_inverse_cdf])


def slate_probability(slate: tuple[int, ...], temperature: float) -> float:
    left = {i: WEIGHT[i] ** (1 / temperature) for i in np.flatnonzero(ELIGIBLE)}
    chance = 1.0
    for item in slate:
        chance *= left[item] / sum(left.values())
        del left[item]
    return chance


@WAYS
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_slates_come_as_often_as_the_closed_form_says(draw: Draw, temperature: float) -> None:
    slates = draw(np.random.default_rng(5).random((N, 5)), np.log(WEIGHT), 2, temperature)
    for slate in itertools.permutations(np.flatnonzero(ELIGIBLE).tolist(), 2):
        p = slate_probability(slate, temperature)
        share = (slates.item == slate).all(1).mean()
        # 48 comparisons in all at 4.5 standard errors: a false alarm in 3 of 10,000 seeds.
        assert abs(share - p) < 4.5 * np.sqrt(p * (1 - p) / N)


@WAYS
@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_propensities_multiply_to_the_chance_of_the_slate(draw: Draw, k: int) -> None:
    slates = draw(np.random.default_rng(6).random((50, 5)), np.log(WEIGHT), k, 1.0)
    assert slates.propensity is not None
    expected = [slate_probability(tuple(row), 1.0) for row in slates.item.tolist()]
    np.testing.assert_allclose(slates.propensity.prod(1), expected, rtol=1e-6)


@WAYS
@given(seed=st.integers(0, 1000), spread=st.floats(0, 60))
def test_extreme_scores_give_valid_slates(draw: Draw, seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    slates = draw(rng.uniform(2.0**-33, 1 - 2.0**-33, (4, 5)), rng.normal(size=5) * spread, 4, 1.0)
    assert [sorted(row) for row in slates.item.tolist()] == [[0, 1, 2, 4]] * 4
    assert slates.propensity is not None
    assert ((slates.propensity > 0) & (slates.propensity <= 1)).all()
    np.testing.assert_allclose(slates.propensity[:, -1], 1)
