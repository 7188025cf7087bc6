"""A metric: how often users dislike what they have watched long."""

from recommenders.base import Feedback
from simulator.experiment.metrics import LogView, Metric, MetricInfo, PerUser


def compute(view: LogView) -> PerUser:
    watched, disliked = view.flagged(Feedback.LONG_DWELL), view.flagged(Feedback.DISLIKE)
    return PerUser(view.count(watched & disliked), view.count(watched), "nobody watched anything long")


regret = Metric(
    MetricInfo(
        name="regret",
        label="Regret",
        definition="Long dwells that end in a dislike, per long dwell",
        unit="share",
        better="lower",
    ),
    compute,
)
