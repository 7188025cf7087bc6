"""What a believable world is judged by: numbers that an analyst could compute from a real platform's log.

An *impression* is an examined row of the log, a *session* ends where nothing happens for 30 minutes (whatever the
simulator called a session), a *day* is 24 simulated hours. A statistic of nothing is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from recommenders.base import TICKS_PER_SECOND, Bool, Feedback, Float32, Float64, Int32, Int64, ItemFeatures, UInt8
from simulator.engine.log import EventLog
from simulator.scenario.durations import TICKS_PER_DAY

_SESSION_GAP = 30 * 60 * TICKS_PER_SECOND
_WINDOW = 34
_WHOLE = 0.99


@dataclass(frozen=True, eq=False)
class Views:
    """All impressions of one simulation, user after user, in order of time. Arrays have one row an impression.

    Attributes:
        user: int32[e], ascending.
        item: int32[e].
        feedback: uint8[e].
        dwell_seconds: float32[e].
        start_tick, end_tick: int64[e], when the user turned to the item and when the user was done with it.
        satisfaction: float32[e], after the request.
        items: what the items are.
        n_users: of the population, with those who never came.
        n_days: whole days that were simulated.
    """

    user: Int32
    item: Int32
    feedback: UInt8
    dwell_seconds: Float32
    start_tick: Int64
    end_tick: Int64
    satisfaction: Float32
    items: ItemFeatures
    n_users: int
    n_days: int

    @classmethod
    def of(cls, log: EventLog, items: ItemFeatures, *, n_users: int, n_days: int) -> Views:
        """The impressions of a log that begins at tick 0."""
        examined = np.flatnonzero(log.feedback & np.uint8(Feedback.EXAMINED))
        rows = examined[np.argsort(log.user[examined], kind="stable")]
        dwell, end = log.dwell_seconds[rows], log.feedback_tick[rows]
        start = end - np.rint(dwell * TICKS_PER_SECOND).astype(np.int64)
        return cls(
            log.user[rows], log.item[rows], log.feedback[rows], dwell, start, end, log.satisfaction[rows],
            items, n_users, n_days,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.user)

    def did(self, action: Feedback) -> Bool:
        """bool[e], whether the user did it."""
        done: Bool = (self.feedback & np.uint8(action)) != 0
        return done

    @cached_property
    def session(self) -> Int64:
        """int64[e], number of the session, ascending: users never share one."""
        opens = np.ones(len(self), np.bool_)
        opens[1:] = (self.user[1:] != self.user[:-1]) | (self.start_tick[1:] - self.end_tick[:-1] > _SESSION_GAP)
        return np.cumsum(opens, dtype=np.int64) - 1

    @cached_property
    def session_first(self) -> Int64:
        """int64[n_sessions], the first row of each session."""
        return np.searchsorted(self.session, np.arange(self.n_sessions))

    @property
    def n_sessions(self) -> int:
        """Number of sessions."""
        return int(self.session[-1]) + 1 if len(self) else 0

    @cached_property
    def user_impressions(self) -> Int64:
        """int64[n_users], impressions of each user."""
        return np.bincount(self.user, minlength=self.n_users)

    @cached_property
    def user_dislikes(self) -> Int64:
        """int64[n_users], dislikes of each user."""
        return np.bincount(self.user[self.did(Feedback.DISLIKE)], minlength=self.n_users)

    @cached_property
    def active(self) -> Bool:
        """bool[n_users, n_days], whether the user began to look at anything on the day."""
        day = np.minimum(self.start_tick // TICKS_PER_DAY, self.n_days - 1)
        active = np.zeros((self.n_users, self.n_days), np.bool_)
        active[self.user, day] = True
        return active


Statistic = Callable[[Views], float]


def mean(values: Float64 | Float32 | Int64 | Bool) -> float:
    """The mean, NaN of nothing."""
    return float(np.mean(values)) if len(values) else float("nan")


def quantile(values: Float64 | Float32 | Int64, q: float) -> float:
    """A quantile, NaN of nothing."""
    return float(np.quantile(values, q)) if len(values) else float("nan")


def rate(action: Feedback, views: Views) -> float:
    """Share of impressions with the action."""
    return mean(views.did(action))


def impressions_per_session(views: Views) -> Int64:
    """int64[n_sessions]."""
    return np.bincount(views.session)


def session_minutes(views: Views) -> Float64:
    """float64[n_sessions], from the first impression's beginning to the last one's end."""
    first = views.session_first
    last = np.append(first[1:], len(views)) - 1 if len(first) else first
    minutes: Float64 = (views.end_tick[last] - views.start_tick[first]) / (60.0 * TICKS_PER_SECOND)
    return minutes


def sessions_per_active_day(views: Views) -> float:
    """Sessions begun, over the days of users on which they began one."""
    first = views.session_first
    if not len(first):
        return float("nan")
    day = views.user[first].astype(np.int64) * (views.n_days + 1) + views.start_tick[first] // TICKS_PER_DAY
    return len(first) / len(np.unique(day))


def sessions_with(action: Feedback, views: Views) -> float:
    """Share of sessions in which the action was done."""
    return mean(np.bincount(views.session[views.did(action)], minlength=views.n_sessions) > 0)


def sessions_without(action: Feedback, views: Views) -> float:
    """Share of sessions in which the action was never done."""
    return 1.0 - sessions_with(action, views)


def active_impressions(views: Views) -> Int64:
    """int64[n_active], impressions of each user who has any."""
    return views.user_impressions[views.user_impressions > 0]


def log_impressions_sd(views: Views) -> float:
    """Standard deviation over users of the log of their number of impressions."""
    counts = active_impressions(views)
    return float(np.log(counts).std()) if len(counts) else float("nan")


def ever_dislike(views: Views) -> float:
    """Share of the users who came that dislike at least once."""
    return mean(views.user_dislikes[views.user_impressions > 0] > 0)


def dislike_within_34(views: Views) -> float:
    """Chance that 34 impressions of a user, spread over the whole time, hold a dislike; the mean over users.

    A user with n impressions gives n // 34 such sets: every (n // 34)-th impression, from each possible beginning. The
    mean over all of them varies less than one set a user would.
    """
    n_sets = views.user_impressions // _WINDOW
    dislikes = np.flatnonzero(views.did(Feedback.DISLIKE))
    dislikes = dislikes[n_sets[views.user[dislikes]] > 0]
    user = views.user[dislikes].astype(np.int64)
    place = dislikes - (np.cumsum(views.user_impressions) - views.user_impressions)[user]
    held = np.unique(np.stack([user, place % n_sets[user]]), axis=1)[0]
    users = n_sets > 0
    return mean(np.bincount(held, minlength=views.n_users)[users] / n_sets[users])


def dislikes_of_disliking(views: Views) -> Int64:
    """int64[n_disliking], dislikes of each user who has any."""
    return views.user_dislikes[views.user_dislikes > 0]


def exactly_one_dislike(views: Views) -> float:
    """Share of disliking users with exactly one dislike."""
    return mean(dislikes_of_disliking(views) == 1)


def dislikes_gini(views: Views) -> float:
    """Gini coefficient of the dislikes over disliking users: 0 when all press alike, towards 1 when one presses all."""
    counts = np.sort(dislikes_of_disliking(views))
    n = len(counts)
    weight = 2 * np.arange(1, n + 1) - n - 1
    return float(weight @ counts / (n * counts.sum())) if n else float("nan")


def dislike_gaps_under_30_minutes(views: Views) -> float:
    """Share of the gaps between a user's successive dislikes that are shorter than 30 minutes."""
    rows = np.flatnonzero(views.did(Feedback.DISLIKE))
    gap = np.diff(views.end_tick[rows])
    return mean(gap[np.diff(views.user[rows]) == 0] < _SESSION_GAP)


