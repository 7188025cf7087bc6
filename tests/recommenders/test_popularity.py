from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from recommenders.base import TICKS_PER_SECOND, Feedback, Interactions
from recommenders.popularity import Popularity, PopularityConfig, faded_positive_count, positive_count
from recommenders.sequences import is_positive
from tests.recommenders.cases import ask, make_items, make_log, make_requests

DAY = 86_400 * TICKS_PER_SECOND


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


def test_one_half_life_before_the_end_of_the_log_counts_half() -> None:
    rows = [(7, Feedback.LIKE), (7, Feedback.LIKE), (5, Feedback.LIKE), (3, Feedback.DISLIKE)]
    log = replace(log_of(*rows), tick=np.array([0, 2 * DAY, 3 * DAY, 4 * DAY]))
    # The log ends with a dislike, which is not counted but tells the time.
    np.testing.assert_allclose(faded_positive_count(log, 8, 2.0)[[3, 5, 7]], [0, 0.5**0.5, 0.5 + 0.25], rtol=1e-12)
    popularity = Popularity(PopularityConfig(half_life_days=2.0))
    popularity.fit(log, make_items(8), seed=0)
    np.testing.assert_allclose(popularity.state_dict()["score"][[3, 7]], np.log([1, 1.75]), rtol=1e-6)


def test_what_is_in_fashion_overtakes_what_was() -> None:
    rows = [(7, Feedback.LIKE)] * 3 + [(5, Feedback.LIKE)] * 2
    log = replace(log_of(*rows), tick=np.array([0, 0, 0, 5 * DAY, 5 * DAY]))
    first = {}
    for half_life_days in (None, 1.0, 1000.0):
        popularity = Popularity(PopularityConfig(half_life_days=half_life_days))
        popularity.fit(log, make_items(8), seed=0)
        first[half_life_days] = int(ask(popularity, make_requests(n=1, n_items=8, width=0), 1).item[0, 0])
    assert first == {None: 7, 1.0: 5, 1000.0: 7}


@given(seed=st.integers(0, 1000), half_life_days=st.floats(1e-9, 1e9))
def test_faded_counts_equal_a_loop_and_never_exceed_counts(seed: int, half_life_days: float) -> None:
    log = make_log(seed, n_rows=100)
    count = np.zeros(40)
    for tick, item, positive in zip(log.tick, log.item, is_positive(log.feedback, except_disliked=False), strict=True):
        count[item] += positive * 0.5 ** (float(log.tick[-1] - tick) / DAY / half_life_days)
    found = faded_positive_count(log, 40, half_life_days)
    np.testing.assert_allclose(found, count, rtol=1e-9, atol=1e-300)
    assert (found <= positive_count(log, 40)).all()


@pytest.mark.parametrize("half_life_days", [None, 0.001])
def test_relabelling_items_permutes_the_scores(half_life_days: float | None) -> None:
    log, label = make_log(), np.random.default_rng(4).permutation(40).astype(np.int32)
    scores = []
    for one in (log, replace(log, item=label[log.item])):
        popularity = Popularity(PopularityConfig(half_life_days=half_life_days))
        popularity.fit(one, make_items(), seed=0)
        scores.append(popularity.scores(make_requests(n=2)))
    np.testing.assert_array_equal(scores[1][:, label], scores[0])


def test_a_half_life_of_nothing_is_an_error() -> None:
    with pytest.raises(ValidationError, match="half_life_days"):
        PopularityConfig(half_life_days=0)
