"""Thresholds held against estimates."""

from __future__ import annotations

from math import isnan, nan

import pytest

from simulator.experiment.estimators import missing
from simulator.experiment.results import ArmMetric, Comparison, Estimate, Responsiveness, Verdict
from simulator.experiment.verdicts import judge
from simulator.scenario.thresholds import parse_threshold

RESPONSE = Responsiveness("ntr", "creator", missing(""), missing(""), Estimate(-0.6, -0.7, -0.5))
COMPARISON = Comparison("ntr", "dislike_rate", Estimate(9, 9, 9), Estimate(-0.1, -0.2, 0.0))
LEVEL = ArmMetric("ntr", "dislike_rate", Estimate(0.05, 0.04, 0.06))


def verdict_on(condition: str) -> Verdict:
    (verdict,) = judge(
        [parse_threshold(condition)], responsiveness=[RESPONSE], comparisons=[COMPARISON], levels=[LEVEL]
    )
    assert verdict.condition == condition
    return verdict


@pytest.mark.parametrize(
    ("condition", "observed", "passed"),
    [
        ("responsiveness.creator[ntr] <= -0.3", -0.6, True),
        ("responsiveness.creator[ntr].high <= -0.55", -0.5, False),
        ("responsiveness.creator[ntr].low > -0.7", -0.7, False),
        ("responsiveness.creator[ntr].low >= -0.7", -0.7, True),
        ("lift.dislike_rate[ntr] < -0.1", -0.1, False),
        ("lift.dislike_rate[ntr].high < 0", 0.0, False),
        ("lift.dislike_rate[ntr].high <= 0", 0.0, True),
        ("level.dislike_rate[ntr].low > 0.03", 0.04, True),
    ],
)
def test_a_threshold_is_held_against_the_number_that_it_names(condition: str, observed: float, passed: bool) -> None:
    assert verdict_on(condition) == Verdict(condition, observed, passed)


@pytest.mark.parametrize("operator", ["<", "<=", ">", ">="])
@pytest.mark.parametrize("subject", ["responsiveness.topic[ntr]", "lift.skip_rate[ntr]", "level.dislike_rate[other]"])
def test_what_was_not_estimated_fails(subject: str, operator: str) -> None:
    verdict = verdict_on(f"{subject} {operator} 0")
    assert isnan(verdict.observed)
    assert not verdict.passed


@pytest.mark.parametrize("operator", ["<", "<=", ">", ">="])
def test_a_missing_estimate_fails(operator: str) -> None:
    level = ArmMetric("ntr", "catalogue_coverage", Estimate(0.5, nan, nan))
    (verdict,) = judge([parse_threshold(f"level.catalogue_coverage[ntr].low {operator} 0")], levels=[level])
    assert isnan(verdict.observed)
    assert not verdict.passed


def test_a_missing_estimate_says_why() -> None:
    level = ArmMetric("ntr", "catalogue_coverage", missing("arm ntr failed (training)"))
    texts = ["level.catalogue_coverage[ntr] > 0", "level.catalogue_coverage[other] > 0"]
    verdicts = judge([parse_threshold(text) for text in texts], levels=[level])
    assert [verdict.reason for verdict in verdicts] == ["arm ntr failed (training)", ""]


def test_verdicts_keep_the_order_of_the_thresholds() -> None:
    conditions = ["level.dislike_rate[ntr] < 1", "level.dislike_rate[ntr] < 0"]
    verdicts = judge([parse_threshold(c) for c in conditions], levels=[LEVEL])
    assert [v.passed for v in verdicts] == [True, False]
