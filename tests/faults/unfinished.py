"""Damaged files of an unfinished run: what a stage has kept, and the manifest and scenario that it goes on from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from recommenders.base import Feedback
from simulator.engine import checkpoint_files
from simulator.engine.checkpoint_files import CheckpointFiles
from simulator.engine.history import History
from simulator.engine.log import EventLog
from simulator.engine.snapshot import Deployment, Snapshot
from simulator.report.serialize import manifest_to_json
from simulator.scenario.loader import resolved_yaml
from simulator.unfinished import begin, read_manifest, read_scenario
from simulator.world.state import new_state
from tests.faults.mutations import damaged_bytes, damaged_data
from tests.simulator.report.samples import sample_manifest

_SCENARIO_SHA256 = "ab" * 32
_NAME = "arms/ntr/ab_test/000001"


def snapshot() -> Snapshot:
    """A world of three users with a model, in which something has happened."""
    users = new_state(np.arange(12, dtype=np.float32).reshape(3, 4))
    model = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "seen": np.array(True)}
    return Snapshot(5_000, users, History.empty(3, 4), (Deployment(0, model), Deployment(9_000, model)), _log())


def _log() -> EventLog:
    columns = {name: np.arange(8).astype(dtype) for name, dtype in EventLog.DTYPES.items()}
    columns["feedback"] = np.full(8, Feedback.EXAMINED, np.uint8)
    return EventLog(**columns)


@cache
def _kept() -> Mapping[str, bytes]:
    with TemporaryDirectory() as made:
        files = CheckpointFiles(Path(made), _SCENARIO_SHA256)
        files.write(_NAME, snapshot(), arm="ntr", seconds=1.5)
        return {path.name: path.read_bytes() for path in sorted((Path(made) / _NAME).parent.iterdir())}


def write_checkpoint(folder: Path, rng: np.random.Generator) -> None:
    """Half of the damage is such that the checksums do not find it: somebody has reckoned them anew."""
    contents = dict(_kept())
    head = Path(_NAME).name + ".json"
    victim = list(contents)[int(rng.integers(len(contents)))]
    if rng.random() < 0.5:
        contents[victim] = damaged_bytes(contents[victim], rng)
    elif victim == head:
        contents[head] = _signed(damaged_data(json.loads(contents[head]), rng))
    else:
        contents[victim] = damaged_bytes(contents[victim], rng)
        content = json.loads(contents[head])
        for entry in (content["data"], *content["logs"]):
            entry["sha256"] = hashlib.sha256(contents[entry["file"]]).hexdigest()
        contents[head] = _signed(content)
    _write_all(folder, contents)


def _signed(content: Any) -> bytes:
    if isinstance(content, dict):
        content.pop("sha256", None)
        content["sha256"] = checkpoint_files._checksum(content)
    return json.dumps(content).encode()


def _write_all(folder: Path, contents: Mapping[str, bytes]) -> None:
    place = (folder / _NAME).parent
    place.mkdir(parents=True)
    for name, content in contents.items():
        (place / name).write_bytes(content)


def read_checkpoint(folder: Path) -> object:
    return CheckpointFiles(folder, _SCENARIO_SHA256).read(_NAME, snapshot().users)


def checkpoint_bombs(hostile: Mapping[str, bytes]) -> dict[str, Callable[[Path], object]]:
    """Hostile JSON, and claims that nothing in the arrays is behind."""
    head = Path(_NAME).name + ".json"

    def claimed(folder: Path, *, change: Callable[[dict[str, Any]], None]) -> None:
        content = json.loads(_kept()[head])
        change(content)
        _write_all(folder, {**_kept(), head: _signed(content)})

    def shape(content: dict[str, Any]) -> None:
        content["arrays"]["/history/item"]["shape"] = [2**40, 2**20]

    def elsewhere(content: dict[str, Any]) -> None:
        content["data"]["file"] = "../../../../../etc/passwd"

    def log_elsewhere(content: dict[str, Any]) -> None:
        content["logs"][0]["file"] = "/etc/passwd"

    def objects(content: dict[str, Any]) -> None:
        content["arrays"]["/history/item"]["dtype"] = "|O"

    def another_class(content: dict[str, Any]) -> None:
        content["value"]["class"] = "os.system"

    changes = {
        "an array of 2**60 cells": shape,
        "arrays in a file elsewhere": elsewhere,
        "a log in a file elsewhere": log_elsewhere,
        "an array of objects": objects,
        "a class that nobody knows": another_class,
    }
    bombs: dict[str, Callable[[Path], object]] = {
        what: partial(claimed, change=change) for what, change in changes.items()
    }
    return bombs | {
        what: partial(lambda folder, text: _write_all(folder, {**_kept(), head: text}), text=text)
        for what, text in hostile.items()
    }


@cache
def _scenario() -> str:
    from simulator.commands import components

    settings = {
        "question": "Does it go on?", "expected": "It does.", "run_time": "none", "warm_up": "1h",
        "arms": [{"name": "one", "recommender": "random"}], "control": "one", "ab_test": {"duration": "1h"},
    }  # fmt: skip
    return resolved_yaml(components.load(settings).scenario)


def write_unfinished(folder: Path, rng: np.random.Generator) -> None:
    """An unfinished run of which the manifest or the scenario is damaged; the latter's hash may fit."""
    yaml = _scenario().encode()
    victim = int(rng.integers(3))
    if victim:
        yaml = damaged_bytes(yaml, rng)
    manifest = {**vars(sample_manifest()), "run": "one", "complete": False, "resumed": 0}
    if victim != 1:
        manifest["scenario_sha256"] = hashlib.sha256(yaml).hexdigest()
    part = begin(folder / "one", "", type(sample_manifest())(**manifest))
    (part / "scenario.yaml").write_bytes(yaml)
    if victim == 0:
        text = manifest_to_json(type(sample_manifest())(**manifest))
        content = json.dumps(damaged_data(json.loads(text), rng)).encode()
        (part / "manifest.json").write_bytes(damaged_bytes(content, rng) if rng.random() < 0.3 else content)


def read_unfinished(folder: Path) -> object:
    part = folder / "one.partial"
    return read_scenario(part, read_manifest(part))
