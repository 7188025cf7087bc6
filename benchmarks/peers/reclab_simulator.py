"""RecLab's topics environment as a side of `benchmarks/simulators.py`; `make_env.sh reclab`.

An interaction: one random item is rated, satiation and preferences change, everybody is online. Of a slate it rates the
first item only.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
from reclab.environments.topics import Topics  # type: ignore[import-not-found,unused-ignore]

from benchmarks.peers.simulation import Size, answer


def make(users: int, items: int, seed: int) -> Any:
    env = Topics(
        num_topics=32, num_users=users, num_items=items, rating_frequency=1.0, num_init_ratings=0, noise=0.5,
        topic_change=0.01, memory_length=5, boredom_threshold=2, boredom_penalty=1.0, satiation_factor=0.1,
        satiation_decay=0.8, satiation_noise=0.01,
    )  # fmt: skip
    env.seed((seed, seed))
    env.reset()
    return env


def prepare(size: Size) -> Callable[[], int]:
    env, rng = make(size.users, size.items, size.seed), np.random.default_rng(size.seed)

    def run() -> int:
        for _ in range(size.steps):
            env.step(rng.integers(size.items, size=(len(env.online_users), 1)))
        return size.users * size.steps

    return run


def respond(seed: int, slates: Any) -> Any:
    """The rating of the first item."""
    n_steps, n_users, _ = slates.shape
    env, rating = make(n_users, 200, seed), np.zeros((n_steps, n_users))
    for step in range(n_steps):
        shown = np.stack([slates[step, user][:1] for user in env.online_users])
        _, _, ratings, _ = env.step(shown)
        for (user, _), value in ratings.items():
            rating[step, user] = float(np.ravel(value[0])[0])
    return rating


if __name__ == "__main__":
    answer(f"reclab {version('reclab')}", prepare, respond)
