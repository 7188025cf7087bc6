from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recommenders.base import Feedback, Interactions
from recommenders.sequences import Windows, compacted, is_positive, training_windows
from tests.recommenders.cases import make_log, make_requests

LOGS = st.builds(
    make_log, seed=st.integers(0, 1000), n_users=st.integers(1, 6), n_rows=st.integers(0, 40), n_items=st.just(9)
)


def windows_slowly(log: Interactions, window: int) -> list[list[tuple[float, ...]]]:
    rows: list[list[tuple[float, ...]]] = []
    for user in np.unique(log.user):
        mine = np.flatnonzero(log.user == user)
        gap_seconds = (np.diff(log.tick[mine]) / 1000).astype(np.float32)
        pairs: list[tuple[float, ...]] = [
            (log.item[a], log.feedback[a], log.item[b], log.feedback[b], log.dwell_seconds[b], gap)
            for (a, b), gap in zip(itertools.pairwise(mine), gap_seconds, strict=True)
        ]
        cuts = list(range(len(pairs), 0, -window))
        rows += [pairs[max(0, end - window) : end] for end in reversed(cuts)]
    return rows


@given(log=LOGS, window=st.integers(1, 8))
def test_equals_a_loop_over_users(log: Interactions, window: int) -> None:
    windows = training_windows(log, window)
    expected = windows_slowly(log, window)
    assert len(windows) == len(expected)
    for i, pairs in enumerate(expected):
        padding = [(-1, 0, -1, 0, 0, 0)] * (window - len(pairs))
        columns = [column[i].tolist() for column in vars(windows).values()]
        assert list(zip(*columns, strict=True)) == pairs + padding


@given(log=LOGS, window=st.integers(1, 8))
def test_every_interaction_but_a_users_first_comes_next_once(log: Interactions, window: int) -> None:
    windows = training_windows(log, window)
    assert (windows.next_item >= 0).sum() == len(log) - len(np.unique(log.user))


def test_columns_keep_the_types_of_the_log() -> None:
    windows: Windows = training_windows(make_log(), 5)
    types = [column.dtype.name for column in vars(windows).values()]
    assert types == ["int32", "uint8", "int32", "uint8", "float32", "float32"]


@given(seed=st.integers(0, 1000))
def test_compacted_histories_lose_the_flagged_and_keep_the_order(seed: int) -> None:
    requests = make_requests(seed)
    item, feedback = compacted(requests.history_item, requests.history_feedback, Feedback.DISLIKE)
    before = zip(requests.history_item.tolist(), requests.history_feedback.tolist(), strict=True)
    for row, (items, flags) in enumerate(before):
        kept = [(i, f) for i, f in zip(items, flags, strict=True) if i >= 0 and not f & Feedback.DISLIKE]
        padding = [(-1, 0)] * (len(items) - len(kept))
        assert list(zip(item[row].tolist(), feedback[row].tolist(), strict=True)) == padding + kept
    assert (item.dtype.name, feedback.dtype.name) == ("int32", "uint8")


def test_a_disliked_long_dwell_is_positive_until_dislikes_are_labels() -> None:
    feedback = np.array([Feedback.LONG_DWELL | Feedback.DISLIKE, Feedback.LIKE, Feedback.DISMISS], np.uint8)
    assert is_positive(feedback, except_disliked=False).tolist() == [True, True, False]
    assert is_positive(feedback, except_disliked=True).tolist() == [False, True, False]
