"""The JSON Schema says the same of a scenario's structure as the loader: checked by a small evaluator of our own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from simulator.scenario.faults import ScenarioErrors, Sources
from simulator.scenario.json_schema import DIALECT, json_schema
from simulator.scenario.yaml_nodes import parse_yaml
from tests.simulator.scenario.samples import FULL, MINIMAL, PARTS, WRONG, load_text

SCHEMA = json_schema(PARTS)
STRUCTURAL = [
    "unknown_keys", "wrong_types", "out_of_range", "bad_names", "bad_arms", "no_arms", "unknown_recommender", "metrics",
    "recommender_config", "unknown_preset", "unknown_actions", "missing_required", "top_level_list", "top_level_text",
    "unknown_behaviour", "user_model_without_settings", "behaviour_config_and_reports",
    "durations", "ab_test_unknown_design", "ab_test_keys_of_another_design",
]  # fmt: skip
CHANGES = [
    ("seed", 3), ("seed", -1), ("seed", "3"), ("seed", True), ("seed", None), ("confidence", 0.5), ("confidence", 0.9),
    ("warm_up", "1h30m"), ("warm_up", "1h 30m"), ("warm_up", "1 hour"), ("warm_up", 3), ("ab_test", None),
    ("metrics", ["skip_rate"]), ("metrics", ["skip"]), ("metrics", "skip_rate"), ("metrics", ["my_module:mine"]),
    ("metrics", ["boredom", "skip_rate"]), ("thresholds", []), ("question", ""),
    ("world", {"preset": None}), ("world", {"preset": "lively"}), ("world", {"preset": "dull"}), ("world", []),
    ("world", {"catalogue": {"items": 50}}), ("world", {"catalogue": {"item": 50}}), ("world", {"catalogue": None}),
    ("world", {"population": {"drift_time": None}}), ("world", {"population": {"users": None}}), ("sede", 1),
    ("ab_test", {}), ("ab_test", {"design": "paired", "watch": True}), ("ab_test", {"design": "spilt"}),
    ("ab_test", []), ("ab_test", {"shares": {"base": 1}}), ("ab_test", {"design": "switchback", "period": 3}),
    ("ab_test", {"design": 3}),
    ("ab_test", {"design": "switchback", "watch": True}), ("ab_test", {"design": "split", "shares": {"base": "x"}}),
    ("ab_test", {"design": "split", "training": "all"}), ("ab_test", {"guardrails": [{"metric": "skip_rate"}]}),
    ("ab_test", {"guardrails": [{"metric": "skip_rate", "margin": 0.1}]}),
    ("counterfactual", {"base": ["like"]}), ("counterfactual", {"base": []}), ("counterfactual", {"base": ["lik"]}),
    ("logging_policy", {"recommender": "gru4rec", "config": {"layers": [1, 2]}}), ("logging_policy", {}),
    ("logging_policy", {"recommender": "gru4rec", "config": {"layers": ["a"]}}), ("logging_policy", "random"),
    ("logging_policy", {"recommender": "wrapper"}), ("logging_policy", {"recommender": "random", "config": {"x": 1}}),
    ("logging_policy", {"recommender": "my_module:Mine"}), ("logging_policy", {"recommender": "unheard"}),
]  # fmt: skip

TYPES: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "integer": int,
    "number": (int, float),
}  # fmt: skip


def is_type(value: object, name: str) -> bool:
    return isinstance(value, TYPES[name]) and (name not in ("integer", "number") or not isinstance(value, bool))


def accepts(schema: dict[str, Any], value: Any) -> bool:
    """Whether a value satisfies a schema, for the keywords that ours uses."""
    unknown = schema.keys() - KEYWORDS.keys() - {"$schema", "$defs", "description", "default", "then"}
    assert not unknown, f"the evaluator does not know {unknown}"
    return all(KEYWORDS[key](schema, limit, value) for key, limit in schema.items() if key in KEYWORDS)


def properties_hold(schema: dict[str, Any], properties: dict[str, Any], value: Any) -> bool:
    if not isinstance(value, dict):
        return True
    others = schema.get("additionalProperties", True)
    closed = others is False
    if isinstance(others, dict) and not all(accepts(others, value[key]) for key in value.keys() - properties.keys()):
        return False
    known = all(accepts(properties[key], value[key]) for key in value.keys() & properties.keys())
    return known and not (closed and value.keys() - properties.keys())


KEYWORDS: dict[str, Any] = {
    "$ref": lambda s, ref, v: accepts(SCHEMA["$defs"][ref.removeprefix("#/$defs/")], v),
    "type": lambda s, name, v: is_type(v, name),
    "const": lambda s, const, v: v == const,
    "enum": lambda s, choices, v: v in choices,
    "anyOf": lambda s, options, v: any(accepts(option, v) for option in options),
    "oneOf": lambda s, options, v: sum(accepts(option, v) for option in options) == 1,
    "allOf": lambda s, parts, v: all(accepts(part, v) for part in parts),
    "if": lambda s, condition, v: not accepts(condition, v) or accepts(s["then"], v),
    "properties": properties_hold,
    "additionalProperties": lambda s, _, v: properties_hold(s, s.get("properties", {}), v),
    "required": lambda s, keys, v: not isinstance(v, dict) or set(keys) <= v.keys(),
    "items": lambda s, item, v: not isinstance(v, list) or all(accepts(item, entry) for entry in v),
    "minItems": lambda s, n, v: not isinstance(v, list) or len(v) >= n,
    "minLength": lambda s, n, v: not isinstance(v, str) or len(v) >= n,
    "maxLength": lambda s, n, v: not isinstance(v, str) or len(v) <= n,
    "pattern": lambda s, p, v: not isinstance(v, str) or re.search(p, v) is not None,
    "minimum": lambda s, n, v: not is_type(v, "number") or v >= n,
    "maximum": lambda s, n, v: not is_type(v, "number") or v <= n,
    "exclusiveMinimum": lambda s, n, v: not is_type(v, "number") or v > n,
    "exclusiveMaximum": lambda s, n, v: not is_type(v, "number") or v < n,
}


def loads(folder: Path, text: str) -> bool:
    try:
        load_text(folder, text)
    except ScenarioErrors:
        return False
    return True


@pytest.mark.parametrize("text", [MINIMAL, FULL], ids=["minimal", "full"])
def test_schema_accepts_valid_scenarios(text: str) -> None:
    assert accepts(SCHEMA, parse_yaml(text, Sources("text")))


@pytest.mark.parametrize("name", STRUCTURAL)
def test_schema_refuses_what_is_wrong_in_structure(name: str) -> None:
    data = parse_yaml((WRONG / f"{name}.yaml").read_text(encoding="utf-8"), Sources(name))
    assert not accepts(SCHEMA, data)


@pytest.mark.parametrize(("key", "value"), CHANGES, ids=[f"{k}={json.dumps(v)}" for k, v in CHANGES])
def test_schema_agrees_with_the_loader(tmp_path: Path, key: str, value: object) -> None:
    data = {**parse_yaml(MINIMAL, Sources("text")), "counterfactual": {}, key: value}
    assert accepts(SCHEMA, data) == loads(tmp_path, json.dumps(data))


def test_schema_names_its_dialect_and_documents_every_setting() -> None:
    assert SCHEMA["$schema"] == DIALECT
    sections = [d for name, d in SCHEMA["$defs"].items() if "." not in name]
    undocumented = [
        key
        for section in [*sections, SCHEMA]
        for key, field in section.get("properties", {}).items()
        if "description" not in field and "$ref" not in field
    ]
    assert not undocumented
    json.dumps(SCHEMA, allow_nan=False)
