"""Metrics of a streamed log equal those of the same log in memory, whatever the cells."""

from __future__ import annotations

import random
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.engine.cells import cut_population
from simulator.engine.log import EventLog
from simulator.engine.log_files import write_log
from simulator.engine.log_parts import cell_name
from simulator.experiment.abtest import analyse_readings
from simulator.experiment.cell_metrics import StreamedTest, measure_cell
from simulator.experiment.cell_readings import CellReadings, read_test
from simulator.experiment.estimators import PerUser
from simulator.experiment.metrics import METRICS, LogView, Metric, MetricError, MetricInfo, WorldMetric
from simulator.experiment.metrics.contract import measure
from simulator.experiment.readings import BlockReadings, SplitReadings, TwinReadings, UserReadings
from simulator.scenario.durations import TICKS_PER_DAY
from tests.simulator.experiment.strategies import HOUR, MAX_USERS, items, logs

ITEMS = items()
ARMS = ("control", "ntr")
WINDOW = (3 * TICKS_PER_DAY, 10 * TICKS_PER_DAY - TICKS_PER_DAY // 3)


def stream(folder: Path, name: str, log: EventLog, cells: tuple[range, ...], n_parts: int) -> None:
    """Write a log in cells, each in about so many parts."""
    log = EventLog.merge([log])
    for users in cells:
        cell = log.take(np.isin(log.user, users))
        place = folder / name / cell_name(users)
        place.mkdir(parents=True)
        ticks = np.unique(cell.tick)
        pieces = [cell.take(np.isin(cell.tick, some)) for some in np.array_split(ticks, n_parts) if len(some)]
        for nth, piece in enumerate(pieces):
            write_log(place / f"part-{nth:04d}.parquet", name, piece)


def both(folder: Path, log: dict[str, EventLog], cells: tuple[range, ...]):
    """The test in memory and on the disk."""
    start = WINDOW[0] - TICKS_PER_DAY
    log = {arm: EventLog.merge([one]) for arm, one in log.items()}
    before = log["control"].between(0, start)
    after = {arm: one.between(start, 20 * TICKS_PER_DAY) for arm, one in log.items()}
    stream(folder, "warm_up", before, cells, 2)
    for arm, one in after.items():
        stream(folder, arm, one, cells, 3)
    views = {arm: LogView(EventLog.concatenate([before, one]), ITEMS, MAX_USERS, *WINDOW) for arm, one in after.items()}
    return TwinReadings(views), StreamedTest(folder, ARMS, cells, (), ITEMS, start, *WINDOW)


def assert_same(memory: UserReadings, disk: CellReadings) -> None:
    assert (disk.is_paired, disk.worlds_compare, disk.arms) == (memory.is_paired, memory.worlds_compare, memory.arms)
    for arm in ARMS:
        np.testing.assert_array_equal(disk.users(arm), memory.users(arm))
    for metric in METRICS.values():
        if isinstance(metric, WorldMetric):
            assert disk.numbers(metric) == pytest.approx(memory.numbers(metric), abs=0, nan_ok=True)
            continue
        expected, found = memory.parts(metric), disk.parts(metric)
        for arm in ARMS:
            assert_same_parts(found[arm], expected[arm], metric.info.name)
            levels = memory.daily(metric)[arm]
            assert disk.daily(metric)[arm] == pytest.approx(levels, rel=1e-12, nan_ok=True)
    one, other = (analyse_readings(r, "control", (), 0.95) for r in (memory, disk))
    assert repr(replace(one, series=())) == repr(replace(other, series=()))


def assert_same_parts(found: PerUser, expected: PerUser, name: str) -> None:
    for part in ("numerator", "denominator"):
        np.testing.assert_array_equal(getattr(found, part), getattr(expected, part), err_msg=name)
    assert found.empty_note == expected.empty_note


@given(log=logs(), cell_users=st.integers(1, MAX_USERS), chosen=st.integers(0, 2**MAX_USERS - 1))
@settings(deadline=None, max_examples=30)
def test_metrics_of_a_split_by_cell_equal_those_in_memory(log: EventLog, cell_users: int, chosen: int) -> None:
    """Also where users were served by another arm than theirs, as in a ramp."""
    cells, start = cut_population(MAX_USERS, cell_users), WINDOW[0] - TICKS_PER_DAY
    log = EventLog.merge([log])
    before, after = log.between(0, start), log.between(start, 20 * TICKS_PER_DAY)
    served_by = (after.tick // 7 + after.user) % 2
    assigned = ((chosen >> np.arange(MAX_USERS)) % 2).astype(np.int32)
    with tempfile.TemporaryDirectory() as name:
        stream(Path(name), "warm_up", before, cells, 2)
        for nth, arm in enumerate(ARMS):
            stream(Path(name), arm, after.take(served_by == nth), cells, 3)
        disk = read_test(StreamedTest(Path(name), ARMS, cells, (), ITEMS, start, *WINDOW, assigned))
    view = LogView(EventLog.concatenate([before, after]), ITEMS, MAX_USERS, *WINDOW)
    assert_same(SplitReadings(view, {arm: assigned == nth for nth, arm in enumerate(ARMS)}), disk)
    warm_up = LogView(before, ITEMS, MAX_USERS, 0, start)
    for metric in METRICS.values():
        if isinstance(metric, Metric):
            assert_same_parts(disk.warm_up.parts[metric.info.name], measure(metric, warm_up), metric.info.name)
    for nth, arm in enumerate(ARMS):
        assert disk.by_arm[arm].n_rows == np.sum(served_by == nth)
        assert disk.by_arm[arm].n_active == len(np.unique(view.rows.user[assigned[view.rows.user] == nth]))


@given(log=logs(), cell_users=st.integers(1, MAX_USERS), order=st.permutations(range(4)))
@settings(deadline=None, max_examples=20)
def test_metrics_of_a_switchback_by_cell_are_those_in_memory(log: EventLog, cell_users: int, order: list[int]) -> None:
    cells, start = cut_population(MAX_USERS, cell_users), WINDOW[0] - TICKS_PER_DAY
    log = EventLog.merge([log])
    before, after = log.between(0, start), log.between(start, 20 * TICKS_PER_DAY)
    edges = np.linspace(*WINDOW, 5).astype(int).tolist()
    late = replace(ITEMS, release_tick=np.where(np.arange(ITEMS.n_items) == 3, edges[3] + 1, ITEMS.release_tick))
    times = [(edges[nth] + HOUR, edges[nth + 1]) for nth in order]
    periods = {"control": tuple(sorted(times[:2])), "ntr": tuple(sorted(times[2:]))}
    with tempfile.TemporaryDirectory() as name:
        stream(Path(name), "warm_up", before, cells, 2)
        for nth, arm in enumerate(ARMS):
            stream(Path(name), arm, after.take(after.user % 2 == nth), cells, 3)
        disk = read_test(StreamedTest(Path(name), ARMS, cells, (), late, start, *WINDOW, None, periods))
    whole = EventLog.concatenate([before, after])
    memory = BlockReadings(
        {arm: tuple(LogView(whole, late, MAX_USERS, *period) for period in found) for arm, found in periods.items()}
    )
    assert (disk.worlds_compare, disk.arms) == (memory.worlds_compare, memory.arms)
    for metric in METRICS.values():
        assert disk.daily(metric) == memory.daily(metric) == {}
        if isinstance(metric, WorldMetric):
            assert disk.numbers(metric) == pytest.approx(memory.numbers(metric), abs=0, nan_ok=True)
            continue
        expected, found = memory.parts(metric), disk.parts(metric)
        for arm in ARMS:
            for part in ("numerator", "denominator"):
                a, b = getattr(found[arm], part), getattr(expected[arm], part)
                np.testing.assert_allclose(a, b, rtol=1e-12, err_msg=metric.info.name)


@given(control=logs(), ntr=logs(), cell_users=st.integers(1, MAX_USERS), order=st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=40)
def test_metrics_by_cell_equal_those_in_memory(
    control: EventLog, ntr: EventLog, cell_users: int, order: random.Random
) -> None:
    cells = cut_population(MAX_USERS, cell_users)

    def shuffled(work, test):
        return [work(test, users) for users in order.sample(cells, len(cells))]

    with tempfile.TemporaryDirectory() as name:
        memory, test = both(Path(name), {"control": control, "ntr": ntr}, cells)
        disk = read_test(test, shuffled)
    assert_same(memory, disk)
    assert {arm: found.n_rows for arm, found in disk.by_arm.items()} == {
        arm: len(view.log) - disk.warm_up.n_rows for arm, view in memory.views.items()
    }


@given(log=logs())
@settings(deadline=None, max_examples=10)
def test_the_order_in_which_cells_are_done_changes_no_digit(log: EventLog) -> None:
    cells = cut_population(MAX_USERS, 1)
    with tempfile.TemporaryDirectory() as name:
        _, test = both(Path(name), {"control": log, "ntr": log}, cells)
        measured = {users: measure_cell(test, users) for users in cells}
    found = [
        read_test(test, lambda _work, _test, order=order: (measured[users] for users in order))
        for order in (cells, cells[::-1])
    ]
    for metric in METRICS.values():
        if isinstance(metric, Metric):
            assert repr(found[0].daily(metric)) == repr(found[1].daily(metric))
    assert [arm.sha256 for arm in found[0].by_arm.values()] == [arm.sha256 for arm in found[1].by_arm.values()]


def test_a_metric_of_the_whole_log_alone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog.empty()
    _, test = both(tmp_path, {"control": log, "ntr": log}, (range(MAX_USERS),))
    info = MetricInfo("rows", "Rows", "Rows of the log", "count", "neither")
    monkeypatch.setattr(
        "simulator.experiment.cell_metrics.select_metrics",
        lambda _names: [WorldMetric(info, lambda view: float(len(view.log)))],
    )
    with pytest.raises(MetricError, match="metric rows: tally: got none, expected one where logs are streamed"):
        read_test(test)


def test_another_window_is_not_to_be_had(tmp_path: Path) -> None:
    _, test = both(tmp_path, {"control": EventLog.empty(), "ntr": EventLog.empty()}, (range(MAX_USERS),))
    disk = read_test(test)
    assert disk.between(*WINDOW) is disk
    with pytest.raises(ValueError, match="all that was measured"):
        disk.between(WINDOW[0], WINDOW[1] - 1)
