"""Charts as inline SVG: text that scales, colours from the page's style sheet, hover values in `<title>`.

Every function returns Markup whose text is escaped. A chart is 360 units wide, so that it is readable on a phone
and three stand side by side on a desk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from markupsafe import Markup

from simulator.experiment.results import Estimate

WIDTH = 360
_MARGIN = 8
_ROW = 36
_LINE = 25
_AXIS = 24
_NAME_CHARACTERS = 30
_NOTE_CHARACTERS = 54
_GHOST_REACH = 1.0
"""How far a chart's axis stretches beyond the paired intervals for the unpaired ones, in spans of the former."""
_SERIES_HEIGHT = 132
_SERIES_LEFT = 46
_HOVER_COLUMNS = 10
_DRAWABLE = 1e12
"""Larger numbers are not drawn: their differences are beyond what a chart or a float can tell."""
_LEAST_SPAN = 1e-9
N_LINE_STYLES = 12
"""Line styles of the style sheet, `s0` to `s11`; further arms start over."""


@dataclass(frozen=True)
class IntervalRow:
    """One row of a chart of intervals.

    Attributes:
        name: what the row is, such as an arm.
        text: the estimate in words, or the note that stands in its place.
        tone: `better`, `worse`, `changed` or `unclear`; decides colour and shape of the marker.
        estimate: value, paired and unpaired limits.
        hover: what the pointer shows.
    """

    name: str
    text: str
    tone: str
    estimate: Estimate
    hover: str


@dataclass(frozen=True)
class Line:
    """One line of a time series; NaN where it has no value.

    Attributes:
        name: name of the arm.
        style: number of the arm, picks colour and dashes.
        day: simulated days, increasing.
        value: one a day.
    """

    name: str
    style: int
    day: tuple[int, ...]
    value: tuple[float, ...]


def extent(estimates: Iterable[Estimate]) -> tuple[float, float] | None:
    """Range of an axis: zero, all paired intervals, and as much of the unpaired ones as leaves those readable.

    Returns:
        (low, high) with low < high, or None where no estimate has a value.
    """
    shown = [e for e in estimates if _drawable(e.value)]
    if not shown:
        return None
    paired = [0.0, *(v for e in shown for v in (e.value, e.low, e.high) if _drawable(v))]
    unpaired = [v for e in shown for v in (e.unpaired_low, e.unpaired_high) if _drawable(v)]
    low, high = min(paired), max(paired)
    span = max(high - low or max((abs(v) for v in unpaired), default=0.0) or 0.01, _LEAST_SPAN)
    low = max(min([low, *unpaired]), low - _GHOST_REACH * span)
    high = min(max([high, *unpaired]), high + _GHOST_REACH * span)
    pad = 0.04 * max(high - low, span)
    return low - pad, high + pad


def intervals(rows: Sequence[IntervalRow], axis: tuple[float, float] | None, description: str) -> Markup:
    """Forest plot: a row an estimate, thick for the paired interval, thin for the unpaired one, percents on the axis.

    Args:
        rows: top to bottom.
        axis: range of relative changes, from `extent`; None where nothing was measured.
        description: the chart in words, for those who do not see it.
    """
    scale = _linear(axis, (_MARGIN, WIDTH - _MARGIN)) if axis else None
    parts = [_interval_row(row, i * _ROW, scale) for i, row in enumerate(rows)]
    height = len(rows) * _ROW
    if axis and scale:
        zero = _n(scale(0.0))
        parts.insert(
            0,
            Markup('<path class="z" d="{}"/>').format("".join(f"M{zero} {y + 17}v16" for y in range(0, height, _ROW))),
        )
        parts.append(_percent_axis(axis, scale, height))
        height += _AXIS
    return _svg(height, description, parts)


