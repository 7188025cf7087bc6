"""`--set path=value`: settings from the command line that replace those of the file."""

from __future__ import annotations

import re
from typing import Any, get_origin

from pydantic import BaseModel

from simulator.scenario.faults import Path, ScenarioErrors, Sources, describe, format_path, one_of
from simulator.scenario.schema import Scenario
from simulator.scenario.validation import section_model
from simulator.scenario.yaml_nodes import parse_yaml

_PATH = re.compile(r"[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*|\[[0-9]{1,6}\])*")
_PART = re.compile(r"([A-Za-z_][\w-]*)|\[([0-9]+)\]")


class _OverrideError(Exception):
    """An override does not name a setting."""

    def __init__(self, got: str, expected: str) -> None:
        super().__init__(got)
        self.got, self.expected = got, expected


def apply_overrides(data: dict[str, Any], overrides: list[str], sources: Sources) -> None:
    """Set values in a scenario's data.

    Args:
        data: changed in place; sections that the file leaves out are added, and a list grows by an entry where its
            next free index is set, such as `arms[2]={...}` of two arms.
        overrides: texts `path=value`, the value in YAML; applied in order.
        sources: learns which values come from an override, and receives the faults.
    """
    for index, text in enumerate(overrides):
        path_text, equals, value_text = text.partition("=")
        if not equals or not _PATH.fullmatch(path_text.strip()):
            got = describe(text)
            sources.report_override(index, text, got, "path=value, such as platform.slate_size=20 or arms[0].name=base")
            sources.overrides.append(((f"--set {index}",), text))
            continue
        path = tuple(int(number) if number else key for key, number in _PART.findall(path_text))
        sources.overrides.append((path, text))
        try:
            value = _parse_value(value_text)
            _place(data, Scenario, path, 0, value)
        except _OverrideError as error:
            sources.report_override(index, text, error.got, error.expected)
        except ScenarioErrors as error:
            for fault in error.faults:
                sources.report_override(index, text, fault.got, fault.expected)


def _parse_value(text: str) -> Any:
    sources = Sources("value")
    value = parse_yaml(text, sources)
    if value is None and not text.strip():
        raise _OverrideError("nothing after =", "a value (null for none, '' for empty text)")
    sources.raise_if_any()
    return value


def _place(node: Any, model: type[BaseModel] | None, path: Path, depth: int, value: Any) -> None:
    """Put a value at `path[depth:]` beneath a node, which is a section of type `model`, or free where that is None."""
    part, last = path[depth], depth == len(path) - 1
    annotation: object = dict
    if isinstance(part, int):
        entries = len(node) if isinstance(node, list) else 0
        if isinstance(node, list) and last and part == entries:
            node.append(value)
            return
        if part >= entries:
            raise _OverrideError(
                format_path(path[: depth + 1]), f"an entry of {format_path(path[:depth])}, which has {entries}"
            )
        annotation = model or dict
    elif not isinstance(node, dict):
        raise _OverrideError(
            format_path(path[: depth + 1]), f"a setting: {format_path(path[:depth])} is {describe(node)}"
        )
    elif model is not None:
        if part not in model.model_fields:
            raise _OverrideError(f"the unknown key {part}", one_of(sorted(model.model_fields), part))
        annotation = model.model_fields[part].annotation
    if last:
        node[part] = value
        return
    child = node[part] if isinstance(part, int) else node.get(part)
    inner = section_model(annotation, child)
    if child is None:
        if inner is None and (get_origin(annotation) or annotation) is not dict:
            raise _OverrideError(format_path(path), f"a setting: {format_path(path[: depth + 1])} has no parts")
        child = node[part] = {}
    _place(child, inner, path, depth + 1, value)
