"""A fitted recommender on disk: weights as safetensors, everything else as JSON. Loading executes nothing it reads.

A folder with two files. `weights.safetensors` holds the recommender's state (`state.*`) and the catalogue it was
fitted on (`catalogue.*`). `model.json` holds its name and settings, the names, types and shapes of all arrays, the ids
of users and items, where it was trained, and two checksums: of the weights, and of itself. They find damage and
careless edits; they are no signature, so do not load a model from somebody whose numbers you would not trust.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from recommenders.base import ItemFeatures, Recommender
from recommenders.files import open_regular, read_bounded
from recommenders.registry import build

FORMAT_VERSION = 1
MODEL_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
MOST_JSON_BYTES = 1 << 28
"""Of `model.json`: the ids of 20 million users and items."""
_MOST_BRACKETS = 1_000_000
"""Lists and objects, each of which takes 20 times in memory what it takes in the file."""
_PACKAGES = ("pushback", "numpy", "scipy", "torch")
_STATE, _CATALOGUE = "state.", "catalogue."
_COLUMNS = ("creator", "topic", "duration_seconds", "release_tick")
_NAMES = ("recommender", "teachers")
"""Settings that name recommenders: that of a wrapper, and a list of several."""
_DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")


class StorageError(Exception):
    """A model cannot be saved or loaded; the message names the file."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ArrayInfo(_Strict):
    """Type and shape of an array."""

    dtype: str
    shape: tuple[int, ...]


class ModelInfo(_Strict):
    """What `model.json` holds.

    Attributes:
        format_version: of this layout.
        recommender: a name that `registry.build` knows.
        config: its settings, all of them, defaults included.
        arrays: name -> type and shape, of every array in the weights.
        n_creators, n_topics: of the catalogue.
        item_ids, user_ids: the ids of the log; the place is the number that the recommender knows. Empty where the
            numbers are the ids.
        training: where it was trained: what the caller tells, such as the log's hash and the seed.
        versions: of the packages that trained it.
        weights_sha256: of the weights' bytes.
        sha256: of all the rest of this.
    """

    format_version: int
    recommender: str
    config: dict[str, Any]
    arrays: dict[str, ArrayInfo]
    n_creators: Annotated[int, Field(ge=0, lt=2**31)]
    n_topics: Annotated[int, Field(ge=0, lt=2**31)]
    item_ids: list[int] | list[str]
    user_ids: list[int] | list[str]
    training: dict[str, str | int | float]
    versions: dict[str, str]
    weights_sha256: str
    sha256: str


@dataclass(frozen=True)
class StoredModel:
    """A recommender as it was saved.

    Attributes:
        recommender: fitted; it answers bit for bit like the one that was saved.
        items: the catalogue that it was fitted on.
        info: all that was saved beside.
    """

    recommender: Recommender
    items: ItemFeatures
    info: ModelInfo


def save(
    folder: Path,
    recommender: Recommender,
    name: str,
    config: Mapping[str, Any],
    items: ItemFeatures,
    *,
    item_ids: Sequence[int | str] = (),
    user_ids: Sequence[int | str] = (),
    training: Mapping[str, str | int | float] | None = None,
) -> ModelInfo:
    """Write a fitted recommender: whole or not at all.

    Everything is written into a `new_folder` and forced to the disk before it gets its name.

    Args:
        folder: made by this; must not exist, nor be a file.
        recommender: fitted.
        name: by which `registry.build` finds it.
        config: the settings with which it was built.
        items: the catalogue it was fitted on.
        item_ids, user_ids: see `ModelInfo`.
        training: see `ModelInfo`.

    Raises:
        StorageError: the folder exists or cannot be written, or the state holds something other than numbers.
        RecommenderError: the recommender is not fitted.
    """
    with new_folder(folder) as part:
        return write(part, recommender, name, config, items, item_ids=item_ids, user_ids=user_ids, training=training)


