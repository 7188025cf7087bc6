"""A crew of workers that may die at any moment lives the lives, and writes the log, of one process."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from itertools import chain, repeat
from math import inf
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.engine.cells import Residents, Terms, cut_population
from simulator.engine.checkpoint_files import CheckpointFiles
from simulator.engine.checkpoints import Period, Stages, StoppedError
from simulator.engine.clock import Workplace, simulate
from simulator.engine.log import EventLog
from simulator.engine.log_files import LogFileError
from simulator.engine.log_parts import StreamedLog, read_cells
from simulator.engine.snapshot import genesis
from simulator.executors import remote
from simulator.world.behaviour import UtilityBehaviour
from tests.simulator.engine.test_cells import assert_equal_columns, assert_same, lived
from tests.simulator.engine.worlds import DAY, HOUR, first_model, service, small_experiments, small_world
from tests.simulator.executors.mortals import MortalWorkers, among, deadly

BEHAVIOUR = UtilityBehaviour()


@settings(max_examples=30, deadline=None)
@given(
    small_experiments(),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 2**32),
    st.sampled_from([None, 0, 1, 2, inf]),
)
def test_whoever_dies_the_log_in_memory_is_the_same(experiment, cell_users, n_workers, seed, maps):
    world, built, until = experiment
    whole = lived(world, BEHAVIOUR, built, until)
    executor = remote.Elsewhere(deadly(seed, n_workers, maps))
    apart = lived(world, BEHAVIOUR, replace(built, workplace=Workplace(executor, cell_users)), until)
    assert_same(apart, whole, built.platform.ingestion_delay)


@settings(max_examples=15, deadline=None)
@given(
    small_experiments(), st.integers(1, 4), st.integers(1, 3), st.integers(1, 60), st.integers(0, 2**32),
    st.integers(0, 30),
)  # fmt: skip
def test_whoever_dies_the_streamed_log_is_the_same(experiment, cell_users, n_workers, part_rows, seed, stop_after):
    """Through checkpoints, a stop, and going on with another number of workers."""
    world, built, until = experiment
    whole = lived(world, BEHAVIOUR, built, until)
    cells = cut_population(world.population.n_users, cell_users)
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulator.engine.log_parts._LEAST_ROWS", 1)
        patch.setattr("simulator.engine.log_parts._LEAST_LOOK_AHEAD", 2 * HOUR)
        sinks = StreamedLog(Path(name, "events"), built.arm, cells, part_rows)
        asked = iter([False] * stop_after + [True])
        for n, stop in ((n_workers, lambda: next(asked, False)), (3, lambda: False)):
            stages = Stages(CheckpointFiles(Path(name, "checkpoints"), "0" * 64), Period(0.0, stop))
            spread = replace(built, workplace=Workplace(remote.Elsewhere(deadly(seed + n, n)), 99))
            start = genesis(world, BEHAVIOUR, 12, first_model(built, world))
            try:
                found = simulate(
                    world, BEHAVIOUR, spread, start, until, sinks=sinks, checkpoint=stages.checkpoint("ab_test"),
                    keep_feedback=True,
                )  # fmt: skip
                break
            except StoppedError:
                continue
        read = [log for _, log in read_cells(sinks.folder)]
    assert_equal_columns(EventLog.merge(read), whole.log)
    assert_equal_columns(found.end.users, whole.end.users)
    assert_equal_columns(found.end.learnable.interactions(until), whole.end.learnable.interactions(until))


def test_workers_do_die_in_these_tests():
    world, workers = small_world(users=6), deadly(1, 2)
    lived(world, BEHAVIOUR, replace(service(), workplace=Workplace(remote.Elsewhere(workers), 2)), DAY)
    assert workers.deaths == remote.MOST_DEATHS


def test_who_lives_again_leaves_what_a_checkpoint_stands_on(tmp_path):
    """Were it written anew, a run that is killed meanwhile would have lost it."""
    world, built = small_world(users=4), service()
    start = genesis(world, BEHAVIOUR, 12, first_model(built, world))
    sinks = StreamedLog(tmp_path, built.arm, (range(2), range(2, 4)))
    moments = chain([False] * 10, [True], repeat(False))  # settle, go_on, load, run_until and flush; then in run_until
    terms = Terms(built.arm, built.build, 4, 0, 99, 0, None, sinks)
    everybody = Residents(range(4), world, BEHAVIOUR, start.users, start.history, None, 0)
    workers = MortalWorkers(2, lambda: next(moments))
    crew = remote.RemoteCrew(workers, terms, everybody, sinks.cells)
    crew.go_on(0)
    crew.load(start.deployments[0].model)
    crew.run_until(DAY // 2, world.catalogue.eligible(0), None)
    assert workers.deaths == 0
    crew.flush()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    crew.run_until(DAY, world.catalogue.eligible(0), None)
    assert workers.deaths == 1
    crew.flush()
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    assert len(after) > len(before) == 2
    assert {path: after[path] for path in before} == before
    whole = simulate(world, BEHAVIOUR, built, start, DAY).log
    assert_equal_columns(EventLog.merge([log for _, log in read_cells(tmp_path)]), whole)


@dataclass(frozen=True)
class OnAnotherDisk(StreamedLog):
    """A folder that the process that was started has, and its workers have not."""

    def begin(self) -> None:
        assert not self.folder.exists()


def test_workers_that_do_not_share_the_folder_are_told(tmp_path):
    world, built = small_world(users=4), replace(service(), workplace=Workplace(among(2)))
    sinks = OnAnotherDisk(tmp_path / "events", built.arm, (range(2), range(2, 4)))
    start = genesis(world, BEHAVIOUR, 12, first_model(built, world))
    with pytest.raises(LogFileError, match=r"events: got no such folder, expected one that all workers share"):
        simulate(world, BEHAVIOUR, built, start, DAY, sinks=sinks)


def test_a_full_disk_of_a_worker_is_an_error_of_the_system(tmp_path):
    world, built = small_world(users=4), service()
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "users-00000000-00000001").write_text("in the way")
    sinks = StreamedLog(tmp_path / "events", built.arm, (range(2), range(2, 4)))
    spread = replace(built, workplace=Workplace(among(2)))
    with pytest.raises(OSError, match="users-00000000-00000001") as caught:
        simulate(world, BEHAVIOUR, spread, genesis(world, BEHAVIOUR, 12, first_model(built, world)), DAY, sinks=sinks)
    assert caught.value.errno is not None
