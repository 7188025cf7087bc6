from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recommenders.base import Feedback, Interactions
from recommenders.sequences import Windows, is_positive, training_windows
from tests.recommenders.cases import make_log

LOGS = st.builds(
    make_log, seed=st.integers(0, 1000), n_users=st.integers(1, 6), n_rows=st.integers(0, 40), n_items=st.just(9)
)


def windows_slowly(log: Interactions, window: int, label_dislikes: bool) -> list[list[tuple[int, int, int, int]]]:
    rows = []
    for user in np.unique(log.user):
        mine = np.flatnonzero(log.user == user)
        pairs = []
        for source, label in itertools.pairwise(mine):
            flags = Feedback(int(log.feedback[label]))
            liked = bool(flags & (Feedback.LONG_DWELL | Feedback.LIKE))
            disliked = label_dislikes and bool(flags & Feedback.DISLIKE)
            item = int(log.item[label])
            pairs.append(
                (
                    int(log.item[source]),
                    int(log.feedback[source]),
                    item if liked and not disliked else -1,
                    item if disliked else -1,
                )
            )
        cuts = list(range(len(pairs), 0, -window))
        rows += [pairs[max(0, end - window) : end] for end in reversed(cuts)]
    return rows


@given(log=LOGS, window=st.integers(1, 8), label_dislikes=st.booleans())
def test_equals_a_loop_over_users(log: Interactions, window: int, label_dislikes: bool) -> None:
    windows = training_windows(log, window, label_dislikes=label_dislikes)
    expected = windows_slowly(log, window, label_dislikes)
    assert len(windows) == len(expected)
    for i, pairs in enumerate(expected):
        padding = [(-1, 0, -1, -1)] * (window - len(pairs))
        columns = (windows.item[i], windows.feedback[i], windows.positive[i], windows.negative[i])
        assert list(zip(*(c.tolist() for c in columns), strict=True)) == pairs + padding


@given(log=LOGS, window=st.integers(1, 8))
def test_every_interaction_but_a_users_first_is_one_label(log: Interactions, window: int) -> None:
    log = Interactions(
        log.tick, log.user, log.item, np.full(len(log), Feedback.LONG_DWELL, np.uint8), log.dwell_seconds
    )
    windows = training_windows(log, window, label_dislikes=False)
    assert (windows.positive >= 0).sum() == len(log) - len(np.unique(log.user))


@given(log=LOGS)
def test_without_labels_dislikes_are_not_looked_at(log: Interactions) -> None:
    without = Interactions(
        log.tick, log.user, log.item, log.feedback & np.uint8(255 - Feedback.DISLIKE), log.dwell_seconds
    )
    a, b = (training_windows(one, 5, label_dislikes=False) for one in (log, without))
    for name in ("item", "positive", "negative"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_columns_are_int32_and_uint8() -> None:
    windows: Windows = training_windows(make_log(), 5, label_dislikes=True)
    assert [windows.item.dtype, windows.feedback.dtype] == [np.int32, np.uint8]
    assert [windows.positive.dtype, windows.negative.dtype] == [np.int32, np.int32]


def test_a_disliked_long_dwell_is_positive_until_dislikes_are_labels() -> None:
    feedback = np.array([Feedback.LONG_DWELL | Feedback.DISLIKE, Feedback.LIKE, Feedback.DISMISS], np.uint8)
    assert is_positive(feedback, except_disliked=False).tolist() == [True, True, False]
    assert is_positive(feedback, except_disliked=True).tolist() == [False, True, False]
