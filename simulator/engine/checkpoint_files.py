"""State in files: dataclasses as arrays, event logs and JSON, whole or not there, and checked when read.

What is kept under a name is three kinds of files. `NAME.json` says what there is, and appears last: without it the
others are nothing. `NAME.data-<hash>.safetensors` holds the arrays, `NAME.log-<hash>.parquet` an event log each; a log
that was written before is not written again, so that what is kept of a run that goes on grows by its new rows alone.
Reading executes nothing. The checksums find damage; they are no signature.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors

from recommenders.files import open_regular, read_bounded, sync
from simulator.engine.history import History
from simulator.engine.log import EventLog, FeedbackLog
from simulator.engine.log_files import LogFileError, read_log, write_log
from simulator.engine.packing import (
    AnyArray,
    CheckpointError,
    ForeignCheckpointError,
    Packing,
    Unpacking,
    as_bytes,
    described,
    sound,
    stored_array,
)
from simulator.engine.snapshot import Deployment, Snapshot
from simulator.world.state import UserState

SCHEMA = "pushback.checkpoint/1"
"""First key of each JSON file; the number rises when a reader of the old form would misread the new one."""
MOST_JSON_BYTES = 1 << 24
"""Of a JSON file: the names, types and shapes of 100,000 arrays."""
_ENGINE = (Snapshot, History, Deployment, FeedbackLog)


@dataclass(frozen=True)
class _LogFile:
    file: str
    sha256: str
    rows: int


@dataclass(frozen=True, eq=False)
class Kept:
    """What was read back.

    Attributes:
        value: as it was given to `write`.
        seconds: of wall clock that it took to come so far.
        files: of the same folder, which it cannot do without.
    """

    value: Any
    seconds: float
    files: frozenset[str]


@dataclass
class CheckpointFiles:
    """A folder of state, of one scenario.

    Attributes:
        folder: made when something is written.
        scenario_sha256: of the resolved scenario; what another one has left is refused.
        classes: dataclasses that may be kept, beside the engine's own and the user model's.
    """

    folder: Path
    scenario_sha256: str
    classes: Sequence[type[Any]] = ()
    _logs: dict[int, tuple[EventLog, Path, str, _LogFile]] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_logs": {}}  # in another process, logs are other objects

    def write(self, name: str, value: object, *, arm: str, seconds: float) -> None:
        """Keep a value under a name; it is there when this returns, and not before it is whole.

        Args:
            name: folders may stand before it, as in `arms/ntr/model`.
            value: dataclasses, tuples, lists and dicts of arrays, event logs, numbers and texts. An event log that is
                the same object as one in the same folder before is not written again.
            arm: whose event logs.
            seconds: see `Kept`.

        Raises:
            CheckpointError: an array of Python objects, or something else that no file can hold.
            OSError: the disk is full, or the folder cannot be written. What was kept before is as it was.
        """
        path = self._path(name)
        packing = Packing(path, self._known())
        tree = packing.pack(value, "")
        path.parent.mkdir(parents=True, exist_ok=True)
        logs = [self._write_log(path, log, arm) for log in packing.logs]
        data_file, digest = _write_arrays(path, packing.arrays)
        content = {
            "schema": SCHEMA,
            "scenario_sha256": self.scenario_sha256,
            "name": name,
            "arm": arm,
            "seconds": seconds,
            "value": tree,
            "arrays": {key: described(array) for key, array in packing.arrays.items()},
            "data": {"file": data_file.name, "sha256": digest},
            "logs": [vars(log) for log in logs],
        }
        content["sha256"] = _checksum(content)
        with _replacing(path) as part:
            part.write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")

    def read(self, name: str, like: UserState | None = None) -> Kept | None:
        """What was kept under a name; None if nothing was.

        Args:
            name: as given to `write`.
            like: users of the same model, whose columns those that are read must have.

        Raises:
            CheckpointError: a file is missing, truncated or changed.
            ForeignCheckpointError: it is of another scenario, another version, or another user model.
        """
        path = self._path(name)
        if not self.has(name):
            return None
        content = self._read_json(path, name)
        arrays = _read_arrays(path, content)
        logs = [self._read_log(path, entry, content) for entry in _entries(path, content)]
        unpacking = Unpacking(path, self._known(), arrays, logs, like)
        with sound(path):
            value = unpacking.unpack(content["value"])
            seconds = float(content["seconds"])
            files = {path.name, content["data"]["file"], *(entry.file for entry in _entries(path, content))}
        return Kept(value, seconds, frozenset(files))

    def has(self, name: str) -> bool:
        """Whether something was kept under a name, whole or damaged."""
        return os.path.lexists(self._path(name))

    def names(self, within: str) -> list[str]:
        """Names that were kept in a folder, in order."""
        return sorted(f"{within}/{path.stem}" for path in (self.folder / within).glob("*.json"))

    def remove_others(self, within: str, files: frozenset[str]) -> None:
        """Remove what is in a folder, but for the files named."""
        for path in sorted((self.folder / within).glob("*"), key=lambda path: path.suffix != ".json"):
            if path.name not in files and path.is_file():
                path.unlink(missing_ok=True)

    def file_of(self, log: EventLog, arm: str) -> Path | None:
        """The file in which an arm's event log, the same object, was written or read."""
        _, path, whose, _ = self._logs.get(id(log), (None, None, "", None))
        return path if whose == arm and path is not None and path.exists() else None

    def files_of(self, name: str) -> frozenset[str]:
        """The files of what was kept under a name, as far as they can be told; none where it is damaged."""
        path = self._path(name)
        try:
            content = self._read_json(path, name)
            return frozenset({path.name, content["data"]["file"], *(e.file for e in _entries(path, content))})
        except (CheckpointError, KeyError, TypeError):
            return frozenset()

    def _known(self) -> dict[str, type[Any]]:
        return {each.__name__: each for each in (*_ENGINE, *self.classes)}

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _write_log(self, path: Path, log: EventLog, arm: str) -> _LogFile:
        _, where, _, known = self._logs.get(id(log), (None, None, "", None))
        if known is not None and where is not None and where.parent == path.parent and where.exists():
            return known
        part = path.with_name(f".{path.stem}.{os.getpid()}.parquet")
        try:
            write_log(part, arm, log)
            digest = _file_sha256(part)
            place = path.with_name(f"{path.stem}.log-{digest[:16]}.parquet")
            sync(part)
            os.replace(part, place)
        finally:
            part.unlink(missing_ok=True)
        entry = _LogFile(place.name, digest, len(log))
        self._logs[id(log)] = (log, place, arm, entry)
        return entry

    def _read_json(self, path: Path, name: str) -> dict[str, Any]:
        try:
            content = json.loads(read_bounded(path, MOST_JSON_BYTES))
        except OSError as error:
            raise CheckpointError(f"{path}: got {error.strerror or error}, expected what a run has kept") from error
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{path}: got damaged JSON ({error}), expected what a run has kept") from error
        if not isinstance(content, dict) or not isinstance(content.get("schema"), str):
            raise CheckpointError(f"{path}: got no schema, expected {SCHEMA!r}: the file is damaged")
        if content["schema"] != SCHEMA and content["schema"].startswith(SCHEMA.partition("/")[0]):
            raise ForeignCheckpointError(
                f"{path}: schema: got {content['schema'][:40]!r}, expected {SCHEMA!r}: another version wrote it"
            )
        with sound(path):
            if _checksum({key: value for key, value in content.items() if key != "sha256"}) != content["sha256"]:
                raise CheckpointError(f"{path}: got a content that does not match its checksum: the file was changed")
            if content["scenario_sha256"] != self.scenario_sha256:
                raise ForeignCheckpointError(
                    f"{path}: scenario_sha256: got {content['scenario_sha256'][:12]}..., expected "
                    f"{self.scenario_sha256[:12]}...: it belongs to another scenario"
                )
            if content["name"] != name:
                raise CheckpointError(f"{path}: name: got {content['name']!r}, expected {name!r}: the file was moved")
        return content

    def _read_log(self, path: Path, entry: _LogFile, content: Mapping[str, Any]) -> EventLog:
        place = path.with_name(entry.file)
        try:
            digest = _file_sha256(place)
            if digest != entry.sha256:
                raise CheckpointError(
                    f"{place}: got SHA-256 {digest[:12]}..., expected {entry.sha256[:12]}...: truncated or changed"
                )
            log = read_log(place)
        except (OSError, LogFileError) as error:
            raise CheckpointError(f"{place}: got {error}, expected an event log that a run has kept") from error
        if len(log) != entry.rows:
            raise CheckpointError(f"{place}: got {len(log)} rows, expected {entry.rows}")
        self._logs[id(log)] = (log, place, str(content.get("arm")), entry)
        return log


