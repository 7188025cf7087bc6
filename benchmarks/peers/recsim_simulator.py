"""RecSim's interest evolution with many users as a side of `benchmarks/simulators.py`; `make_env.sh recsim`.

An interaction: a random slate, multinomial proportional choice, watch time, interest and time budget. Budgets are large
so that nobody leaves.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
from recsim import choice_model  # type: ignore[import-not-found,unused-ignore]
from recsim.environments import interest_evolution as ie  # type: ignore[import-not-found,unused-ignore]
from recsim.simulator import environment  # type: ignore[import-not-found,unused-ignore]

from benchmarks.peers.simulation import Size, answer


def make(users: int, items: int, slate: int, seed: int) -> Any:
    """The environment, its users with time to spare."""
    np.random.seed(seed)  # noqa: NPY002 - what RecSim itself draws from
    models = [
        ie.IEvUserModel(
            slate,
            choice_model_ctor=choice_model.MultinomialProportionalChoiceModel,
            response_model_ctor=ie.IEvResponse,
            user_state_ctor=ie.IEvUserState,
            seed=seed + user,
        )
        for user in range(users)
    ]
    documents = ie.UtilityModelVideoSampler(doc_ctor=ie.IEvVideo, seed=seed)
    env = environment.MultiUserEnvironment(models, documents, items, slate, resample_documents=False)
    env.reset()
    for model in models:
        model._user_state.time_budget = 1e9
    return env


def prepare(size: Size) -> Callable[[], int]:
    env, rng = make(size.users, size.items, size.slate, size.seed), np.random.RandomState(size.seed)

    def run() -> int:
        for _ in range(size.steps):
            env.step([rng.randint(size.items, size=size.slate) for _ in range(size.users)])
        return size.users * size.steps

    return run


def respond(seed: int, slates: Any) -> Any:
    """The slot that was clicked; -1 for none."""
    n_steps, n_users, k = slates.shape
    env, clicked = make(n_users, 200, k, seed), np.full((n_steps, n_users), -1)
    for step in range(n_steps):
        _, _, responses, _ = env.step([slates[step, user] for user in range(n_users)])
        for user, of_user in enumerate(responses):
            slots = [slot for slot, response in enumerate(of_user) if response.clicked]
            clicked[step, user] = slots[0] if slots else -1
    return clicked


if __name__ == "__main__":
    answer(f"recsim {version('recsim')}", prepare, respond)
