"""Every broken recommender is caught by the check that is there for it, with an example that is code."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from recommenders.conformance import CHECKS, Subject, Violation, run_check
from tests.broken import BROKEN, batches, behaviour, caches, costs, fitting, randomness, slates, states
from tests.broken.counted import Counted, Drawn

CAUGHT_BY = {broken: check for check, caught in BROKEN.items() for broken in caught}


@pytest.mark.parametrize("broken", CAUGHT_BY, ids=lambda broken: broken.__name__)
def test_it_is_caught_and_the_example_is_code(broken: type[Any]) -> None:
    outcome = run_check(CHECKS[CAUGHT_BY[broken]], Subject(broken))
    assert outcome.status == "failed"
    with pytest.raises(Violation):
        exec(outcome.code, {})


def test_no_broken_recommender_is_left_out() -> None:
    modules = (batches, behaviour, caches, costs, fitting, randomness, slates, states)
    defined = {
        found
        for module in modules
        for found in vars(module).values()
        if isinstance(found, type) and found.__module__ == module.__name__
    }
    assert defined - {behaviour.CreatorTaste} == set(CAUGHT_BY)


def test_every_law_has_a_recommender_that_breaks_it() -> None:
    assert set(CHECKS) - set(CAUGHT_BY.values()) == {"check_large_batches_change_nothing"}


@pytest.mark.parametrize("sound", [Counted, Drawn])
def test_what_they_differ_from_is_sound(sound: type[Any]) -> None:
    subject = Subject(sound)
    for check in CHECKS.values():
        if check.kind != "behaviour":
            outcome = run_check(replace(check, examples=max(1, check.examples // 3)), subject)
            assert outcome.status in {"passed", "skipped"}, outcome
