"""Thresholds: conditions on the estimates of a run, such as `responsiveness.creator[ntr].high <= -0.3`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

from simulator.scenario.faults import one_of

Estimand = Literal["responsiveness", "lift", "level"]
Bound = Literal["value", "low", "high"]
Operator = Literal["<=", "<", ">=", ">"]

SIMILARITIES = ("topic", "creator", "embedding", "rest_of_topic", "liked_topics", "kept")
_ESTIMANDS = ("responsiveness", "lift", "level")
_CONDITION = re.compile(
    r"\s*(?P<estimand>[a-z_]+)\.(?P<subject>[a-z0-9_]+)\[(?P<arm>[a-z][a-z0-9_]*)\](?:\.(?P<bound>low|high))?"
    r"\s*(?P<operator><=|<|>=|>)\s*(?P<value>[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,3})?)\s*"
)
_GRAMMAR = (
    "responsiveness.topic[ARM], responsiveness.creator[ARM], lift.METRIC[ARM] or level.METRIC[ARM], with .low or .high "
    "for a limit of the interval, then <=, <, >= or > and a number"
)


@dataclass(frozen=True)
class Threshold:
    """A condition on one estimate.

    Attributes:
        estimand: `responsiveness` (R of the counterfactual), `lift` (relative difference from the control) or `level`
            (mean in an arm).
        subject: what the next slate shares with item k, for responsiveness; else a metric.
        arm: whose estimate.
        bound: the point estimate (`value`), or the `low` or `high` limit of its interval.
        operator: how the estimate must compare with `value`.
        value: the number it is compared with.
        text: the condition as written.
    """

    estimand: Estimand
    subject: str
    arm: str
    bound: Bound
    operator: Operator
    value: float
    text: str


def parse_threshold(text: str) -> Threshold:
    """Read a condition.

    Raises:
        ValueError: not a condition; the message says what was expected.

    >>> parse_threshold("lift.dislike_rate[ntr].high < 0").bound
    'high'
    """
    parts = _CONDITION.fullmatch(text) if len(text) <= 300 else None
    if parts is None:
        raise ValueError(_GRAMMAR)
    estimand, subject = parts["estimand"], parts["subject"]
    if estimand not in _ESTIMANDS:
        raise ValueError(f"a condition that starts with {one_of(_ESTIMANDS, estimand)}")
    if estimand == "responsiveness" and subject not in SIMILARITIES:
        raise ValueError(f"responsiveness of {one_of(SIMILARITIES, subject)}")
    return Threshold(
        estimand=cast(Estimand, estimand),
        subject=subject,
        arm=parts["arm"],
        bound=cast(Bound, parts["bound"] or "value"),
        operator=cast(Operator, parts["operator"]),
        value=float(parts["value"]),
        text=text.strip(),
    )
