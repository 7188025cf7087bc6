"""The worlds of a replicate: what is the same, what is new, and that composing a split from two worlds is exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simulator.commands.components import load
from simulator.commands.validate_stats import plan_of
from simulator.engine.clock import Service
from simulator.engine.log import EventLog
from simulator.engine.log_files import log_hash
from simulator.engine.serving import EngineError
from simulator.experiment.assignment import Stretch
from simulator.experiment.mixed import MixedArm, simulate_mixed
from simulator.experiment.replicate_worlds import (
    AGAIN,
    BATCH,
    BLOCKS,
    CONTROL,
    TREATMENT,
    Plan,
    check_plan,
    learns,
    simulate_switchback,
    simulate_worlds,
    world_of,
)
from simulator.experiment.replicates import NULL, PLANTED, SWITCHBACK, run_batch
from simulator.world.behaviour import UtilityBehaviour

AA = Path(__file__).parents[3] / "scenarios" / "aa.yaml"
SMALL = ("world.population.users=30", "world.catalogue.items=100", "warm_up=6h", "ab_test.duration=8h")


def plan(*overrides: str) -> Plan:
    return plan_of(load(AA, (*SMALL, *overrides), None))


def test_a_split_composed_of_two_worlds_is_the_mixed_world_row_by_row() -> None:
    small = plan()
    world = world_of(small, 0, 1)
    start, logs = simulate_worlds(small, world)
    begin, end = small.window
    treated = np.arange(world.population.n_users) % 3 == 0
    platform = small.scenario.platform
    arms = [
        MixedArm(Service(name, build, platform), {})
        for name, build in ((CONTROL, small.control), (TREATMENT, small.treatment))
    ]
    stretch = Stretch(begin, end, treated.astype(np.int32))
    mixed = simulate_mixed(world, UtilityBehaviour(), arms, start, [stretch], pooled=False)
    for name, chosen in ((CONTROL, ~treated), (TREATMENT, treated)):
        own = logs[name].take(chosen[logs[name].user] & (logs[name].tick >= begin))
        assert len(own) > 20
        assert log_hash(own) == log_hash(mixed[name])


def test_a_replicate_is_the_same_alone_and_in_a_batch() -> None:
    small = plan()
    alone, among = run_batch(small, 1, 1)[0], run_batch(small, 1, 3)[0]
    assert alone.number == BATCH
    assert repr(alone) == repr(among)  # NaN is not equal to itself


def test_the_control_again_differs_after_the_warm_up_only() -> None:
    small = plan()
    start, logs = simulate_worlds(small, world_of(small, 0, 1))
    n = len(start.log)
    assert log_hash(logs[CONTROL].take(slice(n))) == log_hash(logs[AGAIN].take(slice(n))) == log_hash(start.log)
    first = [logs[name].take(slice(n, n + 10)) for name in (CONTROL, AGAIN)]
    assert np.array_equal(first[0].user, first[1].user)
    assert not np.array_equal(first[0].item, first[1].item)


def test_replicates_share_the_catalogue_and_not_the_users() -> None:
    one, other = (world_of(plan(), batch, 2) for batch in (0, 1))
    assert np.array_equal(one.catalogue.features.creator, other.catalogue.features.creator)
    assert one.population.n_users == other.population.n_users == 60
    traits = [vars(world.population) for world in (one, other)]
    assert any(not np.array_equal(traits[0][name], traits[1][name]) for name in traits[0])


def test_switchback_gives_every_replicate_an_order_of_its_own_and_each_block_both_arms() -> None:
    small = plan()
    world = world_of(small, 0, 4)
    start, _ = simulate_worlds(small, world)
    found = simulate_switchback(small, world, start, range(4), AGAIN)
    assert found.other.shape == (4, 2 * BLOCKS)
    assert (found.other.reshape(4, BLOCKS, 2).sum(axis=2) == 1).all()
    assert len({row.tobytes() for row in found.other}) > 1
    assert found.stretches[0].start_tick == start.tick
    assert isinstance(found.log, EventLog)
    with_treatment = simulate_switchback(small, world, start, range(4), TREATMENT)
    assert np.array_equal(with_treatment.other, found.other)
    assert log_hash(with_treatment.log) != log_hash(found.log)


def test_a_switchback_between_equal_arms_finds_nothing_on_average_and_one_with_an_effect_does() -> None:
    """An arm that ranks by chance against an oracle without noise: long views differ in every one of ten replicates."""
    arms = (
        "arms[0].config={temperature: 100.0, candidates: 20}",
        "arms[1].config={temperature: 0.01, candidates: 20}",
        "metrics=[long_view_rate]",
    )
    found = [r for one in run_batch(plan(*arms), 0) for r in one.readings if r.design == SWITCHBACK]
    lifts = {kind: [r.value for r in found if (r.kind, r.estimand) == (kind, "lift")] for kind in (NULL, PLANTED)}
    assert len(lifts[NULL]) == len(lifts[PLANTED]) == BATCH
    assert min(lifts[PLANTED]) > max(map(abs, lifts[NULL]))


def test_the_true_effect_of_an_a_a_test_is_0() -> None:
    """The mean lift of ten populations within five standard errors: false alarm 1 in 1,300 (t, 9 degrees)."""
    lifts = [
        next(r.value for r in found.readings if (r.kind, r.metric, r.estimand) == (NULL, "long_view_rate", "lift"))
        for batch in (0, 1)
        for found in run_batch(plan(), batch)
    ]
    assert len(set(lifts)) == 2 * BATCH
    assert abs(np.mean(lifts)) < 5 * np.std(lifts, ddof=1) / np.sqrt(2 * BATCH)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("arms[0]={name: noisy, recommender: popularity}", True),
        ("arms[1]={name: less_noisy, recommender: popularity}", True),
        ("logging_policy={recommender: popularity}", True),
        ("arms[1]={name: less_noisy, recommender: random}", False),
    ],
)
def test_a_scenario_learns_if_anything_that_serves_does(override: str, expected: bool) -> None:
    assert learns(plan(override)) == expected


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            (f"arms=[{', '.join(f'{{name: {name}, recommender: random}}' for name in ('noisy', 'b', 'c'))}]",),
            "arms: got 3, expected 2",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_validated_is_refused(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(EngineError, match=message.replace("[", r"\[")):
        check_plan(plan(*overrides))
