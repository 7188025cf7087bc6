"""How many requests a second the vector environment serves, beside the bare engine in the same world.

python benchmarks/gym.py        # 1,024 users at once of 4,096, 10,000 items, slates of 10, one core
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

os.environ.setdefault("OMP_NUM_THREADS", "1")

from recommenders.registry import build
from simulator.api import make_scenario
from simulator.engine.clock import Pace, Service, simulate
from simulator.experiment.study import scenario_world, warm_up
from simulator.gym.envs import FeedVectorEnv
from simulator.scenario.loader import LoadedScenario
from simulator.world.behaviour import UtilityBehaviour

USERS, ITEMS, STEPS, ROUNDS = 1024, 10_000, 50, 5


def main() -> None:
    """Measure both in turns and print."""
    scenario = make_scenario(
        "quickstart",
        set={
            "world.population.users": 4 * USERS, "world.catalogue": {"items": ITEMS, "creators": 1000, "topics": 20},
            "warm_up": "1d", "arms": [{"name": "random", "recommender": "random"}], "control": "random",
            "counterfactual": None, "thresholds": [],
        },
    )  # fmt: skip
    env = FeedVectorEnv(USERS, scenario)
    env.reset(seed=0)
    env.action_space.seed(0)
    env.step(env.action_space.sample())
    stepping, sampling, engine = [], [], []
    for _ in range(ROUNDS):
        clock = perf_counter()
        actions = [env.action_space.sample() for _ in range(STEPS)]
        sampling.append(USERS * STEPS / (perf_counter() - clock))
        clock = perf_counter()
        for action in actions:
            env.step(action)
        stepping.append(USERS * STEPS / (perf_counter() - clock))
        engine.append(bare_engine(scenario))
    print(f"{USERS:,} users, {ITEMS:,} items, slates of 10, one core, median of {ROUNDS}")
    print(f"{median(stepping):12,.0f} requests a second, vector environment")
    print(f"{median(sampling):12,.0f} actions a second drawn by its action space, not counted above")
    print(f"{median(engine):12,.0f} requests a second, bare engine with random slates")
    print(f"{median(stepping) / median(engine):12.2f} environment / engine")


def bare_engine(loaded: LoadedScenario) -> float:
    """Requests a second of the engine over the same days."""
    scenario = loaded.scenario
    world, policy = scenario_world(scenario, Path()), partial(build, "random")
    start = warm_up(scenario, world, policy, 50, lambda *_: None)
    service = Service("random", policy, scenario.platform)
    clock = perf_counter()
    log = simulate(world, UtilityBehaviour(), service, start, start.tick + 2 * 86_400_000, pace=Pace(USERS)).log
    return len(log) / scenario.platform.slate_size / (perf_counter() - clock)


if __name__ == "__main__":
    main()
