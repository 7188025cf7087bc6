"""Metrics of engagement: dwell, sessions, days of use and returns."""

from __future__ import annotations

import numpy as np

from recommenders.base import Feedback, Float64
from simulator.experiment.estimators import PerUser
from simulator.experiment.metrics.base import EMPTY_WINDOW, LogView, Metric
from simulator.experiment.results import MetricInfo

NO_SESSIONS = "no session began in the window"
SECONDS_PER_HOUR = 3_600


def seconds_of_dwell(view: LogView) -> Float64:
    """float64[n_users], seconds of dwell in the window."""
    return view.sum_by_user(view.rows.user, view.rows.dwell_seconds)


def sessions_begun(view: LogView) -> Float64:
    """float64[n_users], sessions whose first request (step 0) lies in the window."""
    return view.count(view.opens_request & (view.rows.step == 0))


def dwell_per_user_day(view: LogView) -> PerUser:
    """Seconds of dwell, per user and day of the window; a part of a day counts as that part."""
    return PerUser(seconds_of_dwell(view), view.every_user(view.length_days), EMPTY_WINDOW)


def satisfied_dwell_per_user_day(view: LogView) -> PerUser:
    """Seconds of the long dwells without a dislike or a dismissal, per user and day of the window.

    A part of a day counts as that part.
    """
    satisfied = view.flagged(Feedback.LONG_DWELL) & ~view.flagged(Feedback.DISLIKE | Feedback.DISMISS)
    seconds = view.sum_by_user(view.rows.user[satisfied], view.rows.dwell_seconds[satisfied])
    return PerUser(seconds, view.every_user(view.length_days), EMPTY_WINDOW)


def sessions_per_user_day(view: LogView) -> PerUser:
    """Sessions begun in the window, per user and day of the window; a part of a day counts as that part."""
    return PerUser(sessions_begun(view), view.every_user(view.length_days), EMPTY_WINDOW)


def impressions_per_session(view: LogView) -> PerUser:
    """Impressions of the window, per session begun in it.

    What a session brings over the edge of the window counts on the side where it happens: what comes in and what goes
    out is equal on average, and sessions per user-day times impressions per session is impressions per user-day.
    """
    return PerUser(view.impressions, sessions_begun(view), NO_SESSIONS)


def dwell_per_session(view: LogView) -> PerUser:
    """Seconds of dwell in the window, per session begun in it; edges as with `impressions_per_session`."""
    return PerUser(seconds_of_dwell(view), sessions_begun(view), NO_SESSIONS)


def daily_active_users(view: LogView) -> PerUser:
    """User-days with at least one slate, per user and day of the window."""
    active = np.zeros(view.n_users)
    for day in range(view.n_days):
        active += view.active_on(day)
    return PerUser(active, view.every_user(view.n_days), EMPTY_WINDOW)


def viewers(view: LogView) -> PerUser:
    """User-days with at least one long dwell, per user and day of the window.

    To be served a slate is to be active, whatever one makes of it; to watch something is to be a viewer.
    """
    viewing = np.zeros(view.n_users)
    for day in view.days:
        viewing += day.count(day.flagged(Feedback.LONG_DWELL)) > 0
    return PerUser(viewing, view.every_user(view.n_days), EMPTY_WINDOW)


def heavy_users(view: LogView, seconds: float) -> PerUser:
    """User-days with at least so many seconds of dwell, per user and day of the window."""
    heavy = np.zeros(view.n_users)
    for day in view.days:
        heavy += seconds_of_dwell(day) >= seconds
    return PerUser(heavy, view.every_user(view.n_days), EMPTY_WINDOW)


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
    Metric(
        MetricInfo(
            "satisfied_dwell_per_user_day",
            "Satisfied dwell per user-day",
            "Seconds of long dwells without a dislike or a dismissal, per user and day",
            "seconds",
            "higher",
        ),
        satisfied_dwell_per_user_day,
    ),
)

SESSIONS: tuple[Metric, ...] = (
    Metric(
        MetricInfo(
            "sessions_per_user_day", "Sessions per user-day", "Sessions begun per user and day", "count", "higher"
        ),
        sessions_per_user_day,
    ),
    Metric(
        MetricInfo(
            "session_impressions",
            "Impressions per session",
            "Impressions looked at, per session begun",
            "count",
            "higher",
        ),
        impressions_per_session,
    ),
    Metric(
        MetricInfo("dwell_per_session", "Dwell per session", "Seconds of dwell per session begun", "seconds", "higher"),
        dwell_per_session,
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
            "viewers",
            "Daily viewers",
            "User-days with at least one long dwell, per user and day",
            "share",
            "higher",
        ),
        viewers,
    ),
    Metric(
        MetricInfo(
            "heavy_users",
            "Heavy users",
            "User-days with at least one hour of dwell, per user and day",
            "share",
            "higher",
        ),
        lambda view: heavy_users(view, SECONDS_PER_HOUR),
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
