"""Real histories as the prefix of counterfactual runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from recommenders.base import Feedback, Float32, Int32, Int64, Interactions, UInt8
from simulator.engine.log import EventLog
from simulator.engine.snapshot import Snapshot


class ReplayError(Exception):
    """A log cannot be replayed in this world; the message says what was got and what was expected."""


@dataclass(frozen=True, eq=False)
class Histories:
    """The last interactions of real users, oldest first, one row a run.

    Attributes:
        item: int32[n, m], -1 before a user's first.
        feedback: uint8[n, m].
        dwell_seconds: float32[n, m].
        before: int64[n, m], ticks before the user's last interaction; 0 for that one.
    """

    item: Int32
    feedback: UInt8
    dwell_seconds: Float32
    before: Int64

    def __len__(self) -> int:
        return len(self.item)

    def take(self, n: int) -> Histories:
        """The first n."""
        return Histories(self.item[:n], self.feedback[:n], self.dwell_seconds[:n], self.before[:n])


def read_histories(
    log: Interactions, log_item: Sequence[object], catalogue_item: Sequence[str], m: int, file: str
) -> Histories:
    """The last m interactions of every user of a log with items of the catalogue.

    Args:
        log: in order of (tick, user).
        log_item, catalogue_item: names of the items, by id in the log and in the catalogue.
        m: how many.
        file: where the log was read from, for messages.

    Raises:
        ReplayError: no item of the log is in the catalogue.
    """
    number = {name: i for i, name in enumerate(catalogue_item)}
    item_of = np.array([number.get(str(name), -1) for name in log_item], np.int32)
    rows = np.flatnonzero(item_of[log.item] >= 0)
    if len(rows) == 0:
        some = ", ".join(str(name) for name in log_item[:3])
        raise ReplayError(f"{file}: got items such as {some}, expected items of world.catalogue.table")
    rows = rows[np.argsort(log.user[rows], kind="stable")]
    user = log.user[rows]
    _, first, count = np.unique(user, return_index=True, return_counts=True)
    from_the_end = np.repeat(first + count, count) - np.arange(len(rows)) - 1
    kept = from_the_end < m
    run = np.repeat(np.arange(len(count)), count)[kept]
    column, rows = m - 1 - from_the_end[kept], rows[kept]
    last_tick = log.tick[rows[np.cumsum(np.minimum(count, m)) - 1]]
    shape = (len(count), m)
    found = Histories(
        np.full(shape, -1, np.int32), np.zeros(shape, np.uint8), np.zeros(shape, np.float32), np.zeros(shape, np.int64)
    )
    found.item[run, column] = item_of[log.item[rows]]
    found.feedback[run, column] = log.feedback[rows] | np.uint8(Feedback.EXAMINED)
    found.dwell_seconds[run, column] = log.dwell_seconds[rows]
    found.before[run, column] = last_tick[run] - log.tick[rows]
    return found


def replayed(beginning: Snapshot, histories: Histories, delay: int) -> tuple[Snapshot, EventLog]:
    """A world whose users come with histories, all delivered, and the log of what they did.

    Args:
        beginning: one user a run, before anything.
        histories: of these users.
        delay: the ingestion delay; a user's last interaction lies so far back, and a tick more.
    """
    history = beginning.history.copy()
    done = beginning.tick - delay - 1 - histories.before
    for column in range(histories.item.shape[1]):
        user = np.flatnonzero(histories.item[:, column] >= 0)
        at = (user, slice(column, column + 1))
        history.append(
            user, done[user, column] - 1, 0, histories.item[at], histories.feedback[at], histories.dwell_seconds[at],
            np.ones((len(user), 1), np.int64),
        )  # fmt: skip
    run, place = np.nonzero(histories.item >= 0)
    feedback = histories.feedback[run, place]
    log = EventLog(
        tick=done[run, place] - 1,
        user=run.astype(np.int32),
        session=np.full(len(run), -1, np.int32),
        step=place.astype(np.int32),
        slot=np.zeros(len(run), np.int32),
        item=histories.item[run, place],
        feedback=feedback,
        dwell_seconds=histories.dwell_seconds[run, place],
        feedback_tick=done[run, place],
        propensity=np.full(len(run), np.nan, np.float32),
        satisfaction=np.zeros(len(run), np.float32),
        dislike_probability=((feedback & np.uint8(Feedback.DISLIKE)) > 0).astype(np.float32),
    )
    return replace(beginning, history=history), EventLog.merge([log])
