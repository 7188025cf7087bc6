"""YAML as a scenario needs it: plain data with the position of every value, from text that nobody has to trust.

PyYAML scans and composes; what a scalar means is decided here, since PyYAML speaks YAML 1.1, where `no` is false,
`1e-3` is text, `12:30` is 750 and `010` is 8. Here `true`, `false`, `null` and decimal numbers are what they look like,
all else is text, and whatever could be read in two ways is refused: leading zeros, tags, merge keys, duplicate keys,
values left empty. Sizes are bounded before work is done.
"""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from simulator.scenario.faults import Path, Position, ScenarioErrors, Sources, shorten

MAX_BYTES = 1 << 18
MAX_DEPTH = 40
MAX_VALUES = 10_000
MAX_DIGITS = 40

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?")
_CONSTANTS = {text: value for word, value in (("true", True), ("false", False), ("null", None))
              for text in (word, word.capitalize(), word.upper())} | {"~": None}  # fmt: skip
_LINE_END = re.compile(r"\r\n|\r|\n")
_FOREIGN_LINE_END = re.compile("[\x85\u2028\u2029]")
_ABSENT = object()


@dataclass
class _Text:
    """A text whose character indices can be turned into positions, counting lines as editors do."""

    text: str
    starts: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.starts = [0, *(m.end() for m in _LINE_END.finditer(self.text))]

    def position(self, index: int) -> Position:
        line = bisect.bisect_right(self.starts, index)
        return Position(line, index - self.starts[line - 1] + 1)


def decode(raw: bytes, sources: Sources) -> str:
    """The text of a file.

    Args:
        raw: at most `MAX_BYTES + 1` of its bytes.
        sources: named in errors.

    Raises:
        ScenarioErrors: too large, or not UTF-8.
    """
    if len(raw) > MAX_BYTES:
        sources.report_at(None, "file", f"more than {MAX_BYTES} bytes", f"a scenario of at most {MAX_BYTES} bytes")
        sources.raise_if_any()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = _Text(raw[: error.start].decode("utf-8-sig"))
        got = f"the byte 0x{raw[error.start]:02x}, which is not UTF-8"
        sources.report_at(before.position(len(before.text)), "file", got, "UTF-8 text")
        raise ScenarioErrors(sources.faults) from None


def parse_yaml(text: str, sources: Sources) -> Any:
    """The plain data of one YAML document: dicts with text keys, lists, text, numbers, booleans, None.

    Args:
        text: the document.
        sources: receives the position of every value and all faults that leave the rest readable.

    Returns:
        The data; None for a document without content. Parts at fault are left out.

    Raises:
        ScenarioErrors: nothing can be made of the text.
    """
    lines = _Text(text)
    node = _compose(text, lines, sources)
    if node is None:
        return None
    reader = _Reader(lines, sources)
    value = reader.read(node, (), 0)
    return None if value is _ABSENT else value


def _compose(text: str, lines: _Text, sources: Sources) -> yaml.Node | None:
    foreign = yaml.reader.Reader.NON_PRINTABLE.search(text) or _FOREIGN_LINE_END.search(text)
    if foreign:
        got = f"the character U+{ord(foreign.group()):04X}"
        sources.report_at(lines.position(foreign.start()), "file", got, "printable text, with line feeds between lines")
        raise ScenarioErrors(sources.faults)
    loader = _Composer(text)
    try:
        return loader.get_single_node()
    except _RefusedError as error:
        index, got, expected = error.index, error.got, error.expected
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        index = mark.index if mark else 0
        got, expected = f"broken YAML ({_problem(error, lines)})", _remedy(text[index : index + 1], error)
    except (ValueError, OverflowError) as error:  # from chr() of an escape, or int() of a directive's number
        index, got, expected = loader.get_mark().index, f"broken YAML ({shorten(str(error))})", "valid YAML"
    sources.report_at(lines.position(index), "file", got, expected)
    raise ScenarioErrors(sources.faults)


def _problem(error: yaml.MarkedYAMLError, lines: _Text) -> str:
    problem = shorten(error.problem or "unreadable")
    if not error.context:
        return problem
    start = f" from line {lines.position(error.context_mark.index).line}" if error.context_mark else ""
    return f"{error.context}{start}, {problem}"


