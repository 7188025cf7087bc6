"""Asking a metric for its parts, and trusting none that breaks the contract: a fault must not become a number."""

from __future__ import annotations

import re
from numbers import Real

import numpy as np

from recommenders.plugins import blaming
from simulator.experiment.estimators import PerUser
from simulator.experiment.metrics.base import LogView, Metric, MetricError, Tally, WorldMetric
from simulator.experiment.results import MetricInfo
from simulator.scenario.settings import MAX_NAME_LENGTH, NAME_PATTERN

UNITS = ("share", "seconds", "count", "score")
BETTER = ("lower", "higher", "neither")


def measure(metric: Metric, view: LogView) -> PerUser:
    """A metric's parts in one window.

    Raises:
        MetricError: it failed, or its parts are not finite float64[n_users] with denominators of 0 or more.
    """
    name = metric.info.name
    with blaming(f"metric {name}: compute", MetricError):
        found: object = metric.compute(view)
    if not isinstance(found, PerUser):
        raise MetricError(f"metric {name}: compute: got {_described(found)}, expected PerUser")
    for part in ("numerator", "denominator"):
        _check_part(name, part, getattr(found, part), view.n_users)
    negative = np.flatnonzero(found.denominator < 0)
    if len(negative):
        user = negative[0]
        got = f"{found.denominator[user]:g} for user {user}"
        raise MetricError(f"metric {name}: denominator: got {got}, expected 0 or more for every user")
    if not isinstance(found.empty_note, str):
        raise MetricError(f"metric {name}: empty_note: got {_described(found.empty_note)}, expected text")
    return found


def measure_world(metric: WorldMetric, view: LogView) -> float:
    """A metric's one number in one window; NaN where it cannot be had.

    Raises:
        MetricError: it failed, or gave something else.
    """
    with blaming(f"metric {metric.info.name}: compute", MetricError):
        found: object = metric.compute(view)
    return _checked_number(metric.info.name, found)


def measure_tally(metric: WorldMetric, view: LogView) -> Tally:
    """What a metric of the world counts of some users, for `conclude_tally`.

    Raises:
        MetricError: it has no tally, failed, or gave something else than finite float64[m].
    """
    name = metric.info.name
    if metric.tally is None:
        raise MetricError(f"metric {name}: tally: got none, expected one where logs are streamed; see docs/metrics.md")
    with blaming(f"metric {name}: tally", MetricError):
        found: object = metric.tally(view)
    if not isinstance(found, np.ndarray) or found.dtype != np.float64 or found.ndim != 1:
        raise MetricError(f"metric {name}: tally: got {_described(found)}, expected float64[m]")
    if not np.isfinite(found).all():
        raise MetricError(f"metric {name}: tally: got numbers that are not finite, expected counts that add up")
    return found


def conclude_tally(metric: WorldMetric, tally: Tally, view: LogView) -> float:
    """A metric's one number, from what it counted of all users; NaN where it cannot be had.

    Args:
        metric: it has a tally.
        tally: summed over users.
        view: its items and window.

    Raises:
        MetricError: it failed, or gave something else.
    """
    name = metric.info.name
    if metric.conclude is None:
        raise MetricError(f"metric {name}: conclude: got none, expected one beside the tally")
    with blaming(f"metric {name}: conclude", MetricError):
        found: object = metric.conclude(tally, view)
    return _checked_number(name, found)


def _checked_number(name: str, found: object) -> float:
    if not isinstance(found, Real) or isinstance(found, bool) or np.isinf(float(found)):
        got = _described(found)
        raise MetricError(f"metric {name}: compute: got {got}, expected a finite number, or NaN where there is none")
    return float(found)


def check_info(info: MetricInfo, where: str) -> None:
    """Check what a plug-in says about itself.

    Args:
        info: of a metric.
        where: how the scenario names the metric, for errors.

    Raises:
        MetricError: a part of it is not as `MetricInfo` says.
    """
    if not isinstance(info, MetricInfo):
        raise MetricError(f"metric {where!r}: info: got {_described(info)}, expected MetricInfo")
    rules = (
        ("name", _is_name(info.name), f"at most {MAX_NAME_LENGTH} small letters, digits and _, a letter first"),
        ("label", _is_text(info.label), "a few words"),
        ("definition", _is_text(info.definition), "a sentence that says numerator and denominator"),
        ("unit", info.unit in UNITS, f"one of {', '.join(UNITS)}"),
        ("better", info.better in BETTER, f"one of {', '.join(BETTER)}"),
    )
    for part, holds, expected in rules:
        if not holds:
            raise MetricError(f"metric {where!r}: info.{part}: got {getattr(info, part)!r}, expected {expected}")


def _check_part(name: str, part: str, value: object, n_users: int) -> None:
    expected = f"float64[{n_users}], one number a user"
    if not isinstance(value, np.ndarray):
        raise MetricError(f"metric {name}: {part}: got {_described(value)}, expected {expected}")
    if value.dtype != np.float64 or value.shape != (n_users,):
        shape = ", ".join(str(n) for n in value.shape)
        raise MetricError(f"metric {name}: {part}: got {value.dtype}[{shape}], expected {expected}")
    wrong = np.flatnonzero(~np.isfinite(value))
    if len(wrong):
        got = f"{value[wrong[0]]} for user {wrong[0]}"
        raise MetricError(f"metric {name}: {part}: got {got}, expected finite numbers (0 / 0 for no occasion)")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_NAME_LENGTH and re.fullmatch(NAME_PATTERN, value) is not None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _described(value: object) -> str:
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    return type(value).__name__
