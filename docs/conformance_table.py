"""Writes the tables of conformance.md: python docs/conformance_table.py [laws | faults | alarms | shipped [NAME]...]

That of false alarms takes about an hour. That of what is shipped needs the libraries of the adapters:
`.venv-adapters/bin/python`, made by `make adapters`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from recommenders.conformance import CHECKS, Report, Subject, check_recommender, run_checks
from recommenders.conformance.laws import no_arguments
from recommenders.conformance.report import Outcome, markdown_table
from recommenders.registry import BUILT_IN

PAGE = Path(__file__).parent / "conformance.md"
END = "<!-- end -->\n"
BEGIN = {
    "laws": "<!-- laws: made by conformance_table.py -->\n",
    "faults": "<!-- faults: made by conformance_table.py faults -->\n",
    "alarms": "<!-- alarms: made by conformance_table.py alarms -->\n",
    "shipped": "<!-- shipped: made by conformance_table.py shipped -->\n",
}
GOOD: Mapping[str, Mapping[str, Any]] = {
    "popularity": {},
    "block_disliked": {"model": {"recommender": "popularity"}},
    "ease": {"dislike_value": -0.5},
}
"""Recommenders that keep all laws: whatever accuses one of them is a false alarm."""
SEEDS = 200
"""How often all laws are tried on each, every time with other examples and in another planted world."""


def laws_table() -> str:
    """All laws in the order of a report."""
    rows = [("kind", "check", "law", "examples"), ("---",) * 4]
    for check in CHECKS.values():
        tried = "1" if check.given is no_arguments else str(check.examples)
        rows.append((check.kind, f"`{check.name}`", check.law, tried))
    return markdown_table(rows)


def shipped_table(reports: Iterable[Report]) -> str:
    """One row a recommender; what fails is named, with its reason."""
    rows = [("recommender", "laws hold", "skipped", "known to fail", "broken", "seconds"), ("---",) * 6]
    for report in reports:
        hold, skipped = (sum(o.status == status for o in report.outcomes) for status in ("passed", "skipped"))
        failing = [_named(report, status) for status in ("known", "failed")]
        rows.append((f"`{report.subject}`", str(hold), str(skipped), *failing, f"{report.seconds:.1f}"))
    return markdown_table(rows)


def _named(report: Report, status: str) -> str:
    return "; ".join(f"`{o.check}`: {_in_a_line(o)}" for o in report.outcomes if o.status == status)


def _in_a_line(outcome: Outcome) -> str:
    return " ".join(outcome.message.split())


def faults_table(broken: Mapping[str, Sequence[type[Any]]]) -> str:
    """One row a broken recommender.

    Args:
        broken: name of a check -> the recommenders that it must catch.

    Raises:
        ValueError: a check does not catch its own.
    """
    rows = [("broken recommender", "its fault", "caught by", "found by", "smallest example"), ("---",) * 5]
    for name, classes in broken.items():
        for cls in classes:
            (outcome,) = run_checks(Subject(cls), [CHECKS[name]]).outcomes
            if outcome.status != "failed":
                raise ValueError(f"{name}: got {cls.__qualname__} {outcome.status}, expected it caught")
            fault = inspect.getdoc(cls) or ""
            call = outcome.code.splitlines()[-1].partition("(")[2].removesuffix(")").removeprefix("subject")
            example = call.removeprefix(", ")
            shown = f"`{example}`" if example else ""
            rows.append((f"`{cls.__qualname__}`", fault.partition("\n")[0], f"`{name}`", str(outcome.examples), shown))
    return markdown_table(rows)


def alarms_table() -> str:
    """One row a good recommender: how often it was accused; the accusations go to the standard error as they come."""
    rows = [("recommender", "seeds", "laws tried", "examples tried", "accusations", "seconds a run"), ("---",) * 6]
    for name, config in GOOD.items():
        tried = examples = alarms = 0
        seconds = 0.0
        for seed in range(SEEDS):
            report = check_recommender(name, config, seed=seed)
            applied = [outcome for outcome in report.outcomes if outcome.status != "skipped"]
            accusing = [outcome for outcome in applied if outcome.status == "failed"]
            tried, examples = tried + len(applied), examples + sum(outcome.examples for outcome in applied)
            alarms, seconds = alarms + len(accusing), seconds + report.seconds
            for outcome in accusing:
                print(f"{name}, seed {seed}: {outcome.check}: {outcome.message}\n{outcome.code}", file=sys.stderr)
        counts = (str(SEEDS), f"{tried:,}", f"{examples:,}", str(alarms), f"{seconds / SEEDS:.1f}")
        rows.append((f"`{Subject(name, config)!r}`", *counts))
        print(" | ".join(rows[-1]), file=sys.stderr)
    return markdown_table(rows)


def with_table(text: str, name: str, table: str) -> str:
    """The page's text with a table between its two marks."""
    before, rest = text.split(BEGIN[name])
    _, after = rest.split(END, 1)
    return f"{before}{BEGIN[name]}\n{table}\n{END}{after}"


def main(arguments: Sequence[str]) -> None:
    """Write one of the tables."""
    name, *others = arguments or ["laws"]
    if name == "shipped":
        shipped = [found for found in BUILT_IN if found != "http"]  # which is another's model, behind a URL
        table = shipped_table(check_recommender(source) for source in (*shipped, *others))
    elif name == "faults":
        from tests.broken import BROKEN

        table = faults_table(BROKEN)
    elif name == "alarms":
        table = alarms_table()
    else:
        table = laws_table()
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), name, table), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
