"""Hypothesis strategies for what a recommender is given: histories, batches of requests, logs, catalogues."""

from __future__ import annotations

from hypothesis import strategies as st

from recommenders.base import Feedback
from recommenders.conformance.worlds import Ask, Catalogue, Log

_LOOKS = (Feedback.LONG_DWELL, Feedback.SKIP, Feedback(0))
_PRESSES = (Feedback.DISLIKE, Feedback.LIKE, Feedback.DISMISS, Feedback.DISLIKE | Feedback.DISMISS)
FEEDBACK = tuple(int(Feedback.EXAMINED | look | press) for press in (Feedback(0), *_PRESSES) for look in _LOOKS)
"""All that one impression can get, the simplest first."""


def interactions(catalogue: Catalogue = Catalogue()) -> st.SearchStrategy[tuple[int, int]]:
    """(item, feedback)."""
    return st.tuples(st.integers(0, catalogue.n_items - 1), st.sampled_from(FEEDBACK))


def histories(width: int, catalogue: Catalogue = Catalogue()) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Up to `width` interactions, oldest first."""
    return st.lists(interactions(catalogue), max_size=width)


def asks(width: int, catalogue: Catalogue = Catalogue(), max_user: int = 60) -> st.SearchStrategy[Ask]:
    """One request; its user may be unknown to the log."""
    ids = st.integers(0, 5)
    return st.builds(Ask, histories(width, catalogue), st.integers(0, max_user), ids, ids)


def batches(
    width: int, catalogue: Catalogue = Catalogue(), min_size: int = 1, max_size: int = 6, max_user: int = 60
) -> st.SearchStrategy[list[Ask]]:
    """Requests of different users."""
    return st.lists(
        asks(width, catalogue, max_user), min_size=min_size, max_size=max_size, unique_by=lambda ask: ask.user
    )


def exclusions(n_eligible: int, catalogue: Catalogue = Catalogue()) -> st.SearchStrategy[list[int]]:
    """Items that may not be shown, which leave at least `n_eligible`, and often few more."""
    ids = st.integers(0, catalogue.n_items - 1)
    most = min(n_eligible + 4, catalogue.n_items)
    few_left = st.lists(ids, min_size=n_eligible, max_size=most, unique=True).map(
        lambda left: [item for item in range(catalogue.n_items) if item not in left]
    )
    return st.lists(ids, max_size=catalogue.n_items - n_eligible, unique=True) | few_left


def logs(max_rows: int = 300) -> st.SearchStrategy[Log]:
    """Logs of few users, empty ones and those of a single kind of feedback among them."""
    feedback = st.none() | st.sampled_from(FEEDBACK)
    return st.builds(Log, st.integers(0, 1000), st.integers(1, 30), st.integers(0, max_rows), feedback)


def catalogues(max_items: int = 60) -> st.SearchStrategy[Catalogue]:
    """Small catalogues, those of a single item among them."""
    return st.integers(1, max_items).flatmap(
        lambda n: st.integers(1, min(n, 8)).flatmap(
            lambda creators: st.builds(Catalogue, st.just(n), st.just(creators), st.integers(1, creators))
        )
    )
