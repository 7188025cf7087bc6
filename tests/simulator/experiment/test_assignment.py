"""Who is in which arm: a function of the seed and the user, nested over a ramp, balanced over blocks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.draws import Draws
from simulator.experiment.assignment import Assignment, assign
from simulator.scenario.ab_tests import HOLDOUT, SplitABTest, SwitchbackABTest
from simulator.scenario.durations import format_duration

ARMS = ("base", "a", "b")
HOUR = 3_600_000


@st.composite
def splits(draw: st.DrawFn) -> SplitABTest:
    parts = draw(st.lists(st.integers(1, 9), min_size=len(ARMS), max_size=len(ARMS)))
    shares = draw(st.sampled_from([{}, {arm: part / sum(parts) for arm, part in zip(ARMS, parts, strict=True)}]))
    treated = sorted(draw(st.sets(st.integers(1, 100), max_size=4)))
    after = sorted(draw(st.sets(st.integers(0, 47), min_size=len(treated), max_size=len(treated))))
    steps = zip(after, treated, strict=True)
    return SplitABTest.model_validate(
        {
            "design": "split",
            "duration": "2d",
            "shares": shares,
            "holdout": draw(st.sampled_from([0.0, 0.2])),
            "ramp": [{"after": format_duration(hour * HOUR), "treated_share": share / 100} for hour, share in steps],
        }
    )


def switchback(period: str, duration: str) -> SwitchbackABTest:
    return SwitchbackABTest.model_validate({"design": "switchback", "period": period, "duration": duration})


def assigned(settings: SplitABTest | SwitchbackABTest, seed: int, n_users: int) -> Assignment:
    return assign(settings, ARMS, "base", draws=Draws(seed), n_users=n_users, start_tick=24 * HOUR)


@given(splits(), st.integers(0, 2**40), st.integers(1, 60), st.integers(0, 60))
def test_users_keep_their_arm_when_the_population_grows(
    settings: SplitABTest, seed: int, n_users: int, more: int
) -> None:
    few, many = assigned(settings, seed, n_users), assigned(settings, seed, n_users + more)
    assert few.assigned is not None
    assert many.assigned is not None
    np.testing.assert_array_equal(few.assigned, many.assigned[:n_users])
    for one, other in zip(few.stretches, many.stretches, strict=True):
        np.testing.assert_array_equal(one.arm, other.arm[:n_users])


@given(splits(), st.integers(0, 2**40))
def test_a_ramp_switches_users_on_once_and_for_good(settings: SplitABTest, seed: int) -> None:
    plan = assigned(settings, seed, 300)
    assert plan.assigned is not None
    held_out = np.isin(plan.assigned, [i for i, arm in enumerate(plan.arms) if arm == HOLDOUT])
    for stretch in plan.stretches:
        own, waiting = stretch.arm == plan.assigned, stretch.arm == ARMS.index("base")
        assert (own | (waiting & ~held_out)).all()
    for before, after in pairwise(plan.stretches):
        assert before.end_tick == after.start_tick
        assert (after.arm == plan.assigned)[before.arm == plan.assigned].all()
    assert (plan.stretches[0].start_tick, plan.stretches[-1].end_tick) == (24 * HOUR, 72 * HOUR)


def test_shares_are_met_within_chance() -> None:
    settings = SplitABTest(design="split", shares={"base": 0.5, "a": 0.3, "b": 0.2}, holdout=0.1)
    plan = assigned(settings, 5, 100_000)
    assert plan.arms == (*ARMS, HOLDOUT)
    assert sum(plan.shares) == pytest.approx(1)
    for arm, share in zip(plan.arms, plan.shares, strict=True):
        # Five standard errors: a false alarm in less than a millionth of seeds.
        assert abs(plan.is_assigned(arm).mean() - share) < 5 * np.sqrt(share * (1 - share) / 100_000)


@given(st.integers(0, 2**40), st.integers(1, 12))
def test_every_block_holds_every_arm_once(seed: int, n_blocks: int) -> None:
    settings = switchback("5h", f"{n_blocks * 15}h")
    plan = assigned(settings, seed, 4)
    serving = [set(s.arm.tolist()) for s in plan.stretches]
    assert all(len(arms) == 1 for arms in serving)
    order = [arms.pop() for arms in serving]
    assert [sorted(order[i : i + 3]) for i in range(0, len(order), 3)] == [[0, 1, 2]] * n_blocks
    assert all(a.end_tick == b.start_tick for a, b in pairwise(plan.stretches))


def test_the_order_of_blocks_varies() -> None:
    settings = switchback("1h", "300h")
    order = np.array([s.arm[0] for s in assigned(settings, 1, 1).stretches]).reshape(100, 3)
    assert len(np.unique(order, axis=0)) == 6


def test_a_switchback_assigns_nobody() -> None:
    settings = switchback("1h", "3h")
    with pytest.raises(ValueError, match="got a switchback"):
        assigned(settings, 1, 1).is_assigned("base")
