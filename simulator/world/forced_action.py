"""Behaviours that an experiment bends: an action dictated at one impression, users who stop at a given request."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recommenders.base import Feedback, Int32, Int64, UInt8
from simulator.scenario.counterfactuals import NOTHING, Action
from simulator.world.behaviour import Behaviour, Responses, done_after, part_of
from simulator.world.random_behaviour import consume, plain_dwell_seconds
from simulator.world.state import UserState
from simulator.world.world import World

Rows = npt.NDArray[np.intp]

ASLEEP = int(np.iinfo(np.int64).max)
"""The wake tick of a user who is not to be served."""
_PAUSE = 2**62
"""What a pause adds to a wake tick: no clock comes that far, and the tick can be told from the sum."""
ANY_SLOT = -1
"""In place of a slot: the first one that the user looks at."""


def action_flags(action: tuple[Action, ...]) -> np.uint8:
    """The `Feedback` flags of actions.

    >>> int(action_flags(("long_dwell", "dislike")))
    18
    """
    return np.uint8(sum(Feedback[name.upper()] for name in action if name != NOTHING))


@dataclass(frozen=True, eq=False)
class Moments:
    """One request of each user, and a slot in it; what happens there is up to the experiment.

    Attributes:
        session, step: int32[n_users]; a step of -1 never comes.
        slot: int32[n_users]; `ANY_SLOT` for the first slot that is looked at.
    """

    session: Int32
    step: Int32
    slot: Int32

    def at(self, state: UserState, users: Rows) -> npt.NDArray[np.bool_]:
        """Whether the request that each user makes now is the one: bool[n]."""
        here: npt.NDArray[np.bool_] = (state.session[users] == self.session[users]) & (
            state.step[users] == self.step[users]
        )
        return here

    def part(self, users: range) -> Moments:
        """The moments of a range of users."""
        rows = slice(users.start, users.stop)
        return Moments(self.session[rows], self.step[rows], self.slot[rows])


@dataclass(frozen=True, eq=False)
class ForcedAction:
    """Another behaviour, but at its moment each user takes a given action on one impression.

    The user is not asked: what was felt there (`displeased`) stays as it was, what was done becomes the action, with a
    dwell that fits it.

    Attributes:
        behaviour: what happens otherwise.
        moments: where the action is forced; a slot that is named must be one that the user looks at.
        action: what is done.
    """

    behaviour: Behaviour
    moments: Moments
    action: tuple[Action, ...]

    def begin(self, world: World) -> UserState:
        """As the other behaviour."""
        return self.behaviour.begin(world)

    def respond(self, world: World, state: UserState, users: Rows, tick: Int64, item: Int32) -> Responses:
        """As the other behaviour, with the forced action in its place."""
        responses = self.behaviour.respond(world, state, users, tick, item)
        row = np.flatnonzero(self.moments.at(state, users))
        if len(row) == 0:
            return responses
        slot = self.moments.slot[users[row]].astype(np.intp)
        slot = np.where(slot == ANY_SLOT, (responses.feedback[row] > 0).argmax(axis=1), slot)
        feedback, dwell = responses.feedback.copy(), responses.dwell_seconds.copy()
        flags = np.full(len(row), action_flags(self.action))
        feedback[row, slot] = flags | np.uint8(Feedback.EXAMINED)
        dwell[row, slot] = plain_dwell_seconds(world, item[row, slot], flags)
        after = done_after(feedback, dwell, world.settings.behaviour.overhead_seconds)
        dislike = responses.dislike_probability.copy()
        dislike[row, slot] = "dislike" in self.action
        return Responses(responses.n_examined, feedback, dwell, after, responses.displeased, dislike)

    def part(self, users: range) -> ForcedAction:
        """The same for a range of users."""
        return ForcedAction(part_of(self.behaviour, users), self.moments.part(users), self.action)

    def advance(
        self, world: World, state: UserState, users: Rows, tick: Int64, item: Int32, responses: Responses
    ) -> None:
        """As the other behaviour."""
        self.behaviour.advance(world, state, users, tick, item, responses)


@dataclass(frozen=True, eq=False)
class TopSlotAction:
    """Every user consumes the top slot and takes a given action there; the clock is that of another behaviour.

    Attributes:
        behaviour: decides when users come.
        action: what is done.
    """

    behaviour: Behaviour
    action: tuple[Action, ...]

    def begin(self, world: World) -> UserState:
        """As the other behaviour."""
        return self.behaviour.begin(world)

    def respond(self, world: World, state: UserState, users: Rows, tick: Int64, item: Int32) -> Responses:
        """The action on the top slot."""
        flags: UInt8 = np.full(len(users), action_flags(self.action))
        return consume(world, item, np.zeros(len(users), np.intp), flags)

    def part(self, users: range) -> TopSlotAction:
        """The same for a range of users."""
        return TopSlotAction(part_of(self.behaviour, users), self.action)

    def advance(
        self, world: World, state: UserState, users: Rows, tick: Int64, item: Int32, responses: Responses
    ) -> None:
        """As the other behaviour."""
        self.behaviour.advance(world, state, users, tick, item, responses)


@dataclass(frozen=True, eq=False)
class Pausing:
    """Another behaviour, but each user falls asleep just before a given request.

    Attributes:
        behaviour: what happens otherwise.
        moments: the request before which each user stops; users for whom it never comes go on.
    """

    behaviour: Behaviour
    moments: Moments

    def begin(self, world: World) -> UserState:
        """As the other behaviour."""
        return self.behaviour.begin(world)

    def respond(self, world: World, state: UserState, users: Rows, tick: Int64, item: Int32) -> Responses:
        """As the other behaviour."""
        return self.behaviour.respond(world, state, users, tick, item)

    def advance(
        self, world: World, state: UserState, users: Rows, tick: Int64, item: Int32, responses: Responses
    ) -> None:
        """As the other behaviour, and to sleep for who has come to the moment."""
        self.behaviour.advance(world, state, users, tick, item, responses)
        self.put_to_sleep(state, users)

    def put_to_sleep(self, state: UserState, users: Rows) -> None:
        """Stop those of the users whose next request is the one before which they stop."""
        stopping = users[self.moments.at(state, users)]
        awake = stopping[state.wake_tick[stopping] < _PAUSE]
        state.wake_tick[awake] += _PAUSE

    def part(self, users: range) -> Pausing:
        """The same for a range of users."""
        return Pausing(part_of(self.behaviour, users), self.moments.part(users))


def wake(state: UserState) -> None:
    """Let those who paused go on where they were; who was asleep before stays so."""
    paused = (state.wake_tick >= _PAUSE) & (state.wake_tick < ASLEEP)
    state.wake_tick[paused] -= _PAUSE
