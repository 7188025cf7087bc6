"""Metrics of the survey: what users would say if they were asked."""

from __future__ import annotations

import numpy as np

from recommenders.base import Float64
from simulator.experiment.estimators import PerUser
from simulator.experiment.metrics.base import NO_REQUESTS, LogView, Metric
from simulator.experiment.results import MetricInfo


def answers(view: LogView) -> Float64:
    """float64[n_users], the sum of the survey's answers over the requests of the window."""
    return view.sum_by_user(view.rows.user[view.opens_request], view.rows.satisfaction[view.opens_request])


def satisfaction(view: LogView) -> PerUser:
    """Sum of the survey's answers over requests, per request."""
    return PerUser(answers(view), view.count(view.opens_request), NO_REQUESTS)


def enjoyment(view: LogView) -> PerUser:
    """Mean answer of each active user-day, summed over them, per active user-day.

    It is what a survey finds on average that asks each active user once a day, at a request drawn at random. Per
    request, as `satisfaction` counts, long days weigh more, and users have long days when they are satisfied.
    """
    means, active = np.zeros(view.n_users), np.zeros(view.n_users)
    for day in view.days:
        requests = day.count(day.opens_request)
        # A user without a request has no answers either: 0 / 1 adds nothing.
        means += answers(day) / np.maximum(requests, 1)
        active += requests > 0
    return PerUser(means, active, NO_REQUESTS)


SURVEY: tuple[Metric, ...] = (
    Metric(
        MetricInfo("satisfaction", "Satisfaction", "Mean survey answer over requests", "score", "higher"),
        satisfaction,
    ),
    Metric(
        MetricInfo(
            "enjoyment",
            "Enjoyment",
            "Sum over active user-days of the day's mean survey answer, per active user-day",
            "score",
            "higher",
        ),
        enjoyment,
    ),
)
