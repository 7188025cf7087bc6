"""The recommenders, metrics, behaviours and reports that there are, found when a command needs them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from simulator.scenario.loader import LoadedScenario, load_mapping, load_scenario
from simulator.scenario.parts import Parts
from simulator.scenario.shipped import find_scenario


class RegisteredRecommenders:
    """The registered recommenders, as the scenario loader asks for them."""

    def names(self) -> Sequence[str]:
        """All registered names."""
        from recommenders import registry

        return registry.KIND.names()

    def config_class(self, name: str) -> type[BaseModel]:
        """The class of a recommender's settings, by registered name or `module:Class`.

        Raises:
            LookupError: it cannot be loaded; the message says why.
        """
        from recommenders import registry
        from recommenders.base import RecommenderError

        try:
            return registry.config_class(name)
        except RecommenderError as error:
            raise LookupError(str(error)) from error

    def require_extra(self, name: str) -> None:
        """Check that the optional extra that a recommender needs is installed.

        Raises:
            LookupError: it is not; the message says what installs it.
        """
        from recommenders import registry
        from recommenders.base import RecommenderError

        try:
            registry.require_extra(name)
        except RecommenderError as error:
            raise LookupError(str(error)) from error


class RegisteredMetrics:
    """The registered metrics, as the scenario loader asks for them."""

    def built_in(self) -> Sequence[str]:
        """Names of the built-in metrics, in the order of a report."""
        from simulator.experiment.metrics import METRICS

        return tuple(METRICS)

    def names(self) -> Sequence[str]:
        """All registered names."""
        from simulator.experiment.metrics import registry

        return registry.KIND.names()

    def reported_name(self, name: str) -> str:
        """The `info.name` of a metric, by registered name or `module:object`.

        Raises:
            LookupError: it cannot be loaded; the message says why.
        """
        from simulator.experiment.metrics import MetricError, registry

        try:
            return registry.find_metric(name).info.name
        except MetricError as error:
            raise LookupError(str(error)) from error


class RegisteredBehaviours:
    """The registered user models, as the scenario loader asks for them."""

    def names(self) -> Sequence[str]:
        """All registered names."""
        from simulator.world import registry

        return registry.KIND.names()

    def config_class(self, name: str) -> type[BaseModel]:
        """The class of a user model's settings, by registered name or `module:Class`.

        Raises:
            LookupError: it cannot be loaded; the message says why.
        """
        from simulator.world import registry
        from simulator.world.behaviour import BehaviourError

        try:
            return registry.config_class(name)
        except BehaviourError as error:
            raise LookupError(str(error)) from error


class RegisteredReports:
    """The registered reports, as the scenario loader asks for them."""

    def names(self) -> Sequence[str]:
        """All registered names."""
        from simulator.report import registry

        return registry.KIND.names()

    def check(self, name: str) -> None:
        """Find a report by registered name or `module:function`.

        Raises:
            LookupError: it cannot be loaded; the message says why.
        """
        from simulator.report import ReportError, registry

        try:
            registry.find_report(name)
        except ReportError as error:
            raise LookupError(str(error)) from error


def registered_parts() -> Parts:
    """All that there is for a scenario to name."""
    return Parts(RegisteredRecommenders(), RegisteredMetrics(), RegisteredBehaviours(), RegisteredReports())


def search_working_folder() -> None:
    """Let parts given by their module lie in the working folder, where Python does not search for a command's."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)


Source = str | os.PathLike[str] | Mapping[str, Any] | LoadedScenario
"""A file or the bare name of a shipped scenario, settings as Python objects, or a scenario that was loaded before."""


def load(source: Source, overrides: Sequence[str] = (), seed: int | None = None) -> LoadedScenario:
    """Read a scenario against the recommenders, metrics, behaviours and reports that there are.

    Those given by their module may lie in the working folder.

    Raises:
        LookupError: a bare name that no shipped scenario has; the message names those that there are.
        ScenarioErrors: with all that is wrong.
    """
    search_working_folder()
    parts = registered_parts()
    if isinstance(source, LoadedScenario):
        settings = source.scenario.model_dump(mode="json")
        return load_mapping(settings, path=source.path, overrides=overrides, seed=seed, parts=parts)
    if isinstance(source, Mapping):
        return load_mapping(source, overrides=overrides, seed=seed, parts=parts)
    return load_scenario(find_scenario(os.fspath(source)), overrides=overrides, seed=seed, parts=parts)
