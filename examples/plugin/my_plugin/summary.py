"""A report: one page in Markdown."""

from pathlib import Path

from simulator.report import Run


def summary(run: Run, folder: Path) -> None:
    """The question, the answer, and how each arm differs from the control, as summary.md."""
    results = run.results
    lines = [
        f"# {results.scenario}, seed {run.manifest.seed}",
        "",
        results.question,
        "",
        f"**{results.answer}**",
        "",
        f"| arm | metric | change against {results.control} | {results.confidence:.0%} interval |",
        "|---|---|---|---|",
    ]
    for row in results.comparisons:
        lift = row.lift
        lines.append(f"| {row.arm} | {row.metric} | {lift.value:+.1%} | [{lift.low:+.1%}, {lift.high:+.1%}] |")
    (folder / "summary.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
