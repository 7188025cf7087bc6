"""All checks by name, in the order of a report."""

from __future__ import annotations

from collections.abc import Mapping

from recommenders.conformance import behaviour_checks, serving_checks
from recommenders.conformance.laws import Check

CHECKS: Mapping[str, Check] = {
    check.name: check
    for module in (serving_checks, behaviour_checks)
    for check in vars(module).values()
    if isinstance(check, Check)
}


def __getattr__(name: str) -> Check:
    """A check as an attribute, as printed examples name it."""
    if name in CHECKS:
        return CHECKS[name]
    raise AttributeError(f"module {__name__!r} has no check {name!r}")
