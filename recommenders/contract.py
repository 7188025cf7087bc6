"""Asking a recommender as its traits declare, and the rules that its slates and states must keep.

The engine and the conformance kit ask in this one way, so that what passes there runs here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from recommenders.base import RecommenderError, Requests, Slates, State, Traits


def in_declared_batches(traits: Traits, requests: Requests, call: Callable[[Requests], Slates]) -> Slates:
    """Slates for a batch, in calls of the size that the recommender declares.

    Args:
        traits: the recommender's.
        requests: at least one.
        call: asks the recommender for the slates of one batch.
    """
    size = traits.batch_size
    if size is None:
        return call(requests)
    parts = []
    for start in range(0, len(requests), size):
        rows = np.arange(start, start + size)
        n_real = min(size, len(requests) - start)
        # A short batch repeats its first row: float32 products differ between batch sizes, so the size never changes.
        rows[n_real:] = start
        slates = call(requests.take(rows))
        propensity = None if slates.propensity is None else slates.propensity[:n_real]
        parts.append(Slates(slates.item[:n_real], slates.score[:n_real], propensity))
    if len(parts) == 1:
        return parts[0]
    propensities = [p.propensity for p in parts if p.propensity is not None]
    return Slates(
        np.concatenate([p.item for p in parts]),
        np.concatenate([p.score for p in parts]),
        np.concatenate(propensities) if len(propensities) == len(parts) else None,
    )


def check_traits(traits: object) -> None:
    """Check that declared traits make sense.

    Raises:
        RecommenderError: names the trait.
    """
    if not isinstance(traits, Traits):
        raise RecommenderError(f"traits: got {type(traits).__name__}, expected Traits")
    if traits.history_length < 0:
        raise RecommenderError(f"traits.history_length: got {traits.history_length}, expected 0 or more")
    if traits.batch_size is not None and traits.batch_size < 1:
        raise RecommenderError(f"traits.batch_size: got {traits.batch_size}, expected None or 1 or more")


def check_state_names(state: State, expected: Iterable[str]) -> None:
    """Check that a state has all the arrays that a recommender takes over.

    Raises:
        RecommenderError: names the first that is missing.
    """
    for name in expected:
        if name not in state:
            raise RecommenderError(f"state: got no {name}, expected {', '.join(expected)}")


def check_slates(slates: object, requests: Requests, k: int) -> None:
    """Check every rule that slates must keep.

    Raises:
        RecommenderError: names the rule, the user and the request.
    """
    if not isinstance(slates, Slates):
        raise RecommenderError(f"recommend returned {type(slates).__name__}, expected Slates")
    shape = (len(requests), k)
    for name, dtype in (("item", np.int32), ("score", np.float32), ("propensity", np.float64)):
        column = getattr(slates, name)
        if column is None and name == "propensity":
            continue
        if not isinstance(column, np.ndarray) or column.shape != shape or column.dtype != dtype:
            got = f"{column.dtype}{list(column.shape)}" if isinstance(column, np.ndarray) else type(column).__name__
            raise RecommenderError(f"slates.{name}: got {got}, expected {np.dtype(dtype)}{list(shape)}")
    item = slates.item
    n_items = len(requests.eligible)
    if item.size == 0:
        return
    if item.min() < 0 or item.max() >= n_items:
        _refuse(requests, item, (item < 0) | (item >= n_items), f"expected an item in [0, {n_items})")
    shown = requests.eligible.take(item)
    if not shown.all():
        _refuse(requests, item, ~shown, "expected an eligible item")
    # Slots as rows of memory: comparisons along short rows take twenty times as long.
    by_slot = np.ascontiguousarray(item.T)
    for distance in range(1, k):
        again = by_slot[distance:] == by_slot[:-distance]
        if again.any():
            twice = np.zeros(shape, np.bool_)
            twice[:, distance:] = again.T
            _refuse(requests, item, twice, "which is in the slate already; expected different items")
    if not np.isfinite(slates.score).all():
        _refuse(requests, slates.score, ~np.isfinite(slates.score), "expected a finite score")
    propensity = slates.propensity
    if propensity is not None and not (propensity.min() > 0 and propensity.max() <= 1):
        _refuse(requests, propensity, ~((propensity > 0) & (propensity <= 1)), "expected a propensity in (0, 1]")


def _refuse(
    requests: Requests,
    column: np.ndarray[tuple[int, int], np.dtype[np.generic]],
    wrong: np.ndarray[tuple[int, int], np.dtype[np.bool_]],
    expected: str,
) -> None:
    row, slot = (int(i) for i in np.argwhere(wrong)[0])
    where = f"user {requests.user[row]}, session {requests.session[row]}, step {requests.step[row]}, slot {slot}"
    raise RecommenderError(f"{where}: got {column[row, slot]}, {expected}")
