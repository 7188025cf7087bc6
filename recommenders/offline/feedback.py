"""Which feedback a row of a log stands for: from a rating, an event, columns of yes and no, or the row itself."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from recommenders.base import Feedback, Float64, UInt8
from recommenders.offline.cells import cell, read_numbers, read_texts
from recommenders.offline.faults import Faults, LogError, did_you_mean, listed, shown
from recommenders.offline.table import Table

KINDS: Mapping[str, Feedback] = {str(kind.name).lower(): kind for kind in Feedback}
"""The kinds of feedback by the names that options use: `long_dwell`, `like`, `dislike` and so on."""
ANY_OTHER = "*"
"""In `FeedbackRules.event_kinds`: every event that is not named."""
_COMPARISONS: Mapping[str, Callable[[Float64, float], np.ndarray]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
_CONDITION = re.compile(r"\s*(<=|>=|==|<|>)\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*")
_YES, _NO = ("1", "true", "yes", "t", "y"), ("0", "false", "no", "f", "n")


@dataclass(frozen=True)
class FeedbackRules:
    """How rows become feedback. Rules add up: a row gets the flags of every rule that applies to it.

    Every row is `EXAMINED`; a row to which no rule applies is that and nothing more: it stands in histories but is
    no label. Models take `LONG_DWELL` and `LIKE` for positive labels.

    Attributes:
        rating: a column of numbers; None for none.
        rating_kinds: kind -> condition on the rating, such as `>=4`.
        event: a column of words or codes; None for none.
        event_kinds: event -> kind; `*` stands for all others, and without it an event that is not named is an error.
        flags: column of yes and no -> kind that a yes stands for.
        every: what every row stands for: for a log that has nothing but positives, `LONG_DWELL`.
    """

    rating: str | None = None
    rating_kinds: Mapping[Feedback, str] = field(default_factory=dict)
    event: str | None = None
    event_kinds: Mapping[str, Feedback] = field(default_factory=dict)
    flags: Mapping[str, Feedback] = field(default_factory=dict)
    every: Feedback = Feedback.EXAMINED

    def columns(self) -> list[str]:
        """The columns that the rules read."""
        named = [name for name in (self.rating, self.event) if name is not None]
        return [*named, *self.flags]

    def check(self) -> None:
        """Refuse rules from which no feedback could follow.

        Raises:
            LogError: no rule, a rating without a condition or the reverse, events likewise, or a malformed condition.
        """
        if not self.columns() and self.every == Feedback.EXAMINED:
            raise LogError(
                "feedback: got no rule, expected a rating column with conditions, an event column with a mapping, "
                "columns of yes and no, or a kind that every row stands for (long_dwell if each row is a positive)"
            )
        for name, column, kinds in (
            ("rating", self.rating, self.rating_kinds),
            ("event", self.event, self.event_kinds),
        ):
            if (column is None) != (not kinds):
                got = "no column" if column is None else f"column {column!r} without any kind"
                raise LogError(f"feedback: {name}: got {got}, expected both a column and what it stands for")
        for condition in self.rating_kinds.values():
            parse_condition(condition)


def parse_kind(name: str) -> Feedback:
    """The kind of feedback of a name.

    Raises:
        LogError: there is no such kind.

    >>> parse_kind("dislike").name
    'DISLIKE'
    """
    if name.strip().lower() not in KINDS:
        hint = did_you_mean(name, list(KINDS))
        raise LogError(f"feedback: got {shown(name)}, expected one of {', '.join(KINDS)}{hint}")
    return KINDS[name.strip().lower()]


def parse_condition(text: str) -> Callable[[Float64], np.ndarray]:
    """A comparison with a number, such as `<=2`, as a function of an array.

    Raises:
        LogError: it is none.

    >>> parse_condition(">= 4")(np.array([3.5, 4.0]))
    array([False,  True])
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise LogError(f"feedback: got the condition {shown(text)}, expected <=, >=, <, > or == and a number: '<=2'")
    compare, limit = _COMPARISONS[match[1]], float(match[2])
    return lambda value: compare(value, limit)


def read_feedback(table: Table, rules: FeedbackRules, faults: Faults) -> UInt8:
    """The feedback of each row: uint8[n_rows]. Unknown events and cells that are no rating or no yes are faults."""
    feedback = np.full(table.n_rows, int(Feedback.EXAMINED | rules.every), np.uint8)
    if rules.rating is not None:
        rating = read_numbers(table, rules.rating, faults)
        for kind, condition in rules.rating_kinds.items():
            feedback[parse_condition(condition)(rating)] |= int(kind)
    if rules.event is not None:
        _add_events(table, rules.event, rules.event_kinds, feedback, faults)
    for column, kind in rules.flags.items():
        _add_flag(table, column, kind, feedback, faults)
    return feedback


def _add_events(table: Table, column: str, kinds: Mapping[str, Feedback], feedback: UInt8, faults: Faults) -> None:
    code, words = read_texts(table, column)
    other = kinds.get(ANY_OTHER)
    known = np.array([other is not None or word in kinds for word in words] + [False])
    expected = f"one of {listed([k for k in kinds if k != ANY_OTHER])}, or a kind for all others (*)"
    faults.add_rows(~known[code], table.first_row, column, lambda i: cell(table, column, i), expected)
    flags = [int(kinds.get(word, other or Feedback.EXAMINED)) for word in words]
    feedback |= np.array([*flags, 0], np.uint8)[code]


def _add_flag(table: Table, column: str, kind: Feedback, feedback: UInt8, faults: Faults) -> None:
    code, words = read_texts(table, column)
    lowered = [word.lower() for word in words]
    known = np.array([word in _YES or word in _NO for word in lowered] + [False])
    faults.add_rows(~known[code], table.first_row, column, lambda i: cell(table, column, i), "1 or 0, true or false")
    yes = np.array([word in _YES for word in lowered] + [False])
    feedback[yes[code]] |= int(kind)
