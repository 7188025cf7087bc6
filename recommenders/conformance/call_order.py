"""Any order of calls: whatever was called before, an answer is that of a fresh instance with the same fits.

The steps are plain data, so that a run that goes wrong is printed, and run again, like any other example:

    ("fit", i, log)          instance i is fitted
    ("observe", u, x)        user u interacts: x is (item, feedback)
    ("recommend", i, us, k)  instance i is asked for slates of the users us
    ("save", i)              the state of instance i is put aside
    ("load", i, s)           instance i takes over the s-th of the states put aside
    ("fork", i)              a new instance takes over the state of instance i; both live on
    ("new",)                 a new instance, not fitted

Numbers of instances and states count round those that there are; a step that cannot be taken - such as asking an
instance that is not fitted - is passed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from recommenders.base import State
from recommenders.conformance import strategies
from recommenders.conformance.laws import Strategies, check, must_be_same
from recommenders.conformance.subject import Fitted, Subject, copied, failing_as_violation, fit
from recommenders.conformance.worlds import Ask, Catalogue, Log

Fits = tuple[Log, ...]
"""The logs that a model comes from: the last one, or with `warm_start` all of them, in order."""
N_USERS = 4
LOGS = tuple(Log(seed, 10, rows) for seed, rows in ((0, 80), (1, 80), (0, 0)))


def _steps(subject: Subject) -> Strategies:
    number, user = st.integers(0, 3), st.integers(0, N_USERS - 1)
    users = st.lists(user, min_size=1, max_size=N_USERS, unique=True)
    step = st.one_of(
        st.tuples(st.just("fit"), number, st.sampled_from(LOGS)),
        st.tuples(st.just("recommend"), number, users, st.integers(1, 6)),
        st.tuples(st.just("observe"), user, strategies.interactions()),
        st.tuples(st.just("save"), number),
        st.tuples(st.just("load"), number, number),
        st.tuples(st.just("fork"), number),
        st.just(("new",)),
    )
    # Begun with a fit and ended with a request, so that few examples are idle.
    fitted = st.tuples(st.just("fit"), st.just(0), st.sampled_from(LOGS))
    asked = st.tuples(st.just("recommend"), number, users, st.integers(1, 6))
    middle = st.lists(step, max_size=14)
    return {"steps": st.builds(lambda first, rest, last: [first, *rest, last], fitted, middle, asked)}


@check("state", given=_steps, examples=60, fits=True)
def check_any_order_of_calls(subject: Subject, *, steps: Sequence[tuple[Any, ...]]) -> None:
    """After any fits, requests, saves, loads and forks, each answer is that of a fresh instance with the same fits."""
    run = _Run(subject)
    for step in steps:
        run.take(*step)


class _Run:
    """Instances that live side by side, each with the fits that its model comes from."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.instances = [Fitted(subject.build(), Catalogue())]
        self.fits: list[Fits] = [()]
        self.saved: list[tuple[State, Fits]] = []
        self.history: list[list[tuple[int, int]]] = [[] for _ in range(N_USERS)]

    def take(self, name: str, *arguments: Any) -> None:
        """Take one step.

        Raises:
            Violation: an answer differs from a fresh instance's, or a call raised.
        """
        getattr(self, f"_{name}")(*arguments)

    def _new(self) -> None:
        self.instances.append(Fitted(self.subject.build(), Catalogue()))
        self.fits.append(())

    def _fit(self, number: int, log: Log) -> None:
        at = number % len(self.instances)
        fit(self.instances[at].recommender, log.interactions(Catalogue()), Catalogue().features())
        self.fits[at] = (*self.fits[at], log) if self.subject.traits.warm_start else (log,)

    def _observe(self, user: int, interaction: tuple[int, int]) -> None:
        self.history[user].append(interaction)

    def _recommend(self, number: int, users: Sequence[int], k: int) -> None:
        at = number % len(self.instances)
        if not self.fits[at]:
            return
        asks = [Ask(tuple(self.history[user]), user, step=len(self.history[user])) for user in users]
        fits = ", ".join(map(repr, self.fits[at]))
        expected = _fresh(self.subject, self.fits[at]).ask(asks, k)
        must_be_same(self.instances[at].ask(asks, k), expected, f"instance {at}, whose model comes from {fits}")

    def _save(self, number: int) -> None:
        at = number % len(self.instances)
        if self.fits[at]:
            with failing_as_violation("state_dict"):
                self.saved.append((copied(self.instances[at].recommender.state_dict()), self.fits[at]))

    def _load(self, number: int, which: int) -> None:
        if self.saved:
            at = number % len(self.instances)
            state, self.fits[at] = self.saved[which % len(self.saved)]
            with failing_as_violation("load_state_dict"):
                self.instances[at].recommender.load_state_dict(copied(state), Catalogue().features())

    def _fork(self, number: int) -> None:
        at = number % len(self.instances)
        if self.fits[at]:
            self.instances.append(self.subject.loaded(self.instances[at]))
            self.fits.append(self.fits[at])


def _fresh(subject: Subject, fits: Fits) -> Fitted:
    """A fitted instance that nothing else was ever asked of than such requests."""
    if len(fits) == 1:
        return subject.fitted(fits[0])
    fresh = subject.fit(fits[0])
    for log in fits[1:]:
        fit(fresh.recommender, log.interactions(fresh.catalogue), fresh.catalogue.features())
    return fresh
