from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recommenders.base import RecommenderError
from recommenders.oracle import Oracle, OracleConfig
from tests.recommenders.cases import TableOfUtilities, ask, make_requests


def test_ranks_the_utilities_of_eligible_items() -> None:
    eligible = np.arange(40) % 3 == 0
    requests = make_requests(eligible=eligible)
    assert isinstance(requests.utility, TableOfUtilities)
    best = np.argsort(-np.where(eligible, requests.utility.table, -np.inf), axis=1)[:, :4]
    np.testing.assert_array_equal(ask(Oracle(OracleConfig()), requests, 4).item, best)


def test_says_that_it_needs_utilities() -> None:
    oracle = Oracle(OracleConfig())
    assert oracle.traits.needs_utility
    with pytest.raises(RecommenderError, match="utility: got None"):
        ask(oracle, replace(make_requests(), utility=None), 4)


def test_a_high_temperature_approaches_the_random_policy() -> None:
    slates = ask(Oracle(OracleConfig(temperature=1e6)), make_requests(), 1)
    assert slates.propensity is not None
    np.testing.assert_allclose(slates.propensity, 1 / 40, rtol=1e-4)


def test_sampled_candidates_are_different_and_eligible_and_every_item_comes_equally_often() -> None:
    eligible = np.arange(60) % 3 != 1
    requests = make_requests(n=1000, n_items=60, eligible=eligible)
    slates = ask(Oracle(OracleConfig(candidates=15, temperature=1e9)), requests, 15)
    assert eligible[slates.item].all()
    assert all(len(set(row)) == 15 for row in slates.item)
    count = np.bincount(slates.item.reshape(-1), minlength=60)[eligible]
    # 40 counts of mean 375 and variance 234; chi-square with 39 degrees of freedom exceeds 80 once in 10,000 worlds.
    assert ((count - 375) ** 2 / 234).sum() < 80
    assert slates.propensity is None


def test_ranks_its_sample_by_utility_and_scores_by_it() -> None:
    requests = make_requests(n=50)
    assert isinstance(requests.utility, TableOfUtilities)
    slates = ask(Oracle(OracleConfig(candidates=10)), requests, 10)
    assert (np.diff(slates.score, axis=1) <= 0).all()
    np.testing.assert_array_equal(slates.score, np.take_along_axis(requests.utility.table, slates.item, 1))
    shorter = ask(Oracle(OracleConfig(candidates=10)), requests, 4)
    np.testing.assert_array_equal(shorter.item, slates.item[:, :4])


@pytest.mark.parametrize("candidates", [1, 4, 39, 40, 1000])
def test_any_number_of_candidates_fills_the_slate(candidates: int) -> None:
    slates = ask(Oracle(OracleConfig(candidates=candidates, temperature=0.5)), make_requests(n=20), 4)
    assert slates.item.shape == (20, 4)
    assert all(len(set(row)) == 4 for row in slates.item)


def test_as_many_candidates_as_items_rank_like_no_limit() -> None:
    requests = make_requests()
    np.testing.assert_array_equal(
        ask(Oracle(OracleConfig(candidates=40)), requests, 6).item, ask(Oracle(OracleConfig()), requests, 6).item
    )


def test_more_candidates_find_more_utility() -> None:
    requests = make_requests(n=400)
    found = [ask(Oracle(OracleConfig(candidates=c)), requests, 4).score.mean() for c in (4, 10, 20, 40)]
    assert np.all(np.diff(found) > 0.1)


def test_a_request_draws_the_same_sample_alone_and_in_a_batch() -> None:
    requests = make_requests(n=30)
    oracle = Oracle(OracleConfig(candidates=36, temperature=0.5))
    together = ask(oracle, requests, 5)
    for row in range(30):
        alone = ask(oracle, requests.take(slice(row, row + 1)), 5)
        np.testing.assert_array_equal(alone.item[0], together.item[row])
