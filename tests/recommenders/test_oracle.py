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
