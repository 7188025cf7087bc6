"""Narrower intervals for arms of different users, from what was known of the users before the test.

`compare_cuped` takes out what a covariate from the time before explains, `compare_stratified` what strata explain. Both
leave the estimand of `compare_independent` as it is, since randomisation makes the arms alike before the test, and
both are wrong with anything that the treatment could have changed: covariates and strata must be from before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recommenders.base import Float64, Int32, Int64
from simulator.experiment.estimators import (
    DifferenceAndLift,
    PerUser,
    compare_independent,
    measured_effect,
    no_effect,
    values_alone,
)
from simulator.experiment.linearised import (
    Linearised,
    Measured,
    independent,
    linearise,
    moved_by,
    problem,
    relative,
    sparse,
)

FEWEST_IN_STRATUM = 2
"""Users of each arm that a stratum needs to have a variance."""


def compare_cuped(
    treatment: PerUser,
    control: PerUser,
    treatment_before: PerUser,
    control_before: PerUser,
    confidence: float,
) -> DifferenceAndLift:
    """The effect between arms of different users, less the chance difference that the time before predicts.

    With y the linearised metric, x the linearised covariate, and theta the slope of y on x within arms, the same in
    both, the difference is mean(y - theta x) of the treatment less that of the control. Where all denominators are 1
    this is the least-squares coefficient of the treatment beside the covariate (analysis of covariance).

    Args:
        treatment, control: the metric's parts in the test; the arms may differ in size.
        treatment_before, control_before: the covariate's parts, row by row of the same users; most often the same
            metric in the time before. A user without occasion then (0 / 0) counts as average.
        confidence: level of the intervals, in (0, 1).

    Returns:
        As `compare_independent`, and equal to it where the covariate does not vary or nobody had occasion before. All
        NaN, with a note, also where a value of the covariate is not finite. Variances are inflated by
        (n - 2) / (n - 3), for the degree of freedom that theta takes; with fewer than four users an arm that is not
        enough (95% intervals of normal means cover in 85% with two an arm, 92% with three, 94% with four to thirty).

    Raises:
        ValueError: an arm has another number of users before than in the test.

    Source: Deng, Xu, Kohavi & Walker 2013, WSDM; for ratios Deng, Knoblich & Lu 2018, KDD. Ours: theta from within
    arms, so that a large effect does not bend it, and the lift's share of theta (see `_cuped_lift`).
    """
    _check_rows("treatment_before", len(treatment_before.numerator), treatment)
    _check_rows("control_before", len(control_before.numerator), control)
    plain = compare_independent(treatment, control, confidence)
    if problem(treatment, control):
        return plain
    n_treated, n = len(treatment.numerator), plain.difference.n
    before = _covariate(treatment_before, control_before)
    if not np.isfinite(before).all():
        return no_effect("a value of the time before is not finite", n)
    x = _Covariate(before[:n_treated], before[n_treated:])
    new, old = linearise(treatment), linearise(control)
    if x.varies() == 0:
        return plain
    theta = x.slope(new.deviation, old.deviation)
    effect = measured_effect(_cuped_difference(new, old, x, theta), _cuped_lift(new, old, x, theta), confidence, n)
    too_few = sparse(treatment, control)
    return values_alone(effect, too_few) if too_few else effect


@dataclass(frozen=True, eq=False)
class _Covariate:
    """Linearised values of the time before, of both arms."""

    treatment: Float64
    control: Float64

    def centred(self) -> tuple[Float64, Float64]:
        return self.treatment - self.treatment.mean(), self.control - self.control.mean()

    def varies(self) -> float:
        """Sum of squares within arms; 0 also where it is nothing but rounding."""
        both = np.concatenate([self.treatment, self.control])
        within = float(sum(part @ part for part in self.centred()))
        return within if within > 1e-20 * float(both @ both) else 0.0

    def slope(self, new: Float64, old: Float64) -> float:
        treatment, control = self.centred()
        return float(treatment @ new + control @ old) / self.varies()

    def gap(self) -> float:
        """By how much the arms differed by chance."""
        return float(self.treatment.mean() - self.control.mean())


def _covariate(treatment: PerUser, control: PerUser) -> Float64:
    """Linearised around the level of both arms, who were one population before; 0 where nobody had occasion."""
    both = PerUser(
        np.concatenate([treatment.numerator, control.numerator]),
        np.concatenate([treatment.denominator, control.denominator]),
    )
    if both.denominator.sum() == 0:
        return np.zeros(len(both.numerator))
    return linearise(both).deviation


def _cuped_difference(new: Linearised, old: Linearised, x: _Covariate, theta: float) -> Measured:
    treatment, control = x.centred()
    value = new.level - old.level - theta * x.gap()
    return _for_theta(independent(value, new.deviation - theta * treatment, old.deviation - theta * control), x)


def _cuped_lift(new: Linearised, old: Linearised, x: _Covariate, theta: float) -> Measured | None:
    """Both levels are moved to the covariate's mean over all users, to which user i contributes as well.

    With w the treatment's share of users the levels are new - theta (1 - w) gap and old + theta w gap, so that the gap
    moves their ratio r by -theta (1 - w + r w) / old: theta itself only where there is no lift.
    """
    w = len(x.treatment) / (len(x.treatment) + len(x.control))
    new = Linearised(new.level - theta * (1 - w) * x.gap(), new.deviation)
    old = Linearised(old.level + theta * w * x.gap(), old.deviation)
    if old.level <= 0:
        return None
    r = relative(new, old)
    slope = theta * (1 - w + (1 + r.lift) * w) / old.level
    treatment, control = x.centred()
    return _for_theta(independent(r.lift, r.new - slope * treatment, r.old - slope * control), x)


def _for_theta(measured: Measured, x: _Covariate) -> Measured:
    n = len(x.treatment) + len(x.control)
    return Measured(measured.value, measured.variance * (n - 2) / (n - 3), measured.degrees)


def compare_stratified(
    treatment: PerUser,
    control: PerUser,
    treatment_stratum: Int32,
    control_stratum: Int32,
    confidence: float,
) -> DifferenceAndLift:
    """The effect between arms of different users, as if both had the same share of users in each stratum.

    Post-stratification: numerators and denominators are averaged within strata, and the averages weighted with the
    stratum's share of both arms' users together.

    Strata with fewer than two users of an arm are merged into one. If that is still too small, it joins the smallest
    of the others (the first by number among equals), so that only an arm of fewer than two users has no estimate.

    Args:
        treatment, control: the metric's parts; the arms may differ in size.
        treatment_stratum, control_stratum: int32, each user's stratum, known before the test.
        confidence: level of the intervals, in (0, 1).

    Returns:
        As `compare_independent`, to which it is equal, but for rounding, with a single stratum. The variance has a part
        for the users within strata, given how many of each arm are in each, and one for the shares, which counts where
        strata differ in their effect; the degrees of freedom are Satterthwaite's. The lift is missing where the
        control's weighted level is not above 0.

    Raises:
        ValueError: an arm has another number of strata than of users.

    Source: Holt & Smith 1979, Journal of the Royal Statistical Society A; Miratrix, Sekhon & Yu 2013, Journal of the
    Royal Statistical Society B (experiments); Cochran 1977, Sampling Techniques, sections 6.11 (combined ratio) and
    12.2 (estimated shares).
    """
    _check_rows("treatment_stratum", len(treatment_stratum), treatment)
    _check_rows("control_stratum", len(control_stratum), control)
    n_treated, n = len(treatment.numerator), len(treatment.numerator) + len(control.numerator)
    unknown = problem(treatment, control)
    if unknown:
        return no_effect(unknown, n)
    cell = _merged(treatment_stratum, control_stratum)
    share = np.bincount(cell) / n
    new, old = _Stratified(treatment, cell[:n_treated], share), _Stratified(control, cell[n_treated:], share)
    unknown = next((arm.per_user.empty_note for arm in (new, old) if arm.denominator() == 0), "")
    if unknown:
        return no_effect(unknown, n)
    effect = measured_effect(_stratified_difference(new, old), _stratified_lift(new, old), confidence, n)
    too_few = sparse(treatment, control)
    return values_alone(effect, too_few) if too_few else effect


@dataclass(frozen=True, eq=False)
class _Stratified:
    """One arm: its users' strata, counted from 0, and each stratum's share of both arms."""

    per_user: PerUser
    cell: Int64
    share: Float64

    def size(self) -> Int64:
        return np.bincount(self.cell, minlength=len(self.share))

    def mean(self, values: Float64) -> Float64:
        """float64[n_strata]."""
        return np.bincount(self.cell, values, len(self.share)) / self.size()

    def denominator(self) -> float:
        return float(self.share @ self.mean(self.per_user.denominator))

    def level(self) -> float:
        return float(self.share @ self.mean(self.per_user.numerator)) / self.denominator()

    def residual(self) -> Float64:
        """float64[n_users]: numerators less what the weighted level foresees; their weighted mean is 0."""
        return self.per_user.numerator - self.level() * self.per_user.denominator

    def moved(self) -> Float64:
        """float64[n_strata]: by how much the level would move, to first order, were there more of the stratum."""
        return self.mean(self.residual()) / self.denominator()

    def denominator_without(self) -> Float64:
        """float64[n_users]: the weighted denominator, had each user been missing from the stratum."""
        total, size = np.bincount(self.cell, self.per_user.denominator, len(self.share)), self.size()
        other_strata = self.denominator() - self.share * (total / size)
        rest = total[self.cell] - self.per_user.denominator
        return other_strata[self.cell] + (self.share / (size - 1))[self.cell] * rest

    def variance(self) -> Float64:
        """float64[n_strata]: what users inside each stratum add to the jackknife variance of the level."""
        residual = self.residual()
        moved = moved_by(residual - self.mean(residual)[self.cell], self.denominator_without())
        return self.share**2 * self.mean((moved - self.mean(moved)[self.cell]) ** 2) / (self.size() - 1)


def _stratified_difference(new: _Stratified, old: _Stratified) -> Measured:
    return _satterthwaite(new.level() - old.level(), new, old, 1.0, 1.0)


def _stratified_lift(new: _Stratified, old: _Stratified) -> Measured | None:
    base = old.level()
    if base <= 0:
        return None
    ratio = new.level() / base
    return _satterthwaite((new.level() - base) / base, new, old, 1 / base, ratio / base)


def _satterthwaite(value: float, new: _Stratified, old: _Stratified, new_factor: float, old_factor: float) -> Measured:
    """An estimate that the level of each arm moves by its factor.

    The shares are a sample's, too: where strata differ in their effect another sample's would give another estimate.
    """
    n = len(new.cell) + len(old.cell)
    by_stratum = new_factor * new.moved() - old_factor * old.moved()
    of_shares = float(new.share @ by_stratum**2) / n
    variance = np.concatenate([new_factor**2 * new.variance(), old_factor**2 * old.variance(), [of_shares]])
    degrees = np.concatenate([new.size(), old.size(), [n]]) - 1
    total = float(variance.sum())
    if total == 0:
        return Measured(value, 0.0, float(degrees.sum()))
    share = variance / total
    return Measured(value, total, 1 / float(np.sum(share**2 / degrees)))


def _merged(treatment_stratum: Int32, control_stratum: Int32) -> Int64:
    """Strata of both arms' users, treatment first, counted from 0, each with enough users of both arms."""
    cell = np.unique(np.concatenate([treatment_stratum, control_stratum]), return_inverse=True)[1].astype(np.int64)
    n_treated, n_cells = len(treatment_stratum), int(cell.max()) + 1
    fewest = np.minimum(
        np.bincount(cell[:n_treated], minlength=n_cells), np.bincount(cell[n_treated:], minlength=n_cells)
    )
    small = fewest < FEWEST_IN_STRATUM
    if not small.any():
        return cell
    rest = small[cell]
    if not small.all() and min(rest[:n_treated].sum(), rest[n_treated:].sum()) < FEWEST_IN_STRATUM:
        size = np.where(small, len(cell) + 1, np.bincount(cell))
        rest |= cell == size.argmin()
    return np.unique(np.where(rest, -1, cell), return_inverse=True)[1].astype(np.int64)


def _check_rows(name: str, got: int, arm: PerUser) -> None:
    expected = len(arm.numerator)
    if got != expected:
        raise ValueError(f"{name}: got {got} users, expected {expected} as in the arm itself")
