"""RecoGym's reco-gym-v1 as a side of `benchmarks/simulators.py`; `make_env.sh recogym`.

An interaction: one random product, a click or none, the user's Markov state and interest. It has no slates, and users
come one after the other. Compiling belongs to the set-up.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
from recogym import env_1_args  # type: ignore[import-not-found,unused-ignore]
from recogym.envs.reco_env_v1 import RecoEnv1  # type: ignore[import-not-found,unused-ignore]

from benchmarks.peers.simulation import Size, answer

NOT_THERE = -9
BANDIT_STOPPED = 2


def make(items: int, seed: int, **settings: float) -> Any:
    env = RecoEnv1()
    env.init_gym({**env_1_args, "random_seed": 42 + seed, "num_products": items, "K": 32, **settings})
    return env


def prepare(size: Size) -> Callable[[], int]:
    env = make(size.items, size.seed, prob_leave_organic=0.01, prob_leave_bandit=0.01)
    rng = np.random.RandomState(size.seed)
    env.reset(0)
    env.step(None)
    for _ in range(3):
        env.step(1)
    env.reset_random_seed()

    def run() -> int:
        n = 0
        for user in range(size.users):
            env.reset(user)
            _, _, done, _ = env.step(None)
            served = 0
            while not done and served < size.steps:
                _, _, done, _ = env.step(int(rng.randint(size.items)))
                served += 1
            n += served
        return n

    return run


def respond(seed: int, slates: Any) -> Any:
    """Clicked or not; -9 once the user has left."""
    n_steps, n_users, _ = slates.shape
    env, clicked = make(200, seed), np.full((n_steps, n_users), NOT_THERE)
    for user in range(n_users):
        env.reset(user)
        env.step(None)
        done, step = env.state == BANDIT_STOPPED, 0
        while not done and step < n_steps:
            _, clicked[step, user], done, _ = env.step(int(slates[step, user, 0]))
            step += 1
    return clicked


if __name__ == "__main__":
    answer(f"recogym {version('recogym')}", prepare, respond)
