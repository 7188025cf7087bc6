"""One replicate of a validation whose arms learn: a paired test, and splits of the same users that share a world.

A replicate is a world of its own, with new users and its own draws on the catalogue that all replicates share. The
warm-up is lived once, and what follows four times: in a world of each arm alone, which learns from all its users, and
in two mixed worlds, of whose users (by lot) each arm serves half, retraining on everybody's feedback or on its own
users'. The same effect is read from these lives in four ways:

    paired          all users, in the arms' own worlds: what a change for everybody does, the global effect
    split apart     the halves, as they lived in the arms' own worlds: no live test can do that
    split pooled    the halves of the world whose arms train on everybody's feedback
    split own       the halves of the world whose arms train on their own users' feedback

The three splits are of the same users in the same arms. They differ in what the models have learnt from and in nothing
else, so that between two of them stands the work of shared training, or of less data, without the luck of the lot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recommenders.base import Bool
from simulator.engine.log import EventLog
from simulator.engine.serving import build_recommender
from simulator.engine.snapshot import Snapshot
from simulator.experiment.assignment import planned
from simulator.experiment.estimators import compare, compare_independent
from simulator.experiment.metrics import LogView
from simulator.experiment.metrics.base import protected
from simulator.experiment.metrics.contract import measure
from simulator.experiment.readings import rows_of
from simulator.experiment.replicate_worlds import Plan, world_of
from simulator.experiment.replicates import PLANTED, Reading, readings_of, sums_of
from simulator.experiment.study import Study, run_arm, run_mixed, warm_up
from simulator.scenario.ab_tests import PairedABTest, SplitABTest
from simulator.world.world import World

PAIRED, APART, POOLED, OWN = "paired", "split apart", "split pooled", "split own"
"""Designs, as readings call them."""


@dataclass(frozen=True)
class LearningReplicate:
    """What one replicate gave.

    Attributes:
        number: which.
        impressions: simulated, the warm-up once.
        readings: in the same order in every replicate.
        sums: metric -> numerator and denominator summed over users, of the control and of the treatment, each in a
            world of its own.
    """

    number: int
    impressions: int
    readings: tuple[Reading, ...]
    sums: Mapping[str, tuple[float, float, float, float]]


def run_learning_replicate(plan: Plan, number: int) -> LearningReplicate:
    """Simulate a replicate and estimate every metric's effect in each design.

    Args:
        plan: what `check_plan` let pass.
        number: which; nothing but this and the plan decides what it gives.

    Raises:
        EngineError: a recommender could not be trained or broke its contract.
        MetricError: a metric failed.
    """
    world, confidence = world_of(plan, number, 1), plan.scenario.confidence
    lives = live(plan, world)
    control, treatment, pooled, own = (
        LogView(protected(log), world.catalogue.features, plan.n_users, *plan.window)
        for log in (lives.control, lives.treatment, lives.pooled, lives.own)
    )
    splits = {APART: (treatment, control), POOLED: (pooled, pooled), OWN: (own, own)}
    readings: list[Reading] = []
    sums = {}
    for metric in plan.metrics:
        name, new, old = metric.info.name, measure(metric, treatment), measure(metric, control)
        readings += readings_of(PLANTED, PAIRED, "t", name, compare(new, old, confidence))
        for design, (one, other) in splits.items():
            halves = rows_of(measure(metric, one), lives.treated), rows_of(measure(metric, other), ~lives.treated)
            readings += readings_of(PLANTED, design, "t", name, compare_independent(*halves, confidence))
        sums[name] = sums_of(new, old)
    return LearningReplicate(number, lives.impressions, tuple(readings), sums)


@dataclass(frozen=True, eq=False)
class Lives:
    """What the users of a replicate lived through; every log begins with the warm-up.

    Attributes:
        control, treatment: in a world of that arm alone.
        pooled, own: in the world that both arms share, by whose feedback they train on.
        treated: bool[n_users], whom the treatment serves there.
        impressions: simulated, the warm-up once.
    """

    control: EventLog
    treatment: EventLog
    pooled: EventLog
    own: EventLog
    treated: Bool
    impressions: int


def live(plan: Plan, world: World) -> Lives:
    """Let the users of a replicate live in all its worlds, each of which begins with the same warm-up.

    Args:
        plan: what replicates share.
        world: of the replicate.

    Raises:
        EngineError: a recommender could not be trained or broke its contract.
    """
    scenario, builds = plan.scenario, plan.builds
    length = max(build_recommender(name, build).traits.history_length for name, build in builds.items())
    start = warm_up(scenario, world, plan.policy, length, _unwatched)
    (other,) = (name for name in builds if name != scenario.control)
    paired = _study(plan, world, start, PairedABTest())
    alone = {name: run_arm(paired, name, build, _unwatched).log for name, build in builds.items()}
    split = SplitABTest(design="split")
    logs = [alone[scenario.control], alone[other]]
    for training in ("pooled", "own"):
        mixed = _study(plan, world, start, split.model_copy(update={"training": training}))
        logs.append(EventLog.merge([outcome.log for outcome in run_mixed(mixed, builds, _unwatched)]))
    drawn = planned(mixed.scenario, world)
    assert drawn is not None
    treated = drawn.is_assigned(other)
    impressions = len(start.log) + sum(map(len, logs))
    control, treatment, pooled, own = (EventLog.concatenate([start.log, log]) for log in logs)
    return Lives(control, treatment, pooled, own, treated, impressions)


def _study(plan: Plan, world: World, start: Snapshot, design: PairedABTest | SplitABTest) -> Study:
    """The scenario's experiment in another design, and nothing else of it."""
    begin, end = plan.window
    times = {"exclude_first": begin - start.tick, "duration": end - start.tick}
    changes = {"ab_test": design.model_copy(update=times), "counterfactual": None}
    return Study(plan.scenario.model_copy(update=changes), world, start)


def _unwatched(stage: str, done: float, total: float, impressions: int) -> None:
    """Progress is told replicate by replicate."""
