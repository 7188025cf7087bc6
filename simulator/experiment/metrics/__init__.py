"""What an A/B test measures: each metric from one arm's event log, as parts per user.

A metric of your own needs nothing else than the names that this package exports; docs/metrics.md says how.
"""

from simulator.experiment.estimators import PerUser
from simulator.experiment.metrics.base import AnyMetric, LogView, Metric, MetricError, WorldMetric
from simulator.experiment.metrics.registry import METRICS, select_metrics
from simulator.experiment.results import MetricInfo

__all__ = [
    "METRICS",
    "AnyMetric",
    "LogView",
    "Metric",
    "MetricError",
    "MetricInfo",
    "PerUser",
    "WorldMetric",
    "select_metrics",
]
