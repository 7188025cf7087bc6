"""A pool of workers does all tasks, and ends whatever happens to one of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib import import_module
from multiprocessing.synchronize import Lock
from pathlib import Path
from threading import Thread

import numpy as np
import numpy.typing as npt
import pytest

from simulator.engine.checkpoints import StoppedError
from simulator.workers.pool import done_by_workers
from simulator.workers.process import SPAWN, WorkerDiedError


def pick(lock: Lock, large: npt.NDArray[np.float64], n: int) -> tuple[float, int]:
    with lock:
        return float(large[n]), os.getpid()


def test_workers_are_given_what_they_inherit_and_what_all_share():
    large = np.arange(1_000_000.0)
    found = list(done_by_workers(2, [(n,) for n in range(40)], pick, (large,), (SPAWN.Lock(),)))
    assert sorted(value for value, _ in found) == list(range(40))
    assert len({pid for _, pid in found} - {os.getpid()}) == 2


def test_fewer_tasks_than_workers_are_done():
    assert list(done_by_workers(3, [(4,)], abs)) == [4]
    assert list(done_by_workers(2, [], abs)) == []


def test_what_cannot_be_sent_is_an_error_that_leaves_nobody():
    with pytest.raises(Exception, match="pickle"):
        list(done_by_workers(2, [(1,)], max, (lambda: None,)))
    assert not spawned()


class Unreadable:
    """Of a module that only this process has."""

    def __reduce__(self) -> tuple[object, ...]:
        return (import_module, ("nobody_has_such_a_module",))


def test_what_a_worker_cannot_read_is_an_error():
    message = "^a worker process cannot read what it is sent: got ModuleNotFoundError: No module named 'nobody_has_such"
    with pytest.raises(WorkerDiedError, match=message):
        list(done_by_workers(2, [(Unreadable(),)], abs))
    assert not spawned()


def test_workers_that_nobody_ends_do_not_keep_a_command_from_exiting():
    code = (
        "from simulator.executors.processes import ProcessWorkers\n"
        "if __name__ == '__main__':\n    kept = ProcessWorkers(2, None)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "leaves_workers.py")
        script.write_text(code)
        assert subprocess.run([sys.executable, str(script)], check=False, cwd=Path.cwd(), timeout=60).returncode == 0


class WayOfItsOwnError(Exception):
    """An error that cannot be read at the other end of a line."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{where}: {what}")


def fail(how: str) -> object:
    if how == "own":
        raise WayOfItsOwnError("got 1", "settings")
    if how == "exit":
        sys.exit(3)
    return 1 / 0 if how == "zero" else (lambda: None)


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("zero", ZeroDivisionError, "^division by zero"),
        ("own", RuntimeError, "^WayOfItsOwnError: settings: got 1"),
        ("exit", RuntimeError, "^SystemExit: 3"),
        ("lambda", Exception, "pickle"),
    ],
)
def test_an_error_of_a_task_is_raised_and_says_where_it_was(how, error, message):
    with pytest.raises(error, match=message) as caught:
        list(done_by_workers(2, [(how,), (how,)], fail))
    assert "In a worker process:\nTraceback" in caught.value.__notes__[0]
    assert not spawned()


def stop_at_two(n: int) -> int:
    if n == 2:
        raise StoppedError
    time.sleep(0.2)
    return n


def test_who_was_asked_to_stop_begins_nothing_more():
    found: list[int] = []
    with pytest.raises(StoppedError):
        found.extend(done_by_workers(2, [(n,) for n in range(20)], stop_at_two))
    assert {0, 1} <= set(found) <= {0, 1, 3}
    assert not spawned()


def test_whoever_looks_no_further_leaves_nobody():
    results = done_by_workers(2, [(n,) for n in range(1000)], time.sleep)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert not spawned()


def die_at(folder: Path, n: int) -> int:
    if n == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / str(n)).touch()
    return n


def test_a_worker_that_dies_is_an_error(tmp_path):
    with pytest.raises(
        WorkerDiedError, match=r"^a worker process died \(out of memory, or .*; try fewer jobs or workers$"
    ):
        list(done_by_workers(2, [(n,) for n in range(9)], die_at, (tmp_path,)))
    assert not spawned()


def slow(_shared: object, n: int) -> int:
    time.sleep(n / 100)
    return n


@pytest.mark.parametrize("milliseconds", [0, 1, 2, 3, 4, 100, 300, 1000])
def test_whoever_dies_as_workers_are_being_started_leaves_nobody_waiting(milliseconds):
    """The pool of the standard library waits for the others for ever, or prints a traceback of a thread of its own."""
    outcome: list[str] = []

    def run() -> None:
        try:
            list(done_by_workers(3, [(n,) for n in range(20)], slow, (np.zeros(1_000_000),)))
        except WorkerDiedError as error:
            outcome.append(str(error))

    running = Thread(target=run, daemon=True)
    running.start()
    until = time.monotonic() + 20
    while not (started := spawned()) and time.monotonic() < until:
        pass
    time.sleep(milliseconds / 1000)
    os.kill(started[0], signal.SIGKILL)
    running.join(20)
    left = spawned()
    for worker in left:
        os.kill(worker, signal.SIGKILL)
    assert outcome
    assert outcome[0].startswith("a worker process died")
    assert not left


def spawned() -> list[int]:
    """Workers that are children of this process; what ends while they are looked for is none."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):
            found += [int(child) for child in (task / "children").read_text().split() if is_worker(child)]
    return found


def is_worker(pid: str) -> bool:
    return "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()
