"""The conformance kit: what every recommender must keep, as named checks that anyone can run against their own.

Needs hypothesis (`pip install 'pushback[testing]'`).
"""

from recommenders.conformance import checks
from recommenders.conformance.checks import CHECKS
from recommenders.conformance.laws import Check, Effect
from recommenders.conformance.planted import Planted
from recommenders.conformance.running import Outcome, Report, run_check, run_checks
from recommenders.conformance.subject import Fitted, Subject, Violation
from recommenders.conformance.worlds import Ask, Catalogue, Log

__all__ = [
    "CHECKS",
    "Ask",
    "Catalogue",
    "Check",
    "Effect",
    "Fitted",
    "Log",
    "Outcome",
    "Planted",
    "Report",
    "Subject",
    "Violation",
    "checks",
    "run_check",
    "run_checks",
]
