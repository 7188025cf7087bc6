"""The conformance kit: what every recommender must keep, as named checks that anyone can run against their own.

Three ways in: `pushback check RECOMMENDER`, `parametrize_with_checks` for pytest, `check_recommender` for notebooks.
Needs hypothesis (`pip install 'pushback[testing]'`).
"""

from recommenders.conformance import checks
from recommenders.conformance.checks import CHECKS
from recommenders.conformance.kit import check_recommender, choose_checks
from recommenders.conformance.laws import Check, Effect
from recommenders.conformance.parametrize import parametrize_with_checks
from recommenders.conformance.planted import Planted
from recommenders.conformance.report import Outcome, Report
from recommenders.conformance.running import run_check, run_checks
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
    "check_recommender",
    "checks",
    "choose_checks",
    "parametrize_with_checks",
    "run_check",
    "run_checks",
]
