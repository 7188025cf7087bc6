"""The worlds of a validation's replicates: new users each time, on the catalogue that all replicates share.

A replicate is a population of the scenario's size. Its users live in three worlds that begin with the same warm-up:
`control`, `again` (the control once more, whose recommender draws other numbers) and `treatment`. `again` against
`control` is an A/A test whose true effect is exactly 0 and whose estimate is not, since the two are exchangeable given
the users; `treatment` against `control` is an A/B test whose true effect all replicates together tell. Two more worlds
switch, one between `control` and `again`, the other between `control` and `treatment`.

The catalogue stays the same since intervals are of an effect *on this catalogue*: were it new each time, the effect
itself would vary, and no interval over users could cover its mean.

Where models do not learn, users do not touch each other, and some replicates may share a simulation: a batch is one
world of as many users as `BATCH` replicates have, on draws of its own. That is about three times as fast as one world a
replicate, and a test holds it to give the same rows. Where they learn, each replicate is a world of its own
(`learning_replicates`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recommenders.base import (
    Interactions,
    ItemFeatures,
    Progress,
    Recommender,
    RequestDraws,
    Requests,
    Slates,
    State,
    Traits,
)
from simulator.draws import Draws, Purpose
from simulator.engine.clock import Service, simulate
from simulator.engine.log import EventLog
from simulator.engine.serving import EngineError, KeyedRequestDraws, blaming, build_recommender
from simulator.engine.snapshot import Snapshot, deploy, genesis
from simulator.experiment.assignment import Stretch, assign
from simulator.experiment.metrics import Metric, MetricError, select_metrics
from simulator.experiment.mixed import MixedArm, simulate_mixed
from simulator.scenario.ab_tests import SwitchbackABTest
from simulator.scenario.schema import Scenario
from simulator.world.population import build_population
from simulator.world.registry import behaviour_of
from simulator.world.world import World, build_world

CONTROL, AGAIN, TREATMENT = "control", "again", "treatment"
"""Worlds of a replicate, one arm each."""
BATCH = 10
"""Replicates simulated together; with 160 users each, a process takes about 0.5 GB."""
BLOCKS = 4
"""Of the switchback: the unit of its analysis, so that its t has three degrees of freedom."""

Build = Callable[[], Recommender]


@dataclass(frozen=True)
class Plan:
    """What all replicates share.

    Attributes:
        scenario: two arms and an A/B test, of which the length and `exclude_first` count.
        directory: what relative paths of tables start from.
        policy: builds the logging policy.
        control, treatment: build the arms.
    """

    scenario: Scenario
    directory: Path
    policy: Build
    control: Build
    treatment: Build

    @property
    def builds(self) -> dict[str, Build]:
        """Name of an arm -> how to build it, in the scenario's order."""
        control = self.scenario.control
        return {a.name: self.control if a.name == control else self.treatment for a in self.scenario.arms}

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The scenario's metrics that are defined per user; only those have intervals."""
        return tuple(m for m in select_metrics(self.scenario.metrics) if isinstance(m, Metric))

    @property
    def n_users(self) -> int:
        """Of one replicate."""
        return self.scenario.world.population.users

    @property
    def window(self) -> tuple[int, int]:
        """Ticks [start, end) of the test."""
        test, start = self.scenario.ab_test, self.scenario.warm_up
        assert test is not None  # `check_plan`
        return start + test.exclude_first, start + test.duration


@dataclass
class Redrawn:
    """A recommender that draws other random numbers than the same one without it.

    Attributes:
        recommender: what makes the slates.
        draws: the world's.
    """

    recommender: Recommender
    draws: Draws
    traits: Traits = field(init=False)

    def __post_init__(self) -> None:
        self.traits = self.recommender.traits

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        """As the recommender's."""
        self.recommender.fit(log, items, seed=seed, progress=progress)

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        """The recommender's slates from draws of another purpose, which belong to the same users and requests."""
        keyed = KeyedRequestDraws(self.draws, requests.user, requests.session, requests.step, Purpose.RECOMMENDER_ANEW)
        return self.recommender.recommend(requests, k, keyed)

    def state_dict(self) -> State:
        """As the recommender's."""
        return self.recommender.state_dict()

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        """As the recommender's."""
        self.recommender.load_state_dict(state, items)


def check_plan(plan: Plan) -> None:
    """Whether a scenario can be validated.

    Raises:
        EngineError: there are not two arms, or no A/B test.
        MetricError: no metric is defined per user.
    """
    scenario = plan.scenario
    if len(scenario.arms) != 2:
        raise EngineError(f"arms: got {len(scenario.arms)}, expected 2 to validate the statistics with")
    if scenario.ab_test is None:
        raise EngineError("ab_test: got none, expected one to validate the statistics of")
    if not plan.metrics:
        raise MetricError(f"metrics: got {', '.join(scenario.metrics)}, expected one that is defined per user")


