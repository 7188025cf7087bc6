"""The JSON Schema of a scenario, with which an editor completes and checks one while it is written."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from pydantic import BaseModel

from simulator.scenario.parts import ConfigLookup, Parts
from simulator.scenario.presets import preset_names
from simulator.scenario.schema import Scenario

Tell = Callable[[str], None]
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(parts: Parts, tell: Tell = lambda problem: None) -> dict[str, Any]:
    """The schema as plain data.

    It says all that the structure of a file can say. What takes several settings together, such as the control being
    one of the arms, only `pushback validate` checks.

    Args:
        parts: what a scenario can name; an editor knows registered names and their settings, and takes any
            `module:attribute`.
        tell: told of each part that cannot be loaded, and why: any settings of it are taken.
    """
    schema = Scenario.model_json_schema()
    definitions: dict[str, Any] = schema["$defs"]
    definitions["World"]["properties"]["preset"] = _choice(definitions["World"]["properties"]["preset"], preset_names())
    schema["properties"]["metrics"]["items"] = _registered_or_own(parts.metrics.names())
    schema["properties"]["reports"]["items"] = _registered_or_own(parts.reports.names())
    _know_settings(definitions, ("Policy", "Arm"), "recommender", parts.recommenders, tell)
    _know_settings(definitions, ("UserModel",), "behaviour", parts.behaviours, tell)
    return {"$schema": DIALECT, **_without_noise(schema)}


def _know_settings(
    definitions: dict[str, Any], sections: tuple[str, ...], key: str, lookup: ConfigLookup, tell: Tell
) -> None:
    """Let sections that name a part know the names there are, and each one's settings."""
    named = _registered_or_own(lookup.names())
    default = definitions[sections[0]]["properties"][key].get("default")
    branches = []
    for name in lookup.names():
        try:
            config = lookup.config_class(name)
        except LookupError as error:
            tell(str(error))
        else:
            branches.append(_branch(config, key, name, definitions, is_default=name == default))
    for section in sections:
        field = definitions[section]["properties"][key]
        kept = {word: field[word] for word in ("description", "default") if word in field}
        definitions[section]["properties"][key] = {**named, **kept}
        definitions[section]["allOf"] = branches


def _choice(field: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    kept: dict[str, Any] = {key: field[key] for key in ("description", "default") if key in field}
    return {"enum": [*names, None], **kept}


def _registered_or_own(names: Collection[str]) -> dict[str, Any]:
    """A registered name, or one of the user's own by its module."""
    own = {"type": "string", "pattern": "^[^:]+:[^:]+$"}
    return {"anyOf": [{"type": "string", "enum": list(names)}, own]} if names else own


def _branch(
    settings: type[BaseModel], key: str, name: str, definitions: dict[str, Any], *, is_default: bool
) -> dict[str, Any]:
    """The rule that a section that names a part has its settings; their definitions are added to the scenario's."""
    prefix = f"{key}.{name}."
    config = settings.model_json_schema(ref_template=f"#/$defs/{prefix}{{model}}")
    for inner, definition in config.pop("$defs", {}).items():
        definitions[prefix + inner] = definition
    definitions[f"{prefix}config"] = config
    then: dict[str, Any] = {"properties": {"config": {"$ref": f"#/$defs/{prefix}config"}}}
    if config.get("required"):
        then["required"] = ["config"]
    asked: dict[str, Any] = {"properties": {key: {"const": name}}}
    if not is_default:
        asked["required"] = [key]
    return {"if": asked, "then": then}


def _without_noise(node: Any) -> Any:
    """The schema without titles, which repeat names, and without defaults of sections, which repeat those within."""
    if isinstance(node, dict):
        return {key: _without_noise(value) for key, value in node.items() if not _is_noise(key, value)}
    return [_without_noise(entry) for entry in node] if isinstance(node, list) else node


def _is_noise(key: str, value: object) -> bool:
    return (key == "default" and isinstance(value, dict)) or (key == "title" and isinstance(value, str))
