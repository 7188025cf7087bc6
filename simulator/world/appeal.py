"""What a user thinks of a creator: a function of (user, creator), so that no table of users by creators is needed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from recommenders.base import Float32, Int32
from simulator.draws import Draws, Purpose
from simulator.scenario import schema

_TABLE_CELLS = 2**24
"""Largest table of users by creators that is worth its memory (64 MiB); above it, appeals are drawn when needed."""


def creator_appeal(
    settings: schema.Population, draws: Draws, user: npt.NDArray[np.signedinteger], creator: Int32
) -> Float32:
    """Utility that creators add for users: a normal affinity, less an aversion that a few pairs have.

    Args:
        settings: spread of affinities, chance and size of aversions.
        draws: the world's.
        user: intp[...].
        creator: int32[...], broadcasts with `user`.

    Returns:
        float32[...], the broadcast shape; constant over time.
    """
    affinity, averse, aversion, _ = draws.uniform(Purpose.USER_CREATOR, user, creator)
    appeal = settings.creator_affinity_sd * ndtri(affinity)
    pairs = np.nonzero(averse < settings.creator_aversion_probability)
    appeal[pairs] += settings.creator_aversion * np.log(aversion[pairs])
    return np.asarray(appeal, dtype=np.float32)


def creator_aversion(
    settings: schema.Population, draws: Draws, user: npt.NDArray[np.signedinteger], creator: Int32
) -> Float32:
    """The part of the appeal that is aversion, as a cost: float32[...], 0 for pairs without; arguments as above."""
    _, averse, aversion, _ = draws.uniform(Purpose.USER_CREATOR, user, creator)
    cost = -settings.creator_aversion * np.log(aversion)
    return np.where(averse < settings.creator_aversion_probability, cost, 0.0).astype(np.float32)


def creator_appeal_table(settings: schema.Population, draws: Draws, n_users: int, n_creators: int) -> Float32 | None:
    """All appeals, float32[n_users, n_creators], for looking up instead of drawing again; None if too many."""
    if n_users * n_creators > _TABLE_CELLS:
        return None
    creators = np.arange(n_creators, dtype=np.int32)
    rows = max(1, 2**18 // n_creators)
    blocks = [
        creator_appeal(settings, draws, np.arange(start, min(start + rows, n_users))[:, None], creators)
        for start in range(0, n_users, rows)
    ]
    return np.concatenate(blocks)