def _write_arrays(path: Path, arrays: Mapping[str, AnyArray]) -> tuple[Path, str]:
    """Write arrays as a safetensors file beside a JSON file, its sum in its name; the file and the sum.

    As the library does, but from where the arrays lie: its copies of a large state take longer than the disk.
    """
    columns = {key: as_bytes(array) for key, array in arrays.items()}
    ends = list(accumulate(column.size for column in columns.values()))
    about = {
        key: {"dtype": "U8", "shape": [column.size], "data_offsets": [end - column.size, end]}
        for (key, column), end in zip(columns.items(), ends, strict=True)
    }
    header = json.dumps(about).encode()
    header += b" " * (-len(header) % 8)
    pieces: list[Any] = [len(header).to_bytes(8, "little"), header, *columns.values()]  # all of them buffers
    part = path.with_name(f".{path.stem}.{os.getpid()}.safetensors")
    digest = hashlib.sha256()
    try:
        with part.open("wb") as file:
            for piece in pieces:
                digest.update(piece)
                file.write(piece)
        place = path.with_name(f"{path.stem}.data-{digest.hexdigest()[:16]}.safetensors")
        sync(part)
        os.replace(part, place)
        sync(path.parent)
    finally:
        part.unlink(missing_ok=True)
    return place, digest.hexdigest()


