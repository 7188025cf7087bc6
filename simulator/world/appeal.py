"""What a user thinks of a creator: a function of (user, creator), so no table of users by creators is ever stored."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from recommenders.base import Float64, Int32
from simulator.draws import Purpose
from simulator.world.world import World


def creator_appeal(world: World, user: npt.NDArray[np.intp], creator: Int32) -> Float64:
    """Utility that the creator adds for the user: a normal affinity, less an aversion that a few pairs have.

    Args:
        world: the world.
        user: intp[...].
        creator: int32[...], broadcasts with `user`.

    Returns:
        float64[...], the broadcast shape; constant over time.
    """
    settings = world.settings.population
    affinity, averse, aversion, _ = world.draws.uniform(Purpose.USER_CREATOR, user, creator)
    appeal: Float64 = settings.creator_affinity_sd * ndtri(affinity)
    pairs = np.nonzero(averse < settings.creator_aversion_probability)
    appeal[pairs] += settings.creator_aversion * np.log(aversion[pairs])
    return appeal
