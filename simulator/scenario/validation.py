"""Validation of plain data against the schema, with pydantic's errors told in words and located."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from simulator.scenario.faults import Path, Sources, describe, one_of
from simulator.scenario.settings import NAME_PATTERN, UNKNOWN_CHOICE

Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], data: object, base: Path, sources: Sources) -> Model | None:
    """A model's instance of plain data.

    Args:
        model: the schema.
        data: what the YAML says, lists and mappings of plain values.
        base: the path at which the data stand in the scenario.
        sources: receives the faults.

    Returns:
        The instance, or None after faults were noted.
    """
    try:
        # In pydantic's JSON mode, strict means what a YAML writer expects: "3" is no number, 1 is not true, but a list
        # is a tuple and a whole number will do where a fraction is allowed.
        return model.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            _report(model, data, base, detail, sources)
        return None


def section_model(annotation: object, data: object = None) -> type[BaseModel] | None:
    """The model within a field's annotation, such as `Arm` within `tuple[Arm, ...]`; None for plain values.

    Args:
        annotation: of the field.
        data: what the YAML says there. Of several models it chooses the one whose fixed keys it has, such as `design`;
            the first one, where none fits.
    """
    models = list(_models(annotation))
    return next((m for m in models if _is_chosen(m, data)), models[0] if models else None)


def model_at(model: type[BaseModel] | None, path: Path, data: object = None) -> type[BaseModel] | None:
    """The model of the section at a path beneath a model; None where there is no section.

    Args:
        model: where the path starts.
        path: keys and indices.
        data: what the YAML says where the path starts; it chooses among models, as in `section_model`.
    """
    for part in path:
        data = data[part] if _has_part(data, part) else None  # type: ignore[index]
        if isinstance(part, str):
            field = model.model_fields.get(part) if model else None
            entry = data[0] if isinstance(data, list) and data else data
            model = section_model(field.annotation, entry) if field else None
    return model


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and get_origin(annotation) is None:
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    for argument in get_args(annotation):
        yield from _models(argument)


def _is_chosen(model: type[BaseModel], data: object) -> bool:
    """Whether the data have the value of every key for which the model allows but one."""
    fixed = {k: get_args(f.annotation) for k, f in model.model_fields.items() if get_origin(f.annotation) is Literal}
    written = data if isinstance(data, dict) else {}
    return all(
        written.get(key, model.model_fields[key].get_default()) == values[0]
        for key, values in fixed.items()
        if len(values) == 1
    )


def _report(model: type[BaseModel], data: object, base: Path, detail: ErrorDetails, sources: Sources) -> None:
    kind = detail["type"]
    inner = _data_path(detail["loc"], data, missing=kind == "missing")
    path = (*base, *inner)
    if sources.faulty.overlaps(path):  # what the YAML reader or an earlier error has said
        return
    if kind == "extra_forbidden":
        parent = model_at(model, inner[:-1], data)
        keys = sorted(parent.model_fields) if parent else []
        expected = one_of(keys, inner[-1]) if keys else "no settings"
        sources.report(path, "an unknown key", expected, on_key=True)
    elif kind == "missing":
        parent = model_at(model, inner[:-1], data)
        field = parent.model_fields.get(str(inner[-1])) if parent else None
        meaning = f" ({_as_clause(field.description)})" if field and field.description else ""
        sources.report(path, "nothing", f"a value{meaning}")
    elif kind == UNKNOWN_CHOICE:
        key, _, choices = detail["msg"].partition(": ")
        value = value_at(data, inner)
        chosen = value.get(key) if isinstance(value, dict) else None
        sources.report((*path, key), describe(chosen), one_of(choices.split(), chosen))
    else:
        value = value_at(data, inner)
        sources.report(path, describe(value), _expectation(detail, value))


def _data_path(loc: tuple[int | str, ...], data: object, *, missing: bool) -> Path:
    """The parts of pydantic's location that are keys and indices of the data: the others are tags of unions."""
    path: list[str | int] = []
    for place, part in enumerate(loc):
        if _has_part(data, part):
            data = data[part]  # type: ignore[index]
        elif not (missing and place == len(loc) - 1):
            continue
        path.append(part)
    return tuple(path)


def value_at(data: object, path: Path) -> object:
    """The value at a path of plain data.

    Raises:
        LookupError: there is none.
    """
    for part in path:
        if not _has_part(data, part):
            raise LookupError(part)
        data = data[part]  # type: ignore[index]
    return data


def _has_part(data: object, part: str | int) -> bool:
    if isinstance(data, list):
        return isinstance(part, int) and 0 <= part < len(data)
    return isinstance(data, dict) and part in data


def _expectation(detail: ErrorDetails, value: object) -> str:
    context: Mapping[str, Any] = detail.get("ctx", {})
    kind = detail["type"]
    if kind == "literal_error":
        return one_of(re.findall(r"'([^']*)'", str(context["expected"])), value)
    if kind == "string_pattern_mismatch" and context["pattern"] == NAME_PATTERN:
        return "a name of small letters, digits and _ that starts with a letter"
    if kind in ("value_error", "assertion_error"):
        return str(context["error"]).removeprefix("expected ")
    template = _EXPECTATIONS.get(kind)
    return template(context) if template else _as_clause(detail["msg"])


def _as_clause(sentence: str) -> str:
    """A sentence as part of another one."""
    text = " ".join(sentence.split()).rstrip(".")
    return text[:1].lower() + text[1:]


def _number(limit: object) -> str:
    return str(limit).removesuffix(".0")


_EXPECTATIONS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "bool_type": lambda _: "true or false",
    "int_type": lambda _: "a whole number",
    "int_from_float": lambda _: "a whole number",
    "float_type": lambda _: "a number",
    "finite_number": lambda _: "a finite number",
    "string_type": lambda _: "text (quote it, if it looks like something else)",
    "string_too_short": lambda c: "text that is not empty" if c["min_length"] == 1 else f"{c['min_length']} characters",
    "string_too_long": lambda c: f"at most {c['max_length']} characters",
    "string_pattern_mismatch": lambda c: f"text that matches {c['pattern']}",
    "greater_than": lambda c: f"more than {_number(c['gt'])}",
    "greater_than_equal": lambda c: f"{_number(c['ge'])} or more",
    "less_than": lambda c: f"less than {_number(c['lt'])}",
    "less_than_equal": lambda c: f"{_number(c['le'])} or less",
    "tuple_type": lambda _: "a list",
    "list_type": lambda _: "a list",
    "too_short": lambda c: f"a list with at least {c['min_length']} entry",
    "too_long": lambda c: f"a list with at most {c['max_length']} entries",
    "model_type": lambda _: "a mapping",
    "dict_type": lambda _: "a mapping",
}
