"""What the benchmarks write down, and when a ratio counts as a regression."""

import json

import numpy as np
import pytest

from benchmarks.check import Baseline, read_baseline, regressions, write_baseline
from benchmarks.engine import Factors, factors
from benchmarks.growth import Cost, ratios
from benchmarks.history import record
from benchmarks.leaks import FIRST, STEPS, TREATED, USERS, compare, slates
from tests.recommenders.cases import KeyedDraws, make_items, make_requests


def test_a_ratio_may_be_worse_by_its_tolerance_and_no_more():
    expected = {"engine/random": Baseline(2.0, 0.25)}
    assert regressions({"engine/random": 2.5}, expected) == []
    assert regressions({"engine/random": 0.1}, expected) == []
    assert regressions({"engine/random": 2.51}, expected) == [
        "engine/random: got 2.51, expected at most 2.50: the baseline 2.00 and 25%"
    ]


def test_a_ratio_that_is_no_number_is_a_regression():
    assert regressions({"a": float("nan")}, {"a": Baseline(1.0, 0.5)})


@pytest.mark.parametrize(("found", "expected"), [({"new": 1.0}, {}), ({}, {"gone": Baseline(1.0, 0.1)})])
def test_a_ratio_without_its_other_half_fails(found, expected):
    assert len(regressions(found, expected)) == 1


def test_a_baseline_comes_back_from_its_file(tmp_path):
    baseline = {"b": Baseline(1.5, 0.1), "a": Baseline(2.0, 0.0)}
    write_baseline(tmp_path / "baseline.json", baseline)
    assert read_baseline(tmp_path / "baseline.json") == baseline
    assert read_baseline(tmp_path / "none.json") == {}


def test_runs_are_appended_with_what_they_were_run_on(tmp_path):
    record("draws", {"8192_keys": 3.14159}, tmp_path)
    record("draws", {"8192_keys": 2.0}, tmp_path, users=5)
    first, second = (json.loads(line) for line in (tmp_path / "draws.jsonl").read_text().splitlines())
    assert first["ratios"] == {"8192_keys": 3.1416}
    assert first.keys() == {"date", "commit", "machine", "ratios"}
    assert second["users"] == 5


def test_growth_is_relative_to_ten_thousand():
    def cost(users, items, microseconds):
        return Cost(users, items, 1, microseconds, 1.0, 1.0, 1.0, 1.0, 1.0)

    found = ratios([cost(1_000, 10_000, 3.0), cost(10_000, 10_000, 2.0), cost(10_000, 1_000, 1.0)])
    assert found == {"1000_users_10000_items": 1.5, "10000_users_1000_items": 0.5}


def test_only_the_treated_get_other_slates_and_only_from_the_first_step_on():
    plain, other = slates(treat=False), slates(treat=True)
    differs = (plain != other).any(axis=2)
    assert differs[FIRST:, :TREATED].all()
    assert not differs[:FIRST].any()
    assert not differs[:, TREATED:].any()
    assert (np.diff(np.sort(other, axis=2), axis=2) > 0).all(), "an item stands twice in a slate"


def test_a_leak_is_seen_where_one_other_user_changes():
    plain = np.zeros((STEPS, USERS, 2))
    other = plain.copy()
    other[FIRST:, 0] = 1
    assert compare(plain, plain, other, given=True).others == 0
    other[-1, TREATED, 1] = 1
    leak = compare(plain, plain, other, given=True)
    assert leak.others == pytest.approx(1 / (USERS - TREATED))
    assert leak.treated == pytest.approx(1 / TREATED)
    assert leak.repeats
    assert not compare(plain, other, other, given=True).repeats


def test_factors_are_ranked_as_a_sort_of_the_products_would():
    model = Factors()
    model.load_state_dict(factors(1000, 40), make_items())
    requests = make_requests(n=70, eligible=np.arange(40) != 7)
    score = (model.user[requests.user] @ model.item).astype(np.float64)
    row, column = np.nonzero(requests.history_item >= 0)
    score[row, requests.history_item[row, column]] = -np.inf
    score[:, 7] = -np.inf
    found = model.recommend(requests, 5, KeyedDraws(requests)).item
    np.testing.assert_array_equal(found, np.argsort(-score, axis=1, kind="stable")[:, :5])
