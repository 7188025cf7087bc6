"""Asking a recommender for slates, and trusting none that breaks the contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np

from recommenders.base import Float64, Int32, Recommender, RecommenderError, Requests, Slates
from recommenders.contract import check_slates, check_traits, in_declared_batches
from recommenders.limits import OutOfTime, time_limit
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


@contextmanager
def limited(arm: str, what: str, seconds: float | None) -> Iterator[None]:
    """Cut off what takes too long, where signals can (`recommenders.limits.time_limit` says where); None: nothing.

    Raises:
        EngineError: it did; names the arm and what was asked.
    """
    try:
        with nullcontext() if seconds is None else time_limit(seconds):
            yield
    except OutOfTime as late:
        raise EngineError(f"arm {arm}: {what}: {late} (execution.call_timeout)") from late


@contextmanager
def _naming(arm: str) -> Iterator[None]:
    try:
        yield
    except RecommenderError as error:
        raise EngineError(f"arm {arm}: {error}") from error


def build_recommender(arm: str, build: Callable[[], Recommender]) -> Recommender:
    """An unfitted recommender whose traits make sense.

    Raises:
        EngineError: it cannot be built, or declares what cannot be.
    """
    with blaming(arm, "building the recommender"):
        recommender = build()
        traits = recommender.traits
    with _naming(arm):
        check_traits(traits)
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
    return in_declared_batches(recommender.traits, requests, partial(_ask, arm, recommender, k, draws))


def _ask(arm: str, recommender: Recommender, k: int, draws: Draws, requests: Requests) -> Slates:
    keyed = KeyedRequestDraws(draws, requests.user, requests.session, requests.step)
    first = f"user {requests.user[0]}, session {requests.session[0]}, step {requests.step[0]}"
    with blaming(arm, f"recommend on a batch of {len(requests)} that begins with {first}"):
        slates = recommender.recommend(requests, k, keyed)
    with _naming(arm):
        check_slates(slates, requests, k)
    return slates
