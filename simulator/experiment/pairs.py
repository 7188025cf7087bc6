"""The drill-down: one user's two trajectories side by side, picked by rules that leave nothing to taste."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from recommenders.base import Bool, Feedback, Float64, Int32, ItemFeatures
from simulator.engine.log import EventLog
from simulator.experiment.results import Impression, TrajectoryPair

SHOWN = 20
"""Impressions shown of each part of a pair."""

COMPARED = ("tick", "slot", "item", "feedback")
"""Columns in which two worlds of one user may differ."""


@dataclass(frozen=True)
class NotableRun:
    """A counterfactual run worth showing: its row, and why it was picked."""

    row: int
    why: str


def notable_runs(user: Int32, base_creator: Float64, action_creator: Float64) -> tuple[NotableRun, ...]:
    """The run with the median response and the one with the strongest, by creator similarity.

    The response of a run is its change of similarity, action - base, since a single run's base may be 0. Of an even
    number of runs the lower middle one is the median. Ties go to the lowest user id.

    Args:
        user: int32[n], the user of each run, unique.
        base_creator, action_creator: float64[n], `Similarity.creator` of the next slate in each branch.

    Returns:
        Median, then strongest (the largest fall); one where they coincide, none without runs.
    """
    if len(user) == 0:
        return ()
    change = action_creator - base_creator
    order = np.lexsort((user, change))
    middle = change[order[(len(user) - 1) // 2]]
    median = int(order[np.searchsorted(change[order], middle)])
    strongest = int(order[0])
    runs = [NotableRun(median, _why("median", change[median], len(user)))]
    if strongest != median:
        runs.append(NotableRun(strongest, _why("strongest", change[strongest], len(user))))
    return tuple(runs)


def counterfactual_pair(
    arm: str,
    user: int,
    *,
    prefix: EventLog,
    base: EventLog,
    action: EventLog,
    base_label: str,
    action_label: str,
    focus_item: int,
    items: ItemFeatures,
    why: str,
) -> TrajectoryPair:
    """One run's two branches.

    Args:
        arm: name of the arm.
        user: whose run; rows of other users in the logs are left out.
        prefix: what both branches have in common; the last rows are shown.
        base, action: what follows in each branch, from item k on; the first rows are shown.
        base_label, action_label: what the user does at item k, such as `long_dwell + dislike`.
        focus_item: item k.
        items: of the catalogue.
        why: why this run, as from `notable_runs`.
    """
    logs = [log.take(log.user == user) for log in (prefix, base, action)]
    return TrajectoryPair(
        kind="counterfactual",
        user=user,
        arm=arm,
        left_label=base_label,
        right_label=action_label,
        shared=impressions(logs[0].take(slice(-SHOWN, None)), items),
        left=impressions(logs[1].take(slice(SHOWN)), items),
        right=impressions(logs[2].take(slice(SHOWN)), items),
        focus_creator=int(items.creator[focus_item]),
        focus_topic=int(items.topic[focus_item]),
        why=why,
    )


def ab_test_pair(
    control: str, control_log: EventLog, arm: str, arm_log: EventLog, items: ItemFeatures, *, start_tick: int
) -> TrajectoryPair | None:
    """The user with most dislikes in the control whose two worlds differ after the first of them.

    Both sides are shown from the place of that dislike on, the arm from the same tick and slot. Shared are the
    impressions before it, the warm-up's included, up to the first on which the arms differ. Ties go to the lowest id.

    Args:
        control, arm: names of the arms; the control is on the left.
        control_log, arm_log: their logs; they may begin with the warm-up that they share.
        items: of the catalogue.
        start_tick: where the test begins; earlier dislikes do not count.

    Returns:
        The pair; None where no user's worlds differ after a dislike.
    """
    found = _notable_user(control, control_log, arm, arm_log, items, start_tick)
    return None if found is None else found.pair


def ab_test_pair_of_cells(
    control: str,
    arm: str,
    cells: Iterable[tuple[range, int]],
    read: Callable[[range], tuple[EventLog, EventLog]],
    items: ItemFeatures,
    *,
    start_tick: int,
) -> TrajectoryPair | None:
    """The same of logs that are read cell by cell; few cells have to be.

    Args:
        control, arm: names of the arms.
        cells: users of each cell, and the most dislikes that one of them has in the control's test.
        read: the logs of a cell, the control's and the arm's, each with the warm-up.
        items, start_tick: as for `ab_test_pair`.
    """
    best: _Notable | None = None
    for users, most in sorted(cells, key=lambda cell: (-cell[1], cell[0].start)):
        if most == 0 or (best is not None and (most, -users.start) < (best.n_dislikes, -best.pair.user)):
            break
        control_log, arm_log = read(users)
        found = _notable_user(control, control_log, arm, arm_log, items, start_tick)
        ranks = [(n.n_dislikes, -n.pair.user) for n in (found, best) if n is not None]
        if found is not None and ranks[0] == max(ranks):
            best = found
    return None if best is None else best.pair


@dataclass(frozen=True)
class _Notable:
    """A user worth showing, and how often they disliked."""

    n_dislikes: int
    pair: TrajectoryPair


def _notable_user(
    control: str, control_log: EventLog, arm: str, arm_log: EventLog, items: ItemFeatures, start_tick: int
) -> _Notable | None:
    in_control, in_arm = _ByUser(control_log), _ByUser(arm_log)
    n_dislikes = np.bincount(control_log.user[_is_dislike(control_log, start_tick)])
    n_dislikes[_lives_alike(in_control, in_arm, len(n_dislikes))] = 0
    for user in np.argsort(-n_dislikes, kind="stable")[: np.count_nonzero(n_dislikes)].tolist():
        parting = _part(in_control.rows(user), in_arm.rows(user), start_tick)
        if _n_common(parting.left, parting.right) == max(len(parting.left), len(parting.right)):
            continue
        pair = TrajectoryPair(
            kind="ab_test",
            user=user,
            arm=arm,
            left_label=control,
            right_label=arm,
            shared=impressions(parting.shared.take(slice(-SHOWN, None)), items),
            left=impressions(parting.left.take(slice(SHOWN)), items),
            right=impressions(parting.right.take(slice(SHOWN)), items),
            focus_creator=int(items.creator[parting.left.item[0]]),
            focus_topic=int(items.topic[parting.left.item[0]]),
            why=f"most dislikes in {control} ({n_dislikes[user]}) of the users whose worlds differ after a dislike",
        )
        return _Notable(int(n_dislikes[user]), pair)
    return None


def impressions(log: EventLog, items: ItemFeatures) -> tuple[Impression, ...]:
    """A log's rows as the drill-down shows them, in the same order."""
    columns = (log.tick, log.session, log.step, log.slot, log.item, log.feedback, log.dwell_seconds)
    return tuple(
        Impression(
            tick=tick,
            session=session,
            step=step,
            slot=slot,
            item=item,
            creator=int(items.creator[item]),
            topic=int(items.topic[item]),
            feedback=tuple(str(flag.name).lower() for flag in Feedback if flag & feedback),
            dwell_seconds=dwell,
        )
        for tick, session, step, slot, item, feedback, dwell in zip(*(c.tolist() for c in columns), strict=True)
    )


