"""A log in two parts, one to learn from and one to be asked about; nothing of the second reaches the first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from recommenders.base import Bool, Int32, Int64, Interactions, ItemFeatures
from recommenders.offline.faults import LogError
from recommenders.sequences import runs

SplitKind = Literal["time", "last"]


@dataclass(frozen=True)
class Split:
    """Training rows, test rows, and the catalogue between them.

    The catalogue is what the training rows show: an item that first appears in a test row is unknown to every model,
    so its rows are left out, as targets and in histories, and counted. Users, items, creators and topics are numbered
    anew, those of the training rows first and in their old order: a change in test rows changes no number, no weight
    and no random draw of the training.

    Attributes:
        events: training and test rows on items of the catalogue, in order of (tick, user); a user's rows of one tick
            are in the order of the file.
        is_test: bool[e].
        items: features of the catalogue; `release_tick` is an item's first training row.
        item: int32[n_items], the numbers that the items have in the whole log.
        user: int32[n_users], likewise of the users; those without a training row come last.
        n_train_users: how many have one.
        n_unknown_item_rows: test rows left out because no training row shows their item.
        kind: how it was split.
        boundary_tick: first tick of the test rows of a `time` split; None otherwise.
    """

    events: Interactions
    is_test: Bool
    items: ItemFeatures
    item: Int32
    user: Int32
    n_train_users: int
    n_unknown_item_rows: int
    kind: SplitKind
    boundary_tick: int | None

    @property
    def train(self) -> Interactions:
        """The training rows."""
        return self.events.take(~self.is_test)


def split_by_time(
    log: Interactions, items: ItemFeatures, *, test_share: float | None = None, boundary_tick: int | None = None
) -> Split:
    """Everything from one moment on is test, for all users alike: what a model trained at that moment would meet.

    Args:
        log: in order of (tick, user).
        items: features of all items.
        test_share: share of the rows that are test, in (0, 1); rows of one tick stay together.
        boundary_tick: the moment itself, instead of a share.

    Raises:
        LogError: one of the parts would be empty.
    """
    if boundary_tick is None:
        assert test_share is not None
        first = min(len(log) - round(test_share * len(log)), len(log) - 1)
        boundary_tick = int(log.tick[first])
    is_test = log.tick >= boundary_tick
    if is_test.all() or not is_test.any():
        part = "training" if is_test.all() else "test"
        raise LogError(
            f"split: got no {part} row with tick {boundary_tick:,} as the first of the test, "
            f"expected rows on both sides (ticks run from {log.tick[0]:,} to {log.tick[-1]:,})"
        )
    return _split(log, items, is_test, "time", boundary_tick)


def split_last(log: Interactions, items: ItemFeatures) -> Split:
    """The last row of every user with at least two rows is test (leave-last-out).

    Within a user nothing of the future is learnt from. Between users it is: other users' training rows may be later
    than this user's test row, so figures come out higher than a platform would see. A row in between, neither positive
    nor negative, is nobody's target: such users have no say.

    Raises:
        LogError: no user has two rows.
    """
    order = np.argsort(log.user, kind="stable")
    start, length = runs(log.user[order])
    is_test = np.zeros(len(log), np.bool_)
    is_test[order[(start + length - 1)[length > 1]]] = True
    if not is_test.any():
        raise LogError("split: got no user with two rows or more, expected at least one to leave the last one out")
    return _split(log, items, is_test, "last", None)


def _split(log: Interactions, items: ItemFeatures, is_test: Bool, kind: SplitKind, boundary_tick: int | None) -> Split:
    train = log.take(~is_test)
    known_item = np.flatnonzero(np.bincount(train.item, minlength=items.n_items) > 0).astype(np.int32)
    kept = np.isin(log.item, known_item) | ~is_test
    events = log.take(kept)
    n_users = int(log.user.max()) + 1
    in_training = np.bincount(train.user, minlength=n_users) > 0
    only_test = (np.bincount(events.user, minlength=n_users) > 0) & ~in_training
    user = np.concatenate([np.flatnonzero(in_training), np.flatnonzero(only_test)]).astype(np.int32)
    new_item, new_user = _inverse(known_item, items.n_items), _inverse(user, n_users)
    first = np.full(len(known_item), np.iinfo(np.int64).max)
    np.minimum.at(first, new_item[train.item], train.tick)
    return Split(
        events=replace(events, item=new_item[events.item], user=new_user[events.user]),
        is_test=is_test[kept],
        items=_catalogue(items, known_item, first),
        item=known_item,
        user=user,
        n_train_users=int(in_training.sum()),
        n_unknown_item_rows=int((~kept).sum()),
        kind=kind,
        boundary_tick=boundary_tick,
    )


def _catalogue(items: ItemFeatures, kept: Int32, release_tick: Int64) -> ItemFeatures:
    """Features of the kept items, with creators and topics numbered among themselves."""
    creators, creator = np.unique(items.creator[kept], return_inverse=True)
    topics, topic = np.unique(items.topic[kept], return_inverse=True)
    return ItemFeatures(
        creator=creator.astype(np.int32),
        topic=topic.astype(np.int32),
        duration_seconds=items.duration_seconds[kept],
        release_tick=release_tick,
        n_creators=len(creators),
        n_topics=len(topics),
    )


def _inverse(kept: Int32, n: int) -> Int32:
    """Old number -> new number; -1 for what is not kept."""
    number = np.full(n, -1, np.int32)
    number[kept] = np.arange(len(kept), dtype=np.int32)
    return number
