"""Intervals that may be watched day by day: confidence sequences, which hold at all looks together.

An interval at 95% that is looked at each day, until it leaves out 0, leaves out a true 0 far more often than in 5% of
tests. A confidence sequence covers the truth at *every* look with chance 95%, so a test may be stopped, or prolonged,
whenever its numbers suggest it.

Let S be the estimate times the mean denominator: a mean over users of their linearised contributions since the start of
the test, to which each day adds. (For the lift the denominator is that times the control's level.) Let V be the
estimated variance of S. Then, with alpha = 1 - confidence,

    |S| <= sqrt((V + rho) log((V + rho) / (rho alpha^2)))        at all looks, with chance 1 - alpha,

for a Brownian motion with clock V (Robbins's normal mixture), whatever the days of the looks and however V grows. Each
S is a mean over many users, so by the central limit theorem the looks are jointly normal: that is the asymptotics here,
in users and not in days, and what makes the sequence approximate where users are few.

`rho` decides where the boundary is tightest and must not depend on later looks. It is fixed at the first look with an
interval: if that is look k then V is foreseen to be V_k n_looks / k at the last, and rho minimises the boundary there.
With V_k a property of the metric but for sampling noise, fixing rho by it costs nothing where users are many. More
looks than planned, or fewer, keep the level.

Correlated days. Users have habits, so the contributions of a user's days are positively correlated and S is no Brownian
motion. With correlation Cov(S_s, S_t) >= Var(S_s) = V_s for looks s < t, while the Brownian motion that has the same
variances has Cov = V_s. By Slepian's inequality, of two normal vectors with equal variances the one with the larger
covariances is the less likely to cross any upper boundary: neighbouring looks resemble each other, which leaves fewer
independent chances to cross. The same holds below, so the chance to cross either is at most twice the one-sided chance
of Brownian motion: alpha, plus the chance that a Brownian motion crosses both boundaries in turn, which is negligible.
The clock runs on V itself, so correlation needs no model. Where days are *negatively* correlated (use today replaces
use tomorrow) the argument fails and the level is not guaranteed.

Sources: Robbins 1970, Annals of Mathematical Statistics (normal mixture); Howard, Ramdas, McAuliffe & Sekhon 2021,
Annals of Statistics (boundary and choice of rho); Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024, Annals of
Statistics (asymptotic confidence sequences); Slepian 1962, Bell System Technical Journal. Ours: looks at one set of
users, on the clock of the variance of their cumulative contributions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
from scipy import special

from simulator.experiment.estimators import DifferenceAndLift, independent_lift, no_effect, values_alone
from simulator.experiment.linearised import (
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
)
from simulator.experiment.results import Estimate


def mixture_boundary(variance: float, rho: float, alpha: float) -> float:
    """What |S| exceeds at any time with chance alpha at most, on a clock that shows `variance`.

    Args:
        variance: of S, >= 0.
        rho: above 0, in units of the variance.
        alpha: in (0, 1).

    Source: Howard et al. 2021 (two-sided normal mixture).
    """
    return sqrt((variance + rho) * log((variance + rho) / (rho * alpha**2)))


def best_rho(variance: float, alpha: float) -> float:
    """The rho whose boundary is lowest at `variance`.

    With u = 1 + variance / rho the minimum is where u - log u = 1 - 2 log alpha, so u = -W(-alpha^2 / e), W being the
    lower branch of Lambert's function.

    Source: Howard et al. 2021 (tuning of the normal mixture).

    >>> round(best_rho(1.0, 0.05), 3)
    0.122
    """
    u = -float(special.lambertw(-(alpha**2) / np.e, -1).real)
    return variance / (u - 1)


def confidence_sequence_paired(
    treatment: Sequence[PerUser], control: Sequence[PerUser], confidence: float, *, n_looks: int
) -> tuple[DifferenceAndLift, ...]:
    """The effect at each look of a test in which the same users live in both arms.

    Args:
        treatment, control: for each look, the metric's parts per user from the start of the test up to the look; row i
            is the same user in all.
        confidence: chance that all intervals of the difference cover together, in (0, 1); likewise those of the lift.
        n_looks: planned number of looks, about equally far apart; the intervals are tightest near the last.

    Returns:
        For each look the values of `compare`, with limits that may be watched and a p-value that is valid at any look:
        the level at which the boundary would just be touched. Unpaired limits are NaN. What is missing, and why, is as
        in `compare`.

    Raises:
        ValueError: no looks, arms or looks that do not match, or settings outside their range.
    """
    _check(treatment, control, confidence, n_looks)
    for new, old in zip(treatment, control, strict=True):
        check_same_users(new, old)
    looks = [_paired_look(new, old) for new, old in zip(treatment, control, strict=True)]
    return _sequence(looks, 1 - confidence, n_looks)


def confidence_sequence_independent(
    treatment: Sequence[PerUser], control: Sequence[PerUser], confidence: float, *, n_looks: int
) -> tuple[DifferenceAndLift, ...]:
    """The effect at each look of a test whose arms have users of their own.

    Args:
        treatment, control: for each look, the metric's parts per user from the start of the test up to the look; row i
            of an arm is the same user at all looks. Users who come later have zeros until then.
        confidence, n_looks: as in `confidence_sequence_paired`.

    Returns:
        As `confidence_sequence_paired`, with the values and notes of `compare_independent`.

    Raises:
        ValueError: no looks, arms or looks that do not match, or settings outside their range.
    """
    _check(treatment, control, confidence, n_looks)
    looks = [_independent_look(new, old) for new, old in zip(treatment, control, strict=True)]
    return _sequence(looks, 1 - confidence, n_looks)


@dataclass(frozen=True)
class _Look:
    """One look.

    Attributes:
        n: users behind it.
        unknown: why there is no effect; empty if there is one.
        too_few: why there are no limits; empty if there are.
        difference, lift: the estimates; their variances are not those of S yet.
        scale, lift_scale: S is the estimate times this.
    """

    n: int
    unknown: str = ""
    too_few: str = ""
    difference: Measured | None = None
    lift: Measured | None = None
    scale: float = 1.0
    lift_scale: float = 1.0


def _paired_look(treatment: PerUser, control: PerUser) -> _Look:
    n = len(control.numerator)
    unknown = problem(treatment, control)
    if unknown:
        return _Look(n, unknown)
    new, old = linearise(treatment), linearise(control)
    difference = paired(new.level - old.level, new.deviation, old.deviation)
    too_few = "" if equal(treatment, control) else sparse(treatment, control)
    scale = _scale(treatment, control)
    return _Look(n, "", too_few, difference, _paired_lift(new, old), scale, scale * old.level)


def _paired_lift(new: Linearised, old: Linearised) -> Measured | None:
    if old.level <= 0:
        return None
    r = relative(new, old)
    return paired(r.lift, r.new, r.old)


def _independent_look(treatment: PerUser, control: PerUser) -> _Look:
    n = len(treatment.numerator) + len(control.numerator)
    unknown = problem(treatment, control)
    if unknown:
        return _Look(n, unknown)
    new, old = linearise(treatment), linearise(control)
    difference = independent(new.level - old.level, new.deviation, old.deviation)
    scale = _scale(treatment, control)
    too_few = sparse(treatment, control)
    return _Look(n, "", too_few, difference, independent_lift(new, old), scale, scale * old.level)


def _scale(treatment: PerUser, control: PerUser) -> float:
    """What makes a ratio additive over days; without it a rate's variance falls as days pass, and V runs backwards."""
    return float(treatment.denominator.mean() + control.denominator.mean()) / 2


