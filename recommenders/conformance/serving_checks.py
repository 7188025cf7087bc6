"""Laws of serving: an answer is a valid slate, and a function of its own request and of the fitted state alone."""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from recommenders.base import RecommenderError, Requests
from recommenders.conformance import strategies
from recommenders.conformance.laws import Strategies, beginning, check, must_be_same, rows
from recommenders.conformance.subject import Fitted, Subject, Violation
from recommenders.conformance.worlds import Ask, Catalogue
from recommenders.contract import check_slates

K = st.integers(1, 10)


def _batch(subject: Subject) -> Strategies:
    return {"asks": strategies.batches(_width(subject)), "k": K}


def _width(subject: Subject) -> int:
    return subject.traits.history_length


def _masked(subject: Subject) -> Strategies:
    k = st.integers(1, Catalogue().n_items)
    return {"asks": strategies.batches(_width(subject)), "k": k, "excluded": strategies.exclusions(1)}


@check("serving", given=_masked, examples=80)
def check_slates_are_valid(subject: Subject, *, asks: Sequence[Ask], k: int, excluded: Sequence[int]) -> None:
    """Slates have the asked shape, dtypes, different eligible items, finite scores and propensities in (0, 1]."""
    k = min(k, Catalogue().n_items - len(excluded))
    fitted = subject.fitted()
    asked = fitted.requests(asks, excluded)
    try:
        check_slates(fitted.slates(asked, k), asked, k)
    except RecommenderError as error:
        raise Violation(str(error)) from error


@check("serving", given=_batch)
def check_the_same_call_twice_gives_the_same(subject: Subject, *, asks: Sequence[Ask], k: int) -> None:
    """The same requests, asked again, get the same slates, bit for bit."""
    fitted = subject.fitted()
    first = copy.deepcopy(fitted.ask(asks, k))
    must_be_same(fitted.ask(asks, k), first, "asked again")


def _reordered(subject: Subject) -> Strategies:
    batch = strategies.batches(_width(subject), min_size=2, max_size=12)
    return {"asks": batch, "k": K, "chosen": st.lists(st.integers(0, 11), min_size=1, max_size=12, unique=True)}


@check("serving", given=_reordered, examples=60)
def check_rows_do_not_depend_on_the_batch(
    subject: Subject, *, asks: Sequence[Ask], k: int, chosen: Sequence[int]
) -> None:
    """A request gets the same slate alone, in any order, and beside any other requests."""
    chosen = [row % len(asks) for row in chosen]
    fitted = subject.fitted()
    together = fitted.ask(asks, k)
    must_be_same(fitted.ask([asks[row] for row in chosen], k), rows(together, chosen), "asked in another batch")


@check("serving", examples=1)
def check_large_batches_change_nothing(subject: Subject) -> None:
    """A request gets the same slate in a batch of one and of several hundred."""
    fitted = subject.fitted()
    width = _width(subject)
    asks = [Ask([(i % 41, 3 if i % 3 else 5) for i in range(n, n + n % (width + 1))], user=n) for n in range(600)]
    together = fitted.ask(asks, 5)
    for size in (1, 7, 64, 257):
        must_be_same(fitted.ask(asks[:size], 5), rows(together, slice(size)), f"asked in a batch of {size}, not 600")


def _twice(subject: Subject) -> Strategies:
    batch = strategies.batches(_width(subject), max_size=3, max_user=3)
    return {"asks": batch, "others": batch, "k": K, "other_k": K, "excluded": strategies.exclusions(10)}


@check("serving", given=_twice, examples=60)
def check_earlier_calls_change_nothing(
    subject: Subject, *, asks: Sequence[Ask], others: Sequence[Ask], k: int, other_k: int, excluded: Sequence[int]
) -> None:
    """What was asked before - by whoever, with whatever history, eligible items and k - leaves no trace."""
    fitted = subject.loaded(subject.fitted())
    fitted.ask(others, min(other_k, k), excluded)
    expected = subject.loaded(subject.fitted()).ask(asks, k)
    must_be_same(fitted.ask(asks, k), expected, "asked after other calls")


