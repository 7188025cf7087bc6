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

BUILDING = "building the recommender"
_TIMEOUT = "execution.call_timeout"


@dataclass(frozen=True)
class Blame:
    """What a recommender did wrong, apart from the request at which it showed.

    Attributes:
        doing: what it was asked, such as `training` or `recommend`.
        error: type of what it raised.
        message: what that says.
        where: the batch or the line of code, which depend on how the work was cut up; may be empty.
    """

    doing: str
    error: str
    message: str
    where: str = ""


class EngineError(Exception):
    """The simulation cannot go on; the message names the arm and, where there is one, the user and the request.

    Attributes:
        blame: what the arm's recommender did; None where it is not to blame. It stays with the error in another
            process, and where SimPy makes the error anew from its arguments; what was raised first may not.
    """

    def __init__(self, message: str, blame: Blame | None = None) -> None:
        super().__init__(message, blame)
        self.blame = blame

    def __str__(self) -> str:
        return str(self.args[0])


@contextmanager
def blaming(arm: str, doing: str, where: str = "") -> Iterator[None]:
    """Turn whatever a recommender raises into an error that names its arm and what it was asked.

    Args:
        arm: its name.
        doing: what it is asked.
        where: on which requests; may be empty.

    Raises:
        EngineError: the body raised.
    """
    try:
        yield
    except (Exception, SystemExit) as error:  # a recommender that exits would end the run without a word
        kind, said = type(error).__name__, _said(error)
        blame = Blame(doing, kind, said, where)
        raise EngineError(f"arm {arm}: {_asked(doing, where)} failed: {kind}: {said}", blame) from error


def _asked(doing: str, where: str) -> str:
    return f"{doing} {where}" if where else doing


def _said(error: BaseException) -> str:
    """The message of an error, which is code of whoever wrote it."""
    try:
        return str(error)
    except Exception as another:
        return f"its message cannot be had: {type(another).__name__}"


@contextmanager
def limited(arm: str, doing: str, seconds: float | None, where: str = "") -> Iterator[None]:
    """Cut off a recommender that takes too long, where signals can; `recommenders.limits.time_limit` says where.

    Args:
        arm, doing, where: as for `blaming`.
        seconds: how long it may take; None for ever.

    Raises:
        EngineError: it did; names the arm and what was asked.
    """
    try:
        with nullcontext() if seconds is None else time_limit(seconds):
            yield
    except OutOfTime as late:
        asked, (message, _, line) = _asked(doing, where), str(late).partition("; ")
        place = "; ".join(filter(None, (where, line)))
        blame = Blame(doing, type(late).__name__, f"{message} ({_TIMEOUT})", place)
        raise EngineError(f"arm {arm}: {asked}: {late} ({_TIMEOUT})", blame) from late


@contextmanager
def limited_users(arm: str, doing: str, seconds: float | None, where: str = "") -> Iterator[None]:
    """Cut off a user model that takes too long: as `limited`, but no recommender is to blame.

    Raises:
        EngineError: it did.
    """
    try:
        with limited(arm, doing, seconds, where):
            yield
    except EngineError as error:
        raise EngineError(str(error)) from error


@contextmanager
def _naming(arm: str, doing: str) -> Iterator[None]:
    try:
        yield
    except RecommenderError as error:
        raise EngineError(f"arm {arm}: {error}", Blame(doing, type(error).__name__, str(error))) from error


def build_recommender(arm: str, build: Callable[[], Recommender]) -> Recommender:
    """An unfitted recommender whose traits make sense.

    Raises:
        EngineError: it cannot be built, or declares what cannot be.
    """
    with blaming(arm, BUILDING):
        recommender = build()
        traits = recommender.traits
    with _naming(arm, BUILDING):
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
    with blaming(arm, "recommend", f"on a batch of {len(requests)} that begins with {first}"):
        slates = recommender.recommend(requests, k, keyed)
    with _naming(arm, "recommend"):
        check_slates(slates, requests, k)
    return slates
