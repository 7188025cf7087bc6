"""What shared training does to a split, and training itself to every interval: counted over `learning_replicates`.

The truth is the global effect: what the treatment changes where it serves everybody, against a world where the control
does, among all replicates' users together. It is an average over trainings, too, as each replicate trains anew.

    bias       mean of the estimates less the truth
    training   the part of a split's bias that comes from what its models have learnt from: mean of its estimates less
               those of the same halves, had their models been trained in the arms' own worlds
    coverage   share of the intervals that hold the truth
    spread     standard deviation of the estimates over replicates, as a multiple of the one that intervals claim

Errors of biases are those of differences within replicates, whose luck in users the truth shares. Nothing is judged:
every interval is of the effect given the trained models and given who else taught them, so a bias, or a spread above 1,
is what there is to find out and no fault of the arithmetic.

Sources: Morris, White & Crowther 2019, Statistics in Medicine (bias, coverage, empirical against claimed errors, and
the Monte Carlo errors of these); Tukey 1958, Annals of Mathematical Statistics (jackknife).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite, nan, sqrt

import numpy as np
from scipy import stats

from recommenders.base import Float64
from simulator.experiment.calibration import COVERAGE, MONTE_CARLO_CONFIDENCE, Rate, Series, effect_of_sums
from simulator.experiment.learning_replicates import APART, OWN, POOLED, LearningReplicate


@dataclass(frozen=True)
class Bias:
    """A design's estimates of an effect against the truth; all errors are Monte Carlo standard errors.

    Attributes:
        design, metric, estimand: of what.
        level: the control's, alone in the world, among all replicates' users together.
        truth, truth_error: the global effect.
        mean, mean_error: of the estimates.
        bias, bias_error: the mean less the truth.
        training, training_error: the part of it that what the models have learnt from makes; NaN but for mixed worlds.
        deviation: standard deviation of the estimates over replicates.
        claimed: the one that intervals claim: root of the mean square of their half widths, in normal quantiles.
        spread, spread_low, spread_high: deviation / claimed, with limits at 95%, as for normal estimates; NaN where
            nothing is claimed.
    """

    design: str
    metric: str
    estimand: str
    level: float
    truth: float
    truth_error: float
    mean: float
    mean_error: float
    bias: float
    bias_error: float
    training: float
    training_error: float
    deviation: float
    claimed: float
    spread: float
    spread_low: float
    spread_high: float


@dataclass(frozen=True)
class Interference:
    """What a validation of arms that learn found.

    Attributes:
        replicates, users, confidence: how many, of how many users each, at which level.
        impressions: simulated.
        coverage: of every design, metric and estimand; none is judged.
        biases: likewise.
        checks, failures: none, as nothing is judged.
    """

    replicates: int
    users: int
    confidence: float
    impressions: int
    coverage: tuple[Rate, ...]
    biases: tuple[Bias, ...]
    checks: int = 0
    failures: int = 0


def count_interference(replicates: Sequence[LearningReplicate], *, users: int, confidence: float) -> Interference:
    """Count everything.

    Args:
        replicates: at least 2, all with the same readings in the same order.
        users: of each.
        confidence: of their intervals, in (0, 1).

    Raises:
        ValueError: fewer than 2 replicates.
    """
    if len(replicates) < 2:
        raise ValueError(f"replicates: got {len(replicates)}, expected at least 2")
    series = [Series.of(column) for column in zip(*(r.readings for r in replicates), strict=True)]
    sums = {metric: np.array([r.sums[metric] for r in replicates]) for metric in replicates[0].sums}
    apart = {_what(s): s.value for s in series if s.first.design == APART}
    coverage, biases = [], []
    for s in series:
        truth = Truth.of(sums[s.first.metric], s.first.estimand)
        coverage.append(_coverage(s, truth.value, confidence))
        biases.append(_bias(s, truth, apart[_what(s)], confidence))
    impressions = sum(r.impressions for r in replicates)
    return Interference(len(replicates), users, confidence, impressions, tuple(coverage), tuple(biases))


@dataclass(frozen=True, eq=False)
class Truth:
    """The global effect, and how it came about.

    Attributes:
        level: the control's, among all users together.
        value: the effect among them.
        share: float64[n_replicates], what each replicate says of it: pseudo-values of the jackknife, whose mean is the
            value but for a term of order 1 / n.
    """

    level: float
    value: float
    share: Float64

    @staticmethod
    def of(sums: Float64, estimand: str) -> Truth:
        """From float64[n_replicates, 4], as for `effect_of_sums`."""
        n, total = len(sums), sums.sum(axis=0)
        value = effect_of_sums(total, estimand)
        without = np.array([effect_of_sums(total - own, estimand) for own in sums])
        return Truth(float(total[0] / total[1]), value, n * value - (n - 1) * without)


def _what(s: Series) -> tuple[str, str]:
    return s.first.metric, s.first.estimand


def _coverage(s: Series, truth: float, confidence: float) -> Rate:
    found = s.rate(COVERAGE, lambda s: (s.low <= truth) & (truth <= s.high), confidence, confidence)
    return replace(found, p_value=nan)


def _bias(s: Series, truth: Truth, apart: Float64, confidence: float) -> Bias:
    mean, mean_error = _mean_and_error(s.value)
    _, truth_error = _mean_and_error(truth.share)
    _, bias_error = _mean_and_error(s.value - truth.share)
    training = _mean_and_error(s.value - apart) if s.first.design in (POOLED, OWN) else (nan, nan)
    half = (s.high - s.low)[np.isfinite(s.low)] / 2
    quantile = float(stats.norm.ppf((1 + confidence) / 2))
    claimed = sqrt(float((half**2).mean())) / quantile if len(half) else nan
    return Bias(
        s.first.design, s.first.metric, s.first.estimand, truth.level, truth.value, truth_error, mean, mean_error,
        mean - truth.value, bias_error, *training, s.deviation(), claimed,
        *_spread(s.deviation(), claimed, int(np.isfinite(s.value).sum())),
    )  # fmt: skip


def _mean_and_error(values: Float64) -> tuple[float, float]:
    """Of the values that there are, with the standard error of their mean."""
    there = values[np.isfinite(values)]
    if len(there) < 2:
        return nan, nan
    return float(there.mean()), float(there.std(ddof=1)) / sqrt(len(there))


def _spread(deviation: float, claimed: float, n: int) -> tuple[float, float, float]:
    """Observed over claimed standard deviation, and its limits by chi-square."""
    if not (isfinite(deviation) and claimed > 0):
        return nan, nan, nan
    ratio = deviation / claimed
    tails = np.asarray(stats.chi2.ppf([(1 + MONTE_CARLO_CONFIDENCE) / 2, (1 - MONTE_CARLO_CONFIDENCE) / 2], n - 1))
    low, high = ratio * np.sqrt((n - 1) / tails)
    return ratio, float(low), float(high)
