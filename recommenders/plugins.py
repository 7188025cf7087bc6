"""Find a part by its name: built in, brought by an installed package, or one's own as `module:attribute`.

Each kind of part - recommender, metric, behaviour, report - is a `Kind`. Its registry says what is built in and what an
object must be to be one of them; naming, entry points and the class of a part's settings are the same for all.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, TypeVar

from recommenders.base import Config

OWN = "pushback"

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """A part that a scenario can name.

    Attributes:
        name: what the scenario writes.
        target: `module:attribute`.
        summary: what it is, in a line; empty where nobody has looked.
        provider: `pushback`, or the distribution that brings it.
    """

    name: str
    target: str
    summary: str = ""
    provider: str = OWN


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """An installed part, or why it cannot be loaded.

    Attributes:
        entry: what its package says of it.
        part: None where it cannot be loaded.
        problem: why not; empty otherwise.
    """

    entry: Entry
    part: T | None
    problem: str = ""


@dataclass(frozen=True)
class Kind:
    """A kind of part that people bring.

    Attributes:
        word: what errors call one, such as `recommender`.
        attribute: what stands after the colon of `module:attribute`, such as `Class`.
        built_in: names that no package can take over.
        error: raised for a part that cannot be had; its message names the part.
    """

    word: str
    attribute: str
    built_in: Collection[str]
    error: type[Exception]

    @property
    def group(self) -> str:
        """The group of entry points by which a package offers such parts."""
        return f"pushback.{self.word}s"

    def find(self, name: str) -> Entry:
        """Where a name that is not built in leads, without importing it.

        Installed packages are looked through for bare names only, as that takes a while.

        Raises:
            Exception: of type `error`; no such name.
        """
        if ":" in name:
            return Entry(name, name)
        installed = self.installed()
        if name in installed:
            return installed[name]
        known = [*self.built_in, *installed]
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        choice = ", ".join([*known, f"or module:{self.attribute}"])
        raise self.error(f"{self.word}: got {name!r}, expected one of {choice}{hint}")

    def load(self, entry: Entry) -> Any:
        """The object that an entry leads to.

        Raises:
            Exception: of type `error`; it cannot be imported.
        """
        module_name, _, attribute = entry.target.partition(":")
        try:
            module = importlib.import_module(module_name)
            if not hasattr(module, attribute):
                close = difflib.get_close_matches(attribute, dir(module), n=1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise AttributeError(f"module {module_name!r} has no attribute {attribute!r}{hint}")
            return getattr(module, attribute)
        except (Exception, SystemExit) as error:  # importing somebody's module may raise whatever it likes
            plain = isinstance(error, ImportError | AttributeError)
            reason = str(error) if plain else f"{type(error).__name__}: {error}"
            raise self.error(f"{self.word} {entry.name!r}: cannot import {entry.target!r}: {reason}") from error

    def load_class(self, entry: Entry) -> type[Any]:
        """The class that an entry leads to.

        Raises:
            Exception: of type `error`; it cannot be imported, or is no class.
        """
        found = self.load(entry)
        if not inspect.isclass(found):
            raise self.error(f"{self.word} {entry.name!r}: {entry.target!r}: got {found!r}, expected a class")
        return found

    def config_class(self, cls: type[Any], name: str) -> type[Config]:
        """The type of a part's settings: its class's `config_class`, or `Config`, which takes none.

        Args:
            cls: the part's class.
            name: what errors call the part.

        Raises:
            Exception: of type `error`; `config_class` is not a `Config`.
        """
        found = getattr(cls, "config_class", Config)
        if not (inspect.isclass(found) and issubclass(found, Config)):
            raise self.error(f"{self.word} {name!r}: config_class: got {found!r}, expected a recommenders.base.Config")
        return found

    def build(self, cls: type[Any], name: str, config: Mapping[str, Any], required: Collection[str]) -> Any:
        """An instance: `Class(settings)`, or `Class()` where the class takes no settings.

        Args:
            cls: the part's class.
            name: what errors call the part.
            config: its settings.
            required: attributes that it must have.

        Raises:
            Exception: of type `error`; the class's `config_class` is wrong, or the part lacks an attribute.
            pydantic.ValidationError: the settings are wrong; locations are relative to the settings.
        """
        settings = self.config_class(cls, name).model_validate(dict(config))
        part = cls(settings) if hasattr(cls, "config_class") else cls()
        missing = [attribute for attribute in required if not hasattr(part, attribute)]
        if missing:
            raise self.error(f"{self.word} {name!r}: {cls.__qualname__} lacks {', '.join(missing)}")
        return part

    def names(self) -> tuple[str, ...]:
        """All names: the built-in ones, then those of other packages, without importing these."""
        return (*self.built_in, *self.installed())

    def installed(self) -> dict[str, Entry]:
        """What other packages offer, in order of name; the first by target of those that share a name."""
        points = sorted(metadata.entry_points(group=self.group), key=lambda point: (point.name, point.value))
        found: dict[str, Entry] = {}
        for point in points:
            if point.name not in self.built_in:
                provider = point.dist.name if point.dist is not None else "unknown"
                found.setdefault(point.name, Entry(point.name, point.value, "", provider))
        return found

    def load_installed(self, load: Callable[[Entry], T]) -> list[Loaded[T]]:
        """What other packages offer, loaded: a listing must survive a part that cannot be.

        Args:
            load: loads an entry, or raises `error`.
        """
        found: list[Loaded[T]] = []
        for entry in self.installed().values():
            try:
                found.append(Loaded(entry, load(entry)))
            except self.error as error:
                found.append(Loaded(entry, None, str(error)))
        return found

    def describe_installed(self, load: Callable[[Entry], object]) -> list[Entry]:
        """What other packages offer, with the first line of its docstring, or with why it cannot be loaded."""
        return [
            replace(loaded.entry, summary=loaded.problem or first_line(loaded.part))
            for loaded in self.load_installed(load)
        ]


def first_line(part: object) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(part) or "No description.").partition("\n")[0]


@contextmanager
def blaming(what: str, error: type[Exception]) -> Iterator[None]:
    """Turn whatever a plug-in raises into an error that names it, and the line of its code.

    The command line shows its author no traceback.

    Args:
        what: the part and what it was asked, such as `metric boredom: compute`.
        error: the type to raise.
    """
    try:
        yield
    except Exception as raised:
        frames = traceback.extract_tb(raised.__traceback__)[2:]  # what lies beneath `blaming` and its caller
        place = f" at {Path(frames[0].filename).name}:{frames[0].lineno}" if frames else ""
        raise error(f"{what} failed{place}: {type(raised).__name__}: {raised}") from raised
