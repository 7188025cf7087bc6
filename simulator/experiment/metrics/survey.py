"""Metrics of the survey: what users would say if they were asked."""

from __future__ import annotations

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


SURVEY: tuple[Metric, ...] = (
    Metric(
        MetricInfo("satisfaction", "Satisfaction", "Mean survey answer over requests", "score", "higher"),
        satisfaction,
    ),
)
