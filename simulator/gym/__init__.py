"""A Gymnasium environment for those who train policies: slates as actions, users as they live in the engine.

    import gymnasium
    import simulator.gym

    env = gymnasium.make("pushback/Feed-v0", scenario="quickstart")

Needs `pip install pushback[gym]`; docs/gym.md shows it at work. Importing this package registers the environment, since
Gymnasium 1 no longer looks for entry points; `gymnasium.make("simulator.gym:pushback/Feed-v0")` imports it by itself.
"""

from __future__ import annotations

import gymnasium

ENVIRONMENT = "pushback/Feed-v0"

if ENVIRONMENT not in gymnasium.registry:
    gymnasium.register(
        ENVIRONMENT,
        entry_point="simulator.gym.envs:FeedEnv",
        vector_entry_point="simulator.gym.envs:FeedVectorEnv",
    )