def dwell_at(action: Feedback, views: Views) -> Float32:
    """float32[...], dwell of the impressions with the action, in seconds."""
    return views.dwell_seconds[views.did(action)]


def long_dwell_among_dislikes(views: Views) -> float:
    """Share of dislikes that follow a long view."""
    return mean(views.did(Feedback.LONG_DWELL)[views.did(Feedback.DISLIKE)])


def left_within(seconds: float, views: Views) -> float:
    """Share of impressions left within so many seconds, before the end of the item."""
    return mean((views.dwell_seconds < seconds) & _left_early(views))


def left_early(views: Views) -> float:
    """Share of impressions left before the end, the last hundredth of the duration not counted."""
    return mean(_left_early(views))


def _left_early(views: Views) -> Bool:
    early: Bool = views.dwell_seconds < np.float32(_WHOLE) * views.items.duration_seconds[views.item]
    return early


def retention(days: int, views: Views) -> float:
    """Of the users active on a day, the share active so many days later; pooled over all days that allow it."""
    then, later = views.active[:, :-days], views.active[:, days:]
    return mean(later[then])


def daily_long_view_rate(views: Views) -> Float64:
    """float64[n_users, n_days], NaN where there are fewer than 10 impressions."""
    day = np.minimum(views.start_tick // TICKS_PER_DAY, views.n_days - 1)
    cell = views.user.astype(np.int64) * views.n_days + day
    size = views.n_users * views.n_days
    n = np.bincount(cell, minlength=size)
    long = np.bincount(cell[views.did(Feedback.LONG_DWELL)], minlength=size)
    share = np.where(n >= 10, long / np.maximum(n, 1), np.nan)
    return np.asarray(share.reshape(views.n_users, views.n_days), dtype=np.float64)


def long_view_sd_between_users(views: Views) -> float:
    """Standard deviation over users of their mean daily long-view rate."""
    daily = daily_long_view_rate(views)
    daily = daily[~np.isnan(daily).all(axis=1)]
    return float(np.nanmean(daily, axis=1).std()) if len(daily) else float("nan")


def long_view_sd_within_users(views: Views) -> float:
    """Standard deviation of the daily long-view rate around each user's own mean."""
    daily = daily_long_view_rate(views)
    daily = daily[(~np.isnan(daily)).sum(axis=1) > 1]
    return float(np.sqrt(np.nanmean(np.nanvar(daily, axis=1, ddof=1)))) if len(daily) else float("nan")


def repeated_dislike_odds(same: str, views: Views) -> float:
    """How much more often users dislike where they have disliked before, against what is expected of the same users.

    Args:
        same: `creator` or `topic`, what an impression has in common with an earlier dislike of its user.
        views: the log.

    Returns:
        Dislikes on impressions of a creator (topic) that the user has disliked before, over the sum of the users' own
        dislike rates on these impressions.
    """
    features = views.items
    group, n_groups = (
        (features.creator, features.n_creators) if same == "creator" else (features.topic, features.n_topics)
    )
    cell = views.user.astype(np.int64) * n_groups + group[views.item]
    dislikes = views.did(Feedback.DISLIKE)
    first = np.full(views.n_users * n_groups, len(views), np.int64)
    rows = np.flatnonzero(dislikes)[::-1]
    first[cell[rows]] = rows  # reversed: the earliest dislike is written last and stays
    again = np.arange(len(views)) > first[cell]
    own_rate = views.user_dislikes / np.maximum(views.user_impressions, 1)
    expected = own_rate[views.user[again]].sum()
    return float(dislikes[again].sum() / expected) if expected > 0 else float("nan")


def impressions_per_user_day(views: Views) -> float:
    """Impressions over users and days, active or not."""
    return len(views) / (views.n_users * views.n_days)


def satisfaction(views: Views) -> float:
    """Mean over impressions of what a survey would say."""
    return mean(views.satisfaction)


STATISTICS: Mapping[str, Statistic] = {
    "dislikes_per_impression": partial(rate, Feedback.DISLIKE),
    "likes_per_impression": partial(rate, Feedback.LIKE),
    "long_view_rate": partial(rate, Feedback.LONG_DWELL),
    "impressions_per_session_mean": lambda v: mean(impressions_per_session(v)),
    "impressions_per_session_median": lambda v: quantile(impressions_per_session(v), 0.5),
    "session_minutes_mean": lambda v: mean(session_minutes(v)),
    "session_minutes_median": lambda v: quantile(session_minutes(v), 0.5),
    "sessions_per_active_day": sessions_per_active_day,
    "sessions_with_dislike": partial(sessions_with, Feedback.DISLIKE),
    "sessions_without_long_view": partial(sessions_without, Feedback.LONG_DWELL),
    "impressions_per_user_day_median": lambda v: quantile(active_impressions(v), 0.5) / v.n_days,
    "impressions_per_user_log_sd": log_impressions_sd,
    "impressions_per_user_day": impressions_per_user_day,
    "ever_dislike": ever_dislike,
    "dislike_within_34": dislike_within_34,
    "dislikes_q50": lambda v: quantile(dislikes_of_disliking(v), 0.5),
    "dislikes_q75": lambda v: quantile(dislikes_of_disliking(v), 0.75),
    "dislikes_q90": lambda v: quantile(dislikes_of_disliking(v), 0.9),
    "exactly_one_dislike": exactly_one_dislike,
    "dislikes_gini": dislikes_gini,
    "dislike_gaps_under_30_minutes": dislike_gaps_under_30_minutes,
    "dwell_at_dislike_median": lambda v: quantile(dwell_at(Feedback.DISLIKE, v), 0.5),
    "dwell_at_dislike_under_5_seconds": lambda v: mean(dwell_at(Feedback.DISLIKE, v) < 5.0),
    "long_dwell_among_dislikes": long_dwell_among_dislikes,
    "dwell_at_like_median": lambda v: quantile(dwell_at(Feedback.LIKE, v), 0.5),
    "long_view_sd_between_users": long_view_sd_between_users,
    "long_view_sd_within_users": long_view_sd_within_users,
    "left_within_5_seconds": partial(left_within, 5.0),
    "left_within_30_seconds": partial(left_within, 30.0),
    "left_early": left_early,
    "retention_1": partial(retention, 1),
    "retention_7": partial(retention, 7),
    "retention_30": partial(retention, 30),
    "repeated_creator_odds": partial(repeated_dislike_odds, "creator"),
    "repeated_topic_odds": partial(repeated_dislike_odds, "topic"),
    "satisfaction": satisfaction,
}
"""Name -> statistic of the log; the rows of a preset's target figures name them."""
