"""Tasks done side by side by worker processes, in memory of their own.

The pool of the standard library waits for ever, or prints tracebacks of its own threads, where a worker dies while
another is being started.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from simulator.engine.checkpoints import StoppedError
from simulator.workers.lines import HungUpError
from simulator.workers.process import Raised, Worker, WorkerDiedError, answered, end_all

Result = TypeVar("Result")


def done_by_workers(
    n_workers: int,
    tasks: Sequence[tuple[Any, ...]],
    work: Callable[..., Result],
    given: tuple[Any, ...] = (),
    inherited: tuple[Any, ...] = (),
) -> Iterator[Result]:
    """Results of tasks as they are done, in any order.

    Args:
        n_workers: processes, at most; no more than there are tasks.
        tasks: the last arguments of `work`, one tuple a task.
        work: does a task in a worker; a function of a module.
        given: its arguments before those: what all tasks share, sent to each worker once.
        inherited: its first arguments, which can be had only from whoever starts the process, such as locks; small.

    Raises:
        WorkerDiedError: a worker died.
        StoppedError: a task was asked to stop, and all that had begun have ended.
        Exception: whatever a task raised; the workers are then stopped.
    """
    waiting, stopped = iter(tasks), None
    workers: list[Worker] = []
    busy: set[Worker] = set()

    def tell_next(worker: Worker) -> None:
        for task in waiting:
            busy.add(worker)
            worker.send(task)
            return

    try:
        for _ in range(min(n_workers, len(tasks))):
            workers.append(Worker(_Doer, work, *inherited))
        for worker in workers:
            busy.add(worker)
            worker.send(given)
        for worker in workers:
            _value(worker.receive())
            busy.remove(worker)
            tell_next(worker)
        done: list[Result] = []
        while busy:
            for worker in answered(busy):
                answer = worker.receive()
                busy.remove(worker)
                if isinstance(answer, Raised) and isinstance(answer.error, StoppedError):
                    stopped, waiting = answer.error, iter(())
                else:
                    done.append(_value(answer))
                tell_next(worker)
            while done:
                yield done.pop()
        if stopped is not None:
            raise stopped
    except HungUpError as error:
        raise WorkerDiedError(
            "a worker process died (out of memory, or a script that begins its work when imported?); "
            "try fewer jobs or workers"
        ) from error
    finally:
        end_all(workers, busy)


def _value(answer: Any) -> Any:
    if isinstance(answer, Raised):
        raise answer.error
    return answer


class _Doer:
    """What a worker does: the first thing that it is sent is what all tasks share."""

    def __init__(self, work: Callable[..., Any], *inherited: Any) -> None:
        self._work, self._inherited = work, inherited
        self._given: tuple[Any, ...] | None = None

    def __call__(self, message: tuple[Any, ...]) -> Any:
        if self._given is None:
            self._given = message
            return None
        return self._work(*self._inherited, *self._given, *message)
