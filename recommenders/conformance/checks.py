"""All checks by name, in the order of a report."""

from __future__ import annotations

from collections.abc import Mapping

from recommenders.conformance import (
    behaviour_checks,
    call_order,
    cost_checks,
    fitting_checks,
    propensity_checks,
    serving_checks,
    state_checks,
)
from recommenders.conformance.laws import Check

_MODULES = (serving_checks, propensity_checks, fitting_checks, state_checks, call_order, cost_checks, behaviour_checks)

CHECKS: Mapping[str, Check] = {
    check.name: check for module in _MODULES for check in vars(module).values() if isinstance(check, Check)
}


def __getattr__(name: str) -> Check:
    """A check as an attribute, as printed examples name it."""
    if name in CHECKS:
        return CHECKS[name]
    raise AttributeError(f"module {__name__!r} has no check {name!r}")
