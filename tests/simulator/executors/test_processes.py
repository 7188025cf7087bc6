"""Cells in processes live the same lives, survive the death of their workers, and cannot hang for ever."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import sleep
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.engine.clock import Service, Workplace
from simulator.engine.serving import EngineError
from simulator.executors import processes, remote
from simulator.executors.processes import in_processes
from simulator.executors.remote import Elsewhere
from simulator.workers.process import WorkerDiedError
from simulator.workers.shared_memory import AVAILABLE, SharedMemory
from simulator.world.behaviour import UtilityBehaviour
from tests.simulator.engine.test_cells import BEHAVIOURS, assert_same, lived
from tests.simulator.engine.worlds import DAY, HOUR, Responsive, Uniform, service, small_experiments, small_world


@pytest.fixture(scope="module")
def two() -> Iterator[Elsewhere]:
    with in_processes(2) as executor:
        yield executor


def at(executor: Elsewhere, built: Service, cell_users: int, call_seconds: float | None = None) -> Service:
    return replace(built, workplace=Workplace(executor, cell_users, call_seconds))


SHARED = [1, 2**30, None] if AVAILABLE else [None]


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    small_experiments(), st.integers(1, 9), st.sampled_from(sorted(BEHAVIOURS)), st.none() | st.integers(0, 2**8),
    st.sampled_from(SHARED),
)  # fmt: skip
def test_cells_live_the_same_lives_in_processes(two, experiment, cell_users, name, chosen, least_shared):
    world, built, until = experiment
    users = None if chosen is None else (chosen >> np.arange(world.population.n_users)) % 2 == 1
    whole = lived(world, BEHAVIOURS[name], built, until, users=users)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes.ProcessWorkers, "least_shared", least_shared)
        elsewhere = lived(world, BEHAVIOURS[name], at(two, built, cell_users), until, users=users)
    assert_same(elsewhere, whole, built.platform.ingestion_delay)


def test_rows_are_sent_where_no_memory_can_be_had(two, monkeypatch):
    def no_memory(size: int) -> SharedMemory:
        raise OSError(errno.EMFILE, "Too many open files")

    asked = Mock(side_effect=no_memory)
    monkeypatch.setattr(processes.ProcessWorkers, "least_shared", 1)
    monkeypatch.setattr(processes, "SharedMemory", asked)
    assert_same(*(lived(small_world(), UtilityBehaviour(), s, DAY) for s in (service(), at(two, service(), 2))))
    assert asked.called


def test_progress_is_told_of_every_request(two):
    world, built = small_world(users=6), service(retrain_every="6h")
    beats: list[tuple[float, int]] = []
    found = lived(world, UtilityBehaviour(), at(two, built, 2), DAY, heartbeat=lambda *beat: beats.append(beat))
    assert sum(n for _, n in beats) == len(found.log) // 4
    assert beats[-1][0] == DAY


@dataclass
class Mortal(Responsive):
    """Kills its process in the middle of a batch, as often as there are tokens."""

    tokens: Path

    def recommend(self, requests, k, draws):
        tokens = sorted(self.tokens.iterdir())
        if tokens and requests.tick.max() > 15 * HOUR:
            tokens[0].unlink(missing_ok=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().recommend(requests, k, draws)


def mortal(folder: Path, deaths: int) -> Service:
    folder.mkdir()
    for n in range(deaths):
        (folder / str(n)).touch()
    return replace(service(retrain_every="6h", ingestion_delay="1h"), build=partial(Mortal, folder))


def test_a_worker_that_dies_is_replaced_and_its_cells_live_on(two, tmp_path):
    world = small_world(users=6)
    whole = lived(world, UtilityBehaviour(), mortal(tmp_path / "never", 0), DAY)
    assert_same(lived(world, UtilityBehaviour(), at(two, mortal(tmp_path / "twice", 2), 2), DAY), whole, HOUR)
    assert not list((tmp_path / "twice").iterdir())


def test_a_cell_that_kills_every_worker_is_given_up(two, tmp_path):
    world = small_world(users=6)
    message = (
        r"arm responsive: 4 workers of users (0 to 1|2 to 5) died, the last one with exit code -9; expected at most 3"
    )
    with pytest.raises(WorkerDiedError, match=message):
        lived(world, UtilityBehaviour(), at(two, mortal(tmp_path / "always", 99), 2), DAY)
    assert_same(*(lived(world, UtilityBehaviour(), s, DAY) for s in (service(), at(two, service(), 2))))


class Looping(Uniform):
    def recommend(self, requests, k, draws):
        while requests.user.max() >= 3:
            pass
        return super().recommend(requests, k, draws)


class Deaf(Uniform):
    """As code of C may hang: no signal is heard."""

    def recommend(self, requests, k, draws):
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        while requests.user.max() >= 3:
            sleep(1)
        return super().recommend(requests, k, draws)


def test_what_hangs_in_a_worker_is_named(two):
    world, built = small_world(users=6), replace(service("uniform"), build=Looping)
    message = (
        r"^arm uniform: recommend on a batch of \d that begins with user 3, session 0, step 0: no answer within 0.3 s"
    )
    with pytest.raises(EngineError, match=message):
        lived(world, UtilityBehaviour(), at(two, built, 3, call_seconds=0.3), DAY)


def test_a_worker_that_hears_no_signal_is_ended(two, monkeypatch):
    world, built = small_world(users=6), replace(service("uniform"), build=Deaf)
    lived(world, UtilityBehaviour(), at(two, service(), 3), HOUR)  # workers need longer to start than to answer
    monkeypatch.setattr(remote, "_GRACE_SECONDS", 1.0)
    message = r"^arm uniform: run_until of worker 1: no answer within \d s, expected one \(execution.call_timeout\); "
    with pytest.raises(EngineError, match=message):
        lived(world, UtilityBehaviour(), at(two, built, 3, call_seconds=0.3), DAY)
    monkeypatch.undo()
    assert_same(*(lived(world, UtilityBehaviour(), s, DAY) for s in (service(), at(two, service(), 2))))


class Failing(Uniform):
    def recommend(self, requests, k, draws):
        raise KeyError("weights")


def test_an_error_in_a_worker_is_the_error_of_the_simulation(two):
    built = at(two, replace(service("uniform"), build=Failing), 3)
    with pytest.raises(EngineError, match=r"arm uniform: recommend on a batch of \d .* failed: KeyError: 'weights'"):
        lived(small_world(), UtilityBehaviour(), built, DAY)


def test_what_cannot_be_sent_is_refused(two):
    class Local(Uniform):
        pass

    with pytest.raises(EngineError, match=r"settle: got .*Local.*, expected what can be sent to worker processes"):
        lived(small_world(), UtilityBehaviour(), at(two, replace(service("uniform"), build=Local), 3), DAY)
