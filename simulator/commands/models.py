"""Which models a command is about: from options, or from a file in YAML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recommenders.base import RecommenderError
from recommenders.offline.backtest import ModelSpec
from recommenders.registry import BUILT_IN, EXTRAS, build
from simulator.commands.components import RegisteredRecommenders, search_working_folder
from simulator.scenario.faults import Sources, describe
from simulator.scenario.parts import expected_part
from simulator.scenario.validation import validate
from simulator.scenario.yaml_nodes import MAX_BYTES, decode, parse_yaml

# A registered name or module:Class, then settings, which are told from a class by their equals sign.
_SPEC = re.compile(r"(?P<name>[\w.]+(?::[A-Za-z_]\w*(?![\w.]*=))?)(?::(?P<settings>.*=.*))?", re.DOTALL)
_OPENING, _CLOSING = "[{(", "]})"


class _Entry(BaseModel):
    """A model of a file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=60)
    recommender: str
    config: dict[str, Any] = Field(default_factory=dict)


class _ModelsFile(BaseModel):
    """A file of models."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: list[_Entry] = Field(min_length=1)


def choose_models(texts: Sequence[str], file: Path | None) -> list[ModelSpec]:
    """The models of a file, then those of options; the default ones where there are neither. All can be built.

    A recommender given as `module:Class` may lie in the working folder.

    Raises:
        ScenarioErrors, RecommenderError: something is wrong with the file, a name or a setting.
    """
    search_working_folder()
    models = [*(read_models(file) if file is not None else []), *map(parse_model, texts)] or default_models()
    check_models(models)
    return models


def parse_model(text: str, option: str = "--model") -> ModelSpec:
    """A model as `NAME` or `NAME:key=value,...`; values are YAML, and a dot in a key leads into a mapping.

    Args:
        text: the model.
        option: what an error calls it.

    Raises:
        RecommenderError: it is malformed.

    >>> parse_model("gru4rec:dim=16,negative_weight.dislike=64").config
    {'dim': 16, 'negative_weight': {'dislike': 64}}
    """
    match = _SPEC.fullmatch(text.strip())
    if match is None:
        raise RecommenderError(f"{option}: got {text!r}, expected NAME or NAME:key=value,...")
    config: dict[str, Any] = {}
    set_settings(config, match["settings"] or "", f"{option} {text}")
    return ModelSpec(text.strip(), match["name"], config)


def set_settings(config: dict[str, Any], text: str, where: str) -> list[tuple[str, ...]]:
    """Set what `key=value,...` says; values are YAML, and a dot in a key leads into a mapping.

    Args:
        config: changed in place.
        text: the settings.
        where: what an error calls them.

    Returns:
        The paths that were set.

    Raises:
        RecommenderError: they are malformed.
    """
    paths = []
    for part in _split(text):
        key, equals, value = part.partition("=")
        if not (equals and key.strip()):
            raise RecommenderError(f"{where}: got {part!r}, expected key=value")
        *above, last = path = tuple(key.strip().split("."))
        target = config
        for name in above:
            target = target.setdefault(name, {})
            if not isinstance(target, dict):
                raise RecommenderError(f"{where}: {key}: got a setting inside of {target!r}, expected a mapping")
        try:
            target[last] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that is none
            raise RecommenderError(f"{where}: {key}: got {value!r}, expected YAML") from error
        paths.append(path)
    return paths


def read_models(path: Path) -> list[ModelSpec]:
    """The models of a file: a list `models` with `name`, `recommender` and `config` each.

    Raises:
        ScenarioErrors: with all that is wrong with the file, by line and column, as strictly as in a scenario.
        RecommenderError: it cannot be read.
    """
    sources = Sources(str(path))
    try:
        with path.open("rb") as file:
            data = parse_yaml(decode(file.read(MAX_BYTES + 1), sources), sources)
    except OSError as error:
        raise RecommenderError(f"{path}: got {error.strerror or error}, expected a file of models") from error
    found = validate(_ModelsFile, data, (), sources)
    for i, entry in enumerate(found.models if found is not None else []):
        _check_entry(entry, ("models", i), sources)
    sources.raise_if_any()
    assert found is not None
    return [ModelSpec(entry.name, entry.recommender, entry.config) for entry in found.models]


def default_models() -> list[ModelSpec]:
    """Every built-in recommender that ranks a log with its default settings.

    Left out: what reads latent utilities, which no log has; what needs settings; and random slates, whose figures are
    known beforehand (a hit with chance k over the size of the catalogue) and slow to draw for long histories; and what
    needs an optional extra, so that the list is the same wherever it runs.
    """
    found = []
    for name in BUILT_IN:
        if name in EXTRAS:
            continue
        try:
            recommender = build(name)
        except ValidationError:
            continue
        if name != "random" and not recommender.traits.needs_utility:
            found.append(ModelSpec(name, name))
    return found


def check_models(models: Sequence[ModelSpec]) -> None:
    """Build each model once, before any is trained.

    Raises:
        RecommenderError: with all that is wrong: unknown names, wrong settings, two models of one name.
    """
    faults = []
    names = [model.name for model in models]
    faults += [f"model {name!r}: got the name twice, expected each once" for name in {*names} if names.count(name) > 1]
    for model in models:
        try:
            build(model.recommender, model.config)
        except RecommenderError as error:
            faults.append(f"model {model.name!r}: {error}")
        except ValidationError as error:
            for detail in error.errors():
                where = ".".join(str(part) for part in detail["loc"])
                faults.append(f"model {model.name!r}: config.{where}: got {detail['input']!r}: {detail['msg']}")
    if faults:
        raise RecommenderError("\n".join(faults))


def _check_entry(entry: _Entry, place: tuple[str | int, ...], sources: Sources) -> None:
    """Note what is wrong with an entry's recommender and settings."""
    recommenders, name = RegisteredRecommenders(), entry.recommender
    try:
        settings = recommenders.config_class(name)
        recommenders.require_extra(name)
    except LookupError as error:
        expected = expected_part("recommender", "Class", name, recommenders, error)
        sources.report((*place, "recommender"), describe(name), expected)
    else:
        validate(settings, entry.config, (*place, "config"), sources)


def _split(settings: str) -> list[str]:
    """The parts between commas that stand in no bracket."""
    parts, depth, current = [], 0, ""
    for character in settings:
        depth += (character in _OPENING) - (character in _CLOSING)
        if character == "," and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += character
    return [part for part in (*parts, current) if part.strip()]
