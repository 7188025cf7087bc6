"""Worker processes that do tasks side by side, and end with the command that started them, however it goes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import Queue
from multiprocessing.reduction import ForkingPickler
from threading import Thread
from typing import Any, TypeVar

from simulator.allocator import keep_freed_memory
from simulator.engine.checkpoints import StoppedError

Result = TypeVar("Result")
SPAWN = multiprocessing.get_context("spawn")
"""How workers start: from scratch, as a fork of a process with threads may hang."""


class WorkerDiedError(Exception):
    """A worker is gone, and its task with it; the message says what to try."""


def done_by_workers(
    n_workers: int,
    tasks: Iterable[tuple[Any, ...]],
    work: Callable[..., Result],
    adopt: Callable[..., None],
    given: tuple[Any, ...],
    inherited: tuple[Any, ...] = (),
) -> Iterator[Result]:
    """Results of tasks as they are done, in any order.

    Args:
        n_workers: processes.
        tasks: arguments of `work`, one tuple a task.
        work: does a task in a worker; a function of a module, as `adopt`.
        adopt: called once in each worker before its first task.
        given: arguments of `adopt`: what all tasks share.
        inherited: its first arguments, which can be had only from whoever starts the process, such as locks; small.

    Raises:
        WorkerDiedError: a worker died.
        StoppedError: the tasks were asked to stop, and all have.
        Exception: whatever a task raised; the workers are then stopped.
    """
    # Who starts a process writes it what it inherits, and forever if that one dies before it has read much; a queue has
    # a thread of its own to write. It would only print what pickling raises.
    pickled = bytes(ForkingPickler.dumps(given))
    parcels: Queue[bytes] = SPAWN.Queue()
    parcels.cancel_join_thread()
    for _ in range(n_workers):
        parcels.put(pickled)
    del pickled  # which may be as large as all users and their log
    executor = ProcessPoolExecutor(n_workers, SPAWN, _start, (adopt, inherited, parcels))
    try:
        stopped: BaseException | None = None
        # No name for the list: it would keep every result until the end.
        for future in as_completed(_submitted(executor, work, tasks)):
            if isinstance(future.exception(), StoppedError):
                stopped = future.exception()  # the others come to a good place, too
            else:
                yield future.result()
        if stopped is not None:
            raise stopped
    except BaseException as error:
        # Workers would be waited for: those that are busy, whose work is lost in any case, and one that was just being
        # started when another died, which the pool forgets to end.
        for process in multiprocessing.active_children():
            process.kill()
        if isinstance(error, BrokenProcessPool):
            raise WorkerDiedError(
                "a worker process died (out of memory, or a script that begins its work when imported?); try one job"
            ) from error
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def _submitted(
    executor: ProcessPoolExecutor, work: Callable[..., Result], tasks: Iterable[tuple[Any, ...]]
) -> list[Future[Result]]:
    try:
        return [executor.submit(work, *task) for task in tasks]
    except (OSError, ValueError) as error:
        # The pool is breaking at this very moment: it has closed what it wakes itself with, or what it was about to
        # hand to a worker (the latter is a ValueError of starting a process).
        raise BrokenProcessPool(str(error)) from error


def _start(adopt: Callable[..., None], inherited: tuple[Any, ...], parcels: Queue[bytes]) -> None:
    prepare_worker()
    adopt(*inherited, *ForkingPickler.loads(parcels.get()))


def prepare_worker() -> None:
    """Make this process a worker: it leaves Ctrl-C to the command that started it, and ends when that is gone."""
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    """End this worker when the command that started it is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
