"""Reads scenarios: from bytes or objects that nobody has to trust to a `Scenario`, or to all of its located faults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from simulator.scenario.checks import Draft, check_whole
from simulator.scenario.faults import ScenarioErrors, Sources, describe, one_of
from simulator.scenario.overrides import apply_overrides
from simulator.scenario.parts import Parts
from simulator.scenario.plain_data import plain_data
from simulator.scenario.presets import merge_beneath, preset_names, read_preset
from simulator.scenario.schema import Scenario
from simulator.scenario.validation import validate
from simulator.scenario.yaml_nodes import MAX_BYTES, decode, parse_yaml, write_yaml


@dataclass(frozen=True)
class LoadedScenario:
    """A scenario and where it comes from.

    Attributes:
        scenario: all settings in force, after preset and overrides.
        name: the file's stem; `scenario` where there is no file.
        path: the file; tables are relative to its folder.
        text: the file as written.
    """

    scenario: Scenario
    name: str
    path: FilePath
    text: str


def load_scenario(
    path: FilePath,
    *,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    parts: Parts,
) -> LoadedScenario:
    """Read, complete and check a scenario.

    Args:
        path: the file; errors name it as given.
        overrides: texts `path=value` that replace settings, in order; the value is YAML.
        seed: replaces the scenario's seed, after the overrides.
        parts: the recommenders, metrics, behaviours and reports that there are.

    Raises:
        ScenarioErrors: with all that is wrong, each with file, line and column, or with the override that brought it.
    """
    sources = Sources(str(path))
    _check_name(path, sources)
    text = decode(_read(path, sources), sources)
    data = parse_yaml(text, sources)
    if not isinstance(data, dict):
        got = "an empty file" if data is None else describe(data)
        if not sources.faults:
            sources.report((), got, "a mapping with question, expected, run_time, arms and control")
        raise ScenarioErrors(sources.faults)
    scenario = _complete(data, path, sources, overrides, seed, parts)
    return LoadedScenario(scenario, path.stem, path, text)


def load_mapping(
    settings: Mapping[str, Any],
    *,
    path: FilePath = FilePath("scenario"),
    overrides: Sequence[str] = (),
    seed: int | None = None,
    parts: Parts,
) -> LoadedScenario:
    """Complete and check a scenario that is given as Python objects.

    Args:
        settings: what a scenario's file says, as dicts, lists and single values; not changed.
        path: tables are relative to its folder, and its stem is the scenario's name; it need not exist.
        overrides, seed, parts: as for `load_scenario`.

    Raises:
        ScenarioErrors: with all that is wrong, each with the path of the setting.
    """
    sources = Sources(path.stem, has_text=False)
    data = plain_data(settings, sources)
    sources.raise_if_any()
    text = write_yaml(data)
    scenario = _complete(data, path, sources, overrides, seed, parts)
    return LoadedScenario(scenario, path.stem, path, text)


def _complete(
    data: dict[str, Any],
    path: FilePath,
    sources: Sources,
    overrides: Sequence[str],
    seed: int | None,
    parts: Parts,
) -> Scenario:
    """The scenario of plain data, which overrides and preset change in place."""
    settings = [*overrides, f"seed={seed}"] if seed is not None else list(overrides)
    apply_overrides(data, settings, sources)
    _apply_preset(data, sources)
    scenario = validate(Scenario, data, (), sources)
    check_whole(Draft(data, path, sources, sources.faulty.copy(), parts))
    sources.raise_if_any()
    assert scenario is not None  # a scenario without an instance has faults
    return scenario


def resolved_yaml(scenario: Scenario) -> str:
    """All settings of a scenario as YAML, defaults and preset written out; reading it gives an equal scenario."""
    return write_yaml(scenario.model_dump(mode="json"))


def _check_name(path: FilePath, sources: Sources) -> None:
    """Runs are filed in a folder of the scenario's name: `...yaml` would lead out of the folder of results."""
    if not path.stem.strip("."):
        sources.report_at(None, "file", f"the name {path.name!r}", "a name that is more than dots and an ending")
        raise ScenarioErrors(sources.faults)


def _read(path: FilePath, sources: Sources) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        sources.report_at(None, "file", reason[:1].lower() + reason[1:], "a scenario that can be read")
        raise ScenarioErrors(sources.faults) from None


def _apply_preset(data: dict[str, Any], sources: Sources) -> None:
    world = data.get("world")
    name = world.get("preset") if isinstance(world, dict) else None
    if not isinstance(name, str):  # none, or one that the schema refuses
        return
    if name in preset_names():
        data["world"] = merge_beneath(read_preset(name), world or {})
    else:
        sources.report(("world", "preset"), describe(name), one_of(preset_names(), name))
