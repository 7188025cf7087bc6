"""The folder of a run that is under way or was stopped, `RUN.partial`, and how one goes on with it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

from recommenders.files import read_bounded
from simulator.commands import components
from simulator.engine.checkpoint_files import CheckpointFiles
from simulator.experiment.branches import Branch, Branches, Dose
from simulator.experiment.forking import Forked
from simulator.experiment.mixed import MixedState
from simulator.experiment.results import Manifest
from simulator.report.runs import EVENTS_FOLDER, MANIFEST_FILE, MOST_BYTES, RESULTS_FILE, SCENARIO_FILE
from simulator.report.serialize import ReportError, manifest_from_json, manifest_to_json
from simulator.scenario.faults import Sources
from simulator.scenario.loader import LoadedScenario, load_mapping
from simulator.scenario.yaml_nodes import decode, parse_yaml
from simulator.world.forced_action import Moments

PARTIAL = ".partial"
CHECKPOINTS_FOLDER = "checkpoints"
_LOCK_FILE = "lock"
_KEPT_CLASSES = (Branches, Branch, Dose, Moments, Forked, MixedState)


class ResumeError(Exception):
    """A run cannot go on; the message says what is the matter with it."""


@dataclass(frozen=True)
class Lock:
    """A folder's lock, which its process and those it starts hold until the last of them has ended, however it ends.

    Attributes:
        descriptor: of the open file.
    """

    descriptor: int

    def __reduce__(self) -> tuple[Any, ...]:
        return _adopted, (DupFd(self.descriptor),)


def _adopted(duplicate: Any) -> Lock:
    return Lock(duplicate.detach())


@contextmanager
def locked(folder: Path) -> Iterator[Lock]:
    """Keep a folder from being written by two runs.

    Raises:
        ResumeError: another process, which still lives, is writing it.
        OSError: the folder cannot be written.
    """
    descriptor = os.open(folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            writer = os.read(descriptor, 20).decode("ascii", "replace").strip()
            raise ResumeError(
                f"{folder}: the run is still being written, by process {writer}; wait for it or stop it first"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield Lock(descriptor)
    finally:
        os.close(descriptor)


def is_locked(folder: Path) -> bool:
    """Whether a process that lives is writing a folder."""
    try:
        with (folder / _LOCK_FILE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def new_folder(parent: Path, name: str) -> Path:
    """A name for the folder of a run, which neither a run nor an unfinished one has."""
    candidates = (parent / (name if n == 1 else f"{name}-{n}") for n in range(1, 1000))
    return next(c for c in candidates if not c.exists() and not partial_of(c).exists())


def partial_of(folder: Path) -> Path:
    """Where a run is while it is not whole."""
    return folder.with_name(folder.name + PARTIAL)


def begin(folder: Path, yaml: str, manifest: Manifest) -> Path:
    """Make the folder of an unfinished run: with all that it takes to go on, or not at all.

    Args:
        folder: of the run when it is whole.
        yaml: the resolved scenario.
        manifest: incomplete.

    Raises:
        OSError: it cannot be written.
    """
    part = partial_of(folder)
    hidden = part.with_name(f".{part.name}.{os.getpid()}.new")
    (hidden / EVENTS_FOLDER).mkdir(parents=True)
    try:
        (hidden / SCENARIO_FILE).write_text(yaml, encoding="utf-8")
        (hidden / MANIFEST_FILE).write_text(manifest_to_json(manifest), encoding="utf-8")
        os.rename(hidden, part)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return part


def checkpoint_files(part: Path, manifest: Manifest) -> CheckpointFiles:
    """What an unfinished run has kept."""
    return CheckpointFiles(part / CHECKPOINTS_FOLDER, manifest.scenario_sha256, _KEPT_CLASSES)


def finish(part: Path) -> Path:
    """Give a run that is whole its name.

    Raises:
        OSError: it cannot be written.
    """
    folder = part.with_name(part.name.removesuffix(PARTIAL))
    shutil.rmtree(part / CHECKPOINTS_FOLDER)
    (part / _LOCK_FILE).unlink(missing_ok=True)
    os.rename(part, folder)
    return folder


def find(run: str, results: Path) -> Path:
    """The folder of an unfinished run.

    Args:
        run: the folder, with `.partial` or without, or the run's name.
        results: folder of results, in which a name is looked for.

    Raises:
        ResumeError: there is none, several have the name, or the run is complete.
    """
    given = Path(run)
    name = given.name.removesuffix(PARTIAL)
    places = [given.with_name(name)]
    if given.name == run:
        places += sorted({found.with_name(name) for found in results.glob(f"*/{_literal(name)}*")})
    parts = [partial_of(place) for place in places if partial_of(place).is_dir()]
    if len(parts) == 1:
        return parts[0]
    if parts:
        raise ResumeError(f"{run}: got the name of several runs, expected one of {', '.join(map(str, parts))}")
    whole = next((place for place in places if place.is_dir()), None)
    if whole is not None:
        raise ResumeError(f"{whole}: the run is complete; its report is {whole / 'report.html'}")
    raise ResumeError(f"{run}: no such unfinished run; `pushback list runs` shows those that there are")


def _literal(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def read_manifest(part: Path) -> Manifest:
    """The manifest of an unfinished run.

    Raises:
        ResumeError: it is missing or damaged.
    """
    file = part / MANIFEST_FILE
    try:
        return manifest_from_json(read_bounded(file, MOST_BYTES).decode("utf-8"), str(file))
    except (OSError, UnicodeDecodeError, ReportError) as error:
        raise ResumeError(f"{file}: cannot be read, so the run cannot go on; run it again: {error}") from error


def read_scenario(part: Path, manifest: Manifest) -> LoadedScenario:
    """The scenario that an unfinished run is of; its tables are found from where it was begun.

    Raises:
        ResumeError: the file is missing, or is not as the run wrote it.
        ScenarioErrors: this version, or what is installed now, does not know what it names.
    """
    file = part / SCENARIO_FILE
    try:
        data = read_bounded(file, MOST_BYTES)
    except OSError as error:
        raise ResumeError(f"{file}: got {error.strerror or error}, expected the scenario of the run") from error
    found = hashlib.sha256(data).hexdigest()
    if found != manifest.scenario_sha256:
        raise ResumeError(
            f"{file}: got SHA-256 {found[:12]}..., expected {manifest.scenario_sha256[:12]}... as in {MANIFEST_FILE}: "
            "the scenario was changed; run it anew"
        )
    components.search_working_folder()
    sources = Sources(str(file))
    settings = parse_yaml(decode(data, sources), sources)
    path = Path(manifest.directory) / f"{manifest.scenario}.yaml"
    return load_mapping(settings, path=path, parts=components.registered_parts())


def resumed(manifest: Manifest, versions: dict[str, str]) -> tuple[Manifest, list[str]]:
    """The manifest of a run that goes on, and what is other than when it was begun, in words."""
    changed = [
        f"{name} {was}, now {versions.get(name, 'missing')}"
        for name, was in manifest.versions.items()
        if versions.get(name) != was
    ]
    return replace(manifest, resumed=manifest.resumed + 1, versions=versions), changed


def is_written(part: Path, manifest: Manifest) -> bool:
    """Whether a run was stopped when all was written, and only its folder had not got its name."""
    return manifest.complete and (part / RESULTS_FILE).exists()