def series(lines: Sequence[Line], write: Callable[[float], str], description: str, unit: str = "day") -> Markup:
    """Time series: one line an arm over simulated days; hovering a day shows the values of all arms.

    Args:
        lines: one an arm.
        write: prints a value in the metric's unit.
        description: the chart in words, for those who do not see it.
        unit: what is counted along the axis.
    """
    points = [(d, v) for line in lines for d, v in zip(line.day, line.value, strict=True) if _drawable(v)]
    if not points:
        return Markup('<p class="none">Not measured on any day.</p>')
    days = sorted({d for d, _ in points})
    low, high = _padded(min(v for _, v in points), max(v for _, v in points))
    bottom = _SERIES_HEIGHT - _AXIS
    x = _linear((days[0], days[-1]) if len(days) > 1 else (days[0] - 1, days[0] + 1), (_SERIES_LEFT, WIDTH - _MARGIN))
    y = _linear((low, high), (bottom, _MARGIN))
    parts = [_value_axis(ticks(low, high, 4), y, write), _day_axis(days, x, bottom, unit)]
    parts += [_path(line, x, y) for line in lines]
    parts.append(_hover_columns(lines, days, x, bottom, write, unit))
    return _svg(_SERIES_HEIGHT, description, parts)


def swatch(style: int) -> Markup:
    """A short piece of an arm's line, for the legend."""
    template = '<svg class="swatch" viewBox="0 0 28 8" aria-hidden="true"><path class="s{}" d="M1 4H27"/></svg>'
    return Markup(template).format(style % N_LINE_STYLES)


