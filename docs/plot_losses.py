"""Draws the charts of docs/losses.md from the losses themselves: `python docs/plot_losses.py` writes docs/losses/*.svg.

The same code gives the same bytes: values come from float64 and are drawn to a tenth of a unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from recommenders.losses import cross_entropy, negative_label_weight, not_to_recommend, pairwise, raised_negative

FOLDER = Path(__file__).parent / "losses"
COLOURS = ("#1f5fa8", "#c2410c", "#5b7f1e", "#7e3ba3", "#555555")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2")
PANEL_WIDTH, PANEL_HEIGHT = 360, 250
LEFT, RIGHT, TOP, BOTTOM = 48, 24, 30, 40
STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#333}.h{font-weight:600;font-size:12px}.e{text-anchor:end}"
    ".m{text-anchor:middle}.g{stroke:#ddd;fill:none}.a{stroke:#999;stroke-dasharray:3 3;fill:none}"
)

LIKED, DISLIKED = 0, 1
"""Columns of the three candidates of every row; the third stands for all others."""

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From logits [n, 3] and the columns of the liked and the disliked item to a loss a row."""


@dataclass(frozen=True)
class Curve:
    """A loss as a function of the probability of one of its items.

    Attributes:
        name: for the legend.
        loss: the loss.
        column: the item whose probability runs along the chart, and in whose logit the gradient is taken.
        alone: the probability is among the liked and the disliked item only.
    """

    name: str
    loss: Loss
    column: int = DISLIKED
    alone: bool = False


@dataclass(frozen=True)
class Axis:
    """A scale: `place` maps a value to a number in which the axis is linear, from `low` to `high`."""

    title: str
    place: Callable[[float], float]
    ticks: Sequence[tuple[float, str]]
    low: float
    high: float

    def position(self, value: float) -> float:
        """Where the value lies on the axis: 0 at its start, 1 at its end."""
        return (self.place(value) - self.place(self.low)) / (self.place(self.high) - self.place(self.low))


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def _plain(low: float, high: float, step: float) -> Axis:
    n = round((high - low) / step)
    ticks = [(low + i * step, f"{low + i * step:g}") for i in range(n + 1)]
    return Axis("", lambda v: v, ticks, low, high)


def _raised(weight: float) -> Loss:
    """What the presence of the disliked item, counted `weight` times, adds to the positive label's cross-entropy."""

    def added(logit: Tensor, liked: Tensor, disliked: Tensor) -> Tensor:
        absent = logit.scatter(1, disliked.unsqueeze(1), -math.inf)
        return raised_negative(logit, liked, disliked, math.log(weight)) - cross_entropy(absent, liked)

    return added


def _weighted(loss: Callable[[Tensor, Tensor], Tensor], weight: float) -> Loss:
    return lambda logit, liked, disliked: weight * loss(logit, disliked)


PROBABILITY = Axis(
    "p",
    _logit,
    [(p, f"{p:g}") for p in (1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)],
    1e-4,
    1 - 1e-4,
)
TINY_PROBABILITY = Axis("p", math.log10, [(10.0**-i, f"1e-{i}") for i in range(6, 0, -1)] + [(1.0, "1")], 1e-6, 1.0)

CHARTS: dict[str, tuple[tuple[Curve, ...], Axis, Axis, str]] = {
    "cross_entropy": (
        (Curve("cross-entropy", lambda z, y, k: cross_entropy(z, y), LIKED),),
        _plain(0, 10, 2),
        _plain(0, 1, 0.25),
        "p of the liked item",
    ),
    "not_to_recommend": (
        (Curve("not-to-recommend, w = 1", _weighted(not_to_recommend, 1)),),
        _plain(0, 10, 2),
        _plain(0, 1, 0.25),
        "p of the disliked item",
    ),
    "negative_label_weight": (
        (Curve("negative label weight, w = 1", _weighted(negative_label_weight, 1)),),
        _plain(-10, 0, 2),
        _plain(0, 1, 0.25),
        "p of the disliked item",
    ),
    "raised_negative": (
        tuple(Curve(f"w = {w}", _raised(w)) for w in (1, 8, 64)),
        _plain(0, 14, 2),
        _plain(0, 1, 0.25),
        "p of the disliked item, at the positive label",
    ),
    "pairwise": (
        (Curve("pairwise", pairwise, alone=True),),
        _plain(0, 10, 2),
        _plain(0, 1, 0.25),
        "p of the disliked item, among the two",
    ),
}
"""Chart name to curves, axis of the loss, axis of the gradient, title of the probability axis."""

COMPARED = (
    Curve("not-to-recommend, w = 1", _weighted(not_to_recommend, 1)),
    Curve("not-to-recommend, w = 64", _weighted(not_to_recommend, 64)),
    Curve("raised negative, w = 64", _raised(64)),
    Curve("negative label weight, w = 1", _weighted(negative_label_weight, 1)),
)
MARKS = ((1 / 10_000, "full, 10,000 items"), (1 / 129, "m = 128"))


