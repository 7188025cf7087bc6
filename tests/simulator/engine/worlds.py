"""Small worlds and plain recommenders for the engine's tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from recommenders.base import Feedback, Interactions, ItemFeatures, Requests, Slates, Traits
from simulator.engine.clock import Service
from simulator.scenario import schema
from simulator.world.world import World, build_world

HOUR = 3_600_000
DAY = 24 * HOUR


class Uniform:
    """Random slates by ranking keyed uniforms."""

    traits = Traits()

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: object = None) -> None:
        self.load_state_dict({}, items)

    def recommend(self, requests: Requests, k: int, draws) -> Slates:
        score = draws.uniform(len(requests.eligible)).astype(np.float32)
        return ranked(np.where(requests.eligible, score, -1), k)

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state, items: ItemFeatures) -> None:
        pass


class Responsive(Uniform):
    """Scores creators by the window's feedback, on top of counts learned from the log: history and training matter."""

    traits = Traits(history_length=12)

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: object = None) -> None:
        long_dwell = (log.feedback & Feedback.LONG_DWELL) > 0
        count = np.bincount(log.item[long_dwell], minlength=items.n_items) + (seed % 7)
        self.load_state_dict({"count": count.astype(np.float64)}, items)

    def recommend(self, requests: Requests, k: int, draws) -> Slates:
        n = len(requests)
        seen = requests.history_item >= 0
        value = np.where(requests.history_feedback & Feedback.DISLIKE, -3.0, 0.5) * seen
        value = (
            value * np.exp(-(requests.tick[:, None] - requests.history_tick) / DAY)
            + requests.history_dwell_seconds / 100
        )
        creator = np.zeros((n, self.items.n_creators))
        column = self.items.creator[requests.history_item]
        for slot in range(requests.history_item.shape[1]):
            creator[np.arange(n), column[:, slot]] += value[:, slot] * seen[:, slot]
        score = creator[:, self.items.creator] + np.log1p(self.count) + draws.uniform(self.items.n_items)
        return ranked(np.where(requests.eligible, score, -1e6).astype(np.float32), k)

    def state_dict(self) -> dict:
        return {"count": self.count}

    def load_state_dict(self, state, items: ItemFeatures) -> None:
        self.items, self.count = items, state["count"]


class Growing(Responsive):
    """Remembers half of what the model before it knew."""

    traits = Traits(history_length=12, warm_start=True)

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: object = None) -> None:
        before = self.count if hasattr(self, "count") else np.zeros(items.n_items)
        super().fit(log, items, seed=seed)
        self.count = self.count + before / 2


class Greedy(Uniform):
    """Knows the utilities."""

    traits = Traits(needs_utility=True)

    def recommend(self, requests: Requests, k: int, draws) -> Slates:
        everything = np.broadcast_to(
            np.arange(len(requests.eligible), dtype=np.int32), (len(requests), len(requests.eligible))
        )
        return ranked(np.where(requests.eligible, requests.utility(everything), -1e6).astype(np.float32), k)


def ranked(score: np.ndarray, k: int) -> Slates:
    item = np.argsort(-score, axis=1, kind="stable")[:, :k].astype(np.int32)
    return Slates(item, np.take_along_axis(score, item, axis=1).astype(np.float32))


BUILDERS = {"uniform": Uniform, "responsive": Responsive, "growing": Growing, "greedy": Greedy}


def small_world(
    *, users: int = 6, items: int = 30, seed: int = 1, lifetime: str | None = None, engagement: dict | None = None,
    behaviour: dict | None = None, released_share: float = 1.0, horizon: int = 3 * DAY,
) -> World:  # fmt: skip
    """A world with frequent dislikes, for tests."""
    settings = schema.World.model_validate(
        {
            "catalogue": {
                "items": items, "creators": max(1, items // 5), "topics": 5, "released_share": released_share,
                "lifetime": lifetime,
            },
            "population": {"users": users, "expressiveness": {"min_probability": 0.5, "session_sigma": 0.4}},
            "behaviour": behaviour or {},
            "engagement": {"session_impressions_median": 12.0, "short_gap_median": "1h", **(engagement or {})},
        }
    )  # fmt: skip
    return build_world(settings, seed=seed, horizon_ticks=horizon, directory=Path())


def service(name: str = "responsive", **platform: object) -> Service:
    return Service(name, BUILDERS[name], schema.Platform.model_validate({"slate_size": 4, **platform}))


def first_model(built: Service, world: World) -> dict:
    """A model fitted on nothing."""
    recommender = built.build()
    empty = Interactions(*(np.empty(0, d) for d in (np.int64, np.int32, np.int32, np.uint8, np.float32)))
    recommender.fit(empty, world.catalogue.features, seed=0)
    return dict(recommender.state_dict())


@st.composite
def small_experiments(draw: st.DrawFn) -> tuple[World, Service, int]:
    """A random small world, a service and how long to run."""
    until = draw(st.integers(1, 40)) * HOUR
    released_share, lifetime = draw(st.sampled_from([(1.0, None), (0.5, None), (0.5, "30h")]))
    world = small_world(
        users=draw(st.integers(1, 8)),
        items=draw(st.integers(30, 40)),
        seed=draw(st.integers(0, 2**40)),
        lifetime=lifetime,
        released_share=released_share,
        engagement={"feedback": draw(st.booleans())},
        behaviour={"patience": draw(st.sampled_from([0.7, 1.0]))},
        horizon=until,
    )
    platform = {
        "slate_size": draw(st.integers(1, 4)),
        "ingestion_delay": draw(st.sampled_from(["0s", "45s", "2h", "1d"])),
        "retrain_every": draw(st.sampled_from([None, "5h", "1d"])),
        "training_delay": draw(st.sampled_from(["0s", "90m", "7h"])),
        "release_every": draw(st.sampled_from(["6h", "1d"])),
    }
    return world, service(draw(st.sampled_from(sorted(BUILDERS))), **platform), until
