"""State taken apart into arrays, event logs and what JSON can hold, and put together again; nothing is executed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simulator.engine.log import EventLog
from simulator.world.state import UserState

_KINDS = "biufcmMSU"
"""Types of arrays, as NumPy calls them: numbers, dates, fixed texts; no Python objects."""

AnyArray = npt.NDArray[Any]


class CheckpointError(Exception):
    """State cannot be kept or read back; the message names the file. Where it was read, it is damaged."""


class ForeignCheckpointError(CheckpointError):
    """What was read is whole, but belongs to another scenario, another version, or another user model."""


@dataclass
class Packing:
    """Takes a value apart: what JSON can hold is returned, arrays and event logs are put aside."""

    path: Path
    classes: Mapping[str, type[Any]]
    arrays: dict[str, AnyArray] = field(default_factory=dict)
    logs: list[EventLog] = field(default_factory=list)

    def pack(self, value: Any, where: str) -> dict[str, Any]:  # noqa: PLR0911
        """One node of the tree: a mapping from what it is to what it holds."""
        if value is None or isinstance(value, bool | int | float | str):
            return {"value": value}
        if isinstance(value, np.ndarray | np.generic):
            return {"array": self._put(np.asarray(value), where)}
        if isinstance(value, EventLog) and len(value) == 0:
            return {"log": None}
        if isinstance(value, EventLog):
            self.logs.append(value)
            return {"log": len(self.logs) - 1}
        if isinstance(value, UserState):
            return {"users": self._fields(value, where), "model": _qualified(type(value))}
        if is_dataclass(value) and self.classes.get(type(value).__name__) is type(value):
            return {"class": type(value).__name__, "fields": self._fields(value, where)}
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return {"dict": {key: self.pack(inner, f"{where}/{key}") for key, inner in value.items()}}
        if isinstance(value, tuple | list):
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [self.pack(inner, f"{where}/{i}") for i, inner in enumerate(value)]}
        raise CheckpointError(
            f"{self.path}: {where}: got a {_qualified(type(value))}, expected arrays, numbers or texts"
        )

    def _fields(self, value: Any, where: str) -> dict[str, Any]:
        return {f.name: self.pack(getattr(value, f.name), f"{where}/{f.name}") for f in fields(value)}

    def _put(self, array: AnyArray, where: str) -> str:
        if array.dtype.kind not in _KINDS:
            got = f"an array of {array.dtype}"
            raise CheckpointError(
                f"{self.path}: {where}: got {got}, expected numbers, dates or texts of a fixed length"
            )
        key = where if where not in self.arrays else f"{where}#{len(self.arrays)}"
        self.arrays[key] = array
        return key


def check_can_be_kept(value: object, what: str) -> None:
    """Refuse what no file can hold, before a file is written.

    Args:
        value: as for `Packing.pack`, without dataclasses.
        what: how errors call it.

    Raises:
        CheckpointError: an array of Python objects, or something else than arrays, numbers and texts.
    """
    Packing(Path(what), {}).pack(value, "")


@dataclass(frozen=True)
class Unpacking:
    """Puts a value together again."""

    path: Path
    classes: Mapping[str, type[Any]]
    arrays: Mapping[str, AnyArray]
    logs: Sequence[EventLog]
    like: UserState | None

    def unpack(self, node: Any) -> Any:  # noqa: PLR0911
        """The value of one node of the tree."""
        kind = next(iter(node))
        held = node[kind]
        match kind:
            case "value":
                return held
            case "array":
                return self.arrays[held]
            case "log":
                return EventLog.empty() if held is None else self.logs[held]
            case "dict":
                return {key: self.unpack(inner) for key, inner in held.items()}
            case "list":
                return [self.unpack(inner) for inner in held]
            case "tuple":
                return tuple(self.unpack(inner) for inner in held)
            case "class":
                made = self.classes[held]
                return made(**self._fields(node["fields"], [f.name for f in fields(made)], held))
            case "users":
                return self._users(node["model"], held)
        raise CheckpointError(f"{self.path}: got a node {kind!r}, expected one that `write` writes")

    def _fields(self, held: Mapping[str, Any], expected: list[str], where: str) -> dict[str, Any]:
        if sorted(held) != sorted(expected):
            raise ForeignCheckpointError(
                f"{self.path}: {where}: got columns {', '.join(held)}, expected {', '.join(expected)}: "
                "another version wrote it"
            )
        return {name: self.unpack(inner) for name, inner in held.items()}

    def _users(self, model: str, held: Mapping[str, Any]) -> UserState:
        if self.like is None:
            raise CheckpointError(f"{self.path}: got the state of users, expected none")
        if model != _qualified(type(self.like)):
            raise ForeignCheckpointError(
                f"{self.path}: users: got those of {model}, expected {_qualified(type(self.like))}"
            )
        columns = self._fields(held, [f.name for f in fields(self.like)], "users")
        for name, column in columns.items():
            wanted = getattr(self.like, name)
            if (column.dtype, column.shape) != (wanted.dtype, wanted.shape):
                got, expected = (f"{a.dtype}{list(a.shape)}" for a in (column, wanted))
                raise ForeignCheckpointError(f"{self.path}: users.{name}: got {got}, expected {expected}")
        return type(self.like)(**columns)


def _qualified(kind: type[Any]) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _is_fortran(array: AnyArray) -> bool:
    """Whether an array lies in the memory column by column, which decides how a product of matrices is summed."""
    return bool(array.flags.f_contiguous and not array.flags.c_contiguous)


def as_bytes(array: AnyArray) -> npt.NDArray[np.uint8]:
    """What an array holds, in an order from which `stored_array` makes it again; of an array in order not a copy."""
    in_order = array.T if _is_fortran(array) else np.ascontiguousarray(array)
    return in_order.reshape(-1).view(np.uint8)


def described(array: AnyArray) -> dict[str, Any]:
    """Type, shape and order of an array, for JSON."""
    return {"dtype": array.dtype.str, "shape": list(array.shape), "fortran": _is_fortran(array)}


def stored_array(raw: AnyArray, about: Mapping[str, Any]) -> AnyArray:
    """The array of bytes that `as_bytes` gave and of what `described` said.

    Raises:
        KeyError, TypeError, ValueError: they do not fit each other.
    """
    dtype, shape = np.dtype(about["dtype"]), tuple(about["shape"])
    if dtype.kind not in _KINDS:
        raise ValueError(f"an array of {dtype}")
    stored = np.frombuffer(raw.tobytes(), dtype)
    ordered = stored.reshape(shape[::-1]).T if about["fortran"] else stored.reshape(shape)
    return ordered.copy(order="K")  # to be written to, as before


@contextmanager
def sound(path: Path) -> Iterator[None]:
    """Turn whatever trips over a content of another form into an error that names its file.

    Raises:
        CheckpointError: the body raised.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, StopIteration, OverflowError) as error:
        raise CheckpointError(
            f"{path}: got a content of another form ({error!r}), expected as `write` writes"
        ) from error
