"""What came of checks, and how people read it: as text, as HTML in a notebook, as Markdown, as JSON."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from itertools import groupby
from typing import Any, Literal

from recommenders.conformance.laws import Effect
from recommenders.conformance.subject import Violation

Status = Literal["passed", "failed", "known", "skipped"]

FORMAT = 1
"""Of `Report.as_dict`; a change that breaks readers raises it."""
_NAME_WIDTH = 52
_EFFECT_WIDTH = 74
_NAMED = 3
_HEADERS = ("law", "status", "examples", "seconds", "effect")


@dataclass(frozen=True)
class Outcome:
    """What came of one check.

    Attributes:
        check: name of the check.
        law: the law in a sentence.
        kind: which part of the contract it belongs to.
        status: `known` is a failure that was listed with a reason.
        message: how the law is broken, or why the check was skipped; empty where it passed.
        code: the smallest example found, as code to paste; empty unless the law is broken.
        examples: how many were tried until the outcome was known, without those that made the example smaller.
        seconds: how long it took.
        effect: what a statistical law measured.
        out_of_time: the law is broken as there was no answer in time.
    """

    check: str
    law: str
    kind: str
    status: Status
    message: str
    code: str
    examples: int
    seconds: float
    effect: Effect | None
    out_of_time: bool = False

    @property
    def cells(self) -> tuple[str, str, str, str, str]:
        """A row of the table: law, status, examples, seconds, effect."""
        tried = f"{self.examples:,}" if self.examples else ""
        took = "" if self.status == "skipped" else f"{self.seconds:.2f}"
        return self.law, self.status, tried, took, effect_words(self.effect)

    @property
    def lines(self) -> tuple[str, ...]:
        """A row of a table of text, at most 80 wide: name, status, examples, seconds; below it what was measured."""
        _, status, tried, took, effect = self.cells
        below = textwrap.wrap(effect, _EFFECT_WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 4)
        return _line((f"  {self.check}", status, tried, took)), *below

    @property
    def explanation(self) -> str:
        """How the law is broken: the law, what was found, and the example as code."""
        head = f"{self.check}: {self.law}\n{self.message}"
        if not self.code:
            return head
        found = f"Found by example {self.examples:,}; the smallest that does it" if self.examples > 1 else "To see it"
        return f"{head}\n{found}:\n\n{self.code}"


def effect_words(effect: Effect | None) -> str:
    """What was measured, with its 95% interval; empty where nothing was.

    >>> effect_words(Effect(-0.4211, -0.451, -0.39, "change of the creator's share"))
    "-0.421 [-0.451, -0.39] change of the creator's share"
    """
    if effect is None:
        return ""
    return f"{effect.value:.3g} [{effect.low:.3g}, {effect.high:.3g}] {effect.of}"


@dataclass(frozen=True, repr=False)
class Report:
    """What came of all checks of a subject; printed, or shown by a notebook, it is a table.

    Attributes:
        subject: its name.
        config: its settings.
        outcomes: one a check.
        seconds: how long they took.
        seed: which examples were tried.
    """

    subject: str
    config: Mapping[str, Any]
    outcomes: tuple[Outcome, ...]
    seconds: float
    seed: int

    @property
    def passed(self) -> bool:
        """Whether no check failed that was not known to."""
        return not self.broken

    @property
    def broken(self) -> tuple[Outcome, ...]:
        """The checks that failed and were not known to."""
        return tuple(outcome for outcome in self.outcomes if outcome.status == "failed")

    @property
    def remarks(self) -> tuple[str, ...]:
        """Why checks were skipped, and which failures are known; reasons that many share, once."""
        names: dict[tuple[str, str], list[str]] = {}
        for o in self.outcomes:
            if o.status in {"skipped", "known"}:
                names.setdefault((o.status, o.message), []).append(o.check)
        return tuple(
            f"{status}: {', '.join(found) if len(found) <= _NAMED else f'{len(found)} checks'}: {message}"
            for (status, message), found in names.items()
        )

    @property
    def verdict(self) -> str:
        """All in a line, such as `popularity: 29 laws hold, 2 skipped, 0 broken in 3.1 s`."""
        count = {status: sum(o.status == status for o in self.outcomes) for status in ("passed", "skipped", "known")}
        known = f"{count['known']} known to fail, " if count["known"] else ""
        holds = f"{count['passed']} law{'s hold' if count['passed'] != 1 else ' holds'}"
        return (
            f"{self.subject}: {holds}, {count['skipped']} skipped, {known}{len(self.broken)} broken "
            f"in {self.seconds:.1f} s"
        )

    def raise_if_broken(self) -> None:
        """Do nothing if all laws hold, but for known failures.

        Raises:
            Violation: one does not; the message explains each.
        """
        if self.broken:
            raise Violation("\n\n".join([self.verdict, *(outcome.explanation for outcome in self.broken)]))

    def __repr__(self) -> str:
        rows = [HEADER, "-" * len(HEADER)]
        for kind, outcomes in groupby(self.outcomes, lambda o: o.kind):
            rows += [kind, *(line for outcome in outcomes for line in outcome.lines)]
        parts = ["\n".join(rows), *(["\n".join(self.remarks)] if self.remarks else [])]
        return "\n\n".join([*parts, *(outcome.explanation for outcome in self.broken), self.verdict])

    def _repr_html_(self) -> str:
        """The same for a notebook: a table, and each failure folded out beneath it."""
        head = "".join(f"<th>{header}</th>" for header in _HEADERS)
        rows = "".join(_html_row(outcome) for outcome in self.outcomes)
        remarks = "".join(f"<div>{escape(remark)}</div>" for remark in self.remarks)
        failures = "".join(
            f"<details open><summary>{escape(o.check)}</summary><pre>{escape(o.explanation)}</pre></details>"
            for o in self.broken
        )
        return (
            f"<div><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
            f"{remarks}{failures}<p><b>{escape(self.verdict)}</b></p></div>"
        )

    def to_markdown(self) -> str:
        """The table alone, for documents."""
        rows = [_HEADERS, ("---",) * len(_HEADERS), *(outcome.cells for outcome in self.outcomes)]
        return markdown_table(rows)

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain data: what `pushback check --json` writes."""
        return {
            "format": FORMAT,
            "subject": self.subject,
            "config": json.loads(json.dumps(dict(self.config), default=repr)),
            "seed": self.seed,
            "passed": self.passed,
            "verdict": self.verdict,
            "seconds": self.seconds,
            "outcomes": [{**asdict(o), "effect": _plain_effect(o.effect)} for o in self.outcomes],
        }

    def to_json(self) -> str:
        """The same as text."""
        return json.dumps(self.as_dict(), indent=2, ensure_ascii=False, allow_nan=False)


def markdown_table(rows: Iterable[Sequence[str]]) -> str:
    """Rows as lines of a Markdown table, whose text stays within its cells."""
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)


def _line(cells: tuple[str, str, str, str]) -> str:
    name, status, examples, seconds = cells
    return f"{name:<{_NAME_WIDTH}} {status:<7} {examples:>8} {seconds:>7}".rstrip()


HEADER = _line(("check", *_HEADERS[1:4]))
"""Above the first line of `Outcome.lines`."""


def _html_row(outcome: Outcome) -> str:
    law, *others = outcome.cells
    cells = "".join(f"<td>{escape(cell)}</td>" for cell in others)
    style = ' style="font-weight:bold"' if outcome.status == "failed" else ""
    return f'<tr{style}><td style="text-align:left" title="{escape(outcome.check)}">{escape(law)}</td>{cells}</tr>'


def _plain_effect(effect: Effect | None) -> dict[str, Any] | None:
    """Numbers that are not finite have no place in JSON: None."""
    if effect is None:
        return None
    numbers = {name: float(getattr(effect, name)) for name in ("value", "low", "high")}
    return {**{name: x if math.isfinite(x) else None for name, x in numbers.items()}, "of": effect.of}
