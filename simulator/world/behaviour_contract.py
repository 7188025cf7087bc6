"""Asking a user model that somebody brought, and trusting none that breaks the contract of `Behaviour`."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from recommenders.base import Bool, Feedback, Int32, Int64
from recommenders.plugins import blaming
from simulator.world.behaviour import Behaviour, BehaviourError, Responses, part_of
from simulator.world.state import UserState, new_state
from simulator.world.world import World

Rows = npt.NDArray[np.intp]
Column = npt.NDArray[np.generic]

_EXAMINED = np.uint8(Feedback.EXAMINED)
_BOTH_WAYS = np.uint8(Feedback.LONG_DWELL | Feedback.SKIP)
_ALL_FLAGS = sum(Feedback)


@dataclass(frozen=True, eq=False)
class CheckedBehaviour:
    """Another behaviour, each answer of which is checked; a fault is an error and never becomes a row of the log.

    Attributes:
        name: how the scenario names the behaviour, for errors.
        behaviour: what is asked.
    """

    name: str
    behaviour: Behaviour

    def begin(self, world: World) -> UserState:
        """As the other behaviour.

        Raises:
            BehaviourError: it failed, or the state is not one row a user of the right types.
        """
        with blaming(f"behaviour {self.name!r}: begin", BehaviourError):
            state: object = self.behaviour.begin(world)
        if not isinstance(state, UserState):
            raise BehaviourError(f"behaviour {self.name!r}: begin: got {type(state).__name__}, expected UserState")
        self._check_state("begin", state, new_state(world.population.taste))
        everyone = np.arange(state.n_users)
        asked = _Asked(f"behaviour {self.name!r}: begin: wake_tick", everyone, state.session, state.step)
        asked.refuse_where(state.wake_tick < 0, state.wake_tick, "0 or more")
        return state

    def respond(self, world: World, state: UserState, users: Rows, tick: Int64, item: Int32) -> Responses:
        """As the other behaviour, which is given a state that it cannot write to.

        Raises:
            BehaviourError: it failed, or its responses break a rule of `Responses`.
        """
        with blaming(f"behaviour {self.name!r}: respond", BehaviourError):
            responses: object = self.behaviour.respond(world, _read_only(state), users, tick, item)
        if not isinstance(responses, Responses):
            got = type(responses).__name__
            raise BehaviourError(f"behaviour {self.name!r}: respond: got {got}, expected Responses")
        self._check_responses(responses, state, users, item.shape, world.first_user)
        return responses

    def advance(
        self, world: World, state: UserState, users: Rows, tick: Int64, item: Int32, responses: Responses
    ) -> None:
        """As the other behaviour.

        Raises:
            BehaviourError: it failed, or left a user without a next request that can follow this one.
        """
        session, step = state.session[users], state.step[users]
        before = _read_only(state)
        with blaming(f"behaviour {self.name!r}: advance", BehaviourError):
            self.behaviour.advance(world, state, users, tick, item, responses)
        self._check_state("advance", state, before)
        done_tick = tick + responses.done_after[:, -1]
        goes_on = (state.session[users] == session) & (state.step[users] == step + 1)
        comes_again = (state.session[users] == session + 1) & (state.step[users] == 0)
        rules = (
            ("step", goes_on | comes_again, "the next step of the session, or step 0 of the next session"),
            (
                "wake_tick",
                state.wake_tick[users] >= done_tick,
                "no request before the user is done with the last slate",
            ),
            ("satisfaction", np.isfinite(state.satisfaction[users]), "a finite number"),
        )
        for column, holds, expected in rules:
            asked = _Asked(f"behaviour {self.name!r}: advance: {column}", users + world.first_user, session, step)
            asked.refuse_where(~holds, getattr(state, column)[users], expected)

    def part(self, users: range) -> CheckedBehaviour:
        """The same for a range of users."""
        return CheckedBehaviour(self.name, part_of(self.behaviour, users))

    def _check_state(self, stage: str, state: UserState, like: UserState) -> None:
        for name in (field.name for field in fields(like)):
            expected: Column = getattr(like, name)
            _check_type(
                f"behaviour {self.name!r}: {stage}: {name}", getattr(state, name), expected.dtype, expected.shape
            )

    def _check_responses(
        self, responses: Responses, state: UserState, users: Rows, shape: tuple[int, ...], first_user: int
    ) -> None:
        r, (n, k) = responses, shape
        for name, dtype in _RESPONSE_DTYPES.items():
            where = f"behaviour {self.name!r}: respond: {name}"
            _check_type(where, getattr(r, name), np.dtype(dtype), (n,) if name == "n_examined" else (n, k))
        examined = (r.feedback & _EXAMINED) > 0
        apart = (r.feedback & _BOTH_WAYS) != _BOTH_WAYS
        later = np.diff(r.done_after, axis=1, prepend=1) >= 0
        chance = (r.dislike_probability >= 0) & (r.dislike_probability <= 1)
        rules = (
            ("n_examined", (r.n_examined >= 1) & (r.n_examined <= k), f"1 to {k} slots"),
            ("n_examined", r.n_examined == examined.sum(axis=1), "as many slots as have the flag EXAMINED"),
            ("feedback", r.feedback <= _ALL_FLAGS, f"a combination of Feedback flags, at most {_ALL_FLAGS}"),
            ("feedback", examined | (r.feedback == 0), "the flag EXAMINED with any other flag"),
            ("feedback", apart, "not both LONG_DWELL and SKIP"),
            ("dwell_seconds", np.isfinite(r.dwell_seconds) & (r.dwell_seconds >= 0), "a finite number of 0 or more"),
            ("dwell_seconds", examined | (r.dwell_seconds == 0), "0 where the user did not look"),
            ("done_after", later, "at least 1 tick, and no less than at the slot before"),
            ("displeased", examined | ~r.displeased, "False where the user did not look"),
            ("dislike_probability", chance, "a chance in [0, 1]"),
            ("dislike_probability", examined | (r.dislike_probability == 0), "0 where the user did not look"),
        )
        for name, holds, expected in rules:
            request = (users + first_user, state.session[users], state.step[users])
            asked = _Asked(f"behaviour {self.name!r}: respond: {name}", *request)
            asked.refuse_where(~holds, getattr(r, name), expected)


@dataclass(frozen=True, eq=False)
class _Asked:
    """What a behaviour was asked.

    Attributes:
        what: the behaviour, the method and the column.
        users: intp[n], their numbers in the whole world.
        session, step: int32[n], of the users' requests.
    """

    what: str
    users: Rows
    session: Int32
    step: Int32

    def refuse_where(self, wrong: Bool, got: Column, expected: str) -> None:
        """Raise at the first wrong value.

        Args:
            wrong: bool[n], or bool[n, k] for a column with slots.
            got: the column.
            expected: in words.

        Raises:
            BehaviourError: there is a wrong value; names the user, the request and the slot.
        """
        if not wrong.any():
            return
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        row, *slots = place
        where = f"user {self.users[row]}, session {self.session[row]}, step {self.step[row]}"
        where += "".join(f", slot {slot}" for slot in slots)
        raise BehaviourError(f"{self.what}: {where}: got {got[place]}, expected {expected}")


_RESPONSE_DTYPES = {
    "n_examined": np.int32,
    "feedback": np.uint8,
    "dwell_seconds": np.float32,
    "done_after": np.int64,
    "displeased": np.bool_,
    "dislike_probability": np.float32,
}


def _check_type(what: str, column: object, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> None:
    if not isinstance(column, np.ndarray) or column.dtype != dtype or column.shape != shape:
        got = f"{column.dtype}{list(column.shape)}" if isinstance(column, np.ndarray) else type(column).__name__
        raise BehaviourError(f"{what}: got {got}, expected {dtype}{list(shape)}")


def _read_only(state: UserState) -> UserState:
    """The same rows, seen through columns that cannot be written to."""
    views = {field.name: getattr(state, field.name).view() for field in fields(state)}
    for view in views.values():
        view.flags.writeable = False
    return type(state)(**views)
