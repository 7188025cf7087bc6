"""Settings given as Python objects, made as plain as those that YAML gives."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from simulator.scenario.faults import Path, Sources, shorten
from simulator.scenario.yaml_nodes import MAX_DEPTH


def plain_data(value: object, sources: Sources, path: Path = ()) -> Any:
    """Dicts with text keys, lists, text, numbers, booleans and None, equal to what was given and independent of it.

    Args:
        value: mappings, lists, tuples and single values; numbers may be numpy's.
        sources: receives the faults.
        path: where the value stands in the scenario.

    Returns:
        The data; None in place of a value at fault.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if len(path) > MAX_DEPTH:
        sources.report(path, f"more than {MAX_DEPTH} levels of nesting", f"at most {MAX_DEPTH}")
    elif isinstance(value, list | tuple):
        return [plain_data(entry, sources, (*path, i)) for i, entry in enumerate(value)]
    elif isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                sources.report(path, f"the key {shorten(repr(key))}", "keys that are text")
        return {key: plain_data(entry, sources, (*path, key)) for key, entry in value.items() if isinstance(key, str)}
    else:
        got = f"an object of type {type(value).__name__}"
        sources.report(path, got, "text, a number, true, false, none, a list or a mapping")
    return None
