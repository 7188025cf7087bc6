"""Whatever is done to a scenario, loading it succeeds or tells what is wrong; it never fails in any other way."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.scenario.faults import Fault, ScenarioErrors, Sources
from simulator.scenario.loader import resolved_yaml
from simulator.scenario.yaml_nodes import parse_yaml
from tests.simulator.scenario.samples import FULL, MINIMAL, load_text

FRAGMENTS = [
    "", "null", "~", "[]", "{}", "no", "010", "1e999", ".nan", "-0", "9" * 5000, "0.5", "30d", "1h 30m", "true", "x",
    "- ", "? ", ": ", "&a ", "*a", "*loud", "!!int ", "!!python/name:os.system ", "|\n", ">\n",
    "'", '"', "[", "{", "<<: *loud\n",
    "\t", "\r", "\x00", "\x85", "\u2028", "\ufeff", "\ud800", "😀", "%YAML 1.1\n", "---\n", "...\n", "#", "\\",
    "${HOME}",
]  # fmt: skip
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["30d", "base", "lively"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
TEXTS = st.sampled_from([MINIMAL, FULL])
TREES = [parse_yaml(text, Sources("text")) for text in (MINIMAL, FULL)]


@pytest.fixture(scope="module", autouse=True)
def folder() -> Iterator[None]:
    with tempfile.TemporaryDirectory() as path:
        _Folder.path = Path(path)
        yield


class _Folder:
    path: Path


def loads_or_tells(text: str | bytes, **options: object) -> None:
    try:
        scenario = load_text(_Folder.path, text, **options).scenario
    except ScenarioErrors as error:
        check_faults(error.faults)
    else:
        assert load_text(_Folder.path, resolved_yaml(scenario)).scenario == scenario


def check_faults(faults: Sequence[Fault]) -> None:
    assert faults
    for fault in faults:
        assert all((fault.where, fault.subject, fault.got, fault.expected))
        assert str(fault).isprintable()


@settings(deadline=None, max_examples=150)
@given(TEXTS, st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 20), st.sampled_from(FRAGMENTS)), max_size=4))
def test_text_cut_out_and_inserted(text: str, edits: list[tuple[int, int, str]]) -> None:
    for place, removed, inserted in edits:
        at = place % (len(text) + 1)
        text = text[:at] + inserted + text[at + removed :]
    loads_or_tells(text)


@settings(deadline=None, max_examples=100)
@given(TEXTS, st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=6))
def test_bytes_flipped(text: str, flips: list[tuple[int, int]]) -> None:
    raw = bytearray(text.encode())
    for at, byte in flips:
        raw[at % len(raw)] = byte
    loads_or_tells(bytes(raw))


@settings(deadline=None, max_examples=100)
@given(TEXTS, st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=3))
def test_lines_moved_and_doubled(text: str, moves: list[tuple[int, int]]) -> None:
    lines = text.splitlines(keepends=True)
    for source, target in moves:
        lines.insert(target % len(lines), lines[source % len(lines)])
    loads_or_tells("".join(lines))


def places(data: Any) -> list[tuple[Any, Any]]:
    """Every container of plain data with each of its keys."""
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [place for key, value in pairs for place in [(data, key), *places(value)]]


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_keys_and_values_swapped_deleted_and_replaced(data: st.DataObject) -> None:
    tree = copy.deepcopy(data.draw(st.sampled_from(TREES)))
    for _ in range(data.draw(st.integers(1, 3))):
        spots = places(tree)
        node, key = data.draw(st.sampled_from(spots))
        match data.draw(st.sampled_from(["replace", "delete", "rename", "swap"])):
            case "replace":
                node[key] = data.draw(VALUES)
            case "delete":
                del node[key]
            case "rename" if isinstance(node, dict):
                node[data.draw(st.text(max_size=8) | st.none() | st.integers())] = node.pop(key)
            case _:
                other, other_key = data.draw(st.sampled_from(spots))
                taken = other[other_key]
                if not any(inner is node for inner, _ in places([taken])) and taken is not node:
                    node[key] = taken
    loads_or_tells(yaml.dump(tree, allow_unicode=True))


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.text(max_size=20), max_size=2),
    st.sampled_from(["seed", "world.preset", "arms[0]", "metrics[0]"]),
    VALUES,
)
def test_any_override(texts: list[str], path: str, value: object) -> None:
    loads_or_tells(MINIMAL, overrides=[*texts, f"{path}={yaml.dump(value, default_flow_style=True)}"])
