"""The latent utility of items, as a lookup. Only an oracle may ask; every other arm sees what a platform would."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recommenders.base import Float32, Int32
from simulator.world.behaviour import item_appeal
from simulator.world.state import UserState
from simulator.world.world import World


@dataclass(frozen=True)
class UtilityOf:
    """Mean utility of items to the users of a batch of requests, noise and mood left out.

    Attributes:
        world: the world.
        state: all users' state at the time of the requests.
        users: intp[n], the user of each request.
    """

    world: World
    state: UserState
    users: npt.NDArray[np.intp]

    def __call__(self, item: Int32) -> Float32:
        """Utility of candidates: int32[n, m] -> float32[n, m], row i for the user of request i."""
        user = np.broadcast_to(self.users[:, None], item.shape)
        return (
            item_appeal(self.world, self.state, user.reshape(-1), item.reshape(-1))
            .reshape(item.shape)
            .astype(np.float32)
        )

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_] | slice) -> UtilityOf:
        """The lookup for the chosen requests."""
        return UtilityOf(self.world, self.state, self.users[rows])
