"""A streamed log has the rows of the log in memory, whatever its cells, its parts and its batches."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders.base import Interactions
from simulator.engine.cells import cut_population
from simulator.engine.checkpoint_files import CheckpointFiles
from simulator.engine.checkpoints import Period, Stages, StoppedError
from simulator.engine.clock import Pace, simulate
from simulator.engine.log import EventLog
from simulator.engine.log_files import LogFileError, read_columns
from simulator.engine.log_parts import (
    LogWriter,
    StreamedLog,
    cell_hash,
    cells_hash,
    read_cells,
    stored_cells,
)
from simulator.engine.snapshot import equal, genesis
from simulator.world.behaviour import UtilityBehaviour
from tests.simulator.engine.worlds import DAY, HOUR, first_model, service, small_experiments, small_world

BEHAVIOUR = UtilityBehaviour()
COLUMNS = tuple(EventLog.DTYPES)


def same_rows(a: EventLog, b: EventLog) -> bool:
    return all(np.array_equal(getattr(a, n), getattr(b, n), equal_nan=d.kind == "f") for n, d in a.DTYPES.items())


def beginning(world, built):
    return genesis(world, BEHAVIOUR, 12, first_model(built, world))


def streamed(folder, world, built, start, until, cells, part_rows, **options):
    sinks = StreamedLog(folder, built.arm, tuple(cells), part_rows)
    return simulate(world, BEHAVIOUR, built, start, until, sinks=sinks, **options)


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of a few rows also where a writer has many cells."""
    monkeypatch.setattr("simulator.engine.log_parts._LEAST_ROWS", 1)


