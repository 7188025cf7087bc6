"""Writes the table of metrics into metrics.md: python docs/metric_table.py"""

from __future__ import annotations

from pathlib import Path

from simulator.experiment.metrics import METRICS, WorldMetric

PAGE = Path(__file__).parent / "metrics.md"
BEGIN, END = "<!-- made by metric_table.py -->\n", "<!-- end -->\n"


def table() -> str:
    """The built-in metrics in report order, one row each."""
    lines = ["| name | definition | unit | better |", "|---|---|---|---|"]
    for name, metric in METRICS.items():
        one = "; one number per world, no interval" if isinstance(metric, WorldMetric) else ""
        lines.append(f"| `{name}` | {metric.info.definition}{one} | {metric.info.unit} | {metric.info.better} |")
    return "".join(f"{line}\n" for line in lines)


def with_table(text: str) -> str:
    """The page's text with the table of today between its two marks."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
