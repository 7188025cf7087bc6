"""What is checked: a recommender by name or class, with its settings, fitted on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Protocol, cast

import numpy as np

from recommenders.base import (
    Float32,
    Int32,
    Interactions,
    ItemFeatures,
    Progress,
    Recommender,
    Requests,
    Scorer,
    Slates,
    State,
    Traits,
)
from recommenders.conformance.worlds import Ask, Catalogue, KeyedDraws, Log, requests
from recommenders.contract import check_traits, in_declared_batches
from recommenders.registry import build

FIT_SEED = 3


class Violation(Exception):  # noqa: N818 - the field's word for a broken law
    """A law does not hold; the message says how, with what was got and what was expected."""


class HasInteractions(Protocol):
    """A log as a value: `Log`, or another that can be hashed and whose `repr` is code."""

    def interactions(self, catalogue: Catalogue) -> Interactions:
        """The log on a catalogue."""
        ...


@contextmanager
def failing_as_violation(call: str) -> Iterator[None]:
    """Turn an exception of the recommender's code into a violation; `call` says what was called."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise Violation(f"{call} raised {type(error).__name__}: {error}") from error


def fit(
    recommender: Recommender,
    log: Interactions,
    items: ItemFeatures,
    seed: int = FIT_SEED,
    progress: Progress | None = None,
) -> None:
    """Fit a recommender.

    Raises:
        Violation: `fit` raised.
    """
    with failing_as_violation("fit"):
        recommender.fit(log, items, seed=seed, progress=progress)


def copied(state: State) -> State:
    """A state with arrays of its own."""
    return {name: value.copy() for name, value in state.items()}


def same_users(user: Int32) -> Int32:
    """The users as they are."""
    return user


@dataclass(frozen=True)
class Fitted:
    """A fitted recommender and its catalogue."""

    recommender: Recommender
    catalogue: Catalogue

    def requests(self, asks: Sequence[Ask], excluded: Sequence[int] = (), width: int | None = None) -> Requests:
        """Requests with a history of the declared width, or of another."""
        declared = self.recommender.traits.history_length
        asked = requests(asks, declared if width is None else width, self.catalogue, excluded)
        return asked if self.recommender.traits.needs_utility else replace(asked, utility=None)

    def slates(
        self, asked: Requests, k: int, draws_seed: int = 0, renamed: Callable[[Int32], Int32] = same_users
    ) -> Slates:
        """What it answers, asked in batches of the declared size; the answer is not checked.

        Args:
            asked: the requests.
            k: slots of a slate.
            draws_seed: of the draws, which belong to the requests.
            renamed: the users' numbers as the recommender is told them; the draws stay those of the requests.

        Raises:
            Violation: it raised.
        """

        def call(batch: Requests) -> Slates:
            keyed = KeyedDraws(batch.user, batch.session, batch.step, seed=draws_seed)
            return self.recommender.recommend(replace(batch, user=renamed(batch.user)), k, keyed)

        with failing_as_violation("recommend"):
            return in_declared_batches(self.recommender.traits, asked, call)

    def ask(self, asks: Sequence[Ask], k: int, excluded: Sequence[int] = ()) -> Slates:
        """What it answers to some requests.

        Raises:
            Violation: it raised.
        """
        return self.slates(self.requests(asks, excluded), k)

    def scores(self, asked: Requests) -> Float32:
        """The scores of all items of a `Scorer`: float32[n, n_items], asked in batches of the declared size.

        Raises:
            Violation: it raised.
        """
        scorer, size = cast(Scorer, self.recommender), self.recommender.traits.batch_size or len(asked)
        found = []
        with failing_as_violation("scores"):
            for start in range(0, len(asked), size):
                rows = np.arange(start, start + size)
                rows[len(asked) - start :] = start
                found.append(scorer.scores(asked.take(rows))[: len(asked) - start])
        return np.concatenate(found)


class Subject:
    """A recommender under test.

    Args:
        source: a name as in a scenario (`popularity`, `module:Class`), or a class.
        config: its settings; None for the defaults.
        known_failures: name of a check -> why it fails; beside those of the class's attribute `known_failures`.

    Raises:
        RecommenderError: it cannot be found or built, or its traits make no sense.
        pydantic.ValidationError: the settings are wrong.

    >>> Subject("popularity", {"window": 6}).traits.history_length
    6
    """

    def __init__(
        self,
        source: str | type[Any],
        config: Mapping[str, Any] | None = None,
        *,
        known_failures: Mapping[str, str] | None = None,
    ) -> None:
        self.name = source if isinstance(source, str) else f"{source.__module__}:{source.__qualname__}"
        self.source = source
        self.config = dict(config or {})
        recommender = self.build()
        check_traits(recommender.traits)
        self.traits: Traits = recommender.traits
        self.scores = isinstance(recommender, Scorer)
        self.known_failures = {**getattr(recommender, "known_failures", {}), **(known_failures or {})}
        self.fit_seconds = 0.0
        self._fitted: dict[tuple[HasInteractions, Catalogue, int], Fitted] = {}

    def __repr__(self) -> str:
        return f"Subject({self.name!r}, {self.config!r})" if self.config else f"Subject({self.name!r})"

    def build(self) -> Recommender:
        """A new one, not fitted."""
        return build(self.source, self.config)

    def fit(self, log: HasInteractions = Log(), catalogue: Catalogue = Catalogue(), seed: int = FIT_SEED) -> Fitted:
        """A new one, fitted.

        Raises:
            Violation: `fit` raised.
        """
        recommender = self.build()
        started = perf_counter()
        fit(recommender, log.interactions(catalogue), catalogue.features(), seed)
        self.fit_seconds = max(self.fit_seconds, perf_counter() - started)
        return Fitted(recommender, catalogue)

    def fitted(self, log: HasInteractions = Log(), catalogue: Catalogue = Catalogue(), seed: int = FIT_SEED) -> Fitted:
        """The same as `fit`, fitted once and kept: for checks that only serve.

        Raises:
            Violation: `fit` raised.
        """
        key = (log, catalogue, seed)
        if key not in self._fitted:
            self._fitted[key] = self.fit(*key)
        return self._fitted[key]

    def loaded(self, fitted: Fitted) -> Fitted:
        """A new one that took over the state of another.

        Raises:
            Violation: `state_dict` or `load_state_dict` raised.
        """
        recommender = self.build()
        with failing_as_violation("moving the state"):
            state = copied(fitted.recommender.state_dict())
            recommender.load_state_dict(state, fitted.catalogue.features())
        return Fitted(recommender, fitted.catalogue)
