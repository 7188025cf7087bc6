"""What the laws of behaviour measure, how rarely they accuse, and a sound recommender that keeps all laws."""

from __future__ import annotations

import numpy as np
import pytest

from recommenders.conformance import CHECKS, Subject, run_check
from recommenders.conformance.evidence import exceeds
from tests.broken.behaviour import CreatorTaste

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
