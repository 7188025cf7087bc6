"""Trying checks on a subject: the search for an example that breaks a law, and the smallest one as code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from recommenders.conformance.laws import Check, Effect, Measured, NotApplicableError
from recommenders.conformance.planted import Planted
from recommenders.conformance.report import Outcome, Report, Status
from recommenders.conformance.subject import Subject, Violation
from recommenders.limits import OutOfTime, time_limit

EXAMPLE_SECONDS = 120.0
"""How long one example may take, its fits included."""
SEARCH_SECONDS = 4.0
"""No more examples are begun after as long."""
SHRINK_SECONDS = 6.0
"""How long a smaller example is looked for once there is one."""
FITTING_SECONDS = 4.0
"""Time for the examples of a check that fits models, by what one fit takes."""
FEWEST_FITS = 3


@dataclass
class _Search:
    """What a search has come to.

    Attributes:
        started: when, in seconds of `perf_counter`.
        example_seconds: how long an example may take.
        patient: whether all examples are tried, however long it takes: a known failure must not seem to hold because
            the machine was slow.
        tried: examples so far.
        tried_until_broken: the same when the law was first broken.
        broken_at: when that was, in seconds of `perf_counter`.
        smallest: the smallest example that breaks the law, and how.
        out_of_time: whether that example was given up.
        not_applicable: why the law asks nothing of the subject, as an example has shown.
    """

    started: float
    example_seconds: float
    patient: bool = False
    tried: int = 0
    tried_until_broken: int = 0
    broken_at: float | None = None
    smallest: tuple[Mapping[str, Any], BaseException] | None = None
    out_of_time: bool = False
    not_applicable: str = ""
    effect: Effect | None = None


class _Enough(KeyboardInterrupt):
    """Stops a search: hypothesis lets nothing else through while it makes an example smaller."""


def run_check(
    check: Check, subject: Subject, *, search_seed: int = 0, example_seconds: float = EXAMPLE_SECONDS
) -> Outcome:
    """Try a law on examples until one breaks it.

    Whatever a recommender raises breaks the law, but for `KeyboardInterrupt`, which is the user's.

    Args:
        check: the law.
        subject: the recommender.
        search_seed: which examples are tried, and of which world; the same seed tries the same ones.
        example_seconds: how long one may take; a longer one breaks the law.
    """
    started = perf_counter()
    if reason := check.does_not_apply(subject):
        return _outcome(check, "skipped", started, reason)
    search = _searched(check, subject, search_seed, example_seconds)
    if search.not_applicable:
        return _outcome(check, "skipped", started, search.not_applicable)
    known = subject.known_failures.get(check.name)
    if search.smallest is None:
        if known is None:
            return _outcome(check, "passed", started, examples=search.tried, effect=search.effect)
        message = f"listed as a known failure ({known}), but it holds; take it off the list"
        return _outcome(check, "failed", started, message, examples=search.tried, effect=search.effect)
    example, error = search.smallest
    message = str(error) if isinstance(error, Violation | OutOfTime) else f"{type(error).__name__}: {error}"
    effect = error.effect if isinstance(error, Measured) else None
    code = as_code(check, subject, example)
    if check.shown_by is not None and not search.out_of_time:
        shown = _searched(check.shown_by, subject, search_seed, example_seconds).smallest
        if shown is not None:
            message += f"; for example, {shown[1]}"
            code = as_code(check, subject, shown[0], call=f"{check.name}.shown_by")
    status: Status = "failed"
    if known is not None:
        status, message = "known", f"{known} ({message})"
    outcome = _outcome(check, status, started, message, code, search.tried_until_broken, effect)
    return replace(outcome, out_of_time=search.out_of_time)


def _searched(check: Check, subject: Subject, search_seed: int, example_seconds: float) -> _Search:
    search = _Search(perf_counter(), example_seconds, patient=check.name in subject.known_failures)
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
    except KeyboardInterrupt:
        raise
    except BaseException:
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
    @settings(
        max_examples=check.examples if search.patient else _n_examples(check, subject, search.example_seconds),
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
        late = now - search.started > SEARCH_SECONDS and search.tried >= FEWEST_FITS
        if search.broken_at is None and late and not search.patient:
            raise _Enough
        if search.broken_at is not None and now - search.broken_at > SHRINK_SECONDS:
            raise _Enough
        _try(check, subject, example, search)

    try_one()


def _n_examples(check: Check, subject: Subject, example_seconds: float) -> int:
    """How many examples to try: fewer where each fits a model that takes its time."""
    if not check.fits:
        return check.examples
    try:
        with time_limit(example_seconds):
            subject.fitted()
    except OutOfTime:
        return FEWEST_FITS
    except KeyboardInterrupt:
        raise
    except BaseException:  # the first example will tell what
        return FEWEST_FITS
    return min(check.examples, max(FEWEST_FITS, int(FITTING_SECONDS / max(subject.fit_seconds, 1e-9))))


def _try(check: Check, subject: Subject, example: Mapping[str, Any], search: _Search) -> None:
    search.tried += 1
    try:
        with time_limit(search.example_seconds):
            search.effect = check(subject, **example)
    except NotApplicableError as reason:
        if search.broken_at is None:
            search.not_applicable = str(reason)
            raise _Enough from reason
    except OutOfTime as error:  # a smaller example would take as long to be sure of
        search.smallest, search.out_of_time = (example, error), True
        search.tried_until_broken = search.tried_until_broken or search.tried
        raise _Enough from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
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


def run_checks(
    subject: Subject,
    checks: Sequence[Check],
    *,
    search_seed: int = 0,
    example_seconds: float = EXAMPLE_SECONDS,
    tell: Callable[[int, Outcome], None] = lambda done, outcome: None,
) -> Report:
    """Try some checks, one after the other; after one that ran out of time, the others are skipped.

    Args:
        subject: the recommender.
        checks: what to try.
        search_seed, example_seconds: see `run_check`.
        tell: called as `tell(done, outcome)` after each.
    """
    started = perf_counter()
    outcomes: list[Outcome] = []
    hung = ""
    for check in checks:
        if hung:
            outcome = _outcome(check, "skipped", perf_counter(), f"not tried, as {hung} ran out of time")
        else:
            outcome = run_check(check, subject, search_seed=search_seed, example_seconds=example_seconds)
            hung = check.name if outcome.out_of_time else ""
        outcomes.append(outcome)
        tell(len(outcomes), outcome)
    return Report(subject.name, subject.config, tuple(outcomes), perf_counter() - started, search_seed)
