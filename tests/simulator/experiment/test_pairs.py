"""Which runs and users the drill-down shows, and what it shows of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders.base import Feedback
from simulator.engine.log import EventLog
from simulator.experiment.pairs import SHOWN, ab_test_pair, counterfactual_pair, impressions, notable_runs
from tests.simulator.experiment.strategies import HOUR, MAX_USERS, Row, items, log_of, logs, rows_of

ITEMS = items()
DISLIKE = int(Feedback.EXAMINED | Feedback.DISLIKE)
EXAMINED = int(Feedback.EXAMINED)


@given(data=st.data(), n=st.integers(1, 12))
@settings(deadline=None, max_examples=60)
def test_notable_runs_are_the_median_and_the_largest_fall(data: st.DataObject, n: int) -> None:
    user = np.array(data.draw(st.permutations(range(n))), np.int32)
    share = st.lists(st.integers(0, 3).map(lambda c: c / 4), min_size=n, max_size=n).map(np.array)
    base, action = data.draw(share), data.draw(share)
    change = action - base
    runs = notable_runs(user, base, action)
    median, strongest = runs[0].row, runs[-1].row
    assert change[median] == sorted(change)[(n - 1) // 2]
    assert change[strongest] == min(change)
    for row in (median, strongest):
        assert user[row] == min(u for u, c in zip(user, change, strict=True) if c == change[row])
    assert len({run.row for run in runs}) == len(runs)


def test_notable_runs_say_why() -> None:
    runs = notable_runs(np.array([7, 8, 9], np.int32), np.array([0.5, 0.5, 0.5]), np.array([0.5, 0.25, 0.0]))
    assert [run.row for run in runs] == [1, 2]
    assert runs[1].why == (
        "strongest response of 3 runs: the same-creator share of the next slate changes by -50.0 points"
    )


def test_no_runs_are_not_notable() -> None:
    nothing = np.array([])
    assert notable_runs(np.array([], np.int32), nothing, nothing) == ()


def test_counterfactual_pair_shows_one_users_branches() -> None:
    prefix = log_of([Row(i * HOUR, u, item=i % 8) for i in range(SHOWN + 5) for u in (0, 1)])
    focus = [Row(100 * HOUR, u, item=4, feedback=EXAMINED) for u in (0, 1)]
    after = [Row(101 * HOUR, u, item=s, slot=s, feedback=0) for u in (0, 1) for s in (5, 6)]
    pair = counterfactual_pair(
        "ntr",
        1,
        prefix=prefix,
        base=log_of(focus + after),
        action=log_of([replace(row, feedback=DISLIKE) for row in focus] + after),
        base_label="long_dwell",
        action_label="long_dwell + dislike",
        focus_item=4,
        items=ITEMS,
        why="because",
    )
    assert [i.tick // HOUR for i in pair.shared] == list(range(5, SHOWN + 5))
    assert [i.item for i in pair.left] == [i.item for i in pair.right] == [4, 5, 6]
    assert (pair.left[0].feedback, pair.right[0].feedback) == (("examined",), ("examined", "dislike"))
    assert (pair.focus_creator, pair.focus_topic) == (4 % 3, 4 // 3 % 2)


def test_ab_test_pair_is_the_keenest_disliker_whose_worlds_part() -> None:
    warm_up = [Row(i * HOUR, u, feedback=DISLIKE) for i in range(3) for u in range(4)]
    # User 1 dislikes most but lives alike in both worlds; users 2 and 3 tie, and part after the dislike.
    same = [Row((3 + i) * HOUR, 1, feedback=DISLIKE) for i in range(5)]
    tied = [Row(5 * HOUR, u, item=3, slot=s, feedback=f) for u in (2, 3) for s, f in ((0, EXAMINED), (1, DISLIKE))]
    control = log_of(warm_up + same + tied + [Row(6 * HOUR, u, item=6) for u in (2, 3)])
    treatment = log_of(warm_up + same + tied + [Row(6 * HOUR, u, item=7) for u in (2, 3)])
    pair = ab_test_pair("control", control, "ntr", treatment, ITEMS, start_tick=3 * HOUR)
    assert pair is not None
    assert (pair.user, pair.left_label, pair.right_label, pair.arm) == (2, "control", "ntr", "ntr")
    assert [(i.tick // HOUR, i.slot) for i in pair.shared] == [(0, 0), (1, 0), (2, 0), (5, 0)]
    assert [i.item for i in pair.left] == [3, 6]
    assert [i.item for i in pair.right] == [3, 7]
    assert (pair.focus_creator, pair.focus_topic) == (0, 1)
    assert pair.why == "most dislikes in control (1) of the users whose worlds differ after a dislike"


def test_ab_test_pair_shares_nothing_beyond_the_first_difference() -> None:
    control = log_of([Row(0, 0), Row(HOUR, 0, item=1), Row(2 * HOUR, 0, item=2), Row(3 * HOUR, 0, feedback=DISLIKE)])
    treatment = log_of([Row(0, 0), Row(HOUR, 0, item=5), Row(2 * HOUR, 0, item=2), Row(4 * HOUR, 0)])
    pair = ab_test_pair("control", control, "ntr", treatment, ITEMS, start_tick=0)
    assert pair is not None
    assert [i.tick for i in pair.shared] == [0]
    assert [i.tick for i in pair.left] == [3 * HOUR]
    assert [i.tick for i in pair.right] == [4 * HOUR]


def test_ab_test_pair_shows_a_few_of_each() -> None:
    many = [Row(i * HOUR, 0) for i in range(3 * SHOWN)]
    dislike = [Row(3 * SHOWN * HOUR, 0, feedback=DISLIKE)]
    later = [Row((3 * SHOWN + i) * HOUR, 0, item=1) for i in range(1, 3 * SHOWN)]
    other = [replace(row, item=2) for row in later]
    pair = ab_test_pair(
        "control", log_of(many + dislike + later), "ntr", log_of(many + dislike + other), ITEMS, start_tick=0
    )
    assert pair is not None
    assert len(pair.shared) == len(pair.left) == len(pair.right) == SHOWN
    assert pair.shared[-1].tick == (3 * SHOWN - 1) * HOUR


@given(control=logs(n_days=2), treatment=logs(n_days=2), alike=st.sets(st.integers(0, MAX_USERS - 1)))
@settings(deadline=None, max_examples=60)
def test_ab_test_pair_picks_the_user_that_a_slow_search_finds(
    control: EventLog, treatment: EventLog, alike: set[int]
) -> None:
    left = rows_of(control)
    right = [r for r in rows_of(treatment) if r.user not in alike] + [r for r in left if r.user in alike]
    n_dislikes = {}
    for user in range(MAX_USERS):
        disliked = [(r.tick, r.slot) for r in left if r.user == user and r.feedback & Feedback.DISLIKE]
        lives = [
            [(r.tick, r.slot, r.item, r.feedback) for r in rows if r.user == user and (r.tick, r.slot) >= disliked[0]]
            for rows in (left, right)
            if disliked
        ]
        if disliked and lives[0] != lives[1]:
            n_dislikes[user] = len(disliked)
    expected = min(n_dislikes, key=lambda user: (-n_dislikes[user], user), default=None)
    pair = ab_test_pair("control", control, "ntr", log_of(right), ITEMS, start_tick=0)
    assert (None if pair is None else pair.user) == expected


@given(log=logs())
@settings(deadline=None, max_examples=20)
def test_identical_worlds_have_no_pair(log: EventLog) -> None:
    assert ab_test_pair("control", log, "ntr", log.take(slice(None)), ITEMS, start_tick=0) is None


def test_a_world_that_goes_silent_is_shown_as_such() -> None:
    control = log_of([Row(0, 0, feedback=DISLIKE)])
    pair = ab_test_pair("control", control, "ntr", EventLog.empty(), ITEMS, start_tick=0)
    assert pair is not None
    assert (len(pair.left), pair.right, pair.shared) == (1, (), ())


def test_impressions_name_what_the_user_did() -> None:
    rows = [Row(5, 0, item=7, feedback=63, session=2, step=3, slot=0, dwell_seconds=1.5), Row(5, 0, slot=1, feedback=0)]
    first, second = impressions(log_of(rows), ITEMS)
    assert first.feedback == ("examined", "long_dwell", "skip", "like", "dislike", "dismiss")
    assert (first.tick, first.session, first.step, first.slot, first.item) == (5, 2, 3, 0, 7)
    assert (first.creator, first.topic, first.dwell_seconds) == (1, 0, 1.5)
    assert second.feedback == ()