def write(
    folder: Path,
    recommender: Recommender,
    name: str,
    config: Mapping[str, Any],
    items: ItemFeatures,
    *,
    item_ids: Sequence[int | str] = (),
    user_ids: Sequence[int | str] = (),
    training: Mapping[str, str | int | float] | None = None,
) -> ModelInfo:
    """Write both files of a fitted recommender into a folder that is there; see `save` for all else."""
    arrays = {_STATE + key: np.asarray(value) for key, value in recommender.state_dict().items()}
    arrays |= {_CATALOGUE + column: getattr(items, column) for column in _COLUMNS}
    for key, array in arrays.items():
        if array.dtype.name not in _DTYPES:
            raise StorageError(f"{folder}: {key}: got an array of {array.dtype}, expected {', '.join(_DTYPES)}")
    # safetensors writes the memory as it lies there: it must be in order, and little-endian.
    arrays = {key: np.ascontiguousarray(a, a.dtype.newbyteorder("<")).reshape(a.shape) for key, a in arrays.items()}
    weights = save_safetensors(arrays)
    content: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "recommender": name,
        "config": _settings(recommender, config),
        "arrays": {key: {"dtype": a.dtype.name, "shape": list(a.shape)} for key, a in sorted(arrays.items())},
        "n_creators": items.n_creators,
        "n_topics": items.n_topics,
        "item_ids": list(item_ids),
        "user_ids": list(user_ids),
        "training": dict(training or {}),
        "versions": {package: version(package) for package in _PACKAGES},
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    content["sha256"] = _checksum(content)
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    _write_files(folder, {WEIGHTS_FILE: weights, MODEL_FILE: text.encode("utf-8")})
    return ModelInfo.model_validate(content)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder beside one that shall be: it gets that name when the block ends well, else it is removed.

    Enter it before long work: a place that cannot be written is then found out at once. Folders above are made where
    they are missing, and removed with it.

    Raises:
        StorageError: the folder exists or cannot be made, or not be named in the end.
    """
    part, made_above = _make_partial(folder)
    try:
        yield part
        try:
            os.rename(part, folder)
        except OSError as error:
            raise unwritable(folder, error) from error
    finally:
        # Gone after the rename; otherwise what an error or Ctrl-C has left.
        shutil.rmtree(part, ignore_errors=True)
        _remove_empty(made_above)


def unwritable(folder: Path, error: OSError) -> StorageError:
    """What to raise where a folder cannot be written."""
    return StorageError(f"{folder}: got {error.strerror or error}, expected a new folder to write to")


def _make_partial(folder: Path) -> tuple[Path, list[Path]]:
    """The hidden folder, and those above it that had to be made, innermost first."""
    missing: list[Path] = []
    try:
        if folder.exists() or folder.is_symlink():
            raise StorageError(f"{folder}: exists, expected the name of a new folder")
        part = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
        missing = [parent for parent in part.parents if not parent.exists()]
        part.mkdir(parents=True)
    except OSError as error:
        _remove_empty(missing)
        raise unwritable(folder, error) from error
    return part, missing


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # somebody else has put something there, or it was never made
            folder.rmdir()


def load(folder: Path, *, allow_import: bool = False) -> StoredModel:
    """Read a recommender that `save` wrote.

    Nothing is unpickled. A recommender that is named as `module:Class`, the outer one or one within a wrapper, is code
    that this would import: it must be allowed.

    Args:
        folder: as given to `save`.
        allow_import: whether `model.json` may name a module to be imported.

    Raises:
        StorageError: a file is missing, damaged, of another version, or does not fit the other; the settings or the
            weights do not fit the recommender.
    """
    info = _read_info(folder / MODEL_FILE)
    # Before anything is built: a wrapper imports the class within as soon as its settings are looked at.
    named = [("recommender", info.recommender), *_named_in(info.config, "config")]
    for where, name in named:
        if ":" in name and not allow_import:
            raise StorageError(
                f"{folder / MODEL_FILE}: {where}: got {name!r}, which is code to be imported, "
                f"expected a registered name, or leave to import (allow_import)"
            )
    arrays = _read_arrays(folder / WEIGHTS_FILE, info)
    columns = {column: arrays[_CATALOGUE + column] for column in _COLUMNS}
    items = ItemFeatures(**columns, n_creators=info.n_creators, n_topics=info.n_topics)
    state = {key.removeprefix(_STATE): array for key, array in arrays.items() if key.startswith(_STATE)}
    try:
        recommender = build(info.recommender, info.config)
        recommender.load_state_dict(state, items)
    except Exception as error:  # a recommender may trip over the state in any way
        what = f"no array {error}" if isinstance(error, KeyError) else str(error)
        raise StorageError(f"{folder}: {info.recommender}: cannot take over what was saved: {what}") from error
    return StoredModel(recommender, items, info)


def _settings(recommender: Recommender, config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with their defaults, so that a later version with other defaults loads the same model."""
    full = getattr(recommender, "config", None)
    return full.model_dump(mode="json") if isinstance(full, BaseModel) else dict(config)


