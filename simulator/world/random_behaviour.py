"""Users who do random things: the prefix of a counterfactual trajectory.

Source: Wang et al. 2023 (arXiv 2308.12256), section 4: a simulated user consumes items along a random behaviour
trajectory; the paper leaves the behaviour's distribution open, so it is a setting of ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recommenders.base import Feedback, Float32, Int32, Int64, UInt8
from simulator.draws import Purpose
from simulator.scenario.counterfactuals import Counterfactual
from simulator.scenario.durations import PLAIN_LONG_DWELL
from simulator.world.behaviour import Responses, done_after
from simulator.world.state import UserState, new_state
from simulator.world.world import World

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True)
class RandomBehaviour:
    """At each request a user consumes one item of the slate, drawn uniformly, and reacts at random.

    All users come at `start_tick` and then once every `settings.request_every`.
    """

    settings: Counterfactual
    start_tick: int

    def begin(self, world: World) -> UserState:
        """All users, due at `start_tick`."""
        state = new_state(world.population.taste)
        state.wake_tick[:] = self.start_tick
        return state

    def respond(self, world: World, state: UserState, users: Rows, tick: Int64, item: Int32) -> Responses:
        """One random slot consumed, with a random reaction."""
        s = self.settings
        k = item.shape[1]
        where, kind, like, dislike = world.draws.uniform(
            Purpose.RANDOM_BEHAVIOUR, users, state.session[users], state.step[users]
        )
        flags = (
            np.where(kind < s.long_dwell_probability, Feedback.LONG_DWELL, 0)
            | np.where(kind >= 1.0 - s.skip_probability, Feedback.SKIP, 0)
            | np.where(like < s.like_probability, Feedback.LIKE, 0)
            | np.where(dislike < s.dislike_probability, Feedback.DISLIKE, 0)
        ).astype(np.uint8)
        return consume(world, item, (where * k).astype(np.intp), flags)

    def advance(
        self, world: World, state: UserState, users: Rows, tick: Int64, item: Int32, responses: Responses
    ) -> None:
        """Nothing changes but the clock.

        Raises:
            ValueError: a user would ask again before being done with the last slate, and see feedback from the future.
        """
        if responses.done_after.max(initial=0) > self.settings.request_every:
            raise ValueError(
                f"counterfactual.request_every: got {self.settings.request_every} ticks, expected at least the "
                f"{responses.done_after.max()} that a user needs for an item"
            )
        state.step[users] += 1
        state.wake_tick[users] = tick + self.settings.request_every


def consume(world: World, item: Int32, slot: Rows, flags: UInt8) -> Responses:
    """Responses of users who look at one slot only.

    Args:
        world: gives durations.
        item: int32[n, k].
        slot: intp[n], what is looked at.
        flags: uint8[n], what is done there, beside looking; a dislike is certain, as nobody asked the user.
    """
    n, k = item.shape
    row = np.arange(n)
    feedback = np.zeros((n, k), np.uint8)
    dwell = np.zeros((n, k), np.float32)
    feedback[row, slot] = flags | np.uint8(Feedback.EXAMINED)
    dwell[row, slot] = plain_dwell_seconds(world, item[row, slot], flags)
    after = done_after(feedback, dwell, world.settings.behaviour.overhead_seconds)
    dislike = ((feedback & np.uint8(Feedback.DISLIKE)) > 0).astype(np.float32)
    return Responses(np.ones(n, np.int32), feedback, dwell, after, np.zeros((n, k), np.bool_), dislike)


def plain_dwell_seconds(world: World, item: Int32, flags: UInt8) -> Float32:
    """A dwell that fits the flags: well over a long dwell, a skip's median, or half a long dwell.

    Args:
        world: gives durations.
        item: int32[n].
        flags: uint8[n].

    Returns:
        float32[n].
    """
    behaviour = world.settings.behaviour
    long = np.minimum(world.catalogue.features.duration_seconds[item], behaviour.long_dwell_seconds)
    plain = np.where(flags & np.uint8(Feedback.SKIP), behaviour.skip_dwell_median_seconds, 0.5 * long)
    return np.where(flags & np.uint8(Feedback.LONG_DWELL), PLAIN_LONG_DWELL * long, plain).astype(np.float32)