def _read_arrays(path: Path, content: Mapping[str, Any]) -> dict[str, AnyArray]:
    with sound(path):
        place = path.with_name(str(content["data"]["file"]))
        kinds = dict(content["arrays"])
        expected = str(content["data"]["sha256"])
    try:
        with open_regular(place) as file:
            data = file.read()
    except OSError as error:
        raise CheckpointError(f"{place}: got {error.strerror or error}, expected arrays that a run has kept") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != expected:
        raise CheckpointError(
            f"{place}: got {len(data):,} bytes with SHA-256 {digest[:12]}..., expected {expected[:12]}...: "
            "truncated or changed"
        )
    try:
        raw = load_safetensors(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{place}: got damaged arrays ({error}), expected a safetensors file") from error
    with sound(path):
        return {key: stored_array(raw[key], about) for key, about in kinds.items()}


def _entries(path: Path, content: Mapping[str, Any]) -> list[_LogFile]:
    with sound(path):
        for entry in content["logs"]:
            path.with_name(entry["file"])  # a name, and no path to elsewhere
        return [_LogFile(str(e["file"]), str(e["sha256"]), int(e["rows"])) for e in content["logs"]]


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A file beside one that shall be: forced to the disk, it gets that name when the block ends well."""
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield part
        sync(part)
        os.replace(part, path)
        sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _checksum(content: Mapping[str, Any]) -> str:
    """SHA-256 of a canonical spelling of everything but the checksum."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