def _named_in(value: object, where: str, *, is_name: bool = False) -> Iterator[tuple[str, str]]:
    """Every recommender that settings name, at any depth, with its place."""
    if isinstance(value, str) and is_name:
        yield where, value
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _named_in(inner, f"{where}[{i}]", is_name=is_name)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _named_in(inner, f"{where}.{key}", is_name=key in _NAMES)


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    try:
        for name, content in files.items():
            with (folder / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        raise unwritable(folder, error) from error


def _read_info(path: Path) -> ModelInfo:
    try:
        data = read_bounded(path, MOST_JSON_BYTES)
        if sum(map(data.count, (b"[", b"{"))) > _MOST_BRACKETS:
            raise StorageError(
                f"{path}: got more than {_MOST_BRACKETS:,} brackets, expected the description of a model"
            )
        content = json.loads(data)
    except OSError as error:
        raise StorageError(f"{path}: got {error.strerror or error}, expected the description of a model") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, or not JSON
        raise StorageError(f"{path}: got damaged JSON ({error}), expected the description of a model") from error
    found = content.get("format_version") if isinstance(content, dict) else None
    if found != FORMAT_VERSION:
        raise StorageError(f"{path}: format_version: got {shorten(repr(found), 60)}, expected {FORMAT_VERSION}")
    try:
        info = ModelInfo.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise StorageError(f"{path}: {where}: {first['msg']}; expected a file as `save` wrote it") from error
    if _checksum({key: value for key, value in content.items() if key != "sha256"}) != info.sha256:
        raise StorageError(f"{path}: got a content that does not match its checksum, expected it as `save` wrote it")
    return info


def _read_arrays(path: Path, info: ModelInfo) -> dict[str, npt.NDArray[Any]]:
    try:
        with open_regular(path) as file:
            data = file.read()
    except OSError as error:
        raise StorageError(f"{path}: got {error.strerror or error}, expected the weights of a model") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != info.weights_sha256:
        raise StorageError(
            f"{path}: got {len(data):,} bytes with SHA-256 {digest[:12]}..., expected {info.weights_sha256[:12]}...: "
            f"the file is truncated, changed, or of another model"
        )
    try:
        arrays = load_safetensors(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise StorageError(f"{path}: got damaged weights ({error}), expected a safetensors file") from error
    found = {key: ArrayInfo(dtype=array.dtype.name, shape=array.shape) for key, array in arrays.items()}
    for key in sorted(found.keys() | info.arrays.keys() | {_CATALOGUE + column for column in _COLUMNS}):
        if found.get(key) != info.arrays.get(key) or key not in found:
            raise StorageError(
                f"{path}: {key}: got {_told(found.get(key))}, expected {_told(info.arrays.get(key))} as in {MODEL_FILE}"
            )
    for key, array in sorted(arrays.items()):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise StorageError(f"{path}: {key}: got a number that is not finite, expected finite ones")
    n_items = arrays[_CATALOGUE + "creator"].shape
    if any(arrays[_CATALOGUE + column].shape != n_items or len(n_items) != 1 for column in _COLUMNS):
        raise StorageError(f"{path}: catalogue: got columns of different lengths, expected one row an item")
    for key, count in (("creator", info.n_creators), ("topic", info.n_topics)):
        array = arrays[_CATALOGUE + key]
        if np.any((array < 0) | (array >= count)):
            raise StorageError(f"{path}: {_CATALOGUE}{key}: got a value outside [0, {count})")
    if info.item_ids and len(info.item_ids) != n_items[0]:
        raise StorageError(f"{path}: catalogue: got {n_items[0]} items, expected {len(info.item_ids)} as in item_ids")
    return arrays


def _told(info: ArrayInfo | None) -> str:
    return "no such array" if info is None else f"{info.dtype}{list(info.shape)}"


def _checksum(content: Mapping[str, Any]) -> str:
    """SHA-256 of a canonical spelling of everything but the checksum."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
