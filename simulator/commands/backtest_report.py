"""What a backtest shows: a table in the terminal, the same in Markdown, and an HTML page with a chart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import mean

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from rich.console import Console
from rich.text import Text

from recommenders.offline.backtest import CONFIDENCE, Figure
from recommenders.offline.metrics import Metric
from simulator.commands.backtest import Backtest, Measured
from simulator.report.formatting import number, wall
from simulator.report.terminal import add_row, new_table, show

_LABEL_HEIGHT = 11.0
_DASH = "–"
_MAIN = ("hr", "ndcg", "mrr", "hr_minus", "delta_hr")
"""Beginnings of the names of the metrics in the first table; dislike AUC joins them."""
_WIDE = 120
"""Columns of a terminal that shows intervals."""
_NUMBERS_WIDTH = {False: 58, True: 100}
"""Room of the numbers beside the model's name, without and with intervals."""
_DECIMALS = {"dislike_auc": 3, "lift_positive": 2, "lift_negative": 2, "mass_negative": 2}
"""Decimals of metrics that are no share of events or items; those have four."""


@dataclass(frozen=True)
class Cell:
    """A figure as people read it.

    Attributes:
        value: the number.
        interval: its limits; empty where there are none.
        best: whether no model has a better value.
        hint: what is missing, and why.
    """

    value: str
    interval: str
    best: bool
    hint: str


