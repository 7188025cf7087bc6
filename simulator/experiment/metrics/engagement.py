"""Metrics of engagement: dwell, sessions, days of use and returns."""

from __future__ import annotations

import numpy as np

from recommenders.base import Float64
from simulator.experiment.estimators import PerUser
from simulator.experiment.metrics.base import EMPTY_WINDOW, LogView, Metric
from simulator.experiment.results import MetricInfo


def seconds_of_dwell(view: LogView) -> Float64:
    """float64[n_users], seconds of dwell in the window."""
    return view.sum_by_user(view.rows.user, view.rows.dwell_seconds)


def sessions_begun(view: LogView) -> Float64:
    """float64[n_users], sessions whose first request (step 0) lies in the window."""
    return view.count(view.opens_request & (view.rows.step == 0))


def dwell_per_user_day(view: LogView) -> PerUser:
    """Seconds of dwell, per user and day of the window; a part of a day counts as that part."""
    return PerUser(seconds_of_dwell(view), view.every_user(view.length_days), EMPTY_WINDOW)


def sessions_per_user_day(view: LogView) -> PerUser:
    """Sessions begun in the window, per user and day of the window; a part of a day counts as that part."""
    return PerUser(sessions_begun(view), view.every_user(view.length_days), EMPTY_WINDOW)


def daily_active_users(view: LogView) -> PerUser:
    """User-days with at least one slate, per user and day of the window."""
    active = np.zeros(view.n_users)
    for day in range(view.n_days):
        active += view.active_on(day)
    return PerUser(active, view.every_user(view.n_days), EMPTY_WINDOW)


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


DWELL: tuple[Metric, ...] = (
    Metric(
        MetricInfo(
            "dwell_per_user_day", "Dwell per user-day", "Seconds of dwell per user and day", "seconds", "higher"
        ),
        dwell_per_user_day,
    ),
)

SESSIONS: tuple[Metric, ...] = (
    Metric(
        MetricInfo(
            "sessions_per_user_day", "Sessions per user-day", "Sessions begun per user and day", "count", "higher"
        ),
        sessions_per_user_day,
    ),
)

DAYS: tuple[Metric, ...] = (
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
)
