"""Sample ratios against the binomial law, and guardrails on lifts with known intervals."""

from __future__ import annotations

from math import isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from simulator.experiment.results import Comparison, Estimate, MetricInfo
from simulator.experiment.validity import judge_guardrails, sample_ratio
from simulator.scenario.ab_tests import Guardrail

METRICS = [MetricInfo(name, name, "", "share", better) for name, better in
           [("dwell", "higher"), ("dislikes", "lower"), ("diversity", "neither")]]  # fmt: skip


@given(st.integers(20, 2000), st.integers(20, 2000), st.integers(1, 9))
def test_two_arms_agree_with_the_normal_test_of_one_share(a: int, b: int, tenths: int) -> None:
    share = tenths / 10
    found = sample_ratio("assigned", {"a": a, "b": b}, {"a": share, "b": 1 - share})
    if min(share, 1 - share) * (a + b) < 5:
        assert isnan(found.p_value)
        return
    z = (a - share * (a + b)) / np.sqrt((a + b) * share * (1 - share))
    assert found.p_value == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-9, abs=1e-300)
    assert [row.expected for row in found.arms] == pytest.approx([share * (a + b), (1 - share) * (a + b)])


def test_a_lost_tenth_of_an_arm_is_found_and_chance_is_not() -> None:
    assert sample_ratio("assigned", {"a": 5000, "b": 4500}, {"a": 0.5, "b": 0.5}).p_value < 1e-3
    assert sample_ratio("assigned", {"a": 5020, "b": 4980}, {"a": 0.5, "b": 0.5}).p_value > 0.5


@pytest.mark.parametrize("counts", [{"a": 3, "b": 2}, {"a": 0, "b": 0}])
def test_too_few_users_have_no_p_value(counts: dict[str, int]) -> None:
    assert isnan(sample_ratio("active", counts, {"a": 0.5, "b": 0.5}).p_value)


def lift(metric: str, low: float, high: float, arm: str = "ntr") -> Comparison:
    estimate = Estimate((low + high) / 2, low, high)
    return Comparison(arm, metric, estimate, estimate)


@pytest.mark.parametrize(
    ("comparison", "verdict"),
    [
        (lift("dwell", -0.01, 0.3), "holds"),
        (lift("dwell", -0.3, -0.03), "broken"),
        (lift("dwell", -0.03, 0.3), "open"),
        (lift("dislikes", -0.3, 0.01), "holds"),
        (lift("dislikes", 0.03, 0.3), "broken"),
        (lift("dwell", float("nan"), float("nan")), "open"),
    ],
)
def test_a_guardrail_is_judged_by_the_whole_interval(comparison: Comparison, verdict: str) -> None:
    (found,) = judge_guardrails([Guardrail(metric=comparison.metric, margin=0.02)], [comparison], METRICS)
    assert (found.arm, found.metric, found.margin, found.verdict) == ("ntr", comparison.metric, 0.02, verdict)
    assert bool(found.reason) == (verdict == "open")


def test_every_treatment_is_held_to_every_guardrail() -> None:
    rails = [Guardrail(metric=name, margin=0.02) for name in ("diversity", "dwell")]
    found = judge_guardrails(rails, [lift(m, 0, 0.1, arm) for m in ("dwell", "diversity") for arm in "ab"], METRICS)
    assert [(v.metric, v.arm, v.verdict) for v in found] == [
        ("diversity", "a", "open"), ("diversity", "b", "open"), ("dwell", "a", "holds"), ("dwell", "b", "holds"),
    ]  # fmt: skip
    assert "neither" in found[0].reason
