"""Whether the statistics keep what they promise, counted over replicates: shares with their Monte Carlo error.

Each question is a family of shares, one for each design, estimator and metric. A share is in order if the true share
behind it may lie in an allowed range: it fails where an exact binomial test of that range rejects after Holm's
correction over the family, at `LEVEL`. A sound library therefore fails a question in at most 1 of 100 validations,
however many shares the question has.

    false positives   A/A: the interval leaves out 0, or p < alpha (where p is not dual to it)   exactly alpha
    coverage          planted effect: the interval holds the truth                               confidence +- 2 points
    power             planted effect: the interval leaves out 0, on the side of the truth        foreseen +- 5 points
    watching          A/A: a daily look ever leaves out 0                                        at most alpha

Not judged, but counted: the coverage of a switchback. What one arm leaves behind for the next biases it, and that is no
fault of its interval; nor is its power foreseen, whose plans are in users and not in blocks.

Sources: Morris, White & Crowther 2019, Statistics in Medicine (simulation studies, Monte Carlo errors); Kohavi, Tang &
Xu 2020, Trustworthy Online Controlled Experiments, chapter 19 (A/A tests); Clopper & Pearson 1934, Biometrika; Holm
1979, Scandinavian Journal of Statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import isfinite, nan, sqrt

import numpy as np
from scipy import stats

from recommenders.base import Bool, Float64
from simulator.experiment.multiplicity import holm
from simulator.experiment.power import foreseen_power
from simulator.experiment.replicates import NULL, PLANTED, SWITCHBACK, Reading, Replicate
from simulator.experiment.results import Estimate

LEVEL = 0.01
"""Chance that a question fails although all of its shares are in order."""
MONTE_CARLO_CONFIDENCE = 0.95
COVERAGE_MARGIN = 0.02
POWER_MARGIN = 0.05
FALSE_POSITIVES, COVERAGE, POWER, WATCHING = "false positives", "coverage", "power", "watching"
FIXED = "one look"
"""The estimator that is watched although it must not be; not judged."""


@dataclass(frozen=True)
class Rate:
    """How often something happened.

    Attributes:
        question: one of the four.
        design, estimator, metric: of what.
        statement: `difference`, `lift` or `p-value`: what was looked at.
        hits, n: replicates where it happened, of those that have an interval (or a p-value).
        share, low, high: with the Clopper-Pearson limits at 95%; NaN without replicates.
        allowed_low, allowed_high: the range in which the true share should lie.
        p_value: of the hypothesis that it does, adjusted over the question; NaN where the share is not judged.
    """

    question: str
    design: str
    estimator: str
    metric: str
    statement: str
    hits: int
    n: int
    share: float
    low: float
    high: float
    allowed_low: float
    allowed_high: float
    p_value: float = nan

    @property
    def judged(self) -> bool:
        """Whether it has a verdict."""
        return isfinite(self.p_value)

    @property
    def passed(self) -> bool:
        """Whether it is in order, or not judged."""
        return not self.judged or self.p_value >= LEVEL


@dataclass(frozen=True)
class Accuracy:
    """An estimator's values against the truth of the planted effect.

    Attributes:
        design, estimator, metric, estimand: of what.
        truth: the effect among all replicates' users together, as the paired design sees it.
        truth_error: its Monte Carlo standard error.
        mean, mean_error: of the estimates over replicates, with its Monte Carlo standard error.
        deviation: standard deviation of the estimates over replicates.
        half_width: mean of half the intervals.
    """

    design: str
    estimator: str
    metric: str
    estimand: str
    truth: float
    truth_error: float
    mean: float
    mean_error: float
    deviation: float
    half_width: float


@dataclass(frozen=True)
class Reduction:
    """How many times fewer users the paired design needs than a split, for a metric's lift.

    Attributes:
        metric: its name.
        observed: variance of the split's estimates over that of the paired ones, with as many users.
        low, high: at 95%, as for independent normal estimates, which is wide for these.
        foreseen: what the paired tests say on average (`variance_reduction`).
        p_value: that the two are the same, adjusted over metrics.
    """

    metric: str
    observed: float
    low: float
    high: float
    foreseen: float
    p_value: float

    @property
    def passed(self) -> bool:
        """Whether foreseen and observed agree."""
        return not self.p_value < LEVEL


@dataclass(frozen=True)
class Calibration:
    """What a validation found.

    Attributes:
        replicates, users, confidence: how many, of how many users each, at which level.
        impressions: simulated.
        rates: by question.
        accuracies, reductions: likewise.
    """

    replicates: int
    users: int
    confidence: float
    impressions: int
    rates: tuple[Rate, ...]
    accuracies: tuple[Accuracy, ...]
    reductions: tuple[Reduction, ...]

    @property
    def checks(self) -> int:
        """How many verdicts there are."""
        return sum(r.judged for r in self.rates) + sum(isfinite(r.p_value) for r in self.reductions)

    @property
    def failures(self) -> int:
        """How many of them fail."""
        return sum(not r.passed for r in self.rates) + sum(not r.passed for r in self.reductions)


def calibrate(replicates: Sequence[Replicate], *, users: int, confidence: float) -> Calibration:
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
    null, planted = ([s for s in series if s.first.kind == kind] for kind in (NULL, PLANTED))
    sums = {metric: np.array([r.sums[metric] for r in replicates]).sum(axis=0) for metric in replicates[0].sums}
    truth = {s.key: effect_of_sums(sums[s.first.metric], s.first.estimand) for s in planted}
    errors = {(s.first.metric, s.first.estimand): s.error() for s in planted if s.is_plain_pair()}
    rates = [
        *_judge(_false_positives(null, 1 - confidence)),
        *_judge([_coverage(s, truth[s.key], confidence) for s in planted]),
        *_judge(list(_powers(planted, truth, users, confidence))),
        *_judge(_watching(replicates, 1 - confidence)),
    ]
    accuracies = [_accuracy(s, truth[s.key], errors[s.first.metric, s.first.estimand]) for s in planted]
    return Calibration(
        len(replicates), users, confidence, sum(r.impressions for r in replicates),
        tuple(rates), tuple(accuracies), tuple(_reductions(replicates, planted)),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Series:
    """One reading in every replicate: float64[n_replicates] each."""

    first: Reading
    value: Float64
    low: Float64
    high: Float64
    p_value: Float64

    @staticmethod
    def of(readings: Sequence[Reading]) -> Series:
        """From the same reading of all replicates."""
        names = ("value", "low", "high", "p_value")
        return Series(readings[0], *(np.array([getattr(r, name) for r in readings]) for name in names))

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """Which reading it is."""
        r = self.first
        return r.kind, r.design, r.estimator, r.metric, r.estimand

    def is_plain_pair(self) -> bool:
        """Whether it is the paired design's own estimate."""
        return (self.first.design, self.first.estimator) == ("paired", "t")

    def error(self) -> float:
        """Monte Carlo standard error of the mean."""
        n = int(np.count_nonzero(np.isfinite(self.value)))
        return self.deviation() / sqrt(n) if n else nan

    def deviation(self) -> float:
        """Standard deviation of the values that there are; NaN for fewer than two."""
        there = self.value[np.isfinite(self.value)]
        return float(there.std(ddof=1)) if len(there) > 1 else nan

    def half_width(self) -> float:
        """Mean of half the intervals that there are."""
        return _mean(self.high - self.low) / 2

    def rate(self, question: str, event: Callable[[Series], Bool], low: float, high: float) -> Rate:
        """How often an event of the intervals happened: bool[n_replicates], False where there is no interval."""
        r, n = self.first, int(np.count_nonzero(np.isfinite(self.low)))
        return rate(question, (r.design, r.estimator, r.metric, r.estimand), int(event(self).sum()), n, low, high)