def _remedy(character: str, error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or ""
    if character == "\t":
        return "spaces, since YAML does not indent with tabs"
    if problem.startswith("but found another document"):
        return "one document in a file"
    if problem.startswith("mapping values are not allowed"):
        return "quotes around text that contains a colon, and keys of one section in one column"
    if problem.startswith("found undefined alias"):
        return "an anchor of that name before it, or quotes around text that starts with *"
    return "valid YAML"


class _RefusedError(Exception):
    """Something that YAML allows and a scenario does not."""

    def __init__(self, index: int, got: str, expected: str) -> None:
        super().__init__(got)
        self.index, self.got, self.expected = index, got, expected


class _Composer(yaml.SafeLoader):
    """Composes nodes, counting them on the way, so that no text can make it recurse or grow without bound."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._count = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        at = event.start_mark.index
        self._count += 1
        if self._depth >= MAX_DEPTH:
            raise _RefusedError(at, f"more than {MAX_DEPTH} levels of nesting", f"at most {MAX_DEPTH}")
        if self._count > MAX_VALUES:
            raise _RefusedError(at, f"more than {MAX_VALUES} values", f"at most {MAX_VALUES}")
        if getattr(event, "tag", None) is not None:
            tag = "a tag" if event.tag == "!" else f"the tag {shorten(event.tag)}"
            raise _RefusedError(at, tag, "no tags: a scenario is text, numbers, lists and mappings")
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


@dataclass
class _Reader:
    """Turns nodes into data, writing down positions and faults."""

    lines: _Text
    sources: Sources
    count: int = 0

    def read(self, node: yaml.Node, path: Path, depth: int) -> Any:
        """The value of a node, or `_ABSENT` where it is at fault."""
        self.count += 1
        if self.count > MAX_VALUES or depth > MAX_DEPTH:  # aliases were followed: composing has bounded the rest
            at = self.lines.position(node.start_mark.index)
            limits = f"at most {MAX_VALUES} values and {MAX_DEPTH} levels, with aliases written out"
            self.sources.report_at(at, "file", "aliases that multiply without end", limits)
            raise ScenarioErrors(self.sources.faults)
        self.sources.values[path] = self.lines.position(node.start_mark.index)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            entries = [self.read(child, (*path, i), depth + 1) for i, child in enumerate(node.value)]
            return [None if entry is _ABSENT else entry for entry in entries]
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path, depth: int) -> dict[str, Any]:
        data: dict[str, Any] = {}
        first: dict[str, Position] = {}
        for key_node, value_node in node.value:
            at = self.lines.position(key_node.start_mark.index)
            key = self._key(key_node, at)
            if key is None:
                continue
            if key in first:
                self.sources.keys.setdefault((*path, key), at)
                expected = f"each key once (it is also in line {first[key].line})"
                self.sources.report_at(at, shorten(key), "the key a second time", expected)
                continue
            first[key] = at
            self.sources.keys[*path, key] = at
            value = self.read(value_node, (*path, key), depth + 1)
            if value is not _ABSENT:
                data[key] = value
        return data

    def _key(self, node: yaml.Node, at: Position) -> str | None:
        key: object = None
        if isinstance(node, yaml.ScalarNode):
            plain = node.style is None
            if plain and node.value == "<<":
                self.sources.report_at(at, "<<", "a merge key", "keys written out, since merged ones cannot be located")
                return None
            key = _plain_value(node.value) if plain else node.value
            if isinstance(key, str) and not _has_surrogate(key):
                return key
        kinds: dict[type[yaml.Node], str] = {yaml.MappingNode: "a mapping", yaml.SequenceNode: "a list"}
        got = kinds.get(type(node)) or ("an empty key" if node.value == "" else f"the key {shorten(str(node.value))}")
        self.sources.report_at(at, "file", got, "a key that is text")
        return None

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        text = str(node.value)
        if _has_surrogate(text):
            self.sources.report(path, "half of a surrogate pair", "text that UTF-8 can write")
        elif node.style is not None:
            return text
        elif text == "":
            self.sources.report(path, "nothing", "a value after the colon ({} for all defaults, null for none)")
        elif _LEADING_ZERO.fullmatch(text):
            self.sources.report(path, shorten(text), "a number without leading zeros, or quotes around text")
        elif _INTEGER.fullmatch(text) and len(text) > MAX_DIGITS:
            self.sources.report(path, f"a number of {len(text)} digits", f"at most {MAX_DIGITS}")
        else:
            return _plain_value(text)
        return _ABSENT


def _plain_value(text: str) -> object:
    """What an unquoted scalar means."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text) and len(text) <= MAX_DIGITS:
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _SPECIAL_FLOAT.fullmatch(text):
        return float(text.replace(".", ""))
    return text if text else None


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in text)


class _Dumper(yaml.SafeDumper):
    """Writes text so that this module, and YAML 1.1 readers too, read text."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = None
    if not text.isprintable():
        style = '"'  # so that every odd character is escaped
    elif not isinstance(_plain_value(text), str) or _LEADING_ZERO.fullmatch(text):
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def write_yaml(data: object) -> str:
    """The text of plain data, which `parse_yaml` reads back as equal data."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
