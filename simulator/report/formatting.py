"""Numbers as people read them: percents with sign and interval, levels by unit, simulated time."""

from __future__ import annotations

import math
from collections.abc import Callable

from simulator.experiment.results import Estimate

_TICKS_PER_DAY = 86_400_000


def is_clear(estimate: Estimate) -> bool:
    """Whether the paired interval lies on one side of zero; False where it is missing."""
    return estimate.low > 0 or estimate.high < 0


def has_interval(estimate: Estimate) -> bool:
    """Whether the paired interval has both its limits."""
    return math.isfinite(estimate.low) and math.isfinite(estimate.high)


def is_exact_zero(estimate: Estimate) -> bool:
    """Whether the estimate and both limits are exactly zero: nothing changed for anyone."""
    return estimate.value == 0 and estimate.low == 0 and estimate.high == 0


def missing(estimate: Estimate) -> str:
    """What to print in place of a number, or of an interval, that cannot be had."""
    return estimate.note or ("no interval" if math.isfinite(estimate.value) else "not measured")


def percent(estimate: Estimate) -> str:
    """A relative change with its paired interval, or with the note that stands in the interval's place.

    >>> percent(Estimate(-0.613, -0.63, -0.595))
    '-61.3% [-63.0, -59.5]'
    >>> percent(Estimate(-1.0, float("nan"), float("nan"), note="too few users"))
    '-100.0% (too few users)'
    >>> percent(Estimate(float("nan"), float("nan"), float("nan"), note="no dislikes in the control"))
    'no dislikes in the control'
    """
    if not math.isfinite(estimate.value):
        return missing(estimate)
    decimals = _decimals(estimate, 100, least=1, most=4)
    value = signed(100 * estimate.value, decimals)
    return f"{value}% {_interval(estimate, 0, 100, decimals, signed)}"


def percent_value(estimate: Estimate) -> str:
    """The relative change alone, to the precision that `percent` prints."""
    if not math.isfinite(estimate.value):
        return missing(estimate)
    return f"{signed(100 * estimate.value, _decimals(estimate, 100, least=1, most=4))}%"


def percent_interval(low: float, high: float) -> str:
    """Limits of a relative change without the value, such as `[-63.0, -59.5]%`; a dash where they are missing."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "–"
    decimals = _decimals(Estimate(low, low, high), 100, least=1, most=4)
    return f"[{signed(100 * low, decimals)}, {signed(100 * high, decimals)}]%"


def percent_half_width(estimate: Estimate) -> str:
    """A relative change and half the width of its interval, for narrow tables; a star where it is clear of zero.

    A dash stands for a width that is missing.

    >>> percent_half_width(Estimate(-0.125, -0.151, -0.099))
    '-12.5% ± 2.6*'
    """
    if not math.isfinite(estimate.value):
        return "–"
    decimals = _decimals(estimate, 100, least=1, most=3)
    half = 50 * (estimate.high - estimate.low)
    width = f"{half:.{decimals}f}" if math.isfinite(half) else "–"
    return f"{signed(100 * estimate.value, decimals)}% ± {width}{'*' if is_clear(estimate) else ''}"


def ratio(change: Estimate) -> str:
    """A relative change as a ratio, 1 + change, with its interval.

    >>> ratio(Estimate(-0.64, -0.66, -0.62))
    '0.36 [0.34, 0.38]'
    """
    if not math.isfinite(change.value):
        return missing(change)
    decimals = _decimals(change, 1, least=2, most=4)
    return f"{1 + change.value:.{decimals}f} {_interval(change, 1, 1, decimals, _fixed)}"


def level(estimate: Estimate, unit: str) -> str:
    """A metric's level with its interval, in its unit (`share`, `seconds`, `count` or `score`).

    >>> level(Estimate(0.0341, 0.033, 0.0352), "share")
    '3.41% [3.30, 3.52]'
    """
    if not math.isfinite(estimate.value):
        return missing(estimate)
    scale, mark = _UNITS.get(unit, (1.0, ""))
    decimals = _level_decimals(estimate, scale)
    value = f"{scale * estimate.value:,.{decimals}f}{mark}"
    return f"{value} {_interval(estimate, 0, scale, decimals, _fixed)}"


def level_value(value: float, unit: str) -> str:
    """A level without interval, to three significant digits.

    >>> level_value(1234.5, "seconds"), level_value(0.0341, "share")
    ('1,234 s', '3.41%')
    """
    if not math.isfinite(value):
        return "–"
    scale, mark = _UNITS.get(unit, (1.0, ""))
    return f"{scale * value:,.{_significant_decimals(scale * value, 3)}f}{mark}"


def number(value: float, digits: int = 4) -> str:
    """A plain number to some significant digits, without exponent where it is readable so.

    >>> number(-0.61287), number(2000.0)
    ('-0.6129', '2000')
    """
    return f"{value:.{digits}g}" if math.isfinite(value) else "not measured"


def times(factor: float) -> str:
    """How many times, to two significant digits: `×12`, `×3.4`."""
    return f"×{factor:,.{_significant_decimals(factor, 2)}f}"


def clock(tick: int) -> str:
    """Simulated time.

    >>> clock(8 * 86_400_000 + 3_723_000)
    'day 8, 01:02:03'
    """
    day, rest = divmod(tick, _TICKS_PER_DAY)
    seconds = rest // 1000
    return f"day {day}, {seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def wall(seconds: float) -> str:
    """Wall-clock time: `0.42 s`, `75.3 s`, `12 min 5 s`."""
    if not math.isfinite(seconds):
        return "not measured"
    if seconds < 120:
        return f"{seconds:.{2 if seconds < 10 else 1}f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def signed(value: float, decimals: int) -> str:
    """A number with its sign, zero without one.

    >>> signed(2.345, 1), signed(-0.01, 1)
    ('+2.3', '0.0')
    """
    text = f"{value:+,.{decimals}f}"
    return text.lstrip("+-") if float(text.replace(",", "")) == 0 else text


_UNITS = {"share": (100.0, "%"), "seconds": (1.0, " s")}


def _fixed(value: float, decimals: int) -> str:
    text = f"{value:,.{decimals}f}"
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text


def _interval(estimate: Estimate, shift: float, scale: float, decimals: int, write: Callable[[float, int], str]) -> str:
    if not has_interval(estimate):
        return f"({missing(estimate)})"
    low, high = (write(shift + scale * limit, decimals) for limit in (estimate.low, estimate.high))
    return f"[{low}, {high}]"


def _decimals(estimate: Estimate, scale: float, least: int, most: int) -> int:
    """Decimals that show a significant digit of the interval's width, and that a limit clear of zero is not zero."""
    width = scale * (estimate.high - estimate.low)
    if not (math.isfinite(width) and width > 0):
        return least
    decimals = min(max(-math.floor(math.log10(width)), least), most)
    nearest = scale * min(abs(estimate.low), abs(estimate.high))
    while is_clear(estimate) and decimals < most and round(nearest, decimals) == 0:
        decimals += 1
    return decimals


def _level_decimals(estimate: Estimate, scale: float) -> int:
    width = scale * (estimate.high - estimate.low)
    if not (math.isfinite(width) and width > 0):
        return _significant_decimals(scale * estimate.value, 3)
    return min(max(1 - math.floor(math.log10(width)), 0), 5)


def _significant_decimals(value: float, digits: int) -> int:
    if value == 0:
        return 0
    return min(max(digits - 1 - math.floor(math.log10(abs(value))), 0), 6)