def _mean(values: Float64) -> float:
    """Of the values that there are; NaN without any."""
    there = values[np.isfinite(values)]
    return float(there.mean()) if len(there) else nan


def rate(question: str, what: tuple[str, str, str, str], hits: int, n: int, low: float, high: float) -> Rate:
    """A share with its Monte Carlo limits, and whether it can be of the allowed range; not yet adjusted.

    Args:
        question: the family.
        what: design, estimator, metric, statement.
        hits, n: of how many.
        low, high: the allowed range.
    """
    if n == 0:
        return Rate(question, *what, 0, 0, nan, nan, nan, low, high)
    limits = stats.binomtest(hits, n).proportion_ci(MONTE_CARLO_CONFIDENCE, method="exact")
    p_value = nan if what[1] == FIXED else range_p_value(hits, n, low, high)
    return Rate(question, *what, hits, n, hits / n, float(limits.low), float(limits.high), low, high, p_value)


def range_p_value(hits: int, n: int, low: float, high: float) -> float:
    """Exact two-sided p-value of the hypothesis that a share lies in a range.

    Twice the smaller tail, each at the end of the range that makes it largest; a single point is a range.

    >>> round(range_p_value(9, 100, 0.05, 0.05), 3)
    0.126
    """
    above = float(stats.binom.sf(hits - 1, n, high))
    below = float(stats.binom.cdf(hits, n, low))
    return min(1.0, 2 * min(above, below))


def _judge(rates: Sequence[Rate]) -> list[Rate]:
    adjusted = holm(np.array([r.p_value for r in rates]))
    return [replace(r, p_value=float(p)) for r, p in zip(rates, adjusted, strict=True)]


def _leaves_out_0(s: Series) -> Bool:
    found: Bool = (s.low > 0) | (s.high < 0)
    return found


def _finds_more(s: Series) -> Bool:
    found: Bool = s.low > 0
    return found


