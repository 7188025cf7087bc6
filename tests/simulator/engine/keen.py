"""A user model that remembers more than the standard one, and draws numbers of its own."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from recommenders.base import Float32
from simulator.draws import Purpose
from simulator.world.behaviour import Responses, UtilityBehaviour
from simulator.world.state import UserState


@dataclass
class KeenState(UserState):
    """keenness: float32[n]."""

    keenness: Float32


class Keen(UtilityBehaviour):
    """The standard user model, whose users come back the sooner the keener they have become."""

    def begin(self, world: Any) -> KeenState:
        state = super().begin(world)
        columns = {f.name: getattr(state, f.name) for f in fields(state)}
        return KeenState(**columns, keenness=np.zeros(state.n_users, np.float32))

    def advance(self, world: Any, state: Any, users: Any, tick: Any, item: Any, responses: Responses) -> None:
        session, step = state.session[users], state.step[users]
        super().advance(world, state, users, tick, item, responses)
        luck = world.draws.uniform(Purpose.USER_MODEL, users, session, step)[0]
        state.keenness[users] += (luck * responses.n_examined).astype(np.float32)
        done = tick + responses.done_after[:, -1]
        wait = (state.wake_tick[users] - done) / (1.0 + state.keenness[users].astype(np.float64) / 10)
        state.wake_tick[users] = done + wait.astype(np.int64)
