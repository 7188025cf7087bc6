"""What a check is: a law as a function, the examples that it is tried on, and when it applies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from hypothesis import strategies as st

from recommenders.base import Slates, State
from recommenders.conformance.subject import Subject, Violation

Kind = Literal["serving", "fitting", "state", "cost", "behaviour"]
Strategies = Mapping[str, st.SearchStrategy[Any]]


@dataclass(frozen=True)
class Effect:
    """What a statistical law measured.

    Attributes:
        value: the estimate.
        low, high: its 95% interval.
        of: what it is, in a few words with its unit.
    """

    value: float
    low: float
    high: float
    of: str


class NotApplicableError(Exception):
    """A law asks nothing of a recommender, as trying it has shown; the message says why."""


class Measured(Violation):
    """A statistical law does not hold; carries what was measured."""

    def __init__(self, message: str, effect: Effect) -> None:
        super().__init__(message)
        self.effect = effect


@dataclass(frozen=True)
class Check:
    """A named law.

    Attributes:
        holds: called as `holds(subject, **example)`; raises `Violation` where the law is broken. A statistical law
            returns what it measured.
        kind: which part of the contract it belongs to.
        given: the strategies of an example's arguments for a subject; none for a law that is tried once.
        examples: how many examples are tried.
        fits: each example fits a model, so that fewer are tried where fitting is slow.
        does_not_apply: why a subject need not keep the law, by what it declares; empty where it must.
        seeded: takes a world `planted`, which the seed of the search decides.
        shown_by: the law for a single history. Where a statistical law is broken, the smallest history that breaks this
            one is looked for, and printed in its place.
    """

    holds: Callable[..., Effect | None]
    kind: Kind
    given: Callable[[Subject], Strategies]
    examples: int
    fits: bool
    does_not_apply: Callable[[Subject], str]
    seeded: bool = False
    shown_by: Check | None = None

    @property
    def name(self) -> str:
        """Name of the function, `check_...`."""
        return self.holds.__name__

    @property
    def law(self) -> str:
        """The law in a sentence: the first line of its docstring."""
        return (self.holds.__doc__ or "").strip().partition("\n")[0]

    def __call__(self, subject: Subject, **example: Any) -> Effect | None:
        """Try the law on one example.

        Raises:
            Violation: it does not hold.
        """
        return self.holds(subject, **example)


def no_arguments(subject: Subject) -> Strategies:
    """For a law that is tried once."""
    return {}


def applies_to_all(subject: Subject) -> str:
    """For a law that everyone must keep."""
    return ""


def check(
    kind: Kind,
    *,
    given: Callable[[Subject], Strategies] = no_arguments,
    examples: int = 40,
    fits: bool = False,
    does_not_apply: Callable[[Subject], str] = applies_to_all,
    seeded: bool = False,
    shown_by: Check | None = None,
) -> Callable[[Callable[..., Effect | None]], Check]:
    """Make a check of a law; the arguments are the attributes of `Check`."""
    return lambda holds: Check(holds, kind, given, examples, fits, does_not_apply, seeded, shown_by)


def must_be_same(got: Slates, expected: Slates, when: str) -> None:
    """Bit for bit the same slates.

    Args:
        got, expected: of the same requests.
        when: the circumstances, for the message.

    Raises:
        Violation: they differ; the message shows the first row that does.
    """
    if (got.propensity is None) != (expected.propensity is None):
        raise Violation(f"{when}: propensities come and go, expected them always or never")
    for name in ("item", "score", "propensity"):
        ours, theirs = getattr(got, name), getattr(expected, name)
        if ours is None:
            continue
        if ours.shape != theirs.shape:
            raise Violation(f"{when}: {name}: got shape {ours.shape}, expected {theirs.shape}")
        if ours.dtype != theirs.dtype:
            raise Violation(f"{when}: {name}: got {ours.dtype}, expected {theirs.dtype}")
        bits = np.dtype(f"u{ours.dtype.itemsize}")
        differs = (ours.view(bits) != theirs.view(bits)).any(1)
        if differs.any():
            row = int(np.flatnonzero(differs)[0])
            raise Violation(f"{when}: row {row}: got {name} {ours[row].tolist()}, expected {theirs[row].tolist()}")


def must_be_same_state(got: State, expected: State, when: str) -> None:
    """Bit for bit the same arrays under the same names.

    Raises:
        Violation: they differ; the message names the first that does.
    """
    if got.keys() != expected.keys():
        raise Violation(f"{when}: state: got {sorted(got)}, expected {sorted(expected)}")
    for name, ours in got.items():
        theirs = expected[name]
        if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
            kinds = [f"{array.dtype}{list(array.shape)}" for array in (ours, theirs)]
            raise Violation(f"{when}: state: {name}: got {kinds[0]}, expected {kinds[1]}")
        if ours.tobytes() != theirs.tobytes():
            at = int(np.flatnonzero(ours.reshape(-1) != theirs.reshape(-1))[:1].sum())
            raise Violation(
                f"{when}: state: {name}: entry {at} is {ours.reshape(-1)[at]}, expected {theirs.reshape(-1)[at]}"
            )


def rows(slates: Slates, chosen: Any) -> Slates:
    """The slates of the chosen requests."""
    propensity = None if slates.propensity is None else slates.propensity[chosen]
    return Slates(slates.item[chosen], slates.score[chosen], propensity)


def beginning(slates: Slates, k: int) -> Slates:
    """The first `k` slots."""
    propensity = None if slates.propensity is None else slates.propensity[:, :k]
    return Slates(slates.item[:, :k], slates.score[:, :k], propensity)