def _finds_less(s: Series) -> Bool:
    found: Bool = s.high < 0
    return found


def _false_positives(null: Sequence[Series], alpha: float) -> list[Rate]:
    rates = [s.rate(FALSE_POSITIVES, _leaves_out_0, alpha, alpha) for s in null]
    for s in null:
        if s.first.estimator == "bootstrap" and s.first.estimand == "difference":
            r, n = s.first, int(np.count_nonzero(np.isfinite(s.p_value)))
            what = (r.design, r.estimator, r.metric, "p-value")
            rates.append(rate(FALSE_POSITIVES, what, int((s.p_value < alpha).sum()), n, alpha, alpha))
    return rates


def _coverage(s: Series, truth: float, confidence: float) -> Rate:
    low, high = confidence - COVERAGE_MARGIN, min(1.0, confidence + COVERAGE_MARGIN)
    found = s.rate(COVERAGE, lambda s: (s.low <= truth) & (truth <= s.high), low, high)
    return replace(found, p_value=nan) if s.first.design == SWITCHBACK else found


def _powers(
    planted: Sequence[Series], truth: dict[tuple[str, str, str, str, str], float], users: int, confidence: float
) -> Iterator[Rate]:
    """Of the lift, which is what plans are made for; the bootstrap and the switchback have none."""
    for s in planted:
        if s.first.estimand != "lift" or s.first.estimator == "bootstrap" or s.first.design == SWITCHBACK:
            continue
        effect, half = truth[s.key], s.half_width()
        pilot = Estimate(effect, effect - half, effect + half, effect - half, effect + half, n=users)
        is_paired = s.first.design == "paired"
        if not is_paired:
            pilot = replace(pilot, unpaired_low=nan, unpaired_high=nan)
        foreseen = foreseen_power(pilot, effect=effect, users=users, confidence=confidence, paired=is_paired).value
        low, high = max(0.0, foreseen - POWER_MARGIN), min(1.0, foreseen + POWER_MARGIN)
        yield s.rate(POWER, _finds_more if effect > 0 else _finds_less, low, high)


def _watching(replicates: Sequence[Replicate], alpha: float) -> list[Rate]:
    rates, n = [], len(replicates)
    for column in zip(*(r.watched for r in replicates), strict=True):
        w = column[0]
        what = (w.design, "sequence", w.metric, "difference")
        rates.append(rate(WATCHING, what, sum(c.sequence for c in column), n, 0.0, alpha))
        rates.append(
            rate(WATCHING, (w.design, FIXED, w.metric, "difference"), sum(c.fixed for c in column), n, 0, alpha)
        )
    return rates


def effect_of_sums(sums: Float64, estimand: str) -> float:
    """The effect among all users together: a ratio of sums over so many has no bias left to speak of.

    Args:
        sums: float64[4], numerator and denominator of the control, then of the treatment.
        estimand: `difference` or `lift`.
    """
    old, occasions, new, new_occasions = sums
    difference = new / new_occasions - old / occasions
    return float(difference if estimand == "difference" else difference / (old / occasions))


def _accuracy(s: Series, truth: float, truth_error: float) -> Accuracy:
    r = s.first
    return Accuracy(
        r.design, r.estimator, r.metric, r.estimand, truth, truth_error,
        _mean(s.value), s.error(), s.deviation(), s.half_width(),
    )  # fmt: skip


def _reductions(replicates: Sequence[Replicate], planted: Sequence[Series]) -> Iterator[Reduction]:
    lifts = {
        (s.first.design, s.first.metric): s for s in planted if s.first.estimand == "lift" and s.first.estimator == "t"
    }
    found = []
    for metric in dict.fromkeys(s.first.metric for s in planted):
        pairs, split = lifts["paired", metric].value, lifts["split", metric].value
        keep = np.isfinite(pairs) & np.isfinite(split)
        foreseen = float(np.mean([r.reductions[metric] for r in replicates]))
        found.append(_reduction(metric, split[keep], pairs[keep], foreseen))
    adjusted = holm(np.array([r.p_value for r in found]))
    yield from (replace(r, p_value=float(p)) for r, p in zip(found, adjusted, strict=True))


def _reduction(metric: str, split: Float64, pairs: Float64, foreseen: float) -> Reduction:
    if len(pairs) < 2 or pairs.var() == 0 or not isfinite(foreseen):
        return Reduction(metric, nan, nan, nan, foreseen, nan)
    observed = float(split.var(ddof=1) / pairs.var(ddof=1))
    f = stats.f(len(split) - 1, len(pairs) - 1)
    low, high = observed / f.ppf([(1 + MONTE_CARLO_CONFIDENCE) / 2, (1 - MONTE_CARLO_CONFIDENCE) / 2])
    p_value = 2 * min(float(f.sf(observed / foreseen)), float(f.cdf(observed / foreseen)))
    return Reduction(metric, observed, float(low), float(high), foreseen, min(1.0, p_value))
