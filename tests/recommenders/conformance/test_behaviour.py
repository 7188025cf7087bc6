"""What the laws of behaviour measure, how rarely they accuse, and a sound recommender that keeps all laws."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recommenders.base import DislikeResponse
from recommenders.conformance import CHECKS, Subject, run_check
from recommenders.conformance.evidence import exceeds
from recommenders.heuristics.block_disliked import BlockDisliked, BlockDislikedConfig
from recommenders.heuristics.forgetting_curve import ForgettingCurve, ForgettingCurveConfig
from tests.broken.behaviour import CreatorTaste
from tests.recommenders.cases import CASES, name_of

BEHAVIOUR = [check for check in CHECKS.values() if check.kind == "behaviour"]


@pytest.mark.parametrize("name", [check.name for check in CHECKS.values() if not check.fits])
def test_the_sound_one_keeps_the_law(name: str) -> None:
    outcome = run_check(CHECKS[name], Subject(CreatorTaste))
    assert outcome.status in {"passed", "skipped"}, outcome.message


def test_a_law_of_behaviour_says_what_it_measured() -> None:
    for check in BEHAVIOUR:
        effect = run_check(check, Subject(CreatorTaste)).effect
        assert effect is not None
        assert effect.low <= effect.value <= effect.high


@pytest.mark.parametrize("skew", [0.5, 0.02])
def test_a_mean_at_its_bound_is_rarely_found_above_it(skew: float) -> None:
    """Under the law with equality, at a level of 5%: at most 5% of 400 tests, plus 3.3 standard errors (1 in 2,000)."""
    rng = np.random.Generator(np.random.PCG64(3))
    value = np.where(rng.random((400, 300)) < skew, 1.0, -skew / (1 - skew))
    alarms = sum(exceeds(row, -1.0, 0.0, 0.05) for row in value)
    assert alarms <= 0.05 * 400 + 3.3 * np.sqrt(0.05 * 0.95 * 400)


class SaysItLasts(ForgettingCurve):
    def __init__(self, config: ForgettingCurveConfig) -> None:
        super().__init__(config)
        self.traits = replace(self.traits, dislike_response=DislikeResponse(course="lasts"))


class SaysItFades(BlockDisliked):
    def __init__(self, config: BlockDislikedConfig) -> None:
        super().__init__(config)
        self.traits = replace(self.traits, dislike_response=DislikeResponse(course="fades"))


@pytest.mark.parametrize("wrong", [SaysItLasts, SaysItFades])
@pytest.mark.parametrize("model", ["popularity", "item_knn", "ease"])
def test_a_wrong_course_is_seen_over_any_model(wrong: type[object], model: str) -> None:
    """Over a model of taste, too, which still shows the creator after a window of other things."""
    subject = Subject(wrong, {"model": {"recommender": model}})
    outcome = run_check(CHECKS["check_the_response_lasts_or_fades_as_declared"], subject)
    assert outcome.status == "failed"
    assert "of the first" in outcome.message


DECLARED = [
    ("ease", {"dislike_value": -0.01}, "lasts"),
    ("ease", {"dislike_value": -0.5, "window": 6}, "lasts"),
    ("block_disliked", {"interactions": 3}, "fades"),
    ("block_disliked", {"interactions": 200, "by": ["topic"]}, "lasts"),
    ("block_disliked", {"days": 2.0}, None),
    ("forgetting_curve", {}, "fades"),
    ("forgetting_curve", {"memory": 100.0}, "lasts"),
    ("forgetting_curve", {"memory": 60.0}, None),
    ("forgetting_curve", {"feedback": ["skip"]}, None),
    ("forgetting_curve", {"unit": "days"}, None),
    ("forgetting_curve", {"penalty": 0.3}, None),
    ("forgetting_curve", {"penalty": 20.0}, None),
    ("down_rank_similar", {}, None),
    ("drop_disliked", {}, None),
]


@pytest.mark.parametrize(("name", "config", "course"), DECLARED)
def test_what_is_declared_under_other_settings_is_kept(name: str, config: dict[str, Any], course: str | None) -> None:
    subject = Subject(name, config if name == "ease" else {"model": {"recommender": "item_knn"}, **config})
    declared = subject.traits.dislike_response
    assert (declared.course if declared else None) == course
    if declared is not None:
        for check in BEHAVIOUR:
            outcome = run_check(check, subject)
            assert outcome.status in {"passed", "skipped"}, (outcome.check, outcome.message)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_shipped_recommenders_keep_the_laws_of_behaviour(case: str) -> None:
    subject = Subject(name_of(case), CASES[case])
    for check in BEHAVIOUR:
        outcome = run_check(check, subject)
        assert outcome.status in {"passed", "skipped"}, (outcome.check, outcome.message, outcome.code)


GOOD = {"popularity": {}, "block_disliked": {"model": {"recommender": "popularity"}}, "ease": {"dislike_value": -0.5}}


@pytest.mark.slow
@pytest.mark.parametrize("name", GOOD)
def test_no_false_alarm_over_200_seeds(name: str) -> None:
    """The laws of behaviour, each seed with a planted world of its own: false alarms are at most 1 in 50."""
    for search_seed in range(200):
        subject = Subject(name, GOOD[name])
        for check in BEHAVIOUR:
            outcome = run_check(check, subject, search_seed=search_seed)
            assert outcome.status in {"passed", "skipped"}, (search_seed, outcome.check, outcome.message)
