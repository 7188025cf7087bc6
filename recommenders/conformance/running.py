"""Trying checks on a subject: the search for an example that breaks a law, and the smallest one as code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from recommenders.conformance.laws import Check, Effect, Measured
from recommenders.conformance.planted import Planted
from recommenders.conformance.subject import Subject, Violation

Status = Literal["passed", "failed", "known", "skipped"]

SEARCH_SECONDS = 4.0
"""No more examples are begun after as long."""
SHRINK_SECONDS = 6.0
"""How long a smaller example is looked for once there is one."""
FITTING_SECONDS = 4.0
"""Time for the examples of a check that fits models, by what one fit takes."""
FEWEST_FITS = 3


@dataclass(frozen=True)
class Outcome:
    """What came of one check.

    Attributes:
        check: name of the check.
        law: the law in a sentence.
        kind: which part of the contract it belongs to.
        status: `known` is a failure that was listed with a reason.
        message: how the law is broken, or why the check was skipped; empty where it passed.
        code: the smallest example found, as code to paste; empty unless the law is broken.
        examples: how many were tried until the outcome was known, without those that made the example smaller.
        seconds: how long it took.
        effect: what a statistical law measured.
    """

    check: str
    law: str
    kind: str
    status: Status
    message: str
    code: str
    examples: int
    seconds: float
    effect: Effect | None


@dataclass
class _Search:
    """What a search has come to.

    Attributes:
        tried: examples so far.
        tried_until_broken: the same when the law was first broken.
        broken_at: when that was, in seconds of `perf_counter`.
        smallest: the smallest example that breaks the law, and how.
    """

    started: float
    tried: int = 0
    tried_until_broken: int = 0
    broken_at: float | None = None
    smallest: tuple[Mapping[str, Any], Exception] | None = None
    effect: Effect | None = None


class _Enough(KeyboardInterrupt):
    """Stops a search: hypothesis lets nothing else through while it makes an example smaller."""


def run_check(check: Check, subject: Subject, *, search_seed: int = 0) -> Outcome:
    """Try a law on examples until one breaks it.

    Args:
        check: the law.
        subject: the recommender.
        search_seed: which examples are tried, and of which world; the same seed tries the same ones.
    """
    started = perf_counter()
    if reason := check.does_not_apply(subject):
        return _outcome(check, "skipped", started, reason)
    search = _searched(check, subject, search_seed)
    known = subject.known_failures.get(check.name)
    if search.smallest is None:
        if known is None:
            return _outcome(check, "passed", started, examples=search.tried, effect=search.effect)
        message = f"listed as a known failure ({known}), but it holds; take it off the list"
        return _outcome(check, "failed", started, message, examples=search.tried, effect=search.effect)
    example, error = search.smallest
    message = str(error) if isinstance(error, Violation) else f"{type(error).__name__}: {error}"
    effect = error.effect if isinstance(error, Measured) else None
    code = as_code(check, subject, example)
    if check.shown_by is not None:
        shown = _searched(check.shown_by, subject, search_seed).smallest
        if shown is not None:
            message += f"; for example, {shown[1]}"
            code = as_code(check, subject, shown[0], call=f"{check.name}.shown_by")
    if known is not None:
        return _outcome(check, "known", started, f"{known} ({message})", code, search.tried_until_broken, effect)
    return _outcome(check, "failed", started, message, code, search.tried_until_broken, effect)


def _searched(check: Check, subject: Subject, search_seed: int) -> _Search:
    search = _Search(perf_counter())
    planted = Planted(search_seed)
    try:
        strategies = check.given(subject)
        if strategies:
            world = {"planted": st.just(planted)} if check.seeded else {}
            _search(check, subject, {**world, **strategies}, search, search_seed)
        else:
            _try(check, subject, {"planted": planted} if check.seeded else {}, search)
    except _Enough:
        pass
    except Exception:
        if search.smallest is None:
            raise
    return search


def _outcome(
    check: Check,
    status: Status,
    started: float,
    message: str = "",
    code: str = "",
    examples: int = 0,
    effect: Effect | None = None,
) -> Outcome:
    seconds = perf_counter() - started
    return Outcome(check.name, check.law, check.kind, status, message, code, examples, seconds, effect)


def _search(check: Check, subject: Subject, strategies: Mapping[str, Any], search: _Search, search_seed: int) -> None:
    n_examples = check.examples
    if check.fits:
        subject.fitted()  # so that the time of a fit is known
        n_examples = min(n_examples, max(FEWEST_FITS, int(FITTING_SECONDS / max(subject.fit_seconds, 1e-9))))

    @settings(
        max_examples=n_examples,
        database=None,
        deadline=None,
        derandomize=False,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
    )
    @seed(search_seed)
    @given(**strategies)
    def try_one(**example: Any) -> None:
        now = perf_counter()
        if search.broken_at is None and now - search.started > SEARCH_SECONDS and search.tried >= FEWEST_FITS:
            raise _Enough
        if search.broken_at is not None and now - search.broken_at > SHRINK_SECONDS:
            raise _Enough
        _try(check, subject, example, search)

    try_one()


def _try(check: Check, subject: Subject, example: Mapping[str, Any], search: _Search) -> None:
    search.tried += 1
    try:
        search.effect = check(subject, **example)
    except Exception as error:
        if search.broken_at is None:
            search.broken_at, search.tried_until_broken = perf_counter(), search.tried
        if search.smallest is None or _size(example) <= _size(search.smallest[0]):
            search.smallest = example, error
        raise


def _size(example: Mapping[str, Any]) -> int:
    return len(repr(example))


def as_code(check: Check, subject: Subject, example: Mapping[str, Any], call: str | None = None) -> str:
    """A script that tries the law on one example, and raises `Violation` where it is broken.

    Args:
        check: the law.
        subject: the recommender.
        example: the law's arguments.
        call: what of `checks` is called; None for the check itself.
    """
    arguments = ", ".join(["subject", *(f"{name}={value!r}" for name, value in example.items())])
    worlds = sorted({name for name in ("Ask", "Catalogue", "Log", "Planted") if f"{name}(" in arguments})
    return "\n".join(
        [
            f"from recommenders.conformance import {', '.join([*worlds, 'Subject', 'checks'])}",
            "",
            f"subject = {subject!r}",
            f"checks.{call or check.name}({arguments})",
        ]
    )


@dataclass(frozen=True)
class Report:
    """What came of all checks of a subject.

    Attributes:
        subject: its name.
        config: its settings.
        outcomes: one a check.
        seconds: how long they took.
    """

    subject: str
    config: Mapping[str, Any]
    outcomes: tuple[Outcome, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether no check failed that was not known to."""
        return not any(outcome.status == "failed" for outcome in self.outcomes)


def run_checks(
    subject: Subject,
    checks: Sequence[Check],
    *,
    search_seed: int = 0,
    tell: Callable[[int, Outcome], None] = lambda done, outcome: None,
) -> Report:
    """Try some checks, one after the other.

    Args:
        subject: the recommender.
        checks: what to try.
        search_seed: see `run_check`.
        tell: called as `tell(done, outcome)` after each.
    """
    started = perf_counter()
    outcomes = []
    for check in checks:
        outcomes.append(run_check(check, subject, search_seed=search_seed))
        tell(len(outcomes), outcomes[-1])
    return Report(subject.name, subject.config, tuple(outcomes), perf_counter() - started)