def _why(which: str, change: float, n_runs: int) -> str:
    points = f"{100 * change:+.1f} points"
    return f"{which} response of {n_runs} runs: the same-creator share of the next slate changes by {points}"


class _ByUser:
    """Finds one user's rows of a log without reading all of it each time."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.order = np.argsort(log.user, kind="stable")
        self.user = log.user[self.order]

    def rows(self, user: int) -> EventLog:
        """One user's rows in order of (tick, slot)."""
        first, last = np.searchsorted(self.user, [user, user + 1])
        return self.log.take(self.order[first:last])


def _lives_alike(control: _ByUser, arm: _ByUser, n_users: int) -> Bool:
    """bool[n_users], whose rows are the same in both logs; a loop over the users took two minutes on 5 M rows."""
    sides = (control, arm)
    n_rows = [np.bincount(side.user, minlength=n_users)[:n_users] for side in sides]
    alike: Bool = n_rows[0] == n_rows[1]
    chosen = [side.order[: np.searchsorted(side.user, n_users)] for side in sides]
    left, right = (c[alike[side.log.user[c]]] for c, side in zip(chosen, sides, strict=True))
    for name in COMPARED:
        differs = getattr(control.log, name)[left] != getattr(arm.log, name)[right]
        alike[control.log.user[left][differs]] = False
    return alike


@dataclass(frozen=True, eq=False)
class _Parting:
    """One user's rows in two arms, cut at the first dislike in the left one."""

    shared: EventLog
    left: EventLog
    right: EventLog


def _part(left: EventLog, right: EventLog, start_tick: int) -> _Parting:
    focus = int(np.argmax(_is_dislike(left, start_tick)))
    tick, slot = left.tick[focus], left.slot[focus]
    cut = np.count_nonzero((right.tick < tick) | ((right.tick == tick) & (right.slot < slot)))
    before = left.take(slice(focus))
    return _Parting(
        shared=before.take(slice(_n_common(before, right.take(slice(cut))))),
        left=left.take(slice(focus, None)),
        right=right.take(slice(cut, None)),
    )


def _is_dislike(log: EventLog, start_tick: int) -> Bool:
    is_dislike: Bool = ((log.feedback & Feedback.DISLIKE) != 0) & (log.tick >= start_tick)
    return is_dislike


def _n_common(left: EventLog, right: EventLog) -> int:
    """How many rows the two have in common before the first that differs."""
    n = min(len(left), len(right))
    differs = np.zeros(n, dtype=np.bool_)
    for name in COMPARED:
        differs |= getattr(left, name)[:n] != getattr(right, name)[:n]
    return int(np.argmax(differs)) if differs.any() else n
