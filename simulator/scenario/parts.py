"""What a scenario can name: recommenders, metrics, behaviours, reports. The shell looks them up in their registries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel

from simulator.scenario.faults import one_of


class PartLookup(Protocol):
    """Which parts of a kind there are."""

    def names(self) -> Sequence[str]:
        """All registered names, the built-in ones first."""
        ...


class ConfigLookup(PartLookup, Protocol):
    """Parts that take settings."""

    def config_class(self, name: str) -> type[BaseModel]:
        """The class of a part's settings, by registered name or `module:Class`.

        Raises:
            LookupError: there is no such part; the message says why.
        """
        ...


class RecommenderLookup(ConfigLookup, Protocol):
    """Recommenders, which may need a library."""

    def require_extra(self, name: str) -> None:
        """Check that the library that a recommender needs is installed.

        Raises:
            LookupError: it is not; the message says what installs it.
        """
        ...


class MetricLookup(PartLookup, Protocol):
    """Metrics."""

    def built_in(self) -> Sequence[str]:
        """Names of the metrics that are reported where a scenario names none."""
        ...

    def reported_name(self, name: str) -> str:
        """What reports and thresholds call a metric, by registered name or `module:object`.

        Raises:
            LookupError: there is none; the message says why.
        """
        ...


class ReportLookup(PartLookup, Protocol):
    """Reports."""

    def check(self, name: str) -> None:
        """Find a report by registered name or `module:function`.

        Raises:
            LookupError: there is none; the message says why.
        """
        ...


@dataclass(frozen=True)
class Parts:
    """All that a scenario can name.

    Attributes:
        recommenders: of arms and of the logging policy.
        metrics: what an A/B test measures.
        behaviours: user models.
        reports: what is written of a finished run.
    """

    recommenders: RecommenderLookup
    metrics: MetricLookup
    behaviours: ConfigLookup
    reports: ReportLookup


def expected_part(kind: str, attribute: str, name: str, lookup: PartLookup, error: LookupError) -> str:
    """What was expected where a name leads to no part.

    Args:
        kind: such as `recommender`.
        attribute: what stands after the colon of `module:attribute`, such as `Class`.
        name: what was written.
        lookup: the parts that there are.
        error: why there is none of that name.
    """
    names = () if ":" in name else lookup.names()
    if ":" in name or name in names:
        reason = error.args[0] if error.args else "not found"
        return f"a {kind} that can be loaded ({reason})"
    others = f"{one_of(names, name)}, or " if names else ""
    return f"{others}module:{attribute}"
