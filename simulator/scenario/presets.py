"""Presets: worlds that a scenario starts from and then changes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from simulator.scenario.faults import Sources
from simulator.scenario.yaml_nodes import parse_yaml

_FOLDER = files("simulator.scenario") / "presets"


@cache
def preset_names() -> tuple[str, ...]:
    """Names of all presets, sorted."""
    return tuple(sorted(f.name.removesuffix(".yaml") for f in _FOLDER.iterdir() if f.name.endswith(".yaml")))


def read_preset(name: str) -> dict[str, Any]:
    """The sections of `world` that a preset fills in, as plain data.

    Raises:
        ScenarioErrors: the file of the preset is at fault.
    """
    sources = Sources(f"preset {name}")
    data = parse_yaml(_text(name), sources)
    sources.raise_if_any()
    return dict(data)


def preset_summary(name: str) -> str:
    """What a preset is, in the words that open its file."""
    lines = []
    for line in _text(name).splitlines():
        if not line.startswith("# "):
            break
        lines.append(line.removeprefix("# "))
    return " ".join(lines)


def merge_beneath(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Two settings in one: what `upper` writes wins, mappings are merged key by key, lists are replaced.

    >>> merge_beneath({"a": {"x": 1, "y": 1}}, {"a": {"y": 2}})
    {'a': {'x': 1, 'y': 2}}
    """
    merged = {**lower, **upper}
    for key in lower.keys() & upper.keys():
        if isinstance(lower[key], Mapping) and isinstance(upper[key], Mapping):
            merged[key] = merge_beneath(lower[key], upper[key])
    return merged


def _text(name: str) -> str:
    return (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