def values(curve: Curve, p: Sequence[float]) -> tuple[list[float], list[float]]:
    """Loss and absolute gradient in the item's logit at each probability of that item.

    The two other candidates share the rest of the probability; with `curve.alone`, the third has none.
    """
    logit = torch.zeros(len(p), 3, dtype=torch.float64)
    if curve.alone:
        logit[:, 2] = -math.inf
    n_others = 1 if curve.alone else 2
    logit[:, curve.column] = torch.tensor([_logit(v) + math.log(n_others) for v in p], dtype=torch.float64)
    logit.requires_grad_()
    liked, disliked = (torch.full((len(p),), column) for column in (LIKED, DISLIKED))
    loss = curve.loss(logit, liked, disliked)
    (slope,) = torch.autograd.grad(loss.sum(), logit)
    return loss.tolist(), slope[:, curve.column].abs().tolist()


def charts() -> dict[str, str]:
    """All charts: file name to SVG."""
    drawn = {}
    steps = [(i - 100) / 100 * _logit(PROBABILITY.high) for i in range(201)]
    p = [1 / (1 + math.exp(-t)) for t in steps]
    for name, (curves, loss_axis, slope_axis, title) in CHARTS.items():
        both = [values(curve, p) for curve in curves]
        names = [curve.name for curve in curves]
        panels = [
            _panel("loss", names, p, [loss for loss, _ in both], PROBABILITY, loss_axis, title),
            _panel("|gradient in the item's logit|", names, p, [s for _, s in both], PROBABILITY, slope_axis, title),
        ]
        drawn[f"{name}.svg"] = _svg(f"{name}: loss and gradient against the probability", panels)
    p = [10.0 ** (-6 + i / 50) for i in range(300)]
    axis = Axis("", math.log10, [(10.0**i, f"1e{i}" if i else "1") for i in range(-6, 5, 2)], 1e-6, 1e4)
    lines = [values(curve, p)[1] for curve in COMPARED]
    panel = _panel(
        "|gradient in the disliked item's logit|",
        [curve.name for curve in COMPARED],
        p,
        lines,
        TINY_PROBABILITY,
        axis,
        "p of the disliked item",
        MARKS,
        width=560,
    )
    drawn["gradients.svg"] = _svg("gradient of each loss at small probabilities", [panel], width=560)
    return drawn


def _panel(
    heading: str,
    names: Sequence[str],
    p: Sequence[float],
    lines: Sequence[Sequence[float]],
    x_axis: Axis,
    y_axis: Axis,
    title: str,
    marks: Sequence[tuple[float, str]] = (),
    width: int = PANEL_WIDTH,
) -> str:
    """One chart with its axes, lines and legend; a line is cut where it leaves the chart."""
    right, bottom = width - RIGHT, PANEL_HEIGHT - BOTTOM

    def x(value: float) -> str:
        return f"{LEFT + (right - LEFT) * x_axis.position(value):.1f}"

    def y(value: float) -> str:
        return f"{bottom - (bottom - TOP) * y_axis.position(value):.1f}"

    parts = [f'<text class="h" x="{LEFT}" y="16">{heading}</text>']
    for tick, label in y_axis.ticks:
        parts.append(f'<path class="g" d="M{LEFT} {y(tick)}H{right}"/>')
        parts.append(f'<text class="e" x="{LEFT - 6}" y="{float(y(tick)) + 4:.1f}">{label}</text>')
    for tick, label in x_axis.ticks:
        parts.append(f'<path class="g" d="M{x(tick)} {bottom}v4"/>')
        parts.append(f'<text class="m" x="{x(tick)}" y="{bottom + 17}">{label}</text>')
    parts.append(f'<text class="m" x="{(LEFT + right) / 2:.1f}" y="{bottom + 34}">{title}</text>')
    for value, label in marks:
        parts.append(f'<path class="a" d="M{x(value)} {TOP + 16 * len(names)}V{bottom}"/>')  # below the legend
        parts.append(f'<text x="{float(x(value)) + 4:.1f}" y="{bottom - 6}">{label}</text>')
    for i, (name, line) in enumerate(zip(names, lines, strict=True)):
        inside = [(a, b) for a, b in zip(p, line, strict=True) if y_axis.low <= b <= y_axis.high]
        points = " ".join(f"{x(a)},{y(b)}" for a, b in inside)
        stroke = f'fill="none" stroke="{COLOURS[i]}" stroke-width="2" stroke-dasharray="{DASHES[i]}"'
        parts.append(f'<polyline {stroke} points="{points}"/>')
        if len(names) > 1:
            height = TOP + 8 + 16 * i
            parts.append(f'<path {stroke} d="M{LEFT + 10} {height}h26"/>')
            parts.append(f'<text x="{LEFT + 42}" y="{height + 4}">{name}</text>')
    return "\n".join(parts)


def _svg(description: str, panels: Sequence[str], width: int = PANEL_WIDTH) -> str:
    whole = width * len(panels)
    body = "\n".join(f'<g transform="translate({i * width} 0)">\n{panel}\n</g>' for i, panel in enumerate(panels))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole} {PANEL_HEIGHT}" width="{whole}"'
        f' height="{PANEL_HEIGHT}" role="img" aria-label="{description}">\n<style>{STYLE}</style>\n'
        f'<rect width="{whole}" height="{PANEL_HEIGHT}" fill="#fff"/>\n{body}\n</svg>\n'
    )


def main() -> None:
    """Write every chart."""
    FOLDER.mkdir(exist_ok=True)
    for name, svg in charts().items():
        (FOLDER / name).write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
