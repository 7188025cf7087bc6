"""Catalogues, logs and requests for the tests of recommenders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from recommenders.base import (
    Bool,
    Feedback,
    Float32,
    Float64,
    Int32,
    Interactions,
    ItemFeatures,
    Recommender,
    Requests,
    Slates,
)
from recommenders.registry import build
from simulator.draws import Draws, Purpose

SMALL: Mapping[str, Any] = {"dim": 8, "window": 6, "epochs": 2, "batch_size": 16, "negatives": 8}
"""Settings with which a sequence model trains in a blink."""

CASES: Mapping[str, Mapping[str, Any]] = {
    "random": {},
    "popularity": {},
    "popularity hot": {"temperature": 1.0},
    "popularity faded": {"half_life_days": 0.001},
    "item_knn": {"window": 6},
    "markov": {"window": 6},
    "markov signed": {"window": 6, "positions": 3, "disliked_sources": "included", "disliked_targets": "dropped"},
    "ease": {"window": 6},
    "matrix_factorization": {"window": 6, "dim": 8},
    "ease signed": {"window": 6, "dislike_value": -0.5},
    "lsgrec": SMALL | {"negative_weight": 0.5},
    "oracle": {},
    "oracle hot": {"temperature": 0.5},
    "gru4rec": SMALL | {"dislike_input": True, "negative_weight": {"dislike": 4.0}},
    "sasrec": SMALL | {"dislike_input": True, "negative_weight": {"dislike": 4.0}},
    "linear_recurrent": SMALL | {"dislike_input": True, "negative_weight": {"dislike": 4.0}},
    "block_disliked": {"model": {"recommender": "popularity", "config": {"window": 6}}, "interactions": 6},
    "down_rank_similar": {"model": {"recommender": "popularity", "config": {"window": 6}}, "interactions": 6, "dim": 4},
    "forgetting_curve": {"model": {"recommender": "linear_recurrent", "config": SMALL}, "interactions": 6},
    "drop_disliked": {"model": {"recommender": "gru4rec", "config": SMALL}, "interactions": 6},
    "pnfrec": SMALL,
    "pnfrec contrast": SMALL | {"negative_sequence_weight": 0.0, "negative_weight": {"dislike": 1.0}},
    "contrastive_skips": SMALL | {"contrasted": ["skip", "dislike"]},
    "csrec": SMALL,
    "csrec data": SMALL | {"level": "data", "teachers": ["gru4rec"], "negative_weight": {"dislike": 2.0}},
    "pmors": {
        "model": {"recommender": "linear_recurrent", "config": SMALL},
        "window": 6,
        "dim": 8,
        "candidates": 10,
        "list_size": 8,
        "epochs": 1,
    },
    "relife": {
        "model": {"recommender": "linear_recurrent", "config": SMALL},
        "window": 6,
        "dim": 8,
        "candidates": 10,
        "list_gap_seconds": 60.0,
        "epochs": 1,
    },
    "typed_negatives": SMALL,
    "hard_negative_mixing": SMALL | {"hardest_of": 2},
    "latent_intent": SMALL | {"dislike_input": True, "negative_weight": {"dislike": 4.0}},
}
"""Every recommender, some with several settings; the first word is the name."""


def name_of(case: str) -> str:
    return case.partition(" ")[0]


@dataclass(frozen=True)
class KeyedDraws:
    """`RequestDraws` for the rows of some requests."""

    requests: Requests

    def uniform(self, n_columns: int) -> Float64:
        r = self.requests
        ids = (r.user[:, None], r.session[:, None], r.step[:, None], np.arange(n_columns))
        return Draws(7).uniform(Purpose.RECOMMENDER, *ids)[0]


@dataclass(frozen=True)
class TableOfUtilities:
    """A `UtilityLookup` that reads a matrix, float32[n, n_items]."""

    table: Float32

    def __call__(self, item: Int32) -> Float32:
        return np.take_along_axis(self.table, item, 1)

    def take(self, rows: Any) -> TableOfUtilities:
        return TableOfUtilities(self.table[rows])


def make_items(n_items: int = 40, n_creators: int = 8, n_topics: int = 4) -> ItemFeatures:
    item = np.arange(n_items, dtype=np.int32)
    return ItemFeatures(
        creator=item % n_creators,
        topic=item % n_topics,
        duration_seconds=np.full(n_items, 30, np.float32),
        release_tick=np.zeros(n_items, np.int64),
        n_creators=n_creators,
        n_topics=n_topics,
    )


def make_log(seed: int = 0, n_users: int = 30, n_rows: int = 600, n_items: int = 40) -> Interactions:
    rng = np.random.default_rng(seed)
    feedback = Feedback.EXAMINED | rng.choice([Feedback.LONG_DWELL, Feedback.SKIP, 0], n_rows, p=[0.5, 0.3, 0.2])
    feedback |= np.where(rng.random(n_rows) < 0.1, int(Feedback.LIKE), 0)
    feedback |= np.where(rng.random(n_rows) < 0.15, int(Feedback.DISLIKE), 0)
    feedback |= np.where(rng.random(n_rows) < 0.05, int(Feedback.DISMISS), 0)
    return Interactions(
        tick=np.arange(n_rows, dtype=np.int64) * 1000,
        user=rng.integers(n_users, size=n_rows).astype(np.int32),
        item=rng.integers(n_items, size=n_rows).astype(np.int32),
        feedback=feedback.astype(np.uint8),
        dwell_seconds=rng.random(n_rows).astype(np.float32),
    )


def make_requests(
    seed: int = 0, n: int = 5, width: int = 6, n_items: int = 40, eligible: Bool | None = None
) -> Requests:
    rng = np.random.default_rng(seed)
    length = rng.integers(0, width + 1, n)
    padded = np.arange(width) < width - length[:, None]
    item = np.where(padded, -1, rng.integers(n_items, size=(n, width))).astype(np.int32)
    feedback = np.where(padded, 0, 1 | rng.integers(0, 64, (n, width))).astype(np.uint8)
    return Requests(
        user=rng.permutation(1000)[:n].astype(np.int32),
        session=rng.integers(5, size=n).astype(np.int32),
        step=rng.integers(5, size=n).astype(np.int32),
        tick=np.full(n, 10**6, np.int64),
        history_item=item,
        history_feedback=feedback,
        history_dwell_seconds=np.where(padded, 0, 3).astype(np.float32),
        history_tick=np.where(padded, 0, 5).astype(np.int64),
        eligible=np.ones(n_items, np.bool_) if eligible is None else eligible,
        utility=TableOfUtilities(rng.normal(size=(n, n_items)).astype(np.float32)),
    )


def fitted(case: str, log: Interactions | None = None, seed: int = 3) -> Recommender:
    recommender = build(name_of(case), CASES[case])
    recommender.fit(make_log() if log is None else log, make_items(), seed=seed)
    return recommender


def ask(recommender: Recommender, requests: Requests, k: int) -> Slates:
    return recommender.recommend(requests, k, KeyedDraws(requests))


def assert_same(a: Slates, b: Slates) -> None:
    """Bit for bit."""
    np.testing.assert_array_equal(a.item, b.item)
    np.testing.assert_array_equal(a.score.view(np.uint32), b.score.view(np.uint32))
    assert (a.propensity is None) == (b.propensity is None)
    if a.propensity is not None and b.propensity is not None:
        np.testing.assert_array_equal(a.propensity, b.propensity)
