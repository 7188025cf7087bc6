"""Cells in worker processes of this machine, which last through a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from simulator.engine.serving import EngineError
from simulator.executors.remote import Answer, Died, Elsewhere, Order, Seat
from simulator.workers.lines import HungUpError
from simulator.workers.process import Raised, Respond, Worker, answered, end_all
from simulator.workers.shared_memory import AVAILABLE, SharedMemory

LEAST_SHARED = 2**26
"""Bytes of a log from which on workers write it into shared memory; it holds a descriptor as long as the log lives, of
which a process has some thousand."""


class ProcessWorkers:
    """Processes of this machine; see `Workers`."""

    least_shared = LEAST_SHARED if AVAILABLE else None

    def __init__(self, n: int, held: object) -> None:
        """Start them."""
        self.n, self._held = n, held
        self._workers: list[Worker] = []
        try:
            for _ in range(n):
                self._workers.append(self._start())
        except BaseException:
            self.end()
            raise

    def share(self, value: Any) -> Any:
        """As it is: each process is sent its own."""
        return value

    def memory(self, size: int) -> SharedMemory:
        """As `Workers` says."""
        return SharedMemory(size)

    def tell(self, worker: int, order: Order) -> None:
        """As `Workers` says.

        Raises:
            EngineError: the order holds what cannot be sent to another process.
        """
        try:
            with suppress(HungUpError):  # `answers` finds it
                self._workers[worker].send(order)
        except Exception as error:  # pickling runs the code of whatever is in the order
            raise EngineError(
                f"{order.name}: got {type(error).__name__}: {error}, expected what can be sent to worker processes: "
                "a recommender or user model from a module; or one worker"
            ) from error

    def answers(self, busy: Sequence[int], seconds: float) -> Mapping[int, Answer]:
        """As `Workers` says.

        Raises:
            WorkerDiedError: a worker cannot read what it was told.
        """
        found: dict[int, Answer] = {}
        for one in answered([self._workers[worker] for worker in busy], seconds):
            try:
                answer = one.receive()
                if isinstance(answer, Raised):
                    raise answer.error
            except HungUpError:
                answer = Died(f"with exit code {one.exit_code()}")
            found[self._workers.index(one)] = answer
        return found

    def replace(self, worker: int) -> None:
        """As `Workers` says."""
        self._workers[worker].end(0.0)
        self._workers[worker] = self._start()

    def last_call(self, worker: int) -> str:
        """As `Workers` says."""
        return f"; process {self._workers[worker].pid} was ended"

    def end(self) -> None:
        """End all of them."""
        end_all(self._workers)

    def _start(self) -> Worker:
        return Worker(_responder, self._held)


def _responder(_held: object) -> Respond:
    return Seat().carry_out


@contextmanager
def in_processes(n: int, held: object = None) -> Iterator[Elsewhere]:
    """Cells in worker processes of this machine, which end with the block.

    Args:
        n: how many.
        held: what each holds as long as it lives, such as the lock of the folder that it writes.
    """
    workers = ProcessWorkers(n, held)
    try:
        yield Elsewhere(workers)
    finally:
        workers.end()
