"""Who is served by which arm, and when, in the designs whose arms share one world.

An assignment is a function of the seed and of the user (or of the block), never of the size of the population or of
what happens: the first n users of a larger population are in the same arms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recommenders.base import Bool, Int32
from simulator.draws import Draws, Purpose
from simulator.scenario.ab_tests import HOLDOUT, MixedABTest, SplitABTest, SwitchbackABTest
from simulator.scenario.schema import Scenario
from simulator.world.world import World

_ORDER_OF_BLOCK = 1
"""Third id of the draws that order a block; those of users have none, so that the two never meet."""


@dataclass(frozen=True, eq=False)
class Stretch:
    """A time in which nobody changes arms.

    Attributes:
        start_tick, end_tick: from the one, until before the other.
        arm: int32[n_users], the arm that serves each user; a row of `Assignment.arms`.
    """

    start_tick: int
    end_tick: int
    arm: Int32


@dataclass(frozen=True, eq=False)
class Assignment:
    """The plan of a design.

    Attributes:
        arms: the scenario's arms in its order, then `holdout` if users are held out.
        shares: planned share of the users for each arm; of a switchback, of the time.
        assigned: int32[n_users], the arm that each user is meant for; None in a switchback, where all change together.
        stretches: in order of time, without gaps, from the beginning of the test to its end.
    """

    arms: tuple[str, ...]
    shares: tuple[float, ...]
    assigned: Int32 | None
    stretches: tuple[Stretch, ...]

    def is_assigned(self, arm: str) -> Bool:
        """bool[n_users], who is meant for an arm.

        Raises:
            ValueError: the design assigns times, not users.
        """
        if self.assigned is None:
            raise ValueError("design: got a switchback, which assigns times, expected one that assigns users")
        mine: Bool = self.assigned == self.arms.index(arm)
        return mine

    def periods(self, begin_tick: int, washout: int) -> dict[str, tuple[tuple[int, int], ...]]:
        """Of a switchback, when each arm is looked at: from the one tick to before the other, once a block.

        Args:
            begin_tick: blocks that begin before are left out.
            washout: ticks of each period that are left out, while the arm before it still acts.
        """
        found: dict[str, list[tuple[int, int]]] = {arm: [] for arm in self.arms}
        for i in range(0, len(self.stretches), len(self.arms)):
            block = self.stretches[i : i + len(self.arms)]
            if block[0].start_tick >= begin_tick:
                for stretch in block:
                    found[self.arms[int(stretch.arm[0])]].append((stretch.start_tick + washout, stretch.end_tick))
        return {arm: tuple(periods) for arm, periods in found.items()}


def planned(scenario: Scenario, world: World) -> Assignment | None:
    """The plan of a scenario's A/B test; None of a paired test, in which everybody is in every arm, or without one."""
    if not isinstance(scenario.ab_test, MixedABTest):
        return None
    return assign(
        scenario.ab_test, [arm.name for arm in scenario.arms], scenario.control, draws=world.draws,
        n_users=world.population.n_users, start_tick=scenario.warm_up,
    )  # fmt: skip


def assign(
    settings: MixedABTest, arms: Sequence[str], control: str, *, draws: Draws, n_users: int, start_tick: int
) -> Assignment:
    """The plan of a split or a switchback.

    Args:
        settings: the design.
        arms: names of the scenario's arms, in its order.
        control: one of them.
        draws: the world's.
        n_users: number of users.
        start_tick: when the test begins.
    """
    if isinstance(settings, SplitABTest):
        return _split(settings, arms, control, draws, n_users, start_tick)
    return _switchback(settings, arms, draws, n_users, start_tick)


def _split(
    settings: SplitABTest, arms: Sequence[str], control: str, draws: Draws, n_users: int, start_tick: int
) -> Assignment:
    place, turn, held, _ = draws.uniform(Purpose.ASSIGNMENT, np.arange(n_users))
    shares = _shares(settings.shares, arms)
    # The last limit is not 1 where shares are thirds written with a few digits.
    limits = np.cumsum(shares)[:-1]
    assigned = np.searchsorted(limits, place, side="right").astype(np.int32)
    names = tuple(arms)
    if settings.holdout:
        names = (*names, HOLDOUT)
        assigned[held < settings.holdout] = len(arms)
        shares = [*(share * (1 - settings.holdout) for share in shares), settings.holdout]
    waits = assigned != names.index(HOLDOUT) if settings.holdout else np.ones(n_users, np.bool_)
    steps = [(step.after, step.treated_share) for step in settings.ramp] or [(0, 1.0)]
    if steps[0][0] > 0:
        steps.insert(0, (0, 0.0))
    ends = [*(after for after, _ in steps[1:]), settings.duration]
    stretches = []
    for (after, share), end in zip(steps, ends, strict=True):
        serving = assigned.copy()
        serving[waits & (turn >= share)] = arms.index(control)
        stretches.append(Stretch(start_tick + after, start_tick + end, serving))
    return Assignment(names, tuple(shares), assigned, tuple(stretches))


def _shares(written: Mapping[str, float], arms: Sequence[str]) -> list[float]:
    return [written.get(arm, 0.0) if written else 1 / len(arms) for arm in arms]


def _switchback(
    settings: SwitchbackABTest, arms: Sequence[str], draws: Draws, n_users: int, start_tick: int
) -> Assignment:
    n_arms, n_blocks = len(arms), settings.duration // (len(arms) * settings.period)
    block, arm = np.indices((n_blocks, n_arms))
    order = np.argsort(draws.uniform(Purpose.ASSIGNMENT, block, arm, _ORDER_OF_BLOCK)[0], axis=1, kind="stable")
    stretches = []
    for i, serving in enumerate(order.ravel().tolist()):
        begins = start_tick + i * settings.period
        stretches.append(Stretch(begins, begins + settings.period, np.full(n_users, serving, np.int32)))
    return Assignment(tuple(arms), (1 / n_arms,) * n_arms, None, tuple(stretches))