def _later(subject: Subject) -> Strategies:
    width = _width(subject)
    more = st.lists(strategies.interactions(), min_size=1, max_size=3)
    return {"ask": strategies.asks(width), "more": more, "k": K}


@check("serving", given=_later)
def check_later_interactions_change_no_earlier_answer(
    subject: Subject, *, ask: Ask, more: Sequence[tuple[int, int]], k: int
) -> None:
    """The same user's later requests, with all that has happened by then, do not change an earlier answer."""
    fitted = subject.fitted()
    later = [Ask([*ask.history, *more[: n + 1]], ask.user, ask.session, ask.step + n + 1) for n in range(len(more))]
    together = fitted.ask([ask, *later], k)
    must_be_same(rows(together, [0]), fitted.ask([ask], k), "asked beside the user's later requests")


def _longer(subject: Subject) -> Strategies:
    width = _width(subject)
    older = st.lists(strategies.interactions(), min_size=1, max_size=4)
    return {"ask": strategies.asks(width), "older": older, "k": K}


@check("serving", given=_longer)
def check_nothing_before_the_window_matters(
    subject: Subject, *, ask: Ask, older: Sequence[tuple[int, int]], k: int
) -> None:
    """A longer history than declared, or more padding, gives the same slate."""
    fitted = subject.fitted()
    width = _width(subject)
    declared = fitted.slates(fitted.requests([ask]), k)
    wider = fitted.requests([ask], width=width + len(older))
    must_be_same(fitted.slates(wider, k), declared, f"with {len(older)} more columns of padding")
    filler = [(0, 3)] * (width - len(ask.history))
    full = replace(ask, history=[*filler, *ask.history])
    longer = fitted.requests([replace(full, history=[*older, *full.history])], width=width + len(older))
    must_be_same(
        fitted.slates(longer, k), fitted.ask([full], k), f"with {len(older)} interactions before the declared window"
    )


def _is_not_nested(subject: Subject) -> str:
    return "" if subject.traits.nested else "does not declare `nested`"


def _two_lengths(subject: Subject) -> Strategies:
    k = st.integers(1, Catalogue().n_items)
    return {"asks": strategies.batches(_width(subject), max_size=3), "k": k, "shorter": k}


@check("serving", given=_two_lengths, examples=80, does_not_apply=_is_not_nested)
def check_shorter_slates_begin_longer_ones(subject: Subject, *, asks: Sequence[Ask], k: int, shorter: int) -> None:
    """A longer slate begins with the shorter one that the same request gets, where `nested` is declared."""
    fitted = subject.fitted()
    shorter, longer = sorted((k, shorter))
    expected = beginning(fitted.ask(asks, longer), shorter)
    must_be_same(fitted.ask(asks, shorter), expected, f"asked for {shorter} instead of {longer}")


@check("serving", given=_batch)
def check_requests_are_not_modified(subject: Subject, *, asks: Sequence[Ask], k: int) -> None:
    """`recommend` leaves the arrays of its requests as they were."""
    fitted = subject.fitted()
    asked = fitted.requests(asks)
    before = copy.deepcopy(asked)
    fitted.slates(asked, k)
    for name in (f.name for f in fields(Requests) if f.name != "utility"):
        if not np.array_equal(getattr(asked, name), getattr(before, name)):
            raise Violation(f"requests.{name} changed: got {getattr(asked, name)}, expected {getattr(before, name)}")


