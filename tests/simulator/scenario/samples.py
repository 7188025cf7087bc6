"""What the scenario tests share: stand-in recommenders and metrics, and scenarios that are right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from recommenders.base import Config
from simulator.scenario.loader import LoadedScenario, load_scenario
from simulator.scenario.parts import Parts

WRONG = Path(__file__).resolve().parents[2] / "wrong_scenarios"


class EmptyConfig(Config):
    pass


class SequenceConfig(Config):
    dislike_input: bool = False
    """Whether the dislike is an input feature."""
    not_to_recommend_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the loss."""
    epochs: Annotated[int, Field(ge=1)] = 5
    layers: tuple[int, ...] = (32,)


class WrapperConfig(Config):
    inner: str
    days: int = 7


class StandInConfigs:
    """Plays `recommenders.registry`."""

    _classes: dict[str, type[BaseModel]] = {  # noqa: RUF012
        "random": EmptyConfig,
        "popularity": EmptyConfig,
        "gru4rec": SequenceConfig,
        "wrapper": WrapperConfig,
    }

    def names(self) -> tuple[str, ...]:
        return tuple(self._classes)

    def config_class(self, name: str) -> type[BaseModel]:
        if name == "my_module:Mine":
            return EmptyConfig
        if name not in self._classes:
            raise LookupError(f"no module named {name.partition(':')[0]}")
        return self._classes[name]

    def require_extra(self, name: str) -> None:
        pass


class StandInMetrics:
    """Plays `simulator.experiment.metrics.registry`; another package brings `boredom`."""

    _built_in = ("dislike_rate", "skip_rate", "long_view_rate", "sessions_per_user_day")

    def built_in(self) -> tuple[str, ...]:
        return self._built_in

    def names(self) -> tuple[str, ...]:
        return (*self._built_in, "boredom")

    def reported_name(self, name: str) -> str:
        if name == "my_module:mine":
            return "own_metric"
        if name not in self.names():
            raise LookupError(f"no module named {name.partition(':')[0]}")
        return name


class StandInBehaviours:
    """Plays `simulator.world.registry`; another package brings `hasty`."""

    def names(self) -> tuple[str, ...]:
        return ("utility", "hasty")

    def config_class(self, name: str) -> type[BaseModel]:
        if name not in self.names():
            raise LookupError(f"no module named {name.partition(':')[0]}")
        return WrapperConfig if name == "hasty" else EmptyConfig


class StandInReports:
    """Plays `simulator.report.registry`; another package brings `table`."""

    def names(self) -> tuple[str, ...]:
        return ("table",)

    def check(self, name: str) -> None:
        if name not in ("table", "my_module:page"):
            raise LookupError(f"no module named {name.partition(':')[0]}")


PARTS = Parts(StandInConfigs(), StandInMetrics(), StandInBehaviours(), StandInReports())

MINIMAL = """\
question: Does it respond?
expected: It does.
run_time: 1 s
arms:
  - name: base
    recommender: popularity
control: base
ab_test: {}
"""

FULL = """\
# yaml-language-server: $schema=../docs/scenario.schema.json
question: "Does the not-to-recommend loss respond?"
expected: Yes, by a third.
run_time: 60 s on two cores
seed: 7
world:
  preset: lively
  catalogue: {items: 300, creators: 40, topics: 8, lifetime: null, released_share: 0.9}
  population:
    users: 200
    drift_time: 1w 2d
    expressiveness: &loud
      silent_share: 1e-3
      max_probability: .9
  engagement: {feedback: true, short_gap_median: 90m}
platform:
  slate_size: 5
  ingestion_delay: 2m
  retrain_every: 1d
logging_policy: {recommender: random}
warm_up: 2d 12h
arms:
  - &base
    name: base
    recommender: gru4rec
    config: {epochs: 2}
  - name: ntr
    recommender: gru4rec
    config:
      dislike_input: true
      not_to_recommend_weight: 4
      layers: [16, 16]
  - {name: own, recommender: "my_module:Mine"}
control: base
ab_test: {duration: 3d}
counterfactual:
  runs: 100
  k: 20
  action: [long_dwell, dislike]
  slate_size: 20
metrics: [dislike_rate, skip_rate]
confidence: 0.9
thresholds:
  - responsiveness.creator[ntr] <= -0.3
  - lift.dislike_rate[ntr].high < 0
  - level.skip_rate[base].low>=1e-2
"""


def load_text(folder: Path, text: str | bytes, **options: object) -> LoadedScenario:
    """Load a scenario from its text, through a file."""
    file = folder / "scenario.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return load_scenario(file, parts=PARTS, **options)  # type: ignore[arg-type]
