"""The law of a random policy: what it states of its chances is what happens.

Only the top slot is compared: the propensity of a later one may be stated given the slots above it, or not, and both
agree at the top.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import stats

from recommenders.base import Requests, Slates
from recommenders.conformance import strategies
from recommenders.conformance.laws import NotApplicableError, Strategies, check
from recommenders.conformance.subject import Subject, Violation, failing_as_violation
from recommenders.conformance.worlds import Ask, KeyedDraws
from recommenders.contract import in_declared_batches

DRAWS = 4_000
EXAMPLES = 5
FALSE_ALARMS = 1e-6
"""Chance that a correct policy is refused in one run of the check."""


def _request(subject: Subject) -> Strategies:
    return {"ask": strategies.asks(subject.traits.history_length), "excluded": strategies.exclusions(1)}


@check("serving", given=_request, examples=EXAMPLES)
def check_propensities_are_frequencies(subject: Subject, *, ask: Ask, excluded: list[int]) -> None:
    """One request, answered with thousands of different draws, has each item on top as often as its propensity says.

    The tests are binomial and exact, one an item and one of
    what was never shown, with a false-alarm rate of one in a million for all of them together.
    """
    if subject.fitted().ask([ask], 1, excluded).propensity is None:
        raise NotApplicableError("states no propensities")
    asked = subject.fitted().requests([ask], excluded).take(np.zeros(DRAWS, np.intp))
    slates = _answered(subject, asked)
    if slates.propensity is None:
        raise Violation("got no propensities, expected them always or never")
    item, stated = slates.item[:, 0], slates.propensity[:, 0]
    shown, first, count = np.unique(item, return_index=True, return_counts=True)
    chance = stated[first]
    for one, its_chance in zip(shown, chance, strict=True):
        other = stated[item == one]
        if not np.allclose(other, its_chance, rtol=1e-9):
            raise Violation(
                f"item {one}: got propensities {other.min()} and {other.max()} for one and the same request"
            )
    alarm = FALSE_ALARMS / EXAMPLES / (len(shown) + 1)
    for one, its_chance, its_count in zip(shown, chance, count, strict=True):
        p_value = stats.binomtest(int(its_count), DRAWS, min(float(its_chance), 1.0)).pvalue
        if p_value < alarm:
            raise Violation(
                f"item {one}: on top {its_count} times in {DRAWS}, "
                f"expected about {its_chance * DRAWS:.0f} by its propensity {its_chance:.4g} (p = {p_value:.1g})"
            )
    _must_leave_little(float(chance.sum()), int(asked.eligible.sum()) - len(shown), alarm)


def _must_leave_little(total: float, n_unseen: int, alarm: float) -> None:
    """The items that were never shown hold the rest of the chance, which must be small.

    That some set of items with a chance of r together is never shown has a chance of at most (1 - r)^draws, times the
    number of such sets.
    """
    rest = 1 - total
    if rest < -1e-6 or rest > 1e-6 + (n_unseen * np.log(2) - np.log(alarm)) / DRAWS or (rest > 1e-6 and not n_unseen):
        raise Violation(f"propensities of the items that were shown sum to {total:.6g}, expected about 1")


def _answered(subject: Subject, asked: Requests) -> Slates:
    """Slates of one item for equal requests, each with draws of its own."""
    numbered = replace(asked, session=np.arange(len(asked), dtype=np.int32))
    session, recommender = asked.session[0], subject.fitted().recommender

    def call(batch: Requests) -> Slates:
        draws = KeyedDraws(batch.user, batch.session, batch.step, seed=1)
        return recommender.recommend(replace(batch, session=np.full_like(batch.session, session)), 1, draws)

    with failing_as_violation("recommend"):
        return in_declared_batches(recommender.traits, numbered, call)
