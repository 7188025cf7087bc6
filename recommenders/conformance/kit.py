"""The kit in one call, for notebooks and scripts, and the choice of checks that all ways in share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from recommenders.base import RecommenderError
from recommenders.conformance.checks import CHECKS
from recommenders.conformance.laws import Check, Kind
from recommenders.conformance.report import Report
from recommenders.conformance.running import run_checks
from recommenders.conformance.subject import Subject


def check_recommender(
    source: str | type[Any] | Subject,
    config: Mapping[str, Any] | None = None,
    *,
    only: str | Sequence[str] = (),
    skip: str | Sequence[str] = (),
    kind: Kind | None = None,
    seed: int = 0,
    known_failures: Mapping[str, str] | None = None,
) -> Report:
    """Try the laws on a recommender.

    Args:
        source: a name as in a scenario (`popularity`, `module:Class`), a class, or a subject.
        config: its settings.
        only, skip, kind: see `choose_checks`.
        seed: which examples are tried.
        known_failures: name of a check -> why it fails.

    Raises:
        RecommenderError: it cannot be found or built, or no check is chosen.
        pydantic.ValidationError: the settings are wrong.

    >>> check_recommender("popularity", only="unfitted").passed
    True
    """
    subject = as_subject(source, config, known_failures)
    return run_checks(subject, choose_checks(only=only, skip=skip, kind=kind), search_seed=seed)


def as_subject(
    source: str | type[Any] | Subject,
    config: Mapping[str, Any] | None = None,
    known_failures: Mapping[str, str] | None = None,
) -> Subject:
    """The subject of a name or a class; a subject stays what it is.

    Raises:
        RecommenderError: it cannot be found or built, or is something else.
        pydantic.ValidationError: the settings are wrong.
    """
    if isinstance(source, Subject):
        if config or known_failures:
            raise RecommenderError("got settings or known failures beside a Subject, expected them within it")
        return source
    if not (isinstance(source, str) or inspect.isclass(source)):
        raise RecommenderError(f"got an instance of {type(source).__name__}, expected a name, a class or a Subject")
    unknown = sorted(set(known_failures or {}) - set(CHECKS))
    if unknown:
        raise RecommenderError(f"known_failures: got {unknown[0]!r}, expected the name of a check")
    return Subject(source, config, known_failures=known_failures)


def choose_checks(
    *, only: str | Sequence[str] = (), skip: str | Sequence[str] = (), kind: Kind | None = None
) -> list[Check]:
    """Some of all checks, in the order of a report.

    Args:
        only: parts of names, with the wildcards of a shell; a check is chosen if one fits. Without any, all are.
        skip: the same for checks that are left out.
        kind: the part of the contract; None for all.

    Raises:
        RecommenderError: a pattern fits no check at all, or nothing is left.
    """
    wanted, unwanted = _fitting("only", only), _fitting("skip", skip)
    chosen = [
        check
        for check in CHECKS.values()
        if (not only or wanted(check)) and not unwanted(check) and kind in {None, check.kind}
    ]
    if not chosen:
        raise RecommenderError("no check is chosen: all that fit are skipped, or are of another kind")
    return chosen


def _fitting(option: str, patterns: str | Sequence[str]) -> Callable[[Check], bool]:
    """Whether a check fits one of the patterns."""
    patterns = [patterns] if isinstance(patterns, str) else patterns
    for pattern in patterns:
        if not any(fnmatchcase(name, f"*{pattern}*") for name in CHECKS):
            raise RecommenderError(f"{option}: got {pattern!r}, expected part of the name of a check")
    return lambda check: any(fnmatchcase(check.name, f"*{pattern}*") for pattern in patterns)
