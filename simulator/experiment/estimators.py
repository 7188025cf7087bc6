"""Levels, differences, lifts and the responsiveness R: of users who live in both arms, and of different users in each.

Pairing two arms is a matter of subtracting the linearised values of the same user before taking the variance. Intervals
use Student's t with n - 1 degrees of freedom (paired) or Welch's (different users). Where every denominator is 1 the
difference is therefore the paired, or Welch's, t-test exactly, and so is its p-value.

Sources: see `linearised`. Ours: beside the paired interval stands that of an unpaired experiment, taken from the paired
experiment's own values, as if the two arms had been independent samples of the same size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import nan

import numpy as np

from recommenders.base import Float64
from simulator.experiment.linearised import (
    FEWEST_WITH_EVENTS,
    NO_LIFT,
    Linearised,
    Measured,
    PerUser,
    check_same_users,
    equal,
    independent,
    linearise,
    missing,
    paired,
    problem,
    relative,
    sparse,
    variance_of_mean,
    without_limits,
)
from simulator.experiment.results import Estimate

__all__ = [
    "FEWEST_WITH_EVENTS",
    "DifferenceAndLift",
    "PerUser",
    "compare",
    "compare_independent",
    "mean_estimate",
    "missing",
    "ratio_of_means",
]


@dataclass(frozen=True)
class DifferenceAndLift:
    """Treatment against control: absolute and relative to the control.

    Attributes:
        difference, lift: the estimates.
        p_value: two-sided, of no difference, in [0, 1]; dual to the interval of the difference, so below 1 - confidence
            where that leaves out 0. 1 where paired arms are equal row by row; NaN where there is no interval.
    """

    difference: Estimate
    lift: Estimate
    p_value: float = nan


def mean_estimate(per_user: PerUser, confidence: float) -> Estimate:
    """A metric's level in one arm, with its jackknife interval.

    Args:
        per_user: the metric's parts.
        confidence: level of the interval, in (0, 1).

    Returns:
        The ratio of sums; all NaN, with a note, where there are fewer than two users, the denominator is 0 or a value
        is not finite; without limits, with a note, where fewer than `FEWEST_WITH_EVENTS` users have any event. The
        unpaired limits are NaN: nothing is compared.
    """
    n = len(per_user.numerator)
    unknown = problem(per_user)
    if unknown:
        return missing(unknown, n)
    linear = linearise(per_user)
    too_few = sparse(per_user)
    if too_few:
        return Estimate(linear.level, nan, nan, n=n, note=too_few)
    return Measured(linear.level, variance_of_mean(linear.deviation), n - 1).interval(confidence, n)


def compare(treatment: PerUser, control: PerUser, confidence: float) -> DifferenceAndLift:
    """The effect of a treatment on one metric, where the same users lived in both arms.

    The lift's interval is linear in both levels, not in log(treatment / control): it exists where the treatment's level
    is 0, which is the answer hoped for with repeated dislikes, and is the same formula as that of R.

    Args:
        treatment, control: the metric's parts; row i is the same user in both.
        confidence: level of the intervals, in (0, 1).

    Returns:
        Both estimates. Arms equal row by row give exactly 0 with the interval [0, 0]. All NaN, with a note, where
        either arm has no level; the lift also where the control's level is not above 0, since nothing can be a share
        of it. Both have a value but no limits, with a note, where the arms differ and fewer than `FEWEST_WITH_EVENTS`
        users of either have any event.

    Raises:
        ValueError: the arms have different numbers of users.
    """
    check_same_users(treatment, control)
    n = len(control.numerator)
    unknown = problem(treatment, control)
    if unknown:
        return no_effect(unknown, n)
    new, old = linearise(treatment), linearise(control)
    gap = new.level - old.level
    difference = _both_designs(gap, new.deviation, old.deviation, confidence)
    lift = missing(NO_LIFT, n)
    if old.level > 0:
        r = relative(new, old)
        lift = _both_designs(r.lift, r.new, r.old, confidence)
    effect = DifferenceAndLift(difference, lift, paired(gap, new.deviation, old.deviation).p_value())
    too_few = "" if equal(treatment, control) else sparse(treatment, control)
    return values_alone(effect, too_few) if too_few else effect


def compare_independent(treatment: PerUser, control: PerUser, confidence: float) -> DifferenceAndLift:
    """The effect of a treatment on one metric, where each arm had users of its own.

    Args:
        treatment, control: the metric's parts; the arms may differ in size.
        confidence: level of the intervals, in (0, 1).

    Returns:
        Both estimates; `n` counts the users of both arms. The unpaired limits are NaN, for the limits are unpaired
        already. What is missing, and why, is as in `compare`, but that equal arms are no exception: the same numbers
        from different users are not certain to come again.

    Source: Welch 1947, Biometrika; Deng, Knoblich & Lu 2018, KDD.

    >>> few, many = (PerUser(np.array(x), np.ones(len(x))) for x in ([1.0, 2.0, 3.0], [2.0, 4.0, 3.0, 3.0]))
    >>> compare_independent(many, few, 0.95).lift.value
    0.5
    """
    n = len(treatment.numerator) + len(control.numerator)
    unknown = problem(treatment, control)
    if unknown:
        return no_effect(unknown, n)
    new, old = linearise(treatment), linearise(control)
    difference = independent(new.level - old.level, new.deviation, old.deviation)
    effect = measured_effect(difference, independent_lift(new, old), confidence, n)
    too_few = sparse(treatment, control)
    return values_alone(effect, too_few) if too_few else effect


def ratio_of_means(action: Float64, base: Float64, confidence: float) -> Estimate:
    """Responsiveness R = (mean action - mean base) / mean base, over paired runs.

    A ratio of means, since a single run's base may be 0.

    Args:
        action, base: float64[n], similarity of the next slate in each branch; row i is the same run in both.
        confidence: level of the interval, in (0, 1).

    Returns:
        R with paired and unpaired intervals. Equal branches give exactly 0 with the interval [0, 0]. All NaN, with a
        note, with fewer than two runs, a value that is not finite, or a base whose mean is not above 0; a value
        without limits, as in `compare`, with few runs above 0.

    Raises:
        ValueError: the branches have different numbers of runs.

    Source: Wang et al. 2023, RecSys (responsiveness); Deng et al. 2018 (interval of a relative difference).
    """
    return compare(PerUser(action, np.ones(len(action))), PerUser(base, np.ones(len(base))), confidence).lift


def independent_lift(new: Linearised, old: Linearised) -> Measured | None:
    """The lift between arms of different users; None where the control's level is not above 0."""
    if old.level <= 0:
        return None
    r = relative(new, old)
    return independent(r.lift, r.new, r.old)


def measured_effect(difference: Measured, lift: Measured | None, confidence: float, n: int) -> DifferenceAndLift:
    """Both estimates with their t intervals; a lift of None is one over a level not above 0."""
    return DifferenceAndLift(
        difference.interval(confidence, n),
        missing(NO_LIFT, n) if lift is None else lift.interval(confidence, n),
        difference.p_value(),
    )


def no_effect(note: str, n: int) -> DifferenceAndLift:
    """An effect of which nothing can be said, and why."""
    return DifferenceAndLift(missing(note, n), missing(note, n))


def values_alone(effect: DifferenceAndLift, note: str) -> DifferenceAndLift:
    """An effect whose estimates keep their values and have no limits."""
    return DifferenceAndLift(without_limits(effect.difference, note), without_limits(effect.lift, note))


def _both_designs(value: float, new: Float64, old: Float64, confidence: float) -> Estimate:
    """The paired estimate with the limits of both designs."""
    half = independent(value, new, old).half_width(confidence)
    estimate = paired(value, new, old).interval(confidence, len(new))
    return replace(estimate, unpaired_low=value - half, unpaired_high=value + half)
