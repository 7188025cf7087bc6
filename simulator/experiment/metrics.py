"""What an A/B test measures: each metric from one arm's event log, as parts per user.

An *impression* here is an examined row of the log: nobody reacts to what they did not look at. Slates are counted as
served, examined or not. A *day* is 24 simulated hours, counted from the start of the window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from recommenders.base import Bool, Feedback, Float64, Int32, ItemFeatures
from simulator.engine.log import EventLog
from simulator.experiment.estimators import PerUser
from simulator.experiment.results import MetricInfo
from simulator.scenario.durations import TICKS_PER_DAY

NO_IMPRESSIONS = "nobody looked at anything"
NO_REQUESTS = "nobody was served a slate"


@dataclass(frozen=True, eq=False)
class LogView:
    """The window [start_tick, end_tick) of one arm's event log.

    Attributes:
        log: the arm's log; it may begin before the window (with the warm-up), and metrics that look back use that.
        items: of the catalogue; item ids in the log are its rows.
        n_users: number of users in the experiment; user ids are below it. Users without a row count as inactive.
        start_tick, end_tick: the window, in ticks.
        horizon_tick: how far metrics may look ahead of the window; None for its end.
    """

    log: EventLog
    items: ItemFeatures
    n_users: int
    start_tick: int
    end_tick: int
    horizon_tick: int | None = None

    @cached_property
    def rows(self) -> EventLog:
        """The impressions of the window, examined or not."""
        return self.log.between(self.start_tick, self.end_tick)

    @cached_property
    def impressions(self) -> Float64:
        """float64[n_users], examined impressions of each user."""
        return self.count((self.rows.feedback & Feedback.EXAMINED) != 0)

    @cached_property
    def opens_request(self) -> Bool:
        """bool[e], the first row of each request (slot 0)."""
        first: Bool = self.rows.slot == 0
        return first

    @property
    def n_days(self) -> int:
        """Days of the window; a last part of a day counts as one."""
        return -(-(self.end_tick - self.start_tick) // TICKS_PER_DAY)

    def count(self, chosen: Bool) -> Float64:
        """float64[n_users], chosen rows of each user; `chosen` is bool[e] over the rows of the window."""
        return np.bincount(self.rows.user[chosen], minlength=self.n_users).astype(np.float64)

    def sum_by_user(self, user: Int32, value: npt.NDArray[np.floating]) -> Float64:
        """float64[n_users], the sum of `value[m]` over the rows of `user`, int32[m]."""
        return np.bincount(user, weights=value, minlength=self.n_users).astype(np.float64)

    def every_user(self, value: float) -> Float64:
        """float64[n_users], the same value for each user."""
        return np.full(self.n_users, value, dtype=np.float64)

    def active_on(self, day: int) -> Bool:
        """bool[n_users], who was served a slate on a day, counted from the start of the window (up to the horizon)."""
        start = self.start_tick + day * TICKS_PER_DAY
        served = self.log.between(start, min(start + TICKS_PER_DAY, self._horizon))
        active = np.zeros(self.n_users, dtype=np.bool_)
        active[served.user] = True
        return active

    def is_whole(self, day: int) -> bool:
        """Whether a day lies inside the horizon from beginning to end."""
        return self.start_tick + (day + 1) * TICKS_PER_DAY <= self._horizon

    def day(self, day: int) -> LogView:
        """One day of the window, from 0; it looks back and ahead as far as this view does.

        Raises:
            ValueError: no such day in the window.
        """
        if not 0 <= day < self.n_days:
            raise ValueError(f"day: got {day}, expected 0 to {self.n_days - 1}")
        start = self.start_tick + day * TICKS_PER_DAY
        end = min(start + TICKS_PER_DAY, self.end_tick)
        return replace(self, start_tick=start, end_tick=end, horizon_tick=self._horizon)

    @property
    def _horizon(self) -> int:
        return self.end_tick if self.horizon_tick is None else self.horizon_tick


@dataclass(frozen=True)
class Metric:
    """A ratio of sums over users."""

    info: MetricInfo
    compute: Callable[[LogView], PerUser]


@dataclass(frozen=True)
class WorldMetric:
    """A metric of the world as a whole: one number, which has no spread over users and hence no interval.

    `compute` gives NaN where the number cannot be had.
    """

    info: MetricInfo
    compute: Callable[[LogView], float]


def flag_rate(view: LogView, flag: Feedback) -> PerUser:
    """Impressions with a feedback flag, per impression."""
    return PerUser(view.count((view.rows.feedback & flag) != 0), view.impressions, NO_IMPRESSIONS)


def dwell_per_user_day(view: LogView) -> PerUser:
    """Seconds of dwell, per user and day of the window; a part of a day counts as that part."""
    seconds = view.sum_by_user(view.rows.user, view.rows.dwell_seconds)
    return PerUser(seconds, view.every_user((view.end_tick - view.start_tick) / TICKS_PER_DAY), "the window is empty")


def sessions_per_user_day(view: LogView) -> PerUser:
    """Sessions begun in the window (step 0), per user and day of the window; a part of a day counts as that part."""
    begun = view.count(view.opens_request & (view.rows.step == 0))
    return PerUser(begun, view.every_user((view.end_tick - view.start_tick) / TICKS_PER_DAY), "the window is empty")


def daily_active_users(view: LogView) -> PerUser:
    """User-days with at least one slate, per user and day of the window."""
    active = np.zeros(view.n_users)
    for day in range(view.n_days):
        active += view.active_on(day)
    return PerUser(active, view.every_user(view.n_days), "the window is empty")


def return_after(view: LogView, days: int) -> PerUser:
    """Of the user-days with a slate, the share whose user had one again exactly `days` days later.

    Only days count whose later day lies inside the horizon as a whole.
    """
    returned, active = np.zeros(view.n_users), np.zeros(view.n_users)
    for day in range(view.n_days):
        if view.is_whole(day + days):
            here = view.active_on(day)
            active += here
            returned += here & view.active_on(day + days)
    return PerUser(returned, active, f"no active user-day has a whole day +{days} in the window")


def repeat_dislikes(view: LogView, group: Int32) -> PerUser:
    """Dislikes on a group that the same user has disliked in an earlier row of the log, per impression.

    "Earlier" reaches back before the window, as far as the log does, and includes higher slots of the same slate.

    Args:
        view: the window.
        group: int32[n_items], creator or topic of each item.
    """
    first, end = np.searchsorted(view.log.tick, [view.start_tick, view.end_tick])
    disliked = np.flatnonzero((view.log.feedback[:end] & Feedback.DISLIKE) != 0)
    user = view.log.user[disliked]
    pair = user * np.int64(group.max(initial=0) + 1) + group[view.log.item[disliked]]
    is_repeat = np.ones(len(disliked), dtype=np.bool_)
    is_repeat[np.unique(pair, return_index=True)[1]] = False
    repeats = np.bincount(user[is_repeat & (disliked >= first)], minlength=view.n_users)
    return PerUser(repeats.astype(np.float64), view.impressions, NO_IMPRESSIONS)


def dismissing_users(view: LogView) -> PerUser:
    """Users with at least one dismissal, per user."""
    dismissals = view.count((view.rows.feedback & Feedback.DISMISS) != 0)
    return PerUser((dismissals > 0).astype(np.float64), view.every_user(1.0))


def satisfaction(view: LogView) -> PerUser:
    """Sum of the survey's answers over requests, per request."""
    user, answer = view.rows.user[view.opens_request], view.rows.satisfaction[view.opens_request]
    total = view.sum_by_user(user, answer)
    return PerUser(total, view.count(view.opens_request), NO_REQUESTS)


