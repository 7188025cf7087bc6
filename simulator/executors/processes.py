"""Cells in worker processes of this machine, which last through a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from simulator.engine.serving import EngineError
from simulator.executors.lines import Line
from simulator.executors.remote import Answer, Died, Elsewhere, Order, Seat
from simulator.executors.shared_memory import AVAILABLE, SharedMemory
from simulator.workers import SPAWN, prepare_worker

LEAST_SHARED = 2**26
"""Bytes of a log from which on workers write it into shared memory; it holds a descriptor as long as the log lives, of
which a process has some thousand."""
_END_SECONDS = 5.0
"""How long a worker that is told to end may take."""


class ProcessWorkers:
    """Processes of this machine; see `Workers`."""

    def __init__(self, n: int, held: object) -> None:
        """Start them."""
        self.n, self._held = n, held
        started = [_start(held) for _ in range(n)]
        self._process: list[SpawnProcess] = [process for process, _ in started]
        self._line = [line for _, line in started]

    def share(self, value: Any) -> Any:
        """As it is: each process is sent its own."""
        return value

    def memory(self, size: int) -> SharedMemory | None:
        """As `Workers` says."""
        if AVAILABLE and size >= LEAST_SHARED:
            with suppress(OSError):  # such as no descriptor left; rows can be sent as well
                return SharedMemory(size)
        return None

    def tell(self, worker: int, order: Order) -> None:
        """As `Workers` says.

        Raises:
            EngineError: the order holds what cannot be sent to another process.
        """
        try:
            with suppress(OSError):  # where it is dead, `answers` finds it
                self._line[worker].send(order)
        except Exception as error:  # pickling runs the code of whatever is in the order
            raise EngineError(
                f"{order.name}: got {type(error).__name__}: {error}, expected what can be sent to worker processes: "
                "a recommender or user model from a module; or one worker"
            ) from error

    def answers(self, busy: Sequence[int], seconds: float) -> Mapping[int, Answer]:
        """As `Workers` says."""
        workers = {self._line[worker].fileno(): worker for worker in busy}
        found: dict[int, Answer] = {}
        for descriptor in connection.wait(list(workers), seconds):
            assert isinstance(descriptor, int)
            worker = workers[descriptor]
            try:
                found[worker] = self._line[worker].recv()
            except (EOFError, OSError):
                self._process[worker].join(_END_SECONDS)
                found[worker] = Died(f"with exit code {self._process[worker].exitcode}")
        return found

    def replace(self, worker: int) -> None:
        """As `Workers` says."""
        self._line[worker].close()
        self._process[worker].kill()
        self._process[worker].join()
        self._process[worker], self._line[worker] = _start(self._held)

    def last_call(self, worker: int) -> str:
        """As `Workers` says."""
        return f"; process {self._process[worker].pid} was ended"

    def end(self) -> None:
        """End all of them."""
        for line in self._line:
            line.close()
        for process in self._process:
            process.join(_END_SECONDS)
            process.kill()
            process.join()


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


def _start(held: object) -> tuple[SpawnProcess, Line]:
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=_work, args=(theirs, held), daemon=True)
    process.start()
    theirs.close()
    return process, Line(ours)


def _work(connection: Connection[Any, Any], _held: object) -> None:
    prepare_worker()
    line, seat = Line(connection), Seat()
    while True:
        try:
            order = line.recv()
        except EOFError:
            return
        line.send(seat.carry_out(order))