@check("serving", given=_batch)
def check_answers_are_not_modified_later(subject: Subject, *, asks: Sequence[Ask], k: int) -> None:
    """Slates that were handed out stay as they were when others are asked for, and may be written to."""
    fitted = subject.fitted()
    first = fitted.ask(asks, k)
    kept = copy.deepcopy(first)
    fitted.ask([replace(ask, history=()) for ask in asks], k)
    must_be_same(first, kept, "after another call, the slates handed out before")
    first.item[:], first.score[:] = 0, 0
    must_be_same(fitted.ask(asks, k), kept, "after the caller wrote into the slates that it got")


@check("serving", given=_batch)
def check_memory_layout_does_not_matter(subject: Subject, *, asks: Sequence[Ask], k: int) -> None:
    """Arrays in another memory order, or that are views of larger ones, give the same slates."""
    fitted = subject.fitted()
    asked = fitted.requests(asks)
    expected = fitted.slates(asked, k)
    columns = [f.name for f in fields(Requests) if f.name.startswith("history_")]
    layouts: dict[str, Callable[[Any], Any]] = {
        "in Fortran order": np.asfortranarray,
        "as views of larger arrays": lambda a: np.repeat(np.repeat(a, 2, 0), 2, 1)[::2, ::2],
    }
    for words, layout in layouts.items():
        other = replace(asked, **{name: layout(getattr(asked, name)) for name in columns})
        must_be_same(fitted.slates(other, k), expected, f"histories {words}")


@check("serving", given=_batch, examples=20)
def check_global_random_states_do_not_matter(subject: Subject, *, asks: Sequence[Ask], k: int) -> None:
    """Serving neither reads nor moves the global random states of random, numpy and torch."""
    fitted = subject.fitted()
    with seeded_globals(1) as moved:
        expected = fitted.ask(asks, k)
        if which := moved():
            raise Violation(f"recommend moved the global random state of {which}, expected it untouched")
    with seeded_globals(2):
        must_be_same(fitted.ask(asks, k), expected, "under another global random state")


@contextmanager
def seeded_globals(seed: int) -> Iterator[Callable[[], str]]:
    """Seed the global generators, and put them back afterwards; the function given says which was moved since."""
    torch = sys.modules.get("torch")
    before = random.getstate(), np.random.get_state(), None if torch is None else torch.get_rng_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    if torch is not None:
        torch.manual_seed(seed)

    def states() -> dict[str, bytes]:
        found = {"random": repr(random.getstate()), "numpy.random": repr(np.random.get_state(legacy=False))}  # noqa: NPY002
        if torch is not None:
            found["torch"] = repr(torch.get_rng_state().tolist())
        return {name: state.encode() for name, state in found.items()}

    start = states()
    try:
        yield lambda: ", ".join(name for name, state in states().items() if state != start[name])
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        if torch is not None:
            torch.set_rng_state(before[2])


@check("serving", given=_masked, examples=20)
def check_too_few_eligible_items_are_an_error(
    subject: Subject, *, asks: Sequence[Ask], k: int, excluded: Sequence[int]
) -> None:
    """A `k` larger than the number of eligible items raises RecommenderError."""
    fitted = subject.fitted()
    n_eligible = Catalogue().n_items - len(excluded)
    asked = fitted.requests(asks, excluded)
    try:
        answer = fitted.slates(asked, n_eligible + k)
    except Violation as error:
        if isinstance(error.__cause__, RecommenderError):
            return
        raise
    got = getattr(answer.item, "shape", answer)
    raise Violation(f"asked for {n_eligible + k} of {n_eligible} eligible items: got slates {got}, expected an error")


@check("serving")
def check_serving_unfitted_is_an_error(subject: Subject) -> None:
    """`recommend` before `fit` or `load_state_dict` raises RecommenderError; what learns nothing may answer."""
    fitted = Fitted(subject.build(), Catalogue())
    asked = fitted.requests([Ask()])
    try:
        check_slates(fitted.slates(asked, 3), asked, 3)
    except RecommenderError as error:
        raise Violation(f"served before it was fitted: {error}") from error
    except Violation as error:
        if not isinstance(error.__cause__, RecommenderError):
            raise
