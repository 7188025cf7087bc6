"""Asking a recommender for slates, and trusting none that breaks the contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from recommenders.base import Float64, Int32, Recommender, Requests, Slates, Traits
from simulator.draws import Draws, Purpose


class EngineError(Exception):
    """The simulation cannot go on; the message names the arm and, where there is one, the user and the request."""


@contextmanager
def blaming(arm: str, stage: str) -> Iterator[None]:
    """Turn whatever a recommender raises into an error that names its arm and what it was asked.

    Raises:
        EngineError: the body raised.
    """
    try:
        yield
    except Exception as error:
        raise EngineError(f"arm {arm}: {stage} failed: {type(error).__name__}: {error}") from error


def build_recommender(arm: str, build: Callable[[], Recommender]) -> Recommender:
    """An unfitted recommender whose traits make sense.

    Raises:
        EngineError: it cannot be built, or declares what cannot be.
    """
    with blaming(arm, "building the recommender"):
        recommender = build()
        traits = recommender.traits
    if not isinstance(traits, Traits):
        raise EngineError(f"arm {arm}: traits: got {type(traits).__name__}, expected Traits")
    if traits.history_length < 0:
        raise EngineError(f"arm {arm}: traits.history_length: got {traits.history_length}, expected 0 or more")
    if traits.batch_size is not None and traits.batch_size < 1:
        raise EngineError(f"arm {arm}: traits.batch_size: got {traits.batch_size}, expected None or 1 or more")
    return recommender


@dataclass(frozen=True)
class KeyedRequestDraws:
    """`RequestDraws` on the world's keyed draws: numbers belong to (user, session, step), in every arm the same.

    Attributes:
        draws: the world's.
        user, session, step: int32[n].
        purpose: what the numbers are for.
    """

    draws: Draws
    user: Int32
    session: Int32
    step: Int32
    purpose: Purpose = Purpose.RECOMMENDER

    def uniform(self, n_columns: int) -> Float64:
        """Independent uniforms in (0, 1): float64[n, n_columns]."""
        blocks = np.arange((n_columns + 3) // 4)
        words = self.draws.uniform(self.purpose, self.user[:, None], self.session[:, None], self.step[:, None], blocks)
        return np.ascontiguousarray(words.transpose(1, 2, 0)).reshape(len(self.user), -1)[:, :n_columns]


def serve(arm: str, recommender: Recommender, requests: Requests, k: int, draws: Draws) -> Slates:
    """Slates for a batch, in calls of the size that the recommender declares.

    Args:
        arm: name of the arm, for errors.
        recommender: fitted.
        requests: at least one.
        k: size of the slates.
        draws: the world's.

    Raises:
        EngineError: the recommender failed, or a slate breaks a rule.
    """
    size = recommender.traits.batch_size
    if size is None:
        return _ask(arm, recommender, requests, k, draws)
    parts = []
    for start in range(0, len(requests), size):
        rows = np.arange(start, start + size)
        n_real = min(size, len(requests) - start)
        # A short batch repeats its first row: float32 products differ between batch sizes, so the size never changes.
        rows[n_real:] = start
        slates = _ask(arm, recommender, requests.take(rows), k, draws)
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


def _ask(arm: str, recommender: Recommender, requests: Requests, k: int, draws: Draws) -> Slates:
    keyed = KeyedRequestDraws(draws, requests.user, requests.session, requests.step)
    first = f"user {requests.user[0]}, session {requests.session[0]}, step {requests.step[0]}"
    with blaming(arm, f"recommend on a batch of {len(requests)} that begins with {first}"):
        slates = recommender.recommend(requests, k, keyed)
    validate_slates(arm, slates, requests, k)
    return slates


def validate_slates(arm: str, slates: Slates, requests: Requests, k: int) -> None:
    """Check every rule that a slate must keep.

    Raises:
        EngineError: names the rule, the arm, the user and the request.
    """
    if not isinstance(slates, Slates):
        raise EngineError(f"arm {arm}: recommend returned {type(slates).__name__}, expected Slates")
    shape = (len(requests), k)
    for name, dtype in (("item", np.int32), ("score", np.float32), ("propensity", np.float64)):
        column = getattr(slates, name)
        if column is None and name == "propensity":
            continue
        if not isinstance(column, np.ndarray) or column.shape != shape or column.dtype != dtype:
            got = f"{column.dtype}{list(column.shape)}" if isinstance(column, np.ndarray) else type(column).__name__
            raise EngineError(f"arm {arm}: slates.{name}: got {got}, expected {np.dtype(dtype)}{list(shape)}")
    item = slates.item
    n_items = len(requests.eligible)
    outside = (item < 0) | (item >= n_items)
    if outside.any():
        _refuse(arm, requests, item, outside, f"expected an item in [0, {n_items})")
    shown = requests.eligible[item]
    if not shown.all():
        _refuse(arm, requests, item, ~shown, "expected an eligible item")
    for distance in range(1, k):
        if (item[:, distance:] == item[:, :-distance]).any():
            twice = np.zeros(shape, np.bool_)
            twice[:, distance:] = item[:, distance:] == item[:, :-distance]
            _refuse(arm, requests, item, twice, "which is in the slate already; expected different items")
    if not np.isfinite(slates.score).all():
        _refuse(arm, requests, slates.score, ~np.isfinite(slates.score), "expected a finite score")
    propensity = slates.propensity
    if propensity is not None:
        wrong = ~((propensity > 0) & (propensity <= 1))
        if wrong.any():
            _refuse(arm, requests, propensity, wrong, "expected a propensity in (0, 1]")


def _refuse(
    arm: str,
    requests: Requests,
    column: np.ndarray[tuple[int, int], np.dtype[np.generic]],
    wrong: np.ndarray[tuple[int, int], np.dtype[np.bool_]],
    expected: str,
) -> None:
    row, slot = (int(i) for i in np.argwhere(wrong)[0])
    where = f"user {requests.user[row]}, session {requests.session[row]}, step {requests.step[row]}, slot {slot}"
    raise EngineError(f"arm {arm}: {where}: got {column[row, slot]}, {expected}")
