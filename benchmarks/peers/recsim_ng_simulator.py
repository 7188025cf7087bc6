"""RecSim NG's interest evolution as a side of `benchmarks/simulators.py`; `make_env.sh recsim_ng`.

An interaction: scores of all documents by its untrained recommender, the best ten, multinomial choice, interest update,
all users in one compiled graph. It brings no recommender of random slates; its own is part of the graph. The first run,
which traces the graph, belongs to the set-up.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = "1"
import numpy as np
import tensorflow as tf  # type: ignore[import-not-found,import-untyped,unused-ignore]
from recsim_ng.applications.recsys_partially_observable_rl import (  # type: ignore[import-not-found,unused-ignore]
    corpus,
    metrics,
    recommender,
    user,
)
from recsim_ng.core import network  # type: ignore[import-not-found,unused-ignore]
from recsim_ng.lib.tensorflow import entity, runtime  # type: ignore[import-not-found,unused-ignore]
from recsim_ng.stories import recommendation_simulation  # type: ignore[import-not-found,unused-ignore]

from benchmarks.peers.simulation import Size, answer


def make(users: int, items: int, slate: int, seed: int, own: type[Any]) -> Any:
    """A runtime of the story of its own scenario, whose slate of 2 is written into the code."""
    tf.random.set_seed(seed)
    sizes = {"num_users": users, "num_topics": 32, "num_docs": items, "slate_size": slate, "history_length": 15}
    documents = corpus.CorpusWithTopicAndQuality(sizes).initial_state()

    def story() -> Any:
        return recommendation_simulation.recs_story(
            sizes,
            user.InterestEvolutionUser,
            lambda config: corpus.StaticCorpus(config, documents),
            own,
            metrics.ConsumedTimeAsRewardMetrics,
        )

    variables, _ = entity.story_with_trainable_variables(story)
    return runtime.TFRuntime(network=network.Network(variables=list(variables)))


def prepare(size: Size) -> Callable[[], int]:
    own = functools.partial(recommender.CollabFilteringRecommender)
    graph = make(size.users, size.items, size.slate, size.seed, own)  # type: ignore[arg-type]
    graph.execute(num_steps=size.steps)

    def run() -> int:
        graph.execute(num_steps=size.steps)
        return size.users * size.steps

    return run


def respond(seed: int, slates: Any) -> Any:
    """What its own recommender's users chose: given slates have no place in the graph, so seeds alone are compared."""
    n_steps, n_users, k = slates.shape
    own = functools.partial(recommender.CollabFilteringRecommender)
    graph = make(n_users, 200, k, seed, own)  # type: ignore[arg-type]
    steps = graph.trajectory(length=n_steps)
    return np.asarray(steps["user response"].get("choice"))


if __name__ == "__main__":
    answer(f"recsim_ng {version('recsim_ng')}", prepare, respond)
