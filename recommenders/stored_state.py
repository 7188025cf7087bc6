"""Checks of a fitted state that was read from a file, before anything is looked up or allocated by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from recommenders.base import Int32, RecommenderError, State

if TYPE_CHECKING:
    from torch import nn


def stored_places(state: State, name: str, n: int) -> Int32:
    """An array of places among n: int32[m], each in [0, n).

    Raises:
        RecommenderError: there is no such array, or a place lies elsewhere.
    """
    if name not in state:
        raise RecommenderError(f"state: got no {name!r}, expected places among {n}")
    place: npt.NDArray[Any] = np.asarray(state[name])
    if place.dtype.kind not in "iu" or np.any((place < 0) | (place >= n)):
        raise RecommenderError(f"state: {name}: got a value outside [0, {n}), expected places among {n}")
    return place.astype(np.int32)


def stored_matrix(state: State, prefix: str, n: int) -> sparse.csr_array:
    """A square sparse matrix in CSR form: `data`, `indices` and `indptr` after the prefix.

    SciPy trusts these: with a column that there is not, a product reads and writes memory that is not its own.

    Raises:
        RecommenderError: they do not fit each other, or n rows and columns.
    """
    parts: list[npt.NDArray[Any]] = [np.array(state[prefix + part]) for part in ("data", "indices", "indptr")]
    try:
        matrix = sparse.csr_array(tuple(parts), shape=(n, n))
        matrix.check_format(full_check=True)
    except (ValueError, TypeError, IndexError) as error:
        raise RecommenderError(f"state: {prefix}*: got {error}, expected a matrix of {n} x {n} in CSR form") from error
    return matrix


def require_shapes(make: Callable[[], nn.Module], state: Mapping[str, npt.NDArray[Any]]) -> None:
    """Check names and shapes of a network's parameters before it is made, at whatever size its settings ask for.

    Args:
        make: makes it.
        state: what it shall load.

    Raises:
        RecommenderError: a parameter is missing, unknown, or of another shape.
    """
    import torch

    with torch.device("meta"):  # knows shapes, holds no numbers
        wanted = {name: tuple(value.shape) for name, value in make().state_dict().items()}
    found = {name: value.shape for name, value in state.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            got, expected = (shapes.get(name, "no such array") for shapes in (found, wanted))
            raise RecommenderError(
                f"state: does not fit this configuration and catalogue: {name}: got {got}, expected {expected}"
            )
