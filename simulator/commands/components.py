"""The recommenders and metrics that there are, found when a command needs them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from simulator.scenario.loader import LoadedScenario, load_scenario


class RegisteredConfigs:
    """The settings of the registered recommenders, as the scenario loader asks for them."""

    def names(self) -> Sequence[str]:
        """All registered names."""
        from recommenders import registry

        return [entry.name for entry in registry.describe_all()]

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
        except (Exception, SystemExit) as error:  # importing somebody's module may raise whatever it likes
            raise LookupError(f"{type(error).__name__} while importing it: {error}") from error


class RegisteredMetrics:
    """The registered metrics, as the scenario loader asks for them."""

    def built_in(self) -> Sequence[str]:
        """Names of the built-in metrics, in the order of a report."""
        from simulator.experiment.metrics import METRICS

        return tuple(METRICS)

    def names(self) -> Sequence[str]:
        """All registered names."""
        from simulator.experiment.metrics import registry

        return registry.metric_names()

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


def load(path: Path, overrides: Sequence[str] = (), seed: int | None = None) -> LoadedScenario:
    """Read a scenario against the recommenders and metrics that there are.

    A recommender or a metric given by its module may lie in the working folder.

    Raises:
        ScenarioErrors: with all that is wrong.
    """
    search_working_folder()
    return load_scenario(path, overrides=overrides, seed=seed, configs=RegisteredConfigs(), metrics=RegisteredMetrics())


def search_working_folder() -> None:
    """Let modules be imported from the working folder, which Python does not search for an installed command."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