def learns(plan: Plan) -> bool:
    """Whether anything that serves has a model, so that users touch each other through what it has learnt from them.

    Raises:
        EngineError: a recommender could not be trained on an empty log.
    """
    world = world_of(plan, 0, 1)
    served_by = {"logging_policy": plan.policy, "control": plan.control, "treatment": plan.treatment}
    return any(_model(name, build, world) for name, build in served_by.items())


def world_of(plan: Plan, batch: int, n_replicates: int) -> World:
    """The catalogue of all replicates, with the users and draws of a batch, one replicate's users after another's."""
    scenario = plan.scenario
    first = build_world(scenario.world, seed=scenario.seed, horizon_ticks=plan.window[1], directory=plan.directory)
    draws = Draws(scenario.seed, batch)
    population = scenario.world.population.model_copy(update={"users": n_replicates * plan.n_users})
    settings = scenario.world.model_copy(update={"population": population})
    users = build_population(population, settings.behaviour, first.catalogue, draws)
    return replace(first, settings=settings, population=users, draws=draws)


def simulate_worlds(plan: Plan, world: World) -> tuple[Snapshot, dict[str, EventLog]]:
    """The warm-up, and its continuation in the three worlds of a batch.

    Returns:
        The world when the warm-up ends; world -> log, the warm-up's rows first.
    """
    scenario, behaviour, builds = plan.scenario, behaviour_of(world), _builds(plan, world)
    length = max(build_recommender(name, b).traits.history_length for name, b in (*builds.items(), ("", plan.policy)))
    platform = scenario.platform.model_copy(update={"retrain_every": None})
    model = _model("logging_policy", plan.policy, world)
    start = simulate(
        world, behaviour, Service("logging_policy", plan.policy, platform),
        genesis(world, behaviour, length, model), scenario.warm_up,
    ).end  # fmt: skip
    logs = {}
    for name, build in builds.items():
        service = Service(name, build, platform)
        served = simulate(world, behaviour, service, deploy(start, _model(name, build, world)), plan.window[1]).log
        logs[name] = EventLog.concatenate([start.log, served])
    return start, logs


@dataclass(frozen=True, eq=False)
class Switchback:
    """Worlds that switch between the control and another arm.

    Attributes:
        stretches: in order of time; either arm serves in each, as replicates have orders of their own.
        other: bool[n_replicates, n_stretches], whether it is the other arm that serves.
        log: what either served.
    """

    stretches: tuple[Stretch, ...]
    other: npt.NDArray[np.bool_]
    log: EventLog


def simulate_switchback(plan: Plan, world: World, start: Snapshot, numbers: Sequence[int], other: str) -> Switchback:
    """A test by switching all users of a replicate together, in `BLOCKS` blocks of two periods.

    Args:
        plan: what replicates share.
        world: of the batch.
        start: the world when its warm-up ends.
        numbers: of the batch's replicates; a replicate's order is the same whatever the other arm is.
        other: what the control takes turns with, `AGAIN` or `TREATMENT`.
    """
    period = (plan.window[1] - start.tick) // (2 * BLOCKS)
    settings = SwitchbackABTest(design="switchback").model_copy(
        update={"duration": 2 * BLOCKS * period, "period": period}
    )
    names, n = [CONTROL, other], plan.n_users
    orders = [
        assign(
            settings, names, CONTROL, draws=Draws(plan.scenario.seed, number), n_users=n, start_tick=start.tick
        ).stretches
        for number in numbers
    ]  # fmt: skip
    stretches = tuple(
        Stretch(at[0].start_tick, at[0].end_tick, np.concatenate([s.arm for s in at]))
        for at in zip(*orders, strict=True)
    )
    platform = plan.scenario.platform.model_copy(update={"retrain_every": None})
    builds = _builds(plan, world)
    arms = [MixedArm(Service(a, builds[a], platform), _model(a, builds[a], world)) for a in names]
    logs = simulate_mixed(world, behaviour_of(world), arms, start, stretches, pooled=False)
    serves = np.array([[s.arm[0] == 1 for s in order] for order in orders])
    return Switchback(stretches, serves, EventLog.merge(list(logs.values())))


def _builds(plan: Plan, world: World) -> dict[str, Build]:
    """World -> how to build its arm."""
    return {
        CONTROL: plan.control,
        AGAIN: lambda: Redrawn(plan.control(), world.draws),
        TREATMENT: plan.treatment,
    }


def _model(name: str, build: Build, world: World) -> State:
    """What a recommender knows without having seen anything."""
    recommender = build_recommender(name, build)
    with blaming(name, "training"):
        recommender.fit(
            EventLog.empty().interactions(0), world.catalogue.features,
            seed=world.draws.integer_seed(Purpose.FIT, 0),
        )  # fmt: skip
        return recommender.state_dict()