def marker(tone: str) -> Markup:
    """A tone's marker, for the legend."""
    template = '<svg class="swatch {}" viewBox="0 0 28 12" aria-hidden="true"><path class="p" d="M4 6H24"/>{}</svg>'
    return Markup(template).format(tone, _shape(tone, 14, 6))


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers within a range, about so many.

    >>> ticks(-0.63, 0.05, 4)
    [-0.6, -0.4, -0.2, 0.0]
    """
    raw = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(m for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def shorten(text: str, most: int) -> str:
    """Text with its middle left out where it is too long: names often differ at their ends.

    >>> shorten("sequence_model_with_weight_64", 20)
    'sequence_m…weight_64'
    """
    if len(text) <= most:
        return text
    head = (most - 1 + 1) // 2
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def _interval_row(row: IntervalRow, top: int, scale: Callable[[float], float] | None) -> Markup:
    name = Markup('<title>{}</title><text y="12">{}</text>').format(row.hover, shorten(row.name, _NAME_CHARACTERS))
    if scale is None or not _drawable(row.estimate.value):
        note = Markup('<text class="note" y="28">{}</text>').format(shorten(row.text, _NOTE_CHARACTERS))
        return Markup('<g transform="translate(0 {})">{}{}</g>').format(top, name, note)
    body = [
        Markup('<text class="v" x="{}" y="12">{}</text>').format(WIDTH, row.text),
        _span("u", row.estimate.unpaired_low, row.estimate.unpaired_high, scale),
        _span("p", row.estimate.low, row.estimate.high, scale),
        _shape(row.tone, scale(row.estimate.value), _LINE),
    ]
    template = Markup('<g class="{}" transform="translate(0 {})">{}{}</g>')
    return template.format(row.tone, top, name, Markup("").join(body))


def _span(css: str, low: float, high: float, scale: Callable[[float], float]) -> Markup:
    """A horizontal line; arrowheads where it runs out of the chart."""
    if not (_drawable(low) and _drawable(high)):
        return Markup("")
    start, end = scale(low), scale(high)
    left, right = max(start, 2.0), min(end, WIDTH - 2.0)
    if left > right:
        return Markup("")
    heads = ""
    if start < left:
        heads += f"M{_n(left + 4)} {_LINE - 4}l-4 4l4 4"
    if end > right:
        heads += f"M{_n(right - 4)} {_LINE - 4}l4 4l-4 4"
    return Markup('<path class="{}" d="M{} {}H{}{}"/>').format(css, _n(left), _LINE, _n(right), heads)


def _shape(tone: str, x: float, y: float) -> Markup:
    """Circle, diamond, square or hollow circle: the tone without its colour."""
    if tone == "worse":
        return Markup('<path class="m" d="M{} {}l5 5l-5 5l-5-5z"/>').format(_n(x), _n(y - 5))
    if tone == "changed":
        return Markup('<path class="m" d="M{} {}h7v7h-7z"/>').format(_n(x - 3.5), _n(y - 3.5))
    return Markup('<circle class="m" cx="{}" cy="{}" r="4"/>').format(_n(x), _n(y))


def _percent_axis(axis: tuple[float, float], scale: Callable[[float], float], top: int) -> Markup:
    places = ticks(axis[0], axis[1], 4)
    step = 100 * (places[1] - places[0]) if len(places) > 1 else 1.0
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    strokes = Markup('<path class="z" d="M0 {0}H{1}{2}"/>').format(
        top + 2, WIDTH, "".join(f"M{_n(scale(t))} {top + 2}v4" for t in places)
    )
    labels = [_label(scale(t), top + 18, f"{100 * t + 0.0:+.{decimals}f}%" if t else "0%") for t in places]
    return strokes + Markup("").join(labels)


def _label(x: float, y: float, text: str) -> Markup:
    half = 3.2 * len(text)
    kept = min(max(x, half), WIDTH - half)
    return Markup('<text class="t" x="{}" y="{}">{}</text>').format(_n(kept), _n(y), text)


def _value_axis(places: Sequence[float], y: Callable[[float], float], write: Callable[[float], str]) -> Markup:
    strokes = "".join(f"M{_SERIES_LEFT} {_n(y(t))}H{WIDTH - _MARGIN}" for t in places)
    labels = [
        Markup('<text class="y" x="{}" y="{}">{}</text>').format(_SERIES_LEFT - 6, _n(y(t) + 4), write(t))
        for t in places
    ]
    return Markup('<path class="grid" d="{}"/>').format(strokes) + Markup("").join(labels)


def _day_axis(days: Sequence[int], x: Callable[[float], float], bottom: int, unit: str) -> Markup:
    nearest = {round(t) for t in ticks(days[0], max(days[-1], days[0] + 1), 4)}
    places = sorted(day for day in nearest if days[0] <= day <= days[-1])
    return Markup("").join(_label(x(d), bottom + 18, f"{unit} {d}" if d == places[0] else str(d)) for d in places)


def _path(line: Line, x: Callable[[float], float], y: Callable[[float], float]) -> Markup:
    points = list(zip(line.day, line.value, strict=True))
    pieces = []
    for known, run in groupby(points, key=lambda p: _drawable(p[1])):
        if known:
            # A day alone still shows: a stroke of no length with round ends is a dot.
            places = [f"{x(d):.0f} {y(v):.0f}" for d, v in run]
            pieces.append("M" + " ".join(places) + ("h0" if len(places) == 1 else ""))
    template = Markup('<path class="s{}" d="{}"/>')
    return template.format(line.style % N_LINE_STYLES, "".join(pieces)) if pieces else Markup("")


def _hover_columns(
    lines: Sequence[Line],
    days: Sequence[int],
    x: Callable[[float], float],
    bottom: int,
    write: Callable[[float], str],
    unit: str,
) -> Markup:
    stride = math.ceil(len(days) / _HOVER_COLUMNS)
    picked = list(days[::stride])
    edges = [_SERIES_LEFT, *((x(a) + x(b)) / 2 for a, b in pairwise(picked)), WIDTH]
    columns = []
    for i, day in enumerate(picked):
        values = [(line.name, dict(zip(line.day, line.value, strict=True)).get(day, math.nan)) for line in lines]
        text = "\n".join([f"{unit} {day}", *(f"{name} {write(v)}" for name, v in values if math.isfinite(v))])
        template = Markup('<path class="h" d="M{:.0f} 0H{:.0f}v{}H{:.0f}z"><title>{}</title></path>')
        columns.append(template.format(edges[i], edges[i + 1], bottom, edges[i], text))
    return Markup("").join(columns)


def _svg(height: float, description: str, parts: Iterable[Markup]) -> Markup:
    template = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
    return template.format(WIDTH, _n(height), description, Markup("").join(parts))


def _linear(domain: tuple[float, float], target: tuple[float, float]) -> Callable[[float], float]:
    gain = (target[1] - target[0]) / (domain[1] - domain[0])
    return lambda value: target[0] + gain * (value - domain[0])


def _padded(low: float, high: float) -> tuple[float, float]:
    span = high - low
    # Below a thousandth of the level a wiggle is rounding, and drawing it large would mislead.
    least = max(1e-3 * max(abs(low), abs(high)), _LEAST_SPAN)
    pad = 0.08 * span if span > least else least
    return low - pad, high + pad


def _drawable(value: float) -> bool:
    return math.isfinite(value) and abs(value) < _DRAWABLE


def _n(value: float) -> str:
    """A coordinate to a tenth of a unit, as short as it can be."""
    return f"{value:.1f}".removesuffix(".0")
