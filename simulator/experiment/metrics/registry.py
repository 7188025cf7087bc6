"""Find a metric by name, and list what there is.

Three ways to name one: a built-in name (`dislike_rate`), a name that an installed package offers by an entry point of
the group `pushback.metrics`, or `module:object`. The object is a `Metric` or a `WorldMetric`; reports and thresholds
call it by its `info.name`.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

from simulator.experiment.metrics import engagement, feedback, slates, survey
from simulator.experiment.metrics.base import AnyMetric, Metric, MetricError, WorldMetric
from simulator.experiment.metrics.contract import check_info
from simulator.experiment.results import MetricInfo

ENTRY_POINT_GROUP = "pushback.metrics"
OWN = "pushback"

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


@dataclass(frozen=True)
class Listed:
    """A metric that a scenario can name.

    Attributes:
        name: what the scenario writes.
        provider: `pushback`, or the distribution that brings it.
        info: what it says about itself; None where it cannot be loaded.
        problem: why it cannot be loaded; empty otherwise.
    """

    name: str
    provider: str
    info: MetricInfo | None
    problem: str = ""


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
    if name in METRICS:
        return METRICS[name]
    if ":" in name:
        return _load(name, name)
    installed = _installed()
    if name in installed:
        return _load_installed(installed[name])
    known = [*METRICS, *installed]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise MetricError(f"metric: got {name!r}, expected one of {', '.join(known)}, or module:object{hint}")


def metric_names() -> tuple[str, ...]:
    """All names: the built-in ones, then those of other packages, without importing these."""
    return (*METRICS, *_installed())


def describe_all() -> list[Listed]:
    """All metrics with a name: the built-in ones in report order, then those of other packages, by name."""
    built_in = [Listed(name, OWN, metric.info) for name, metric in METRICS.items()]
    return [*built_in, *(_described(point) for point in _installed().values())]


def _load(name: str, target: str) -> AnyMetric:
    module_name, _, attribute = target.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (Exception, SystemExit) as error:  # importing somebody's module may raise whatever it likes
        reason = str(error) if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {error}"
        raise MetricError(f"metric {name!r}: cannot import {target!r}: {reason}") from error
    if not isinstance(found, Metric | WorldMetric):
        raise MetricError(f"metric {name!r}: {target!r}: got {found!r}, expected a Metric or a WorldMetric")
    check_info(found.info, name)
    if found.info.name in METRICS and METRICS[found.info.name] is not found:
        raise MetricError(
            f"metric {name!r}: info.name: got {found.info.name!r}, expected a name that no built-in metric has"
        )
    return found


def _load_installed(point: metadata.EntryPoint) -> AnyMetric:
    metric = _load(point.name, point.value)
    if metric.info.name != point.name:
        raise MetricError(
            f"metric {point.name!r}: info.name: got {metric.info.name!r}, expected {point.name!r} as in its entry point"
        )
    return metric


def _installed() -> dict[str, metadata.EntryPoint]:
    """Entry points of other packages by name, in order of name; a built-in name cannot be taken over."""
    points = sorted(metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda point: (point.name, point.value))
    found: dict[str, metadata.EntryPoint] = {}
    for point in points:
        if point.name not in METRICS:
            found.setdefault(point.name, point)
    return found


def _described(point: metadata.EntryPoint) -> Listed:
    """A listing must survive a plug-in that cannot be loaded: its line then says so."""
    provider = point.dist.name if point.dist is not None else "unknown"
    try:
        return Listed(point.name, provider, _load_installed(point).info)
    except MetricError as error:
        return Listed(point.name, provider, None, str(error))
