"""Spans of simulated time as people write them: `15m`, `1h 30m`, `30d`."""

from __future__ import annotations

import re
from math import ceil

_TICKS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_WHOLE = re.compile(r"\s*(\d+(\.\d+)?(ms|s|m|h|d|w)\s*)+")
TICKS_PER_DAY = _TICKS["d"]
PLAIN_LONG_DWELL = 1.5
"""Dwell of a counterfactual's long dwell, as a multiple of what a long dwell must have."""
MAX_TICKS = 100 * 365 * TICKS_PER_DAY


def parse_duration(text: object) -> int:
    """Ticks (milliseconds) of a duration.

    Raises:
        ValueError: not a duration, or longer than 100 years.

    >>> parse_duration("1h 30m")
    5400000
    """
    expected = "expected a duration such as 15m, 1h 30m or 30d"
    if not isinstance(text, str) or len(text) > 100 or not _WHOLE.fullmatch(text):
        raise ValueError(expected)
    ticks = sum(float(number) * _TICKS[unit] for number, unit in _PART.findall(text))
    if ticks > MAX_TICKS:
        raise ValueError(f"{expected}, of at most 100 years")
    return round(ticks)


def longest_plain_request_ticks(long_dwell_seconds: float, overhead_seconds: float) -> int:
    """Ticks that the longest dwell of a counterfactual's plain behaviour takes: half as long again as a long dwell."""
    return ceil((PLAIN_LONG_DWELL * long_dwell_seconds + overhead_seconds) * _TICKS["s"])


def format_duration(ticks: int) -> str:
    """The shortest exact text of a duration: `parse_duration` of it gives `ticks` back.

    >>> format_duration(5_400_000)
    '1h 30m'
    """
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, ticks = divmod(ticks, _TICKS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0s"
