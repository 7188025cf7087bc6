"""The JSON Schema of a scenario, with which an editor completes and checks one while it is written."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from simulator.scenario.checks import ConfigLookup, MetricLookup
from simulator.scenario.presets import preset_names
from simulator.scenario.schema import Scenario

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(configs: ConfigLookup, metrics: MetricLookup) -> dict[str, Any]:
    """The schema as plain data.

    It says all that the structure of a file can say. What takes several settings together, such as the control being
    one of the arms, only `pushback validate` checks.

    Args:
        configs: the recommenders; each one's settings are checked where an arm or the logging policy names it.
        metrics: the metrics; an editor knows only registered names, and takes any `module:object`.
    """
    schema = Scenario.model_json_schema()
    definitions: dict[str, Any] = schema["$defs"]
    definitions["World"]["properties"]["preset"] = _choice(definitions["World"]["properties"]["preset"], preset_names())
    schema["properties"]["metrics"]["items"] = _registered_or_own(metrics.names())
    branches = [_branch(configs, name, definitions) for name in configs.names()]
    named = _registered_or_own(configs.names())
    for policy in ("Policy", "Arm"):
        recommender = definitions[policy]["properties"]["recommender"]
        description = {"description": recommender["description"]} if "description" in recommender else {}
        definitions[policy]["properties"]["recommender"] = {**named, **description}
        definitions[policy]["allOf"] = branches
    return {"$schema": DIALECT, **_without_noise(schema)}


def _choice(field: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    kept: dict[str, Any] = {key: field[key] for key in ("description", "default") if key in field}
    return {"enum": [*names, None], **kept}


def _registered_or_own(names: Collection[str]) -> dict[str, Any]:
    """A registered name, or one of the user's own by its module."""
    return {"anyOf": [{"type": "string", "enum": list(names)}, {"type": "string", "pattern": "^[^:]+:[^:]+$"}]}


def _branch(configs: ConfigLookup, name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """The rule that an arm of this recommender has its settings; their definitions are added to the scenario's."""
    prefix = f"{name}."
    config = configs.config_class(name).model_json_schema(ref_template=f"#/$defs/{prefix}{{model}}")
    for inner, definition in config.pop("$defs", {}).items():
        definitions[prefix + inner] = definition
    definitions[f"{prefix}config"] = config
    then: dict[str, Any] = {"properties": {"config": {"$ref": f"#/$defs/{prefix}config"}}}
    if config.get("required"):
        then["required"] = ["config"]
    asked = {"properties": {"recommender": {"const": name}}, "required": ["recommender"]}
    return {"if": asked, "then": then}


def _without_noise(node: Any) -> Any:
    """The schema without titles, which repeat names, and without defaults of sections, which repeat those within."""
    if isinstance(node, dict):
        return {key: _without_noise(value) for key, value in node.items() if not _is_noise(key, value)}
    return [_without_noise(entry) for entry in node] if isinstance(node, list) else node


def _is_noise(key: str, value: object) -> bool:
    return (key == "default" and isinstance(value, dict)) or (key == "title" and isinstance(value, str))
