"""The checks as tests of pytest, one for each recommender and law."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from recommenders.conformance.checks import CHECKS
from recommenders.conformance.kit import as_subject
from recommenders.conformance.laws import Check
from recommenders.conformance.running import run_check
from recommenders.conformance.subject import Subject

if TYPE_CHECKING:
    import pytest


def parametrize_with_checks(
    recommenders: Iterable[str | type[Any] | Subject], checks: Iterable[Check] = tuple(CHECKS.values()), seed: int = 0
) -> pytest.MarkDecorator:
    """Give a test the argument `conformance`, once for each recommender and check; calling it tries the check.

    Checks that do not apply are skipped. A known failure is a strict `xfail`: it is reported once the law holds.
    Nothing is fitted while tests are collected, and the checks of a recommender share what it has fitted.

        @parametrize_with_checks(["popularity", Subject("my_package:Mine", {"dim": 8})])
        def test_conformance(conformance):
            conformance()

    Args:
        recommenders: names, classes, or subjects where there are settings or known failures.
        checks: which ones.
        seed: which examples are tried.

    Raises:
        RecommenderError: a recommender cannot be found or built.
        pydantic.ValidationError: its settings are wrong.
    """
    import pytest

    checks = tuple(checks)
    return pytest.mark.parametrize(
        "conformance",
        [
            pytest.param(_trial(check, subject, seed), id=_test_id(check, subject), marks=_marks(check, subject))
            for subject in map(as_subject, recommenders)
            for check in checks
        ],
    )


def _test_id(check: Check, subject: Subject) -> str:
    settings = ",".join(f"{name}={value}" for name, value in subject.config.items())
    return f"{subject.name}({settings})-{check.name}" if settings else f"{subject.name}-{check.name}"


def _marks(check: Check, subject: Subject) -> list[pytest.MarkDecorator]:
    import pytest

    if reason := check.does_not_apply(subject):
        return [pytest.mark.skip(reason=reason)]
    if check.name in subject.known_failures:
        known = subject.known_failures[check.name]
        return [pytest.mark.xfail(strict=True, reason=known, raises=pytest.fail.Exception)]
    return []


def _trial(check: Check, subject: Subject, seed: int) -> Callable[[], None]:
    """A test that fails where the law is broken, known or not: pytest knows what was expected."""

    def conformance() -> None:
        import pytest

        outcome = run_check(check, subject, search_seed=seed)
        if outcome.status == "skipped":
            pytest.skip(outcome.message)
        if outcome.code:
            pytest.fail(outcome.explanation, pytrace=False)

    return conformance
