"""A planted log of two tastes: half of the users want items 0 to 9 and reject 10 to 19, the others the reverse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from recommenders.base import Feedback, Int32, Interactions, Scorer
from recommenders.registry import build
from tests.recommenders.cases import make_items, make_requests

N_ITEMS = 30
LENGTH = 24
SETTINGS: Mapping[str, Any] = {
    "dim": 16,
    "window": 12,
    "epochs": 15,
    "batch_size": 40,
    "negatives": 8,
    "learning_rate": 0.02,
    "item_parts": ["id"],
    "dropout": 0.0,
}


@dataclass(frozen=True)
class Planted:
    """The log, and the taste of each user, 0 or 1."""

    log: Interactions
    taste: Int32


def planted(seed: int, rejection: Feedback = Feedback.SKIP, n_users: int = 80) -> Planted:
    """Everybody likes items 20 to 29, which are 40% of what is shown; a taste shows in the rest alone."""
    rng = np.random.default_rng(seed)
    shape = (n_users, LENGTH)
    taste = np.arange(n_users, dtype=np.int32) % 2
    common = rng.random(shape) < 0.4
    item = np.where(common, rng.integers(20, N_ITEMS, shape), rng.integers(0, 20, shape)).astype(np.int32)
    wanted = common | (item // 10 == taste[:, None])
    feedback = np.where(wanted, int(Feedback.LONG_DWELL), int(rejection)) | int(Feedback.EXAMINED)
    user = np.tile(np.arange(n_users, dtype=np.int32), LENGTH)
    log = Interactions(
        tick=np.repeat(np.arange(LENGTH, dtype=np.int64) * 60_000, n_users),
        user=user,
        item=item.T.ravel(),
        feedback=feedback.T.ravel().astype(np.uint8),
        dwell_seconds=np.ones(n_users * LENGTH, np.float32),
    )
    return Planted(log, taste)


def auc_of_tastes(name: str, settings: Mapping[str, Any], rejection: Feedback, seed: int = 0) -> float:
    """How often a new user's wanted items score above the rejected ones: mean over pairs and users."""
    model = build(name, {**SETTINGS, **settings})
    assert isinstance(model, Scorer)
    model.fit(planted(seed, rejection).log, make_items(N_ITEMS), seed=seed)
    test = planted(1000 + seed, rejection)
    width = model.traits.history_length
    requests = make_requests(n=len(test.taste), width=width, n_items=N_ITEMS)
    columns = {
        "history_item": test.log.item.reshape(LENGTH, -1).T[:, -width:],
        "history_feedback": test.log.feedback.reshape(LENGTH, -1).T[:, -width:],
    }
    score = model.scores(type(requests)(**{**vars(requests), **columns}))
    tens = score[:, :20].reshape(len(score), 2, 10)
    rows = np.arange(len(score))
    wanted, rejected = tens[rows, test.taste], tens[rows, 1 - test.taste]
    return float((wanted[:, :, None] > rejected[:, None, :]).mean())
