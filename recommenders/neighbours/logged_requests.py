"""The requests that a log answers: what re-rankers are trained on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recommenders.base import PADDING, Bool, Interactions, Requests
from recommenders.sequences import runs


def logged_requests(log: Interactions, rows: npt.NDArray[np.intp], window: int, eligible: Bool) -> Requests:
    """For each chosen interaction, the request that might have brought it about.

    Its history is all that the user did before, as if feedback were delivered at once; its time is that of the
    feedback. Both are ours: a log of interactions tells neither.

    Args:
        log: in order of (tick, user).
        rows: intp[n], of the log.
        window: width of the histories.
        eligible: bool[n_items].

    Returns:
        n requests, in the order of `rows`, with session and step 0.
    """
    order = np.argsort(log.user, kind="stable")
    start, length = runs(log.user[order])
    place = np.empty(len(log), np.intp)
    place[order] = np.arange(len(log))
    first = np.empty(len(log), np.intp)
    first[order] = np.repeat(start, length)
    back = place[rows][:, None] - np.arange(window, 0, -1)
    real = back >= first[rows][:, None]
    source = order[np.maximum(back, 0)] if len(log) else back
    zeros = np.zeros(len(rows), np.int32)
    return Requests(
        user=log.user[rows],
        session=zeros,
        step=zeros,
        tick=log.tick[rows],
        history_item=np.where(real, log.item[source], np.int32(PADDING)),
        history_feedback=np.where(real, log.feedback[source], np.uint8(0)),
        history_dwell_seconds=np.where(real, log.dwell_seconds[source], np.float32(0)),
        history_tick=np.where(real, log.tick[source], np.int64(0)),
        eligible=eligible,
    )
