"""Laws of fitting: a fit is a function of log, catalogue and seed, whatever the numbers that stand for names."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
from hypothesis import strategies as st

from recommenders.base import (
    TICKS_PER_SECOND,
    Bool,
    Int32,
    Interactions,
    ItemFeatures,
    RecommenderError,
    Requests,
    Slates,
    State,
)
from recommenders.conformance import strategies
from recommenders.conformance.laws import NotApplicableError, Strategies, check, must_be_same, must_be_same_state
from recommenders.conformance.serving_checks import seeded_globals
from recommenders.conformance.subject import FIT_SEED, Fitted, Subject, Violation, fit
from recommenders.conformance.worlds import Ask, Catalogue, Log
from recommenders.contract import check_slates

RELATIVE, ABSOLUTE = 1e-4, 1e-5
"""How far scores may differ that are sums of the same numbers in another order."""
WEEK = 7 * 86_400 * TICKS_PER_SECOND
K = st.integers(1, 10)


def _log_and_asks(subject: Subject) -> Strategies:
    asks = strategies.batches(subject.traits.history_length, max_size=3)
    return {"log": strategies.logs(), "asks": asks, "k": K}


def _two_logs(subject: Subject) -> Strategies:
    return {"log": strategies.logs(), "before": strategies.logs()}


@check("fitting", given=_two_logs, examples=20, fits=True)
def check_a_refit_agrees(subject: Subject, *, log: Log, before: Log) -> None:
    """Two fits with one seed give the same state; so does an instance fitted to another log before, unless
    `warm_start` is declared."""
    state = subject.fit(log).recommender.state_dict()
    must_be_same_state(subject.fit(log).recommender.state_dict(), state, "fitted a second time")
    if subject.traits.warm_start:
        return
    used = subject.fit(before)
    fit(used.recommender, log.interactions(used.catalogue), used.catalogue.features())
    must_be_same_state(used.recommender.state_dict(), state, "fitted after a fit to another log")


def _log(subject: Subject) -> Strategies:
    return {"log": strategies.logs()}


@check("fitting", given=_log, examples=10, fits=True)
def check_fit_modifies_neither_log_nor_catalogue(subject: Subject, *, log: Log) -> None:
    """`fit` leaves the arrays of its log and of the catalogue as they were."""
    catalogue = Catalogue()
    given, items = log.interactions(catalogue), catalogue.features()
    before = copy.deepcopy((given, items))
    fit(subject.build(), given, items)
    _must_be_unchanged(given, before[0])
    _must_be_unchanged(items, before[1])


def _must_be_unchanged(now: Interactions | ItemFeatures, before: Interactions | ItemFeatures) -> None:
    for name in (f.name for f in fields(now)):
        got, expected = getattr(now, name), getattr(before, name)
        if not np.array_equal(got, expected):
            raise Violation(f"{type(now).__name__}.{name} changed: got {got}, expected {expected}")


@check("fitting", given=_log, examples=5, fits=True)
def check_fitting_leaves_global_random_states_alone(subject: Subject, *, log: Log) -> None:
    """Fitting neither reads nor moves the global random states of random, numpy and torch."""
    with seeded_globals(1) as moved:
        state = subject.fit(log).recommender.state_dict()
        if which := moved():
            raise Violation(f"fit moved the global random state of {which}, expected it untouched")
    with seeded_globals(2):
        again = subject.fit(log).recommender.state_dict()
    must_be_same_state(again, state, "fitted under another global random state")


@check("fitting", given=_log_and_asks, fits=True)
def check_any_log_can_be_fitted(subject: Subject, *, log: Log, asks: Sequence[Ask], k: int) -> None:
    """An empty log, a log of one row, of one user, of dislikes alone: `fit` takes it, and any user gets a slate."""
    _must_answer(subject.fit(log), asks, k)


def _world(subject: Subject) -> Strategies:
    return {"catalogue": strategies.catalogues(), **_log_and_asks(subject)}


@check("fitting", given=_world, fits=True)
def check_any_catalogue_can_be_fitted(
    subject: Subject, *, catalogue: Catalogue, log: Log, asks: Sequence[Ask], k: int
) -> None:
    """A catalogue of any size can be fitted and served, one of a single item included."""
    n = catalogue.n_items
    asks = [replace(ask, history=[(item % n, feedback) for item, feedback in ask.history]) for ask in asks]
    _must_answer(subject.fit(log, catalogue), asks, min(k, n))


def _must_answer(fitted: Fitted, asks: Sequence[Ask], k: int) -> None:
    asked = fitted.requests(asks)
    try:
        check_slates(fitted.slates(asked, k), asked, k)
    except RecommenderError as error:
        raise Violation(str(error)) from error


@check("fitting", given=lambda subject: {"seed": st.sampled_from([0, 1, 2**31, 2**63 - 1])}, examples=4, fits=True)
def check_any_seed_can_be_fitted(subject: Subject, *, seed: int) -> None:
    """Every seed from 0 to 2**63 - 1 is accepted."""
    _must_answer(subject.fit(Log(n_rows=60), seed=seed), [Ask()], 3)


@check("fitting", given=_log, examples=5, fits=True)
def check_progress_changes_nothing(subject: Subject, *, log: Log) -> None:
    """Where `progress` is called, 0 <= done <= total; the model is the same without it."""
    calls: list[tuple[int, int]] = []
    told, catalogue = subject.build(), Catalogue()
    fit(
        told,
        log.interactions(catalogue),
        catalogue.features(),
        progress=lambda done, total: calls.append((done, total)),
    )
    for done, total in calls:
        if not 0 <= done <= total:
            raise Violation(f"progress: got done = {done} of total = {total}, expected 0 <= done <= total")
    must_be_same_state(told.state_dict(), subject.fit(log).recommender.state_dict(), "fitted with progress")


def _renamed_users(subject: Subject) -> Strategies:
    return {**_log_and_asks(subject), "times": st.integers(1, 1000), "plus": st.integers(0, 1000)}


@check("fitting", given=_renamed_users, examples=30, fits=True)
def check_user_numbers_are_only_names(
    subject: Subject, *, log: Log, asks: Sequence[Ask], k: int, times: int, plus: int
) -> None:
    """Under other numbers in the same order - `times * user + plus` - users get the same slates from the same draws."""
    catalogue, recommender = Catalogue(), subject.build()
    original = log.interactions(catalogue)
    fit(recommender, replace(original, user=original.user * times + plus), catalogue.features())
    renamed, plain = Fitted(recommender, catalogue), subject.fit(log)
    asked = plain.requests(asks)
    got = renamed.slates(asked, k, renamed=lambda user: user * times + plus)
    must_be_same(got, plain.slates(asked, k), "under other user numbers")


def _shifted(subject: Subject) -> Strategies:
    return {**_log_and_asks(subject), "weeks": st.integers(1, 5000)}


@check("fitting", given=_shifted, examples=20, fits=True)
def check_only_differences_of_time_matter(
    subject: Subject, *, log: Log, asks: Sequence[Ask], k: int, weeks: int
) -> None:
    """Whole weeks added to all times - of the log, releases, requests and histories - change no slate."""
    catalogue, recommender, by = Catalogue(), subject.build(), weeks * WEEK
    original, items = log.interactions(catalogue), catalogue.features()
    later = replace(original, tick=original.tick + by)
    fit(recommender, later, replace(items, release_tick=items.release_tick + by))
    plain = subject.fit(log)
    asked = plain.requests(asks)
    history_tick = np.where(asked.history_item < 0, 0, asked.history_tick + by)
    got = Fitted(recommender, catalogue).slates(replace(asked, tick=asked.tick + by, history_tick=history_tick), k)
    must_be_same(got, plain.slates(asked, k), f"{weeks} weeks later")


def _reads_utilities(subject: Subject) -> str:
    return "reads latent utilities, which belong to the item numbers" if subject.traits.needs_utility else ""


def _draws_in_serving(fitted: Fitted) -> bool:
    asked = fitted.requests([Ask(user=user) for user in range(20)])
    first, second = fitted.slates(asked, 5), fitted.slates(asked, 5, draws_seed=1)
    return first.propensity is not None or not np.array_equal(first.item, second.item)


def _renamed_items(subject: Subject) -> Strategies:
    item = st.integers(0, Catalogue().n_items - 1)
    return {**_log_and_asks(subject), "swapped": st.tuples(item, item)}


@check("fitting", given=_renamed_items, examples=60, fits=True, does_not_apply=_reads_utilities)
def check_item_numbers_are_only_names(
    subject: Subject, *, log: Log, asks: Sequence[Ask], k: int, swapped: tuple[int, int]
) -> None:
    """With the numbers of two items swapped everywhere, the two swap places in all answers, up to rounding.

    Where fitting draws random numbers - another seed gives another state - items meet other numbers when they are
    swapped; then the two are swapped in the fitted state instead (`_renamed_state`).
    """
    if not subject.scores and _draws_in_serving(subject.fitted()):
        raise NotApplicableError("draws its slates, and has no `scores` to compare")
    catalogue, recommender = Catalogue(), subject.build()
    new = np.arange(catalogue.n_items, dtype=np.int32)
    new[list(swapped)] = swapped[::-1]  # a swap is its own inverse
    items, plain = catalogue.features(), subject.fit(log)
    others = replace(items, creator=items.creator[new], topic=items.topic[new])
    if _draws_in_fit(subject):
        everything = subject.fitted().recommender.state_dict()
        recommender.load_state_dict(_renamed_state(plain.recommender.state_dict(), everything, new), others)
    else:
        original = log.interactions(catalogue)
        fit(recommender, replace(original, item=new[original.item]), others)
    asked = plain.requests(asks)
    history_item = np.where(asked.history_item < 0, asked.history_item, new[asked.history_item])
    _must_be_renamed(subject, plain, Fitted(recommender, catalogue), asked, history_item.astype(np.int32), new, k)


def _renamed_state(state: State, everything: State, new: Int32) -> State:
    """A state in which item i is called new[i].

    Args:
        state: fitted to any log; its arrays may know fewer items.
        everything: fitted to a log of all items, which shows what the arrays are: one that holds each item once names
            items, and another has a place for each item along the axes that are as long as the catalogue.
        new: int32[n_items].
    """
    renamed = {}
    for name, value in state.items():
        whole = everything[name]
        if whole.dtype.kind in "iu" and np.array_equal(np.sort(whole, axis=None), np.arange(len(new))):
            renamed[name] = new[value].astype(value.dtype)
            continue
        renamed[name] = value
        for axis, (length, length_of_all) in enumerate(zip(value.shape, whole.shape, strict=True)):
            if length == length_of_all == len(new):
                renamed[name] = renamed[name].take(new, axis=axis)
    return renamed


def _draws_in_fit(subject: Subject) -> bool:
    ours = subject.fitted().recommender.state_dict()
    theirs = subject.fitted(seed=FIT_SEED + 1).recommender.state_dict()
    return any(not np.array_equal(ours[name], theirs[name]) for name in ours)


def _must_be_renamed(
    subject: Subject, plain: Fitted, renamed: Fitted, asked: Requests, history_item: Int32, new: Int32, k: int
) -> None:
    """`renamed` answers the requests with `history_item` as `plain` answers them, item i being called new[i]."""
    there = replace(asked, history_item=history_item)
    if subject.scores:
        got, expected = renamed.scores(there)[:, new], plain.scores(asked)
        differs = ~np.isclose(got, expected, RELATIVE, ABSOLUTE)
        if differs.any():
            row, item = (int(i) for i in np.argwhere(differs)[0])
            raise Violation(
                f"row {row}: item {item}, renamed {new[item]}: got score {got[row, item]}, "
                f"expected {expected[row, item]} as before"
            )
        return
    slates, before = renamed.slates(there, k), plain.slates(asked, k)
    differs = ~np.isclose(slates.score, before.score, RELATIVE, ABSOLUTE)
    differs |= (slates.item != new[before.item]) & ~_tied(before)
    if differs.any():
        row = int(np.argwhere(differs)[0, 0])
        raise Violation(
            f"row {row}: got items {slates.item[row].tolist()} with scores {slates.score[row].tolist()}, "
            f"expected {new[before.item[row]].tolist()} with {before.score[row].tolist()}"
        )


def _tied(slates: Slates) -> Bool:
    """Where a score equals, up to rounding, a neighbour's or the last slot's, which may tie with items not shown."""
    score = slates.score
    equal = np.isclose(score[:, 1:], score[:, :-1], RELATIVE, ABSOLUTE)
    tied = np.isclose(score, score[:, -1:], RELATIVE, ABSOLUTE)
    tied[:, 1:] |= equal
    tied[:, :-1] |= equal
    return tied