@dataclass(frozen=True)
class TableView:
    """A table of models by metrics."""

    title: str
    metrics: tuple[Metric, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


@dataclass(frozen=True)
class ChartView:
    """A chart and the names that its numbers stand for."""

    title: str
    svg: Markup
    keys: tuple[str, ...]


def print_backtest(backtest: Backtest, console: Console) -> None:
    """Print the tables, positive and negative metrics side by side, the best of each column in bold.

    Half the width of each interval stands beside the value where the terminal is wide enough for it.
    """
    show(console, f"{backtest.log_name}: {_split_words(backtest)}", "bold")
    for notice in backtest.log.notices:
        show(console, f"- {notice}", "dim")
    wide = console.width >= _WIDE
    by_name = {m.spec.name: m for m in backtest.models}
    for view in _tables(backtest):
        headers = ["model", *(f"{m.label} {'↑' if m.better == 'higher' else '↓'}" for m in view.metrics)]
        table = new_table(view.title, headers, max(console.width - _NUMBERS_WIDTH[wide], 18))
        for name, cells in view.rows:
            figures = [by_name[name].figures[m.name] for m in view.metrics]
            halves = [_half(c, m, f) if wide else "" for c, m, f in zip(cells, view.metrics, figures, strict=True)]
            texts = [
                Text(c.value + h, style="bold green" if c.best else "") for c, h in zip(cells, halves, strict=True)
            ]
            add_row(table, [name, *texts])
        console.print(table)
    for line in _remarks(backtest):
        show(console, line, "dim")
    if not wide:
        show(console, "The intervals are in the report, and here if the terminal is wider.", "dim")


def as_markdown(backtest: Backtest) -> str:
    """The tables with both limits of each interval, the command, and the definitions."""
    lines = [f"# Backtest: {backtest.name}", "", _split_words(backtest), "", f"    {backtest.command}", ""]
    for view in _tables(backtest):
        labels = [f"{_plain(m.label)} {'↑' if m.better == 'higher' else '↓'}" for m in view.metrics]
        lines += [f"## {view.title}", "", "| " + " | ".join(["model", *labels]) + " |"]
        lines.append("|---|" + "---:|" * len(labels))
        for name, cells in view.rows:
            texts = [f"**{c.value}**" if c.best else c.value for c in cells]
            written = [f"{t} {c.interval}".strip() for t, c in zip(texts, cells, strict=True)]
            lines.append("| " + " | ".join([_plain(name), *written]) + " |")
        lines.append("")
    lines += [*(f"- {line}" for line in _remarks(backtest)), ""]
    lines += [f"- {notice}" for notice in backtest.log.notices]
    lines += ["", "## Definitions", "", *(f"- **{m.label}**: {m.definition}" for m in backtest.metrics), ""]
    return "\n".join(lines)


def as_html(backtest: Backtest) -> str:
    """A page that works offline: no script, no external reference, every string escaped."""
    views = _tables(backtest)
    return (
        _environment()
        .get_template("backtest.html.j2")
        .render(
            backtest=backtest,
            split=_split_words(backtest),
            answer=answer(backtest),
            tables=views,
            charts=[_chart(backtest, k) for k in backtest.settings.ks],
            remarks=_remarks(backtest),
            models=[
                (
                    m.spec.name,
                    m.spec.recommender,
                    _settings(m),
                    wall(mean(m.fit_seconds)),
                    wall(mean(m.evaluate_seconds)),
                )
                for m in backtest.models
            ],
        )
    )


def answer(backtest: Backtest) -> str:
    """In a sentence: who ranks best what users liked, and who keeps best apart what they disliked."""
    k = backtest.settings.ks[0]
    parts = []
    for name, words in ((f"ndcg@{k}", "ranks what users liked best"), (f"delta_hr@{k}", "has the highest delta HR")):
        metric = next(m for m in backtest.metrics if m.name == name)
        for model in backtest.models:
            if model.spec.name in backtest.best[name]:
                parts.append(f"{model.spec.name} {words} ({metric.label} {_value(model.figures[name].value, metric)})")
                break
    return "; ".join(parts) + "." if parts else "No model stands out."


def _tables(backtest: Backtest) -> list[TableView]:
    by_name = {m.name: m for m in backtest.metrics}
    views = []
    for k in backtest.settings.ks:
        main = [by_name[f"{name}@{k}"] for name in _MAIN] + [by_name["dislike_auc"]]
        views.append(_table(backtest, f"First {k}: what users liked, and what they disliked", main))
    rest = [by_name[f"coverage@{k}"] for k in backtest.settings.ks]
    rest += [by_name[name] for name in ("lift_positive", "lift_negative", "mass_negative")]
    return [*views, _table(backtest, "Coverage, and probability against a uniform guess", rest)]


def _table(backtest: Backtest, title: str, metrics: Sequence[Metric]) -> TableView:
    rows = tuple((m.spec.name, tuple(_cell(backtest, m, metric) for metric in metrics)) for m in backtest.models)
    return TableView(title, tuple(metrics), rows)


def _cell(backtest: Backtest, model: Measured, metric: Metric) -> Cell:
    figure = model.figures[metric.name]
    if not math.isfinite(figure.value):
        return Cell(_DASH, "", False, figure.note)
    interval = ""
    if figure.interval != "none":
        interval = f"[{_value(figure.low, metric)}, {_value(figure.high, metric)}]"
    return Cell(_value(figure.value, metric), interval, model.spec.name in backtest.best[metric.name], figure.note)


def _half(cell: Cell, metric: Metric, figure: Figure) -> str:
    return f" ±{_value((figure.high - figure.low) / 2, metric)}" if cell.interval else ""


def _value(value: float, metric: Metric) -> str:
    text = f"{value:.{_DECIMALS.get(metric.name, 4)}f}"
    return text.lstrip("-") if float(text) == 0 else text


def _split_words(backtest: Backtest) -> str:
    s, settings = backtest.sizes, backtest.settings
    how = "the last row of each user" if settings.split == "last" else "the newest rows"
    if settings.test_from is not None:
        how = f"all from {settings.test_from} on"
    elif settings.test_share is not None and settings.split == "time":
        how = f"the newest {100 * settings.test_share:g}% of the rows"
    return (
        f"{s.train_rows:,} training rows of {s.train_users:,} users, {s.items:,} items; test: {how}, "
        f"with {s.positive_rows:,} liked items of {s.positive_users:,} users and {s.negative_rows:,} disliked ones of "
        f"{s.negative_users:,} ({s.both_users:,} have both, {s.new_users:,} are new)"
    )


def _remarks(backtest: Backtest) -> list[str]:
    s, seeds = backtest.sizes, backtest.settings.seeds
    confidence = number(100 * CONFIDENCE)
    if backtest.one_seed:
        said = f"Intervals ({confidence}%): bootstrap over users; one seed ({seeds[0]})."
    else:
        said = f"Intervals ({confidence}%): t over {len(seeds)} seeds, on the same log; none where all seeds agree."
    remarks = [said, "Best value of each column in bold; none for p, which depends on the scale of the scores."]
    if s.unknown_item_rows:
        remarks.append(f"{s.unknown_item_rows:,} test rows are left out: no training row shows their item.")
    if s.negative_rows == 0:
        remarks.append("No test row is disliked: the negative metrics cannot be had.")
    notes = dict.fromkeys(f.note for m in backtest.models for f in m.figures.values() if not math.isfinite(f.value))
    return remarks + [f"{_DASH} {note}" for note in notes]


def _settings(model: Measured) -> str:
    return ", ".join(f"{key}: {value}" for key, value in model.spec.config.items()) or "defaults"


def _plain(text: str) -> str:
    return text.replace("|", "\\|")


def _chart(backtest: Backtest, k: int) -> ChartView:
    """HR against HR-minus: right is better, down is better."""
    points = []
    for i, m in enumerate(backtest.models, start=1):
        x, y = m.figures[f"hr@{k}"].value, m.figures[f"hr_minus@{k}"].value
        if math.isfinite(x) and math.isfinite(y):
            points.append((i, m, x, y))
    keys = tuple(f"{i} {m.spec.name}" for i, m, _, _ in points)
    if not points:
        return ChartView("", Markup(""), ())
    top_x, top_y = _ceiling(max(p[2] for p in points)), _ceiling(max(p[3] for p in points))
    left, bottom, width, height = 52, 252, 380, 226
    parts = [
        f'<svg class="chart" viewBox="0 0 460 300" role="img" aria-label="HR-minus@{k} against HR@{k}, by model">',
        f'<path class="z" d="M{left} {bottom - height}V{bottom}H{left + width}"/>',
    ]
    for share in (0, 0.5, 1):
        x, y = left + width * share, bottom - height * share
        parts.append(f'<text class="t" x="{x:.0f}" y="{bottom + 16}">{number(top_x * share, 3)}</text>')
        parts.append(f'<text class="y" x="{left - 6}" y="{y + 4:.0f}">{number(top_y * share, 3)}</text>')
        parts.append(f'<path class="z" d="M{left} {y:.1f}H{left + width}"/>')
    places = [(left + width * x / top_x, bottom - height * y / top_y) for _, _, x, y in points]
    labels = label_places(places, [str(i) for i, _, _, _ in points])
    for (i, m, x_value, y_value), (x, y), (label_x, label_y) in zip(points, places, labels, strict=True):
        title = escape(f"{m.spec.name}: HR {number(x_value, 3)}, HR-minus {number(y_value, 3)}")
        parts.append(f'<g class="changed"><circle class="m" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>')
        parts.append(f'<text x="{label_x:.1f}" y="{label_y:.1f}">{i}</text><title>{title}</title></g>')
    parts.append(f'<text class="t" x="{left + width / 2:.0f}" y="{bottom + 36}">HR@{k} (liked)</text>')
    parts.append(f'<text x="4" y="14">HR-minus@{k} (disliked)</text></svg>')
    return ChartView(f"HR@{k} against HR-minus@{k}", Markup("".join(parts)), keys)


def label_places(points: Sequence[tuple[float, float]], texts: Sequence[str]) -> list[tuple[float, float]]:
    """Where each point's label begins: near it, and clear of the other points and of labels placed before it.

    Where no place nearby is free, labels climb above their point until one is.

    Args:
        points: centres of the points.
        texts: of the labels.
    """
    taken = [(x - 5.0, y - 5.0, x + 5.0, y + 5.0) for x, y in points]
    found = []
    for (x, y), text in zip(points, texts, strict=True):
        width = 7.0 * len(text)
        tries = [(x + 7, y + 4), (x - 7 - width, y + 4), (x - width / 2, y - 8), (x - width / 2, y + 17)]
        tries += [(x - width / 2, y - 8 - _LABEL_HEIGHT * step) for step in range(1, len(points) + 1)]
        boxes = [(left, base - _LABEL_HEIGHT + 1, left + width, base + 1) for left, base in tries]
        free = [i for i, box in enumerate(boxes) if not any(_overlap(box, other) for other in taken)]
        chosen = free[0] if free else len(tries) - 1
        taken.append(boxes[chosen])
        found.append(tries[chosen])
    return found


_Box = tuple[float, float, float, float]


def _overlap(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _ceiling(value: float) -> float:
    """A round number at or above a value, for the end of an axis; 1 for zero."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= value)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    templates = [PackageLoader("simulator.commands", "templates"), PackageLoader("simulator.report", "templates")]
    return Environment(
        loader=ChoiceLoader(templates),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
