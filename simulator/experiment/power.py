"""Planning: how many users a test needs, or what it can see, from the interval of a pilot run.

The half width of the pilot's interval, over Student's t quantile, is its standard error; times the root of its users,
the standard deviation per user. N users then detect a relative effect e with the asked-for power where

    e = (t(1 - alpha / 2) + t(power)) * deviation per user / sqrt(N),

the t quantiles at the degrees of freedom of the planned test: the normal approximation, corrected for few users.

Sources: Guenther 1981, The American Statistician (t correction of the normal approximation); Deng et al. 2018, KDD
(relative effects).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite, isnan, nan, sqrt

from scipy import stats

from simulator.experiment.results import Estimate

MOST_USERS = 2**50
"""No plan goes further: more users than any platform has, and still exact as a float."""

_ALREADY_SPLIT = "the pilot's users lived in one arm each: it does not tell what pairing gains"


@dataclass(frozen=True)
class Planned:
    """A planned number, or why there is none.

    Attributes:
        value: whole number of users, or relative effect above 0; NaN where it cannot be planned.
        note: why it is NaN; empty otherwise.
    """

    value: float
    note: str = ""


@dataclass(frozen=True)
class _Test:
    """The planned test: standard deviation such that its error is deviation / sqrt(users), and its quantiles."""

    deviation: float
    arms_apart: bool
    power: float
    confidence: float

    def fewest(self) -> int:
        """Users without whom there is no variance."""
        return 4 if self.arms_apart else 2

    def detectable(self, users: int) -> float:
        degrees = users - (2 if self.arms_apart else 1)
        quantiles = stats.t.ppf((1 + self.confidence) / 2, degrees) + stats.t.ppf(self.power, degrees)
        return float(quantiles) * self.deviation / sqrt(users)

    def power_at(self, users: int, effect: float) -> float:
        degrees = users - (2 if self.arms_apart else 1)
        quantile = effect * sqrt(users) / self.deviation - stats.t.ppf((1 + self.confidence) / 2, degrees)
        return float(stats.t.cdf(quantile, degrees))


def needed_users(
    lift: Estimate,
    *,
    effect: float,
    power: float,
    confidence: float,
    paired: bool,
    pilot_confidence: float | None = None,
) -> Planned:
    """Users who detect a true relative effect with the given power, in a two-sided test.

    Args:
        lift: of a pilot run: by `compare`, which plans both designs, or by `compare_independent` with arms of about
            one size, which plans the split only.
        effect: true lift to detect, other than 0; its sign does not matter.
        power: chance to detect it, in [0.5, 1).
        confidence: of the planned test, in (0, 1).
        paired: count users who live in every arm; otherwise users split evenly at random, of both arms together.
        pilot_confidence: level of the pilot's interval; `confidence` if not given.

    Returns:
        The smallest number of users, even for a split. It rises with power and confidence and falls with the size of
        the effect. NaN, with a note, where the pilot has no interval or one without width, or where more than
        `MOST_USERS` would be needed.

    Raises:
        ValueError: a setting is outside its range.
    """
    if not (isfinite(effect) and effect != 0):
        raise ValueError(f"effect: got {effect}, expected a relative effect other than 0")
    test = _planned_test(lift, power, confidence, paired, pilot_confidence)
    if isinstance(test, str):
        return Planned(nan, test)
    step = 2 if test.arms_apart else 1
    low, high = test.fewest() - step, test.fewest()  # in the end too few, and enough
    while test.detectable(high) > abs(effect):
        low, high = high, 2 * high
        if high > MOST_USERS:
            return Planned(nan, f"more than {MOST_USERS:.0e} users would be needed")
    while high - low > step:
        middle = low + (high - low) // (2 * step) * step
        low, high = (low, middle) if test.detectable(middle) <= abs(effect) else (middle, high)
    return Planned(high)


def detectable_effect(
    lift: Estimate,
    *,
    users: int,
    power: float,
    confidence: float,
    paired: bool,
    pilot_confidence: float | None = None,
) -> Planned:
    """The smallest true relative effect that so many users detect with the given power.

    Args:
        lift, power, confidence, paired, pilot_confidence: as in `needed_users`.
        users: who live in every arm if paired, at least 2; else of both arms together, at least 4.

    Returns:
        A relative effect above 0; NaN, with a note, as in `needed_users`.

    Raises:
        ValueError: a setting is outside its range.
    """
    fewest = 2 if paired else 4
    if users < fewest:
        raise ValueError(f"users: got {users}, expected at least {fewest}")
    test = _planned_test(lift, power, confidence, paired, pilot_confidence)
    return Planned(nan, test) if isinstance(test, str) else Planned(test.detectable(users))


def foreseen_power(lift: Estimate, *, effect: float, users: int, confidence: float, paired: bool) -> Planned:
    """The chance that so many users detect a true relative effect: `detectable_effect` the other way round.

    Args:
        lift: of a pilot run at the same confidence, as in `needed_users`.
        effect: true lift; its sign does not matter.
        users: as in `detectable_effect`.
        confidence: of the planned test, in (0, 1).
        paired: as in `needed_users`.

    Returns:
        A share; an effect of 0 has (1 - confidence) / 2, as a finding of the wrong sign counts for nothing. NaN, with a
        note, as in `needed_users`.

    Raises:
        ValueError: a setting is outside its range.
    """
    if not isfinite(effect):
        raise ValueError(f"effect: got {effect}, expected a relative effect")
    fewest = 2 if paired else 4
    if users < fewest:
        raise ValueError(f"users: got {users}, expected at least {fewest}")
    test = _planned_test(lift, 0.5, confidence, paired, None)
    return Planned(nan, test) if isinstance(test, str) else Planned(test.power_at(users, abs(effect)))


def variance_reduction(lift: Estimate) -> float:
    """How many times fewer users the paired design needs than a random split of the same precision.

    2 (unpaired width / paired width)^2: the square for the variance, the 2 because each paired user lives in both arms
    while a split gives each arm half its users. It counts users to find, not lives to simulate, of which a pair is two.

    Returns:
        At least 0, and 2 without any correlation between a user's arms; inf where pairing is exact. NaN where a width
        is missing or both are 0.
    """
    paired, unpaired = lift.high - lift.low, lift.unpaired_high - lift.unpaired_low
    if isnan(paired) or isnan(unpaired) or (paired == unpaired == 0):
        return nan
    return 2 * (unpaired / paired) ** 2 if paired else inf


def _planned_test(
    lift: Estimate, power: float, confidence: float, paired: bool, pilot_confidence: float | None
) -> _Test | str:
    """The test, or why it cannot be planned."""
    pilot = confidence if pilot_confidence is None else pilot_confidence
    for name, level in (("confidence", confidence), ("pilot_confidence", pilot)):
        if not 0 < level < 1:
            raise ValueError(f"{name}: got {level}, expected a number in (0, 1)")
    if not 0.5 <= power < 1:
        raise ValueError(f"power: got {power}, expected at least 0.5 and below 1")
    deviation = _paired_deviation(lift, pilot) if paired else _split_deviation(lift, pilot)
    if isinstance(deviation, str):
        return deviation
    if isnan(deviation):
        return lift.note or "the pilot has no interval"
    if deviation == 0:
        return "the pilot's interval has no width: it does not tell how users differ"
    return _Test(deviation, not paired, power, confidence)


def _paired_deviation(lift: Estimate, confidence: float) -> float | str:
    if isnan(lift.unpaired_low) and not isnan(lift.low):
        return _ALREADY_SPLIT
    return _error(lift.low, lift.high, lift.n - 1, confidence) * sqrt(lift.n)


def _split_deviation(lift: Estimate, confidence: float) -> float:
    """Of both arms together. The degrees are Welch's for arms of equal variance and size."""
    if isnan(lift.unpaired_low):
        return _error(lift.low, lift.high, lift.n - 2, confidence) * sqrt(lift.n)
    return _error(lift.unpaired_low, lift.unpaired_high, 2 * lift.n - 2, confidence) * sqrt(2 * lift.n)


def _error(low: float, high: float, degrees: float, confidence: float) -> float:
    return (high - low) / 2 / float(stats.t.ppf((1 + confidence) / 2, degrees))
