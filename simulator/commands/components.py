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


def metric_names() -> tuple[str, ...]:
    """Names of all metrics, in the order of a report."""
    from simulator.experiment.metrics import METRICS

    return tuple(METRICS)


def load(path: Path, overrides: Sequence[str] = (), seed: int | None = None) -> LoadedScenario:
    """Read a scenario against the recommenders and metrics that there are.

    A recommender given as `module:Class` may lie in the working folder, which Python does not search for an installed
    command.

    Raises:
        ScenarioErrors: with all that is wrong.
    """
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
    return load_scenario(path, overrides=overrides, seed=seed, configs=RegisteredConfigs(), metrics=metric_names())