@settings(max_examples=40, deadline=None)
@given(small_experiments(), st.integers(1, 8), st.integers(1, 60), st.integers(1, 5), st.booleans())
def test_cells_together_are_the_log_in_memory(experiment, cell_users, part_rows, batch_users, twice):
    world, built, until = experiment
    cells = cut_population(world.population.n_users, cell_users)
    whole = simulate(world, BEHAVIOUR, built, beginning(world, built), until)
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulator.engine.log_parts._LEAST_ROWS", 1)
        folder, pace = Path(name), Pace(batch_users)
        start = beginning(world, built)
        if twice:  # on from where a run was killed that had come further than its last checkpoint
            start = streamed(folder, world, built, start, until // 2, cells, part_rows, pace=pace).end
            streamed(folder, world, built, start, until, cells, part_rows, pace=pace)
        trajectory = streamed(folder, world, built, start, until, cells, part_rows, pace=pace)
        read = list(read_cells(folder))
    assert same_rows(EventLog.merge([log for _, log in read]), whole.log)
    for users, log in read:
        assert same_rows(log, whole.log.take(np.isin(whole.log.user, users)))
    assert len(trajectory.log) == len(trajectory.end.log) == 0
    assert equal(trajectory.end, whole.end)


@pytest.mark.parametrize("stop_after", [2, 5, 9])
def test_a_stopped_simulation_goes_on_with_its_files(tmp_path, small_parts, stop_after):
    world, built = small_world(users=6), service("growing", retrain_every="5h", training_delay="90m")
    whole = simulate(world, BEHAVIOUR, built, beginning(world, built), DAY)
    asked = iter([False] * stop_after + [True])
    events, kept = tmp_path / "events", CheckpointFiles(tmp_path / "checkpoints", "0" * 64)
    cells = cut_population(6, 4)
    stages = Stages(kept, Period(None, lambda: next(asked)))
    with pytest.raises(StoppedError):
        streamed(
            events, world, built, beginning(world, built), DAY, cells, 10, checkpoint=stages.checkpoint("ab_test"),
            pace=Pace(look_ahead=2 * HOUR),
        )  # fmt: skip
    again = Stages(CheckpointFiles(tmp_path / "checkpoints", "0" * 64)).checkpoint("ab_test")
    going_on, _ = again.resume(beginning(world, built))
    assert 0 < going_on.tick < DAY
    # What was written after the checkpoint, by a killed run:
    streamed(events, world, built, going_on, going_on.tick + HOUR, cells, 10)
    end = streamed(events, world, built, beginning(world, built), DAY, cells, 10, checkpoint=again).end
    assert same_rows(EventLog.merge([log for _, log in read_cells(events)]), whole.log)
    assert equal(end, whole.end)
    assert len(end.learnable.interactions(DAY)) == len(whole.end.learnable.interactions(DAY)) > 0


@settings(max_examples=20, deadline=None)
@given(small_experiments(), st.integers(0, 40))
def test_what_is_kept_for_training_is_what_the_log_would_give(experiment, hours):
    world, built, until = experiment
    whole = simulate(world, BEHAVIOUR, built, beginning(world, built), until)
    with tempfile.TemporaryDirectory() as name:
        cells = cut_population(world.population.n_users, 3)
        kept = streamed(Path(name), world, built, beginning(world, built), until, cells, 50, keep_feedback=True)
    expected, got = (end.learnable.interactions(hours * HOUR) for end in (whole.end, kept.end))
    for column in vars(Interactions(*[np.empty(0)] * 5)):
        np.testing.assert_array_equal(getattr(got, column), getattr(expected, column), err_msg=column)
        assert getattr(got, column).dtype == getattr(expected, column).dtype


def test_an_arm_that_never_retrains_keeps_nothing(tmp_path):
    world = small_world(users=5)
    for every, expected in ((None, False), ("5h", True)):
        built = service("responsive", retrain_every=every)
        trajectory = streamed(tmp_path / str(every), world, built, beginning(world, built), DAY, [range(5)], 100)
        assert (len(trajectory.end.feedback) > 0) == expected


def test_a_log_in_memory_does_not_go_on_in_files(tmp_path):
    world, built = small_world(), service("uniform")
    start = simulate(world, BEHAVIOUR, built, beginning(world, built), DAY).end
    with pytest.raises(ValueError, match=r"start\.log: got .* rows, expected none"):
        streamed(tmp_path, world, built, start, 2 * DAY, [range(6)], 100)


def a_log(folder, users=4, part_rows=40, cells=None):
    world, built = small_world(users=users), service("uniform")
    streamed(folder, world, built, beginning(world, built), DAY, cells or [range(users)], part_rows)
    return stored_cells(folder)


def test_the_hash_depends_on_rows_alone_not_on_parts(tmp_path, small_parts):
    ((few,), (many,)) = (a_log(tmp_path / str(rows), part_rows=rows) for rows in (10**6, 20))
    assert len(few.parts()) == 1 < len(many.parts())
    one = few.read()
    assert cell_hash(one) == cell_hash(many.read())
    for name in COLUMNS:
        column = getattr(one, name).copy()
        column[-1] = 7
        assert cell_hash(replace(one, **{name: column})) != cell_hash(one)
    assert cells_hash([(range(4), cell_hash(one))]) != cells_hash([(range(5), cell_hash(one))])


def test_a_writer_goes_on_from_where_it_was_flushed(tmp_path, small_parts):
    (cell,) = a_log(tmp_path, part_rows=20)
    parts = cell.parts()
    assert len(parts) >= 3
    begins = [read_columns(path, ("tick",))["tick"][0] for path in parts]
    (cell.folder / "part-0009.tmp").touch()
    writer = LogWriter(tmp_path, "uniform", [range(4)])
    with pytest.raises(LogFileError, match=r"part-0001\.parquet: tick: got .* expected rows either before"):
        writer.go_on(int(begins[1]) + 1)
    writer.go_on(int(begins[2]))
    assert sorted(path.name for path in cell.folder.iterdir()) == ["part-0000.parquet", "part-0001.parquet"]
    writer.go_on(0)
    assert cell.parts() == []


def test_a_user_of_no_cell_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected those of the cells"):
        a_log(tmp_path, users=8, cells=[range(2), range(3, 8)])


@pytest.mark.parametrize("cells", [[], [range(0)], [range(4, 8), range(4)], [range(5), range(4, 8)], [range(0, 8, 2)]])
def test_cells_that_are_no_cut_are_refused(tmp_path, cells):
    with pytest.raises(ValueError, match="cells: got"):
        LogWriter(tmp_path, "uniform", cells)


def test_a_missing_part_is_named(tmp_path, small_parts):
    (cell,) = a_log(tmp_path, part_rows=20)
    (cell.folder / "part-0001.parquet").unlink()
    with pytest.raises(LogFileError, match=r"part-0002\.parquet: got this part, expected part-0001"):
        cell.read()


def test_parts_out_of_order_are_found(tmp_path, small_parts):
    (cell,) = a_log(tmp_path, part_rows=20)
    first, second = cell.parts()[:2]
    first.rename(cell.folder / "x")
    second.rename(first)
    (cell.folder / "x").rename(second)
    with pytest.raises(LogFileError, match=r"part-0001\.parquet: tick: got"):
        cell.read()


def test_users_of_another_cell_are_found(tmp_path):
    a_log(tmp_path, users=6)
    folder = tmp_path / "users-00000000-00000005"
    folder.rename(tmp_path / "users-00000001-00000005")
    with pytest.raises(LogFileError, match="user: got 0 to 5, expected 1 to 5"):
        stored_cells(tmp_path)[0].read()


def test_what_is_no_cell_is_named(tmp_path):
    (tmp_path / "users-1-2").mkdir()
    with pytest.raises(LogFileError, match="users-1-2: got this name"):
        stored_cells(tmp_path)
    with pytest.raises(LogFileError, match="got no folder"):
        stored_cells(tmp_path / "nothing")


def test_a_full_disk_leaves_no_part(tmp_path, monkeypatch):
    def no_space(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("simulator.engine.log_files.os.fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        a_log(tmp_path)
    assert [path for path in tmp_path.rglob("part-*")] == []


def test_single_columns_can_be_read(tmp_path):
    (cell,) = a_log(tmp_path)
    columns = read_columns(cell.parts()[0], ("user", "item"))
    assert list(columns) == ["user", "item"]
    np.testing.assert_array_equal(columns["item"], cell.read().item)
