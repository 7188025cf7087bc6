"""What is wrong with a scenario, and where: the errors that the loader reports, all of a file at once."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

Path = tuple[str | int, ...]
"""Keys and indices from the top of a scenario to a value."""

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,59}")
_SHOWN_CHARACTERS = 60
_LISTED_NAMES = 8


@dataclass(frozen=True, order=True)
class Position:
    """A place in a text; both count from 1, columns in characters."""

    line: int
    column: int


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        where: file, line and column, or the `--set` that brought the value.
        subject: the path of the setting, or what the fault is about.
        got, expected: in words, without a full stop.
    """

    where: str
    subject: str
    got: str
    expected: str

    def __str__(self) -> str:
        return f"{self.where}: {self.subject}: got {self.got}, expected {self.expected}"


class ScenarioErrors(Exception):  # noqa: N818  (there are several)
    """All faults of a scenario, in order of their position; the message has one line for each."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


@dataclass
class PathSet:
    """A set of paths that knows, in time that does not grow with it, whether a path lies above or beneath one."""

    _paths: set[Path] = field(default_factory=set)
    _above: set[Path] = field(default_factory=set)

    def add(self, path: Path) -> None:
        """Put a path into the set."""
        self._paths.add(path)
        self._above.update(path[:depth] for depth in range(len(path)))

    def overlaps(self, path: Path) -> bool:
        """Whether a path is in the set, or lies above or beneath one that is."""
        return path in self._above or any(path[:depth] in self._paths for depth in range(len(path) + 1))

    def copy(self) -> PathSet:
        """The set as it is now."""
        return PathSet(set(self._paths), set(self._above))


@dataclass
class Sources:
    """Where each value of a scenario was written, and the faults found so far.

    Attributes:
        file: the file's name as the user gave it.
        values, keys: path -> position of the value, and of its key or list entry.
        overrides: the texts of `--set`, with the paths that they set; later ones win.
        faulty: the paths at which faults were noted.
        has_text: whether there is a text, in which a fault can be located; settings given as Python objects have none.
    """

    file: str
    values: dict[Path, Position] = field(default_factory=dict)
    keys: dict[Path, Position] = field(default_factory=dict)
    overrides: list[tuple[Path, str]] = field(default_factory=list)
    faulty: PathSet = field(default_factory=PathSet)
    has_text: bool = True
    _found: list[tuple[tuple[int, int, int], Fault]] = field(default_factory=list)

    def report(self, path: Path, got: str, expected: str, *, on_key: bool = False, also: Sequence[Path] = ()) -> None:
        """Note a fault of the value at a path.

        Args:
            path: what is wrong; a path that was not written is located at the nearest section around it.
            got, expected: in words.
            on_key: the key is wrong, rather than its value.
            also: other paths that take part; the fault is located at the first that the user wrote.
        """
        written = [p for p in (path, *also) if self._overridden_by(p) is not None]
        written += [p for p in (path, *also) if p in self.values]
        for faulty in filter(None, (path, *also)):  # a fault of the whole says nothing of its parts
            self.faulty.add(faulty)
        self._report_at(written[0] if written else path, path, got, expected, on_key=on_key)

    def report_at(self, position: Position | None, subject: str, got: str, expected: str) -> None:
        """Note a fault of the text itself, at a position or of the whole file."""
        where = f"{self.file}:{position.line}:{position.column}" if position else self.file
        order = (0, position.line, position.column) if position else (0, 0, 0)
        self._found.append((order, Fault(where, subject, got, expected)))

    def report_override(self, index: int, text: str, got: str, expected: str, *, subject: str = "--set") -> None:
        """Note a fault of an override itself, the `index`-th."""
        self._found.append(((1, index, 0), Fault(f"--set {shorten(text)}", subject, got, expected)))

    @property
    def faults(self) -> list[Fault]:
        """All faults: those of the file in order of position, then those of overrides; equal ones once."""
        ordered = sorted(self._found, key=lambda entry: entry[0])
        return list(dict.fromkeys(fault for _, fault in ordered))

    def raise_if_any(self) -> None:
        """Raise what was found.

        Raises:
            ScenarioErrors: a fault was noted.
        """
        if self._found:
            raise ScenarioErrors(self.faults)

    def _report_at(self, written: Path, path: Path, got: str, expected: str, *, on_key: bool) -> None:
        index = self._overridden_by(written)
        if index is not None:
            self.report_override(index, self.overrides[index][1], got, expected, subject=format_path(path))
            return
        while written not in self.values and written:
            written = written[:-1]
        places = self.keys if on_key and written in self.keys else self.values
        position = places.get(written, Position(1, 1)) if self.has_text else None
        self.report_at(position, format_path(path), got, expected)

    def _overridden_by(self, path: Path) -> int | None:
        hits = [i for i, (target, _) in enumerate(self.overrides) if path[: len(target)] == target]
        return hits[-1] if hits else None


def format_path(path: Path) -> str:
    """A path as people write it.

    >>> format_path(("arms", 1, "config", "weight"))
    'arms[1].config.weight'
    """
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            key = part if _PLAIN_KEY.fullmatch(part) else describe(part)
            text += f".{key}" if text else key
    return text or "scenario"


def describe(value: object) -> str:
    """A value in a few words, as its writer would recognise it.

    >>> describe(["a"]), describe("a"), describe(None)
    ('a list', "'a'", 'null')
    """
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    return shorten(repr(value))


def shorten(text: str) -> str:
    """The text, printable and not much longer than a line can bear."""
    shown = text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in shown)


def one_of(names: Collection[str], got: object) -> str:
    """What was expected where a name should be one of several, with the nearest name first.

    >>> one_of(["gru4rec", "sasrec"], "gru4rce")
    "one of gru4rec, sasrec (did you mean 'gru4rec'?)"
    """
    if not names:
        return "nothing, as there are none"
    choice = f"one of {', '.join(names)}" if len(names) > 1 else next(iter(names))
    close = difflib.get_close_matches(got[:100], names, n=1) if isinstance(got, str) else []
    if close and len(names) > _LISTED_NAMES:
        choice = f"one of {len(names)} names"
    return f"{choice} (did you mean {close[0]!r}?)" if close else choice
