"""Guardrails: metrics that a treatment need not improve, but must not harm by more than a margin.

A difference that is not significant shows no absence of harm. The question is put the other way round: is the whole
interval on the good side of the largest loss that would be borne?
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, isnan
from typing import Literal

from simulator.experiment.results import Estimate

Judgement = Literal["holds", "broken", "open"]

_DIRECTION = {"lower": 1.0, "higher": -1.0}
"""Sign of a lift that is a loss."""


@dataclass(frozen=True)
class Guardrail:
    """Whether a metric is safe from a loss beyond the margin.

    Attributes:
        verdict: `holds` where the whole interval lies on the good side of the margin, `broken` where all of it lies
            on the bad side, else `open`.
        margin: the relative loss that would be borne, above 0.
        reason: why it is open; empty otherwise.
    """

    verdict: Judgement
    margin: float
    reason: str = ""


def non_inferiority(lift: Estimate, *, margin: float, better: str) -> Guardrail:
    """Judge a lift against the largest loss that would be borne.

    `holds` is a one-sided test at (1 - confidence) / 2: with an interval at 95% a treatment that truly loses just the
    margin passes in 2.5% of experiments.

    Args:
        lift: relative difference to the control, with its interval.
        margin: relative loss, above 0; 0.02 bears a metric 2% worse than the control's.
        better: which way the metric is good, `lower` or `higher`.

    Raises:
        ValueError: the margin is not a number above 0, or `better` is neither `lower` nor `higher`: a metric with no
            good side cannot be a guardrail.

    Source: Piaggio et al. 2012, JAMA (non-inferiority by the interval).

    >>> non_inferiority(Estimate(0.001, -0.01, 0.012), margin=0.02, better="higher").verdict
    'holds'
    """
    if not (isfinite(margin) and margin > 0):
        raise ValueError(f"margin: got {margin}, expected a relative loss above 0, such as 0.02")
    if better not in _DIRECTION:
        raise ValueError(f"better: got {better!r}, expected 'lower' or 'higher': a guardrail needs a good side")
    if isnan(lift.low) or isnan(lift.high):
        return Guardrail("open", margin, lift.note or "no interval")
    losses = sorted((_DIRECTION[better] * lift.low, _DIRECTION[better] * lift.high))
    if losses[1] < margin:
        return Guardrail("holds", margin)
    if losses[0] > margin:
        return Guardrail("broken", margin)
    return Guardrail("open", margin, "the interval reaches both sides of the margin")
