"""Laws of behaviour: what may, and what must, happen to slates when a user pushes back.

Each is tried on pairs of histories of the same 1,000 users of a planted world, that differ in one press, and compares
the mean share of the slate between the two. A law is found broken only where the mean is beyond its bound with a
false-alarm rate of 1e-5 at most (`evidence.FALSE_ALARM`), which holds exactly: whatever the distribution of shares. The
kit makes 10 such tests (creator and topic after a dislike; three steps of the dose; other interests; other creators; a
like; arrival; course), so that, by the union bound, a recommender that keeps all the laws on average over the users of
its planted world is accused of breaking any with a chance of 1e-4 at most, over the seeds of the search.

An `Effect` is a relative change, with a 95% interval that knows of users only: another training moves it by more.

Source: the pair "long dwell" against "long dwell and dislike" and the shares are those of Wang et al. 2023, RecSys,
arXiv 2308.12256; laws, bounds and tests are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from recommenders.base import Bool, DislikeResponse, Int32
from recommenders.conformance import one_history
from recommenders.conformance.evidence import FALSE_ALARM
from recommenders.conformance.laws import Effect, Measured, check
from recommenders.conformance.one_history import DISLIKED, DOSES, LIKED, declared_response
from recommenders.conformance.planted import CATALOGUE, LATEST, Planted, Probes, followed, joined
from recommenders.conformance.probe import Pair, of_creator, of_topic, share
from recommenders.conformance.subject import Fitted, Subject
from recommenders.conformance.worlds import Ask

TOLERANCE = 0.02
"""Of the slate: by how much the share may move the wrong way on average; a fifth of a slot of ten."""
LEAST_FALL = 0.2
"""Part of the share that a declared response takes at least."""
INTERESTS_KEPT = 0.75
"""Part of the share of other topics that the user likes which a dislike leaves at least."""
OTHER_CREATORS_KEPT = 0.5
"""The same for the other creators of the topic, where the response is declared to be to the creator."""
LASTING, FADED = 0.5, 0.75
"""Part of the first response that is left in the oldest place of the history: at least if it lasts, at most if it
fades; between the two, either may be said."""
N_BEFORE = 24
"""Interactions before the press."""


def _declares_nothing(subject: Subject) -> str:
    return "" if subject.traits.dislike_response else "does not declare `dislike_response`"


def _declares_no_creator(subject: Subject) -> str:
    declared = subject.traits.dislike_response
    return "" if declared and declared.scope == "creator" else "does not declare a `dislike_response` to the creator"


def _probed(subject: Subject, planted: Planted) -> tuple[Fitted, Probes]:
    return subject.fitted(planted, CATALOGUE), planted.probes()


def _shares(subject: Subject, planted: Planted, inside: Bool, press: int, n_later: int) -> Pair:
    """Shares without and with the press on the last item but `n_later`."""
    fitted, probes = _probed(subject, planted)
    lived, later = probes.lived(N_BEFORE), probes.without_the_creator(n_later)
    item = probes.items(1)[:, 0]
    arms = (joined(followed(lived, item, feedback), later) for feedback in (LATEST, press))
    base, action = (share(fitted, asks, inside) for asks in arms)
    return Pair(base, action)


def _by_scope(probes: Probes, scope: str) -> Bool:
    return of_creator(probes.creator) if scope == "creator" else of_topic(probes.topic)


@check("behaviour", seeded=True, shown_by=one_history.no_rise)
def check_a_dislike_never_raises_its_creator_or_topic(subject: Subject, *, planted: Planted) -> Effect:
    """A dislike of an item that was dwelt on long does not raise the share of its creator, nor of its topic."""
    effects = []
    for scope in ("topic", "creator"):
        inside = _by_scope(planted.probes(), scope)
        pair = _shares(subject, planted, inside, DISLIKED, 0)
        effects.append(pair.change(f"the {scope}'s share after a dislike"))
        if pair.rises(TOLERANCE):
            _accuse(f"expected no more of the {scope} after a dislike", pair, effects[-1])
    return effects[-1]


@check("behaviour", seeded=True, shown_by=one_history.no_weaker)
def check_more_dislikes_never_weaken_the_response(subject: Subject, *, planted: Planted) -> Effect:
    """One, two, three, five dislikes of different items of a creator: its share does not rise from dose to dose."""
    fitted, probes = _probed(subject, planted)
    inside = of_creator(probes.creator)
    between = probes.without_the_creator(4)
    lived, later = probes.lived(N_BEFORE), probes.without_the_creator(declared_response(subject).delay_interactions)
    shares = []
    for dose in DOSES:
        asks = lived
        for nth, item in enumerate(probes.items(5).T):
            asks = followed(asks, item, DISLIKED if nth >= 5 - dose else LATEST)
            one = slice(nth, nth + 1)  # Something else between two items of the creator.
            asks = joined(asks, [replace(ask, history=ask.history[one]) for ask in between])
        shares.append(share(fitted, joined(asks, later), inside))
    effect = Pair(shares[0], shares[-1]).change("the creator's share after five dislikes")
    for fewer, dose, base, action in zip(DOSES[1:], DOSES[2:], shares[1:], shares[2:], strict=False):
        pair = Pair(base, action)
        if pair.rises(TOLERANCE):
            _accuse(f"expected no more of the creator after {dose} dislikes than after {fewer}", pair, effect)
    return effect


@check("behaviour", seeded=True)
def check_unrelated_interests_keep_their_share(subject: Subject, *, planted: Planted) -> Effect:
    """A dislike leaves other topics that the user likes at least three quarters of their share."""
    probes = planted.probes()
    others = probes.liked_topics() & (np.arange(CATALOGUE.n_topics) != probes.topic[:, None])
    inside = others[:, CATALOGUE.features().topic]
    pair = _shares(subject, planted, inside, DISLIKED, declared_response(subject).delay_interactions)
    effect = pair.change("the share of other topics that the user likes after a dislike")
    if pair.keeps_less_than(INTERESTS_KEPT):
        _accuse(f"expected at least {INTERESTS_KEPT} of the share of other liked topics to be left", pair, effect)
    return effect


@check("behaviour", seeded=True, does_not_apply=_declares_no_creator)
def check_other_creators_of_the_topic_keep_their_share(subject: Subject, *, planted: Planted) -> Effect:
    """A response declared to be to the creator leaves the topic's other creators at least half of their share."""
    probes = planted.probes()
    inside = of_topic(probes.topic) & ~of_creator(probes.creator)
    pair = _shares(subject, planted, inside, DISLIKED, declared_response(subject).delay_interactions)
    effect = pair.change("the share of the topic's other creators after a dislike")
    if pair.keeps_less_than(OTHER_CREATORS_KEPT):
        _accuse(f"expected at least {OTHER_CREATORS_KEPT} of the other creators' share to be left", pair, effect)
    return effect


