"""Metrics of feedback: how often users like, skip and push back, and how many of them do."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from recommenders.base import Feedback, ItemFeatures
from simulator.engine.log import EventLog
from simulator.experiment.estimators import PerUser
from simulator.experiment.metrics.base import NO_IMPRESSIONS, LogView, Metric
from simulator.experiment.results import MetricInfo

Group = Literal["creator", "topic"]

PUSH_BACK = Feedback.DISLIKE | Feedback.DISMISS | Feedback.SKIP
"""All negative feedback, explicit and implicit."""


def flag_rate(view: LogView, flags: Feedback) -> PerUser:
    """Impressions with any of the feedback flags, per impression."""
    return PerUser(view.count(view.flagged(flags)), view.impressions, NO_IMPRESSIONS)


def expected_dislikes(view: LogView) -> PerUser:
    """Chances of a dislike, added up, per impression.

    A dislike is the draw of a coin whose chance the simulator knows. The sum of the chances has the same mean as the
    number of dislikes, whatever the recommender then makes of each, without the luck of the draws (Rao-Blackwell, as
    the conditional Monte Carlo of Asmussen & Glynn 2007, Stochastic Simulation, V.4).
    """
    chances = view.sum_by_user(view.rows.user, view.rows.dislike_probability)
    return PerUser(chances, view.impressions, NO_IMPRESSIONS)


def repeats(view: LogView, flag: Feedback, group: Group) -> PerUser:
    """Feedback on a group to which the same user gave that feedback in an earlier row of the log, per impression.

    "Earlier" reaches back before the window, as far as the log does, and includes higher slots of the same slate.
    """
    repeated = view.once(repeated_rows, flag, group)
    window = np.searchsorted(view.log.tick, [view.start_tick, view.end_tick])
    first, last = np.searchsorted(repeated, window)
    count = np.bincount(view.log.user[repeated[first:last]], minlength=view.n_users)
    return PerUser(count.astype(np.float64), view.impressions, NO_IMPRESSIONS)


def repeated_rows(log: EventLog, items: ItemFeatures, flag: Feedback, group: Group) -> npt.NDArray[np.intp]:
    """Rows with a flag that an earlier row of the same user and the same group has, too.

    Args:
        log: from its beginning, however long before the window that is.
        items: of the catalogue.
        flag: the feedback.
        group: what two rows must have in common.

    Returns:
        intp[m], rows of the log, ascending.
    """
    chosen = np.flatnonzero((log.feedback & flag) != 0)
    group_of = getattr(items, group)
    pair = log.user[chosen] * np.int64(group_of.max(initial=0) + 1) + group_of[log.item[chosen]]
    order = np.argsort(pair, kind="stable")
    in_order = pair[order]
    repeated: npt.NDArray[np.intp] = chosen[np.sort(order[1:][in_order[1:] == in_order[:-1]])]
    return repeated


def users_with(view: LogView, flag: Feedback) -> PerUser:
    """Users with at least one impression that has a flag, per user."""
    return PerUser((view.count(view.flagged(flag)) > 0).astype(np.float64), view.every_user(1.0))


RATES: tuple[Metric, ...] = (
    Metric(
        MetricInfo("dislike_rate", "Dislike rate", "Dislikes per impression looked at", "share", "lower"),
        lambda view: flag_rate(view, Feedback.DISLIKE),
    ),
    Metric(
        MetricInfo(
            "expected_dislike_rate",
            "Expected dislike rate",
            "Chances of a dislike, known to the simulator alone, added up, per impression looked at",
            "share",
            "lower",
        ),
        expected_dislikes,
    ),
    Metric(
        MetricInfo("skip_rate", "Skip rate", "Skips per impression looked at", "share", "lower"),
        lambda view: flag_rate(view, Feedback.SKIP),
    ),
    Metric(
        MetricInfo(
            "push_back_rate",
            "Push-back rate",
            "Impressions with a dislike, a dismissal or a skip, per impression looked at",
            "share",
            "lower",
        ),
        lambda view: flag_rate(view, PUSH_BACK),
    ),
    Metric(
        MetricInfo("long_view_rate", "Long-view rate", "Long dwells per impression looked at", "share", "higher"),
        lambda view: flag_rate(view, Feedback.LONG_DWELL),
    ),
    Metric(
        MetricInfo("like_rate", "Like rate", "Likes per impression looked at", "share", "higher"),
        lambda view: flag_rate(view, Feedback.LIKE),
    ),
)

REPEATS: tuple[Metric, ...] = (
    Metric(
        MetricInfo(
            "repeat_dislikes_creator",
            "Repeated dislikes, same creator",
            "Dislikes on a creator that the user has disliked before, per impression looked at",
            "share",
            "lower",
        ),
        lambda view: repeats(view, Feedback.DISLIKE, "creator"),
    ),
    Metric(
        MetricInfo(
            "repeat_dislikes_topic",
            "Repeated dislikes, same topic",
            "Dislikes on a topic that the user has disliked before, per impression looked at",
            "share",
            "lower",
        ),
        lambda view: repeats(view, Feedback.DISLIKE, "topic"),
    ),
    Metric(
        MetricInfo(
            "repeat_skips_creator",
            "Repeated skips, same creator",
            "Skips on a creator that the user has skipped before, per impression looked at",
            "share",
            "lower",
        ),
        lambda view: repeats(view, Feedback.SKIP, "creator"),
    ),
)

USERS: tuple[Metric, ...] = (
    Metric(
        MetricInfo("dislike_users", "Users who dislike", "Users with at least one dislike, per user", "share", "lower"),
        lambda view: users_with(view, Feedback.DISLIKE),
    ),
    Metric(
        MetricInfo(
            "dismissing_users", "Users who dismiss", "Users with at least one dismissal, per user", "share", "lower"
        ),
        lambda view: users_with(view, Feedback.DISMISS),
    ),
)
