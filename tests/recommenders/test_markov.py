from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommenders.base import Feedback, Interactions
from recommenders.markov import Disliked, Markov, MarkovConfig
from tests.recommenders.cases import ask, make_items, make_log, make_requests

N_ITEMS = 40
DISLIKED = get_args(Disliked)


def counts(feedback: int, disliked: str) -> bool:
    positive = bool(feedback & (Feedback.LONG_DWELL | Feedback.LIKE))
    if not feedback & Feedback.DISLIKE or disliked == "unknown":
        return positive
    return disliked == "included"


def chance_by_loops(log: Interactions, config: MarkovConfig) -> tuple[np.ndarray, np.ndarray]:
    """p(j | i) and q_j, event by event."""
    count, target = np.zeros((N_ITEMS, N_ITEMS)), np.zeros(N_ITEMS)
    latest: dict[int, int] = {}
    for user, item, feedback in zip(log.user.tolist(), log.item.tolist(), log.feedback.tolist(), strict=True):
        if counts(feedback, config.disliked_targets):
            target[item] += 1
            if user in latest:
                count[latest[user], item] += 1
        if counts(feedback, config.disliked_sources):
            latest[user] = item
    popularity = (target + 1) / (target + 1).sum()
    return (count + config.backoff * popularity) / (count.sum(1, keepdims=True) + config.backoff), popularity


@given(
    seed=st.integers(0, 1000),
    positions=st.integers(1, 8),
    decay=st.sampled_from([0.3, 1.0]),
    backoff=st.sampled_from([1e-3, 10.0]),
    sources=st.sampled_from(DISLIKED),
    targets=st.sampled_from(DISLIKED),
)
def test_scores_equal_loops(
    seed: int, positions: int, decay: float, backoff: float, sources: Disliked, targets: Disliked
) -> None:
    config = MarkovConfig(
        window=6, positions=positions, decay=decay, backoff=backoff, disliked_sources=sources, disliked_targets=targets
    )
    log, requests = make_log(seed, n_rows=300), make_requests(seed, width=8)
    markov = Markov(config)
    markov.fit(log, make_items(), seed=0)
    found = markov.scores(requests)
    chance, popularity = chance_by_loops(log, config)
    for i in range(len(requests)):
        asked = [
            item
            for item, feedback in zip(requests.history_item[i, -6:], requests.history_feedback[i, -6:], strict=True)
            if item >= 0 and counts(int(feedback), sources)
        ][::-1][:positions]
        weight = decay ** np.arange(len(asked))
        expected = weight @ chance[asked] / weight.sum() if asked else popularity
        np.testing.assert_allclose(found[i], expected, rtol=2e-6)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)


def cycle_log(n_users: int = 20, n_rows: int = 20) -> Interactions:
    """Every user walks through the items in order, from a start of their own, and dislikes every fifth."""
    step, user = np.divmod(np.arange(n_users * n_rows), n_users)
    item = (step + user) % N_ITEMS
    return Interactions(
        tick=np.arange(n_users * n_rows, dtype=np.int64),
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        feedback=np.where(item % 5 == 0, Feedback.DISLIKE | Feedback.LONG_DWELL, Feedback.LIKE).astype(np.uint8),
        dwell_seconds=np.zeros(n_users * n_rows, np.float32),
    )


def next_after(item: int, feedback: Feedback, **settings: object) -> int:
    markov = Markov(MarkovConfig.model_validate({"window": 6, **settings}))
    markov.fit(cycle_log(), make_items(), seed=0)
    requests = make_requests(n=1, width=6)
    requests.history_item[:] = -1
    requests.history_item[0, -1] = item
    requests.history_feedback[0, -1] = feedback
    return int(ask(markov, requests, 1).item[0, 0])


def test_finds_a_cycle_and_goes_around_what_was_disliked() -> None:
    liked = Feedback.LIKE
    assert next_after(6, liked) == 7
    assert next_after(9, liked) == 10
    # Ten is disliked: no target. Eleven follows nine if ten is no source either, else it follows ten alone.
    assert next_after(9, liked, disliked_targets="dropped", disliked_sources="dropped") == 11
    assert next_after(10, Feedback.DISLIKE, disliked_targets="dropped", disliked_sources="included") == 11


def test_a_source_never_seen_backs_off_to_popularity() -> None:
    log = cycle_log()
    markov = Markov(MarkovConfig(window=6, filter_viewed=False))
    markov.fit(log.take(log.item != 39), make_items(), seed=0)
    requests = make_requests(n=2, width=6)
    requests.history_item[:] = -1
    requests.history_item[0, -1], requests.history_feedback[0, -1] = 39, Feedback.LIKE
    scores = markov.scores(requests)
    np.testing.assert_array_equal(scores[0], scores[1])
    target_count = markov.state_dict()["target_count"]
    assert (np.argsort(-scores[0], kind="stable") == np.argsort(-target_count, kind="stable")).all()


@given(seed=st.integers(0, 1000), positions=st.integers(1, 6))
def test_relabelling_items_permutes_the_scores(seed: int, positions: int) -> None:
    log, requests = make_log(seed, n_rows=300), make_requests(seed)
    label = np.random.default_rng(seed).permutation(N_ITEMS).astype(np.int32)
    relabelled = replace(requests, history_item=np.where(requests.history_item < 0, -1, label[requests.history_item]))
    scores = []
    for one, asked in ((log, requests), (replace(log, item=label[log.item]), relabelled)):
        markov = Markov(MarkovConfig(window=6, positions=positions))
        markov.fit(one, make_items(), seed=0)
        scores.append(markov.scores(asked))
    np.testing.assert_allclose(scores[1][:, label], scores[0], rtol=1e-6)


@pytest.mark.parametrize("choice", ["disliked_sources", "disliked_targets"])
def test_dislikes_matter_only_where_they_are_looked_at(choice: str) -> None:
    log, cleaned = make_log(), make_log()
    cleaned.feedback[:] &= np.uint8(255 - Feedback.DISLIKE)
    states = {}
    for disliked in DISLIKED:
        for one in (log, cleaned):
            markov = Markov(MarkovConfig.model_validate({"window": 6, choice: disliked}))
            markov.fit(one, make_items(), seed=0)
            states[disliked, one is log] = b"".join(value.tobytes() for value in markov.state_dict().values())
    assert states["unknown", True] == states["unknown", False]
    assert states["dropped", True] != states["dropped", False]
    assert states["included", True] != states["included", False]


def test_history_beyond_the_window_does_not_matter() -> None:
    markov = Markov(MarkovConfig(window=6, positions=10))
    markov.fit(make_log(), make_items(), seed=0)
    wide = make_requests(3, n=20, width=9)
    narrow = replace(
        wide,
        history_item=wide.history_item[:, 3:],
        history_feedback=wide.history_feedback[:, 3:],
    )
    np.testing.assert_array_equal(markov.scores(wide), markov.scores(narrow))
