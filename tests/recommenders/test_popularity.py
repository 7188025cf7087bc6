from __future__ import annotations

import numpy as np

from recommenders.base import Feedback, Interactions
from recommenders.popularity import Popularity, PopularityConfig
from tests.recommenders.cases import ask, make_items, make_requests


def log_of(*rows: tuple[int, Feedback]) -> Interactions:
    n = len(rows)
    return Interactions(
        tick=np.arange(n, dtype=np.int64),
        user=np.zeros(n, np.int32),
        item=np.array([item for item, _ in rows], np.int32),
        feedback=np.array([feedback for _, feedback in rows], np.uint8),
        dwell_seconds=np.zeros(n, np.float32),
    )


def test_ranks_by_long_dwells_and_likes_and_nothing_else() -> None:
    popularity = Popularity(PopularityConfig(smoothing=2.0, filter_viewed=False))
    rows = [(7, Feedback.LONG_DWELL), (7, Feedback.LIKE), (5, Feedback.LONG_DWELL | Feedback.LIKE)]
    noise = [(3, f) for f in (Feedback.SKIP, Feedback.EXAMINED, Feedback.DISLIKE, Feedback.DISMISS)]
    popularity.fit(log_of(*rows, *noise), make_items(), seed=0)
    slates = ask(popularity, make_requests(n=2), 4)
    assert slates.item.tolist() == [[7, 5, 0, 1]] * 2
    np.testing.assert_allclose(slates.score[0], np.log([4, 3, 2, 2]), rtol=1e-6)
    assert slates.propensity is None


def test_a_temperature_of_one_draws_in_proportion_to_the_smoothed_count() -> None:
    popularity = Popularity(PopularityConfig(temperature=1.0))
    popularity.fit(log_of((7, Feedback.LIKE), (7, Feedback.LIKE)), make_items(), seed=0)
    slates = ask(popularity, make_requests(n=50), 1)
    assert slates.propensity is not None
    # 40 items with count 1 by smoothing, one of them with 2 more.
    np.testing.assert_allclose(slates.propensity, np.where(slates.item == 7, 3 / 42, 1 / 42))
