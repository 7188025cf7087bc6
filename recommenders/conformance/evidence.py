"""Whether a mean lies above a bound, tested with a false-alarm rate that holds exactly, whatever the distribution.

A gambler who stakes a share of the capital on each observation being above the bound cannot expect to win while the
mean is not above it; so a capital of 1 / a or more comes up with chance a at most (Markov's inequality). Nothing is
assumed but independent observations that do not fall below a known value: no normal distribution, no large sample.

Source: Waudby-Smith & Ramdas 2024, JRSS B, "Estimating means of bounded random variables by betting"; the stakes are
ours: the average of a few constant ones, which is again a capital that cannot be expected to grow.
"""

from __future__ import annotations

import numpy as np

from recommenders.base import Float64

STAKES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 0.99)
"""Of the largest stake with which no observation can ruin the gambler."""

FALSE_ALARM = 1e-5
"""Largest chance that a test finds a law broken that holds."""


def log_capital(value: Float64, lowest: float, bound: float) -> float:
    """Logarithm of what a capital of 1 has become by betting that the mean is above the bound.

    Args:
        value: float64[n], independent.
        lowest: no value can be lower; below the bound.
        bound: the mean is not above it, if the law holds.

    >>> round(log_capital(np.full(1000, 0.1), -1.0, 0.0), 1)
    92.9
    """
    stakes = np.array(STAKES)[:, None] / (bound - lowest)
    each = np.log1p(stakes * (value - bound)).sum(1)
    return float(np.logaddexp.reduce(each) - np.log(len(each)))


def exceeds(value: Float64, lowest: float, bound: float, false_alarm: float = FALSE_ALARM) -> bool:
    """Whether the mean is found to be above the bound; if it is not, with chance `false_alarm` at most.

    Args:
        value, lowest, bound: see `log_capital`.
        false_alarm: in (0, 1).

    >>> exceeds(np.zeros(1000), -1.0, 0.0), exceeds(np.full(1000, 0.05), -1.0, 0.0)
    (False, True)
    """
    return bool(log_capital(value, lowest, bound) >= -np.log(false_alarm))
