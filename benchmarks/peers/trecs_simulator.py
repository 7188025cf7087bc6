"""T-RECS as a side of `benchmarks/simulators.py`; `make_env.sh trecs`.

An interaction: a random slate of ten, the user takes the best of it and drifts. Scores of all users for all items are
kept as a matrix, and sorted.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
from trecs.components import Users  # type: ignore[import-not-found,unused-ignore]
from trecs.models import RandomRecommender  # type: ignore[import-not-found,unused-ignore]

from benchmarks.peers.simulation import Size, answer

DIM = 32


def make(users: int, items: int, slate: int, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    tastes, kinds = np.abs(rng.normal(size=(users, DIM))), np.abs(rng.normal(size=(DIM, items)))
    return RandomRecommender(
        num_users=users,
        num_items=items,
        actual_user_representation=Users(actual_user_profiles=tastes, drift=0.05, seed=seed),
        actual_item_representation=kinds,
        num_items_per_iter=slate,
        seed=seed,
    )


def prepare(size: Size) -> Callable[[], int]:
    model = make(size.users, size.items, size.slate, size.seed)

    def run() -> int:
        model.run(timesteps=size.steps, train_between_steps=True, repeated_items=True, disable_tqdm=True)
        return size.users * size.steps

    return run


def respond(seed: int, slates: Any) -> Any:
    """The item that was taken."""
    n_steps, n_users, k = slates.shape
    model, taken = make(n_users, 200, k, seed), np.zeros((n_steps, n_users), np.int64)
    for step in range(n_steps):
        model.recommend = lambda *args, step=step, **options: slates[step]
        model.run(timesteps=1, disable_tqdm=True, train_between_steps=False)
        taken[step] = model.interactions
    return taken


if __name__ == "__main__":
    answer(f"trecs {version('trecs')}", prepare, respond)
