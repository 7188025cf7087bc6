"""A user model: the standard one, but who has watched something long may turn to the next slate.

Source: Guo, Liu & Wang 2009, WSDM (dependent click model): after a click the user goes on with some chance only.
"""

from typing import Annotated

import numpy as np
from pydantic import Field

from recommenders.base import Config, Feedback
from simulator.draws import Purpose
from simulator.world.behaviour import Responses, UtilityBehaviour, done_after


class HastyConfig(Config):
    leave_probability: Annotated[float, Field(ge=0, le=1)] = 0.5


class Hasty:
    """The standard user model, whose users may leave a slate after a long dwell."""

    config_class = HastyConfig

    def __init__(self, config):
        self.config = config
        self.standard = UtilityBehaviour()

    def begin(self, world):
        return self.standard.begin(world)

    def respond(self, world, state, users, tick, item):
        full = self.standard.respond(world, state, users, tick, item)
        request = (users[:, None], state.session[users, None], state.step[users, None])
        uniform = world.draws.uniform(Purpose.USER_MODEL, *request, item)[0]
        leaves = ((full.feedback & Feedback.LONG_DWELL) > 0) & (uniform < self.config.leave_probability)
        seen = np.cumsum(leaves, axis=1) - leaves == 0  # down to the slot at which the user leaves
        feedback, dwell_seconds = full.feedback * seen, full.dwell_seconds * seen
        return Responses(
            n_examined=(feedback > 0).sum(axis=1, dtype=np.int32),
            feedback=feedback,
            dwell_seconds=dwell_seconds,
            done_after=done_after(feedback, dwell_seconds, world.settings.behaviour.overhead_seconds),
            displeased=full.displeased & seen,
            dislike_probability=full.dislike_probability * seen,
        )

    def advance(self, world, state, users, tick, item, responses):
        self.standard.advance(world, state, users, tick, item, responses)