def slate_diversity(view: LogView) -> PerUser:
    """Sum over requests of (distinct primary topics / slate size), per request."""
    request = np.cumsum(view.opens_request) - 1
    n_requests = int(request[-1]) + 1 if len(request) else 0
    # By sort, not np.unique, whose hashing made this metric take 6.2 s instead of 0.2 s on 5 M rows.
    cell = np.sort(request * np.int64(view.items.n_topics) + view.items.topic[view.rows.item])
    is_new = np.diff(cell, prepend=-1) != 0
    distinct = np.bincount(cell[is_new] // view.items.n_topics, minlength=n_requests)
    size = np.bincount(request, minlength=n_requests)
    user = view.rows.user[view.opens_request]
    total = view.sum_by_user(user, distinct / size)
    return PerUser(total, view.count(view.opens_request), NO_REQUESTS)


def catalogue_coverage(view: LogView) -> float:
    """Share of the items released before the end of the window that were shown in it; NaN if there are none."""
    n_released = np.count_nonzero(view.items.release_tick < view.end_tick)
    n_shown = np.count_nonzero(np.bincount(view.rows.item, minlength=view.items.n_items))
    return n_shown / n_released if n_released else float("nan")


_ALL: tuple[Metric | WorldMetric, ...] = (
    Metric(
        MetricInfo("dislike_rate", "Dislike rate", "Dislikes per impression looked at", "share", "lower"),
        lambda view: flag_rate(view, Feedback.DISLIKE),
    ),
    Metric(
        MetricInfo("skip_rate", "Skip rate", "Skips per impression looked at", "share", "lower"),
        lambda view: flag_rate(view, Feedback.SKIP),
    ),
    Metric(
        MetricInfo("long_view_rate", "Long-view rate", "Long dwells per impression looked at", "share", "higher"),
        lambda view: flag_rate(view, Feedback.LONG_DWELL),
    ),
    Metric(
        MetricInfo("like_rate", "Like rate", "Likes per impression looked at", "share", "higher"),
        lambda view: flag_rate(view, Feedback.LIKE),
    ),
    Metric(
        MetricInfo(
            "dwell_per_user_day", "Dwell per user-day", "Seconds of dwell per user and day", "seconds", "higher"
        ),
        dwell_per_user_day,
    ),
    Metric(
        MetricInfo(
            "sessions_per_user_day", "Sessions per user-day", "Sessions begun per user and day", "count", "higher"
        ),
        sessions_per_user_day,
    ),
    Metric(
        MetricInfo(
            "daily_active_users",
            "Daily active users",
            "User-days with at least one slate, per user and day",
            "share",
            "higher",
        ),
        daily_active_users,
    ),
    Metric(
        MetricInfo(
            "return_1d",
            "Return after 1 day",
            "User-days whose user is active again on the next day, per active user-day with a whole next day",
            "share",
            "higher",
        ),
        lambda view: return_after(view, 1),
    ),
    Metric(
        MetricInfo(
            "return_7d",
            "Return after 7 days",
            "User-days whose user is active again exactly 7 days later, per active user-day with a whole day then",
            "share",
            "higher",
        ),
        lambda view: return_after(view, 7),
    ),
    Metric(
        MetricInfo(
            "repeat_dislikes_creator",
            "Repeated dislikes, same creator",
            "Dislikes on a creator that the user has disliked before, per impression looked at",
            "share",
            "lower",
        ),
        lambda view: repeat_dislikes(view, view.items.creator),
    ),
    Metric(
        MetricInfo(
            "repeat_dislikes_topic",
            "Repeated dislikes, same topic",
            "Dislikes on a topic that the user has disliked before, per impression looked at",
            "share",
            "lower",
        ),
        lambda view: repeat_dislikes(view, view.items.topic),
    ),
    Metric(
        MetricInfo(
            "dismissing_users", "Users who dismiss", "Users with at least one dismissal, per user", "share", "lower"
        ),
        dismissing_users,
    ),
    Metric(
        MetricInfo("satisfaction", "Satisfaction", "Mean survey answer over requests", "score", "higher"),
        satisfaction,
    ),
    Metric(
        MetricInfo(
            "slate_diversity",
            "Slate diversity",
            "Distinct topics in a slate over its size, mean over requests",
            "share",
            "neither",
        ),
        slate_diversity,
    ),
    WorldMetric(
        MetricInfo(
            "catalogue_coverage",
            "Catalogue coverage",
            "Items shown at least once, per item released by the end",
            "share",
            "neither",
        ),
        catalogue_coverage,
    ),
)

METRICS: dict[str, Metric | WorldMetric] = {metric.info.name: metric for metric in _ALL}
"""All metrics by name, in the order in which a report shows them."""


def select_metrics(names: Sequence[str]) -> tuple[Metric | WorldMetric, ...]:
    """The named metrics in the order given; all of them for no names.

    Raises:
        ValueError: a name is unknown.
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise ValueError(f"metrics: got {', '.join(unknown)}, expected names among {', '.join(METRICS)}")
    return tuple(METRICS[name] for name in (names or METRICS))