def _sequence(looks: Sequence[_Look], alpha: float, n_looks: int) -> tuple[DifferenceAndLift, ...]:
    clock, lift_clock = _Clock(alpha, n_looks), _Clock(alpha, n_looks)
    effects = []
    for number, look in enumerate(looks, 1):
        if look.unknown or look.difference is None:
            effects.append(no_effect(look.unknown, look.n))
            continue
        if not look.too_few:
            clock = clock.started(look.difference, look.scale, number)
            lift_clock = lift_clock.started(look.lift, look.lift_scale, number)
        lift = missing(NO_LIFT, look.n)
        if look.lift is not None:
            lift = lift_clock.estimate(look.lift, look.lift_scale, look.n)
        difference = clock.estimate(look.difference, look.scale, look.n)
        effect = DifferenceAndLift(difference, lift, clock.p_value(look.difference, look.scale))
        effects.append(values_alone(effect, look.too_few) if look.too_few else effect)
    return tuple(effects)


@dataclass(frozen=True)
class _Clock:
    """The boundary of one estimand; `rho` is 0 until the first look with a variance."""

    alpha: float
    n_looks: int
    rho: float = 0.0

    def started(self, measured: Measured | None, scale: float, number: int) -> _Clock:
        """The same clock, with rho fixed if it was not and can be."""
        if self.rho or measured is None:
            return self
        foreseen = scale**2 * measured.variance * self.n_looks / number
        return _Clock(self.alpha, self.n_looks, best_rho(foreseen, self.alpha))

    def estimate(self, measured: Measured, scale: float, n: int) -> Estimate:
        variance = scale**2 * measured.variance
        half = mixture_boundary(variance, self.rho, self.alpha) / scale if variance and self.rho else 0.0
        return Estimate(measured.value, measured.value - half, measured.value + half, n=n)

    def p_value(self, measured: Measured, scale: float) -> float:
        variance = scale**2 * measured.variance
        if not (variance and self.rho):
            return float(measured.value == 0)
        clock = variance + self.rho
        return min(1.0, sqrt(clock / self.rho) * exp(-((scale * measured.value) ** 2) / (2 * clock)))


def _check(treatment: Sequence[PerUser], control: Sequence[PerUser], confidence: float, n_looks: int) -> None:
    if not control:
        raise ValueError("control: got no looks, expected at least 1")
    if len(treatment) != len(control):
        raise ValueError(f"treatment: got {len(treatment)} looks, expected {len(control)} as in the control")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: got {confidence}, expected a number in (0, 1)")
    if n_looks < 1:
        raise ValueError(f"n_looks: got {n_looks}, expected at least 1")
    for name, arm in (("treatment", treatment), ("control", control)):
        for number, look in enumerate(arm, 1):
            got, expected = len(look.numerator), len(arm[0].numerator)
            if got != expected:
                raise ValueError(f"{name}: got {got} users at look {number}, expected {expected} as at the first")
