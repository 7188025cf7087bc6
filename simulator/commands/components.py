"""The recommenders, metrics, behaviours and reports that there are, found when a command needs them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from simulator.scenario.loader import LoadedScenario, load_scenario
from simulator.scenario.parts import Parts


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


def load(path: Path, overrides: Sequence[str] = (), seed: int | None = None) -> LoadedScenario:
    """Read a scenario against the recommenders, metrics, behaviours and reports that there are.

    Those given by their module may lie in the working folder.

    Raises:
        ScenarioErrors: with all that is wrong.
    """
    search_working_folder()
    return load_scenario(path, overrides=overrides, seed=seed, parts=registered_parts())
