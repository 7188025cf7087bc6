"""What an experiment asks of logs that are streamed: where they are written, and the trajectories that are shown."""

from __future__ import annotations

from pathlib import Path

from simulator.engine.cells import cut_population
from simulator.engine.log import EventLog
from simulator.engine.log_parts import PART_ROWS, StreamedLog, stored_cell
from simulator.experiment.assignment import planned
from simulator.experiment.cell_metrics import WARM_UP, StreamedTest
from simulator.experiment.cell_readings import CellReadings
from simulator.experiment.pairs import ab_test_pair_of_cells
from simulator.experiment.results import TrajectoryPair
from simulator.scenario.ab_tests import SwitchbackABTest
from simulator.scenario.event_logs import streams
from simulator.scenario.schema import Scenario
from simulator.world.world import World


def streamed_test(scenario: Scenario, world: World, events: Path) -> StreamedTest | None:
    """What will be asked of streamed logs; None where the scenario wants them in memory.

    Args:
        scenario: the settings.
        world: built from them.
        events: the folder of the logs.
    """
    if not streams(scenario) or scenario.ab_test is None:
        return None
    plan, settings = planned(scenario, world), scenario.ab_test
    begin, periods = scenario.warm_up + settings.exclude_first, None
    if plan is not None and isinstance(settings, SwitchbackABTest):
        periods = plan.periods(begin, settings.washout)
    return StreamedTest(
        events,
        tuple(arm.name for arm in scenario.arms) if plan is None else plan.arms,
        cut_population(world.population.n_users, scenario.execution.cell_users),
        scenario.metrics,
        world.catalogue.features,
        scenario.warm_up,
        begin,
        scenario.warm_up + settings.duration,
        None if plan is None else plan.assigned,
        periods,
    )


def sinks_of(test: StreamedTest, name: str) -> StreamedLog:
    """What takes the log of an arm, or of the warm-up."""
    return StreamedLog(test.folder / name, name, test.cells, PART_ROWS)


def streamed_pairs(readings: CellReadings, control: str) -> list[TrajectoryPair]:
    """For each treatment that changed anything, a user's trajectories in its world and in the control's."""
    if not readings.is_paired:
        return []
    found = [_pair(readings, control, arm) for arm in readings.arms if arm != control]
    return [pair for pair in found if pair is not None]


def _pair(readings: CellReadings, control: str, arm: str) -> TrajectoryPair | None:
    test = readings.test

    def read(users: range) -> tuple[EventLog, EventLog]:
        before, left, right = (stored_cell(test.folder / name, users).read() for name in (WARM_UP, control, arm))
        return EventLog.concatenate([before, left]), EventLog.concatenate([before, right])

    same = set(readings.by_arm[control].hashes) & set(readings.by_arm[arm].hashes)
    alike = {users for users, _ in same}
    most = [(users, dislikes) for users, dislikes in readings.by_arm[control].most_dislikes if users not in alike]
    return ab_test_pair_of_cells(control, arm, most, read, test.items, start_tick=test.start_tick)
