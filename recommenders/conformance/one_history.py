"""Laws of behaviour for a single history: not what is asked of a recommender, but a small example where one is wanted.

A recommender that keeps the laws of `behaviour_checks` on average may well break these; where it does not, the smallest
history here shows what the average is made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st

from recommenders.base import DislikeResponse, Feedback
from recommenders.conformance import strategies
from recommenders.conformance.laws import Strategies, check
from recommenders.conformance.planted import CATALOGUE, LATEST, Planted
from recommenders.conformance.probe import K, of_creator, of_topic, share
from recommenders.conformance.subject import Subject, Violation
from recommenders.conformance.worlds import Ask

DOSES = (0, 1, 2, 3, 5)
"""How many of five items of a creator are disliked, the latest ones."""
DISLIKED = LATEST | int(Feedback.DISLIKE)
LIKED = LATEST | int(Feedback.LIKE)


def _asks(subject: Subject) -> st.SearchStrategy[Ask]:
    """Short histories; nothing else of a request matters here."""
    histories = strategies.histories(min(6, max(0, subject.traits.history_length - 1)), CATALOGUE)
    return st.builds(Ask, histories)


def declared_response(subject: Subject) -> DislikeResponse:
    """What it declares; the defaults where it declares nothing."""
    return subject.traits.dislike_response or DislikeResponse()


def _single(
    subject: Subject, planted: Planted, histories: Sequence[Ask], item: int, scope: str
) -> tuple[float, float, str]:
    """Slots of ten that are of the item's creator or topic after two histories, and what it is called."""
    fitted = subject.fitted(planted, CATALOGUE)
    creator = item % CATALOGUE.n_creators
    group = creator if scope == "creator" else creator % CATALOGUE.n_topics
    inside = of_creator([group] * 2) if scope == "creator" else of_topic([group] * 2)
    before, after = K * share(fitted, histories, inside)
    return float(before), float(after), f"{scope} {group}"


def _ends(ask: Ask, item: int, press: int, later: Sequence[tuple[int, int]] = ()) -> list[Ask]:
    """The history with the item, without and with the press."""
    return [replace(ask, history=(*ask.history, (item, feedback), *later)) for feedback in (LATEST, press)]


def _with_item(subject: Subject) -> Strategies:
    return {"ask": _asks(subject), "item": st.integers(0, CATALOGUE.n_items - 1)}


@check("behaviour", given=_with_item, examples=300, seeded=True)
def no_rise(subject: Subject, *, planted: Planted, ask: Ask, item: int) -> None:
    """After this history, a dislike of the item adds no slot of its creator or topic."""
    for scope in ("creator", "topic"):
        before, after, what = _single(subject, planted, _ends(ask, item, DISLIKED), item, scope)
        if after >= before + 1:
            raise Violation(f"got {after:g} of {K} slots of {what} after a dislike of item {item}, {before:g} without")


def _with_doses(subject: Subject) -> Strategies:
    two = st.lists(st.sampled_from(DOSES[1:]), min_size=2, max_size=2, unique=True).map(sorted)
    return {"creator": st.integers(0, CATALOGUE.n_creators - 1), "doses": two}


@check("behaviour", given=_with_doses, examples=100, seeded=True)
def no_weaker(subject: Subject, *, planted: Planted, creator: int, doses: Sequence[int]) -> None:
    """After five items of this creator, more of them disliked leave no slot more of it."""
    asks = [
        Ask([(creator + nth * CATALOGUE.n_creators, DISLIKED if nth >= 5 - dose else LATEST) for nth in range(5)])
        for dose in doses
    ]
    before, after, what = _single(subject, planted, asks, creator, "creator")
    if after >= before + 1:
        raise Violation(f"got {after:g} of {K} slots of {what} after {doses[1]} dislikes, {before:g} after {doses[0]}")


@check("behaviour", given=_with_item, examples=300, seeded=True)
def no_fall(subject: Subject, *, planted: Planted, ask: Ask, item: int) -> None:
    """After this history, a like of the item takes no slot from its creator."""
    before, after, what = _single(subject, planted, _ends(ask, item, LIKED), item, "creator")
    if after <= before - 1:
        raise Violation(f"got {after:g} of {K} slots of {what} after a like of item {item}, {before:g} without")


def _with_item_and_later(subject: Subject) -> Strategies:
    delay = declared_response(subject).delay_interactions
    later = st.lists(strategies.interactions(CATALOGUE), min_size=delay, max_size=delay)
    return {**_with_item(subject), "later": later}


@check("behaviour", given=_with_item_and_later, examples=100, seeded=True)
def some_fall(subject: Subject, *, planted: Planted, ask: Ask, item: int, later: Sequence[tuple[int, int]]) -> None:
    """After this history, a dislike of the item takes slots from its creator or topic, if it has any."""
    histories = _ends(ask, item, DISLIKED, later)
    before, after, what = _single(subject, planted, histories, item, declared_response(subject).scope)
    if after >= before > 0:
        raise Violation(f"got {after:g} of {K} slots of {what} after a dislike of item {item}, {before:g} without")
