"""Results and manifests as JSON, and back: exact, and strict about what it reads.

Numbers that are not finite are written as null and read back as NaN. Everything else makes the round trip unchanged.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from simulator.experiment.results import Manifest, Results

RESULTS_SCHEMA = "pushback.results/1"
MANIFEST_SCHEMA = "pushback.manifest/1"
"""First key of each file; the number rises when a reader of the old form would misread the new one."""

MOST_BITS = 100
"""Of an integer in a file: more than any count or tick has, and a float can still hold it."""

T = TypeVar("T")


class ReportError(Exception):
    """A run cannot be read, or its report not written; the message names the file, what was found and expected."""


def results_to_json(results: Results) -> str:
    """The text of `results.json`; non-finite numbers become null."""
    return _to_json(results, RESULTS_SCHEMA)


def results_from_json(text: str, source: str = "results.json") -> Results:
    """Read what `results_to_json` wrote; null becomes NaN where a number is due.

    Args:
        text: the file's content.
        source: how errors call the file.

    Raises:
        ReportError: not JSON, another schema, a missing or unknown key, or a value of the wrong type.
    """
    return _from_json(Results, text, RESULTS_SCHEMA, source)


def manifest_to_json(manifest: Manifest) -> str:
    """The text of `manifest.json`; non-finite numbers become null."""
    return _to_json(manifest, MANIFEST_SCHEMA)


def manifest_from_json(text: str, source: str = "manifest.json") -> Manifest:
    """Read what `manifest_to_json` wrote; null becomes NaN where a number is due.

    Args:
        text: the file's content.
        source: how errors call the file.

    Raises:
        ReportError: not JSON, another schema, a missing or unknown key, or a value of the wrong type.
    """
    return _from_json(Manifest, text, MANIFEST_SCHEMA, source)


def _to_json(data: object, schema: str) -> str:
    # ASCII only: a lone surrogate from a YAML escape could not be written as UTF-8.
    return json.dumps({"schema": schema, **_plain(data)}, indent=1, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _from_json(kind: type[T], text: str, schema: str, source: str) -> T:
    try:
        data = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{source}: not readable as JSON: {error}") from error
    if not isinstance(data, dict):
        raise ReportError(f"{source}: got {_describe(data)}, expected a JSON object")
    found = data.pop("schema", None)
    if found != schema:
        raise ReportError(f"{source}: schema: got {_describe(found)}, expected {schema!r}")
    return _read_record(kind, data, source, "")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"got {name}, expected null for a number that cannot be had")


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    record = dict(pairs)
    if len(record) != len(pairs):
        count = Counter(key for key, _ in pairs)
        raise ValueError(f"key {next(key for key in record if count[key] > 1)!r} is given twice")
    return record


@lru_cache
def _types(kind: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {f.name: hints[f.name] for f in fields(kind)}


@lru_cache
def _defaults(kind: type[Any]) -> frozenset[str]:
    """Keys that a file may lack: an older version of Pushback did not write them yet."""
    return frozenset(f.name for f in fields(kind) if f.default is not MISSING)


def _read(kind: Any, value: object, source: str, path: str) -> Any:
    if is_dataclass(kind):
        return _read_record(kind, value, source, path)  # type: ignore[arg-type]
    if get_origin(kind) is tuple:
        return _read_tuple(get_args(kind)[0], value, source, path)
    if get_origin(kind) is dict:
        return _read_dict(get_args(kind)[1], value, source, path)
    return _read_scalar(kind, value, source, path)


def _read_record(kind: type[T], value: object, source: str, path: str) -> T:
    types = _types(kind)  # type: ignore[arg-type]
    if not isinstance(value, dict):
        raise _wrong(source, path, value, f"an object with {', '.join(types)}")
    for key in types:
        if key not in value and key not in _defaults(kind):  # type: ignore[arg-type]
            raise ReportError(f"{source}: {_join(path, key)}: missing, expected {_expected(types[key])}")
    for key in value:
        if key not in types:
            raise ReportError(f"{source}: {_join(path, key)}: unknown key, expected only {', '.join(types)}")
    return kind(**{key: _read(types[key], value[key], source, _join(path, key)) for key in types if key in value})


def _read_tuple(kind: Any, value: object, source: str, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _wrong(source, path, value, "a list")
    return tuple(_read(kind, item, source, f"{path}[{i}]") for i, item in enumerate(value))


def _read_dict(kind: Any, value: object, source: str, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(source, path, value, "an object")
    return {key: _read(kind, item, source, _join(path, key)) for key, item in value.items()}


def _read_scalar(kind: type, value: object, source: str, path: str) -> object:
    readers: dict[type, Callable[[object], object]] = {float: _as_float, int: _as_int}
    result = readers[kind](value) if kind in readers else value if isinstance(value, kind) else None
    if result is None:
        raise _wrong(source, path, value, _expected(kind))
    return result


def _as_float(value: object) -> float | None:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _as_int(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if value.bit_length() <= MOST_BITS else None


def _expected(kind: Any) -> str:
    names = {
        str: "a string",
        int: f"an integer of at most {MOST_BITS} bits",
        float: "a finite number or null",
        bool: "true or false",
    }
    if kind in names:
        return names[kind]
    return "a list" if get_origin(kind) is tuple else "an object"


def _wrong(source: str, path: str, value: object, expected: str) -> ReportError:
    place = f"{source}: {path}" if path else source
    return ReportError(f"{place}: got {_describe(value)}, expected {expected}")


def _describe(value: object) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str) and len(value) > 40:
        return f"a string of {len(value)} characters"
    text = json.dumps(value)
    return text if len(text) <= 44 else f"{text[:40]}..."


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
