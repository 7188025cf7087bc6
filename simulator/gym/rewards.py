"""What a policy is rewarded for: weights on what users do with a slate."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

import numpy as np

from recommenders.base import Bool, Feedback, Float64
from simulator.engine.collector import Served
from simulator.scenario.faults import one_of

DEFAULT: Mapping[str, float] = {"long_dwell": 1.0, "dislike": -1.0}
"""A point for each long dwell, one less for each dislike."""

_FLAGS = {str(flag.name).lower(): np.uint8(flag) for flag in Feedback}
_NAMES = (*_FLAGS, "dwell_seconds", "session_end")


def check_reward(weights: Mapping[str, float]) -> dict[str, float]:
    """Weights that make a reward, in an order of their own.

    Args:
        weights: of each impression with a kind of feedback (`examined`, `long_dwell`, `skip`, `like`, `dislike`,
            `dismiss`), of each second of dwell (`dwell_seconds`), of a request that ends the session (`session_end`).

    Raises:
        ValueError: a name is unknown, or a weight is not a finite number.
    """
    for name, weight in weights.items():
        if name not in _NAMES:
            raise ValueError(f"reward: got {name!r}, expected {one_of(_NAMES, name)}")
        if not isfinite(weight):
            raise ValueError(f"reward[{name!r}]: got {weight}, expected a finite number")
    return {name: float(weights[name]) for name in _NAMES if name in weights}


def reward_of(weights: Mapping[str, float], served: Served, ends_session: Bool) -> Float64:
    """The reward of each request: float64[n]; a row is computed from that row alone.

    Args:
        weights: as `check_reward` gives them.
        served: what came of the requests.
        ends_session: bool[n], whether the user left after it.
    """
    reward = np.zeros(len(served.user))
    for name, weight in weights.items():
        if name == "session_end":
            reward += weight * ends_session
        elif name == "dwell_seconds":
            # Added up one slot after the other: a sum's order may depend on the number of rows.
            reward += weight * np.cumsum(served.dwell_seconds, axis=1, dtype=np.float64)[:, -1]
        else:
            reward += weight * ((served.feedback & _FLAGS[name]) > 0).sum(axis=1)
    return reward
