"""What is wrong with a log: collected up to a limit, so that one look at a file tells most of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from difflib import get_close_matches
from textwrap import shorten

import numpy as np

from recommenders.base import Bool

MAX_FAULTS = 20
"""Faults of a file that are told one by one; the rest are counted."""
_MAX_PER_COLUMN = 5
_MAX_CHARACTERS = 60


class LogError(Exception):
    """A log cannot be used; the message has one line a fault, `file:row: column: got ..., expected ...`.

    A row of a CSV file is a line, and the header is row 1; the rows of a Parquet file are counted from 1.
    """


class Faults:
    """Collects what is wrong with a file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._lines: list[str] = []
        self._count = 0

    def add(self, where: str, got: str, expected: str) -> None:
        """Note one fault; `where` follows the file's name, such as `:3: rating`."""
        self._count += 1
        if len(self._lines) < MAX_FAULTS:
            self._lines.append(f"{self.file}{where}: got {got}, expected {expected}")

    def add_rows(self, wrong: Bool, first_row: int, column: str, got: Callable[[int], str], expected: str) -> None:
        """Note the rows where something is wrong: the first few each, the others as a number.

        Args:
            wrong: bool[n_rows].
            first_row: the number of the file's first row of data.
            column: its name.
            got: what stands in a row, given its index.
            expected: what should.
        """
        rows = np.flatnonzero(wrong)
        for index in rows[:_MAX_PER_COLUMN].tolist():
            self.add(f":{index + first_row}: {column}", got(index), expected)
        more = len(rows) - _MAX_PER_COLUMN
        if more > 0:
            self.add(f": {column}", f"{more:,} more such rows", expected)

    def raise_if_any(self) -> None:
        """Raise `LogError` with all that was noted."""
        if self._count > len(self._lines):
            raise LogError("\n".join([*self._lines, f"{self.file}: and {self._count - len(self._lines)} more faults"]))
        if self._lines:
            raise LogError("\n".join(self._lines))


def shown(cell: object) -> str:
    """A cell as messages show it: quoted, and of a bearable length."""
    text = str(cell)
    return repr(text if len(text) <= _MAX_CHARACTERS else text[:_MAX_CHARACTERS] + "...")


def listed(names: Collection[str]) -> str:
    """Names one after the other, of a bearable length."""
    return shorten(", ".join(names), 300, placeholder=", ...")


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """A hint at the name that resembles most, as the end of a phrase; empty where none does."""
    lowered = {other.lower(): other for other in names}
    close = get_close_matches(name.lower(), lowered, n=1)
    return f" (did you mean {lowered[close[0]]!r}?)" if close else ""