@check("behaviour", seeded=True, shown_by=one_history.no_fall)
def check_a_like_does_not_act_as_a_dislike(subject: Subject, *, planted: Planted) -> Effect:
    """A like of an item that was dwelt on long does not lower the share of its creator."""
    pair = _shares(subject, planted, of_creator(planted.probes().creator), LIKED, 0)
    effect = pair.change("the creator's share after a like")
    if pair.falls(TOLERANCE):
        _accuse("expected no less of the creator after a like", pair, effect)
    return effect


@check("behaviour", seeded=True, does_not_apply=_declares_nothing, shown_by=one_history.some_fall)
def check_the_response_arrives_as_declared(subject: Subject, *, planted: Planted) -> Effect:
    """After the declared delay, a dislike has taken at least a fifth of the share of the declared scope."""
    declared = declared_response(subject)
    inside = _by_scope(planted.probes(), declared.scope)
    pair = _shares(subject, planted, inside, DISLIKED, declared.delay_interactions)
    effect = pair.change(f"the {declared.scope}'s share {_when(declared)}")
    if not pair.base.any():
        raise Measured(f"never shows the {declared.scope}, dislike or not: expected a response to be seen", effect)
    if pair.keeps_more_than(1 - LEAST_FALL):
        _accuse(f"expected to lose at least {LEAST_FALL} of the {declared.scope}'s share", pair, effect)
    return effect


@check("behaviour", seeded=True, does_not_apply=_declares_nothing)
def check_the_response_lasts_or_fades_as_declared(subject: Subject, *, planted: Planted) -> Effect:
    """In the oldest place of the history, a dislike does at least half of what it did if it lasts, else at most 3/4.

    The same interactions in another order: the disliked one in the newest place (but for the declared delay), or in
    the oldest. That nothing is left once it is out of the history, `check_nothing_before_the_window_matters` says.
    """
    declared, width = declared_response(subject), subject.traits.history_length
    fitted, probes = _probed(subject, planted)
    inside = _by_scope(probes, declared.scope)
    others = probes.without_the_creator(max(0, width - 1))
    item = probes.items(1)[:, 0]
    newest, oldest = (
        Pair(*(share(fitted, _placed(others, item, feedback, n_before), inside) for feedback in (LATEST, DISLIKED)))
        for n_before in (max(0, width - 1 - declared.delay_interactions), 0)
    )
    first = newest.change("").value
    effect = oldest.change(
        f"the {declared.scope}'s share after a dislike {width - 1} interactions ago, {first:+.3f} at first"
    )
    # Half of the level for the size of the first response, half for the comparison with it.
    low, high = newest.proven_fall(FALSE_ALARM / 2)
    if declared.course == "lasts" and oldest.keeps_more_than(1 - LASTING * low, FALSE_ALARM / 2):
        _accuse(f"expected a response of at least half of the first, {-first:.3f}", oldest, effect)
    if declared.course == "fades" and oldest.keeps_less_than(1 - FADED * high, FALSE_ALARM / 2):
        _accuse(f"expected a response of at most 3/4 of the first, {-first:.3f}", oldest, effect)
    return effect


def _placed(others: Sequence[Ask], item: Int32, feedback: int, n_before: int) -> list[Ask]:
    return [
        replace(ask, history=(*ask.history[:n_before], (one, feedback), *ask.history[n_before:]))
        for ask, one in zip(others, item.tolist(), strict=True)
    ]


def _when(declared: DislikeResponse) -> str:
    delay = declared.delay_interactions
    return f"{delay} interactions after a dislike" if delay else "after a dislike"


def _accuse(expected: str, pair: Pair, effect: Effect) -> None:
    base, action = pair.base.mean(), pair.action.mean()
    raise Measured(f"got a mean share of {action:.3f}, {base:.3f} to compare with; {expected}", effect)
