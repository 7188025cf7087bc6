"""A pool of workers ends, whenever one of them dies."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from simulator.workers import WorkerDiedError, done_by_workers

SHARED: list[object] = []


def adopt(*given: object) -> None:
    SHARED.extend(given)


def work(n: int) -> float:
    first, large = SHARED
    assert isinstance(large, np.ndarray)
    return float(large[n]) if first == "inherited" else -1.0


def test_workers_are_given_what_they_inherit_and_what_all_share():
    large = np.arange(1_000_000.0)
    found = done_by_workers(2, [(n,) for n in range(5)], work, adopt, (large,), ("inherited",))
    assert sorted(found) == [0, 1, 2, 3, 4]


def test_what_cannot_be_sent_is_an_error_before_anything_starts():
    with pytest.raises(Exception, match="pickle"):
        list(done_by_workers(2, [(1,)], work, adopt, (lambda: None,)))


@pytest.mark.parametrize("milliseconds", [0, 1, 2, 3, 4])
def test_who_dies_while_another_is_being_started_leaves_nobody_waiting(milliseconds):
    """The pool of the standard library would wait for the other one for ever."""
    outcome: list[str] = []

    def run() -> None:
        try:
            list(done_by_workers(2, [(n,) for n in range(5)], work, adopt, ("x",), ("inherited",)))
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
