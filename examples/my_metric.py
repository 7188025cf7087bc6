"""A metric of your own: how often a slate shows two items of one creator in a row.

pushback run quickstart --set metrics=[dislike_rate,examples.my_metric:monotony]
"""

import numpy as np

from simulator.experiment.metrics import LogView, Metric, MetricInfo, PerUser


def compute(view: LogView) -> PerUser:
    # One row an impression, in order of (tick, user, slot): the rows of a slate follow each other.
    creator = view.items.creator[view.rows.item]
    same = np.diff(creator, prepend=-1) == 0
    below = ~view.opens_request
    return PerUser(view.count(same & below), view.count(below), "no slate has two items")


monotony = Metric(
    MetricInfo(
        name="monotony",
        label="Monotony",
        definition="Items by the creator of the item above them, per item that has one above it",
        unit="share",
        better="neither",
    ),
    compute,
)
