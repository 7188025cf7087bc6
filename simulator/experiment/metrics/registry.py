"""Find a metric by name, and list what there is.

Three ways to name one: a built-in name (`dislike_rate`), a name that an installed package offers by an entry point of
the group `pushback.metrics`, or `module:object`. The object is a `Metric` or a `WorldMetric`; reports and thresholds
call it by its `info.name`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recommenders.plugins import Entry, Kind, Loaded
from simulator.experiment.metrics import engagement, feedback, slates, survey
from simulator.experiment.metrics.base import AnyMetric, Metric, MetricError, WorldMetric
from simulator.experiment.metrics.contract import check_info

METRICS: Mapping[str, AnyMetric] = {
    metric.info.name: metric
    for metric in (
        *feedback.RATES,
        *engagement.DWELL,
        *engagement.SESSIONS,
        *engagement.DAYS,
        *feedback.REPEATS,
        *feedback.USERS,
        *survey.SURVEY,
        *slates.DIVERSITY,
    )
}
"""The built-in metrics by name, in the order in which a report shows them."""


KIND = Kind("metric", "object", METRICS, MetricError)


def select_metrics(names: Sequence[str]) -> tuple[AnyMetric, ...]:
    """The named metrics in the order given; all built-in ones for no names.

    Raises:
        MetricError: a name leads nowhere or to what is no metric, or two lead to the same `info.name`.
    """
    chosen: dict[str, AnyMetric] = {}
    for name in names or METRICS:
        metric = find_metric(name)
        if metric.info.name in chosen:
            raise MetricError(f"metrics: got {metric.info.name!r} a second time, from {name!r}, expected each once")
        chosen[metric.info.name] = metric
    return tuple(chosen.values())


def find_metric(name: str) -> AnyMetric:
    """The metric of a name; other packages are looked through for unknown bare names only, as that takes a while.

    Raises:
        MetricError: no such name, it cannot be imported, or it is not a metric.
    """
    return METRICS[name] if name in METRICS else _load(KIND.find(name))


def describe_all() -> list[Loaded[AnyMetric]]:
    """All metrics with a name: the built-in ones in report order, then those of other packages, by name."""
    built_in = [Loaded[AnyMetric](Entry(name, f"{__name__}:METRICS"), metric) for name, metric in METRICS.items()]
    return [*built_in, *KIND.load_installed(_load)]


def _load(entry: Entry) -> AnyMetric:
    found = KIND.load(entry)
    if not isinstance(found, Metric | WorldMetric):
        raise MetricError(f"metric {entry.name!r}: {entry.target!r}: got {found!r}, expected a Metric or a WorldMetric")
    check_info(found.info, entry.name)
    name = found.info.name
    if name in METRICS and METRICS[name] is not found:
        raise MetricError(
            f"metric {entry.name!r}: info.name: got {name!r}, expected a name that no built-in metric has"
        )
    if entry.name not in (name, entry.target):
        raise MetricError(
            f"metric {entry.name!r}: info.name: got {name!r}, expected {entry.name!r} as in its entry point"
        )
    return found
