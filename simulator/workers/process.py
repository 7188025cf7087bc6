"""A worker process: it answers what it is sent, and ends with the command that started it, however that goes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from multiprocessing.util import Finalize
from threading import Thread
from typing import Any

from simulator.allocator import keep_freed_memory
from simulator.workers.lines import HungUpError, Line

SPAWN = multiprocessing.get_context("spawn")
"""How workers start: from scratch, as a fork of a process with threads may hang."""
_END_SECONDS = 5.0
"""How long a worker that is told to end may take."""

Respond = Callable[[Any], Any]
"""Makes an answer of what a worker was sent."""


class WorkerDiedError(Exception):
    """A worker is gone, and its task with it; the message says what to try."""


@dataclass(frozen=True)
class Raised:
    """In place of an answer: what making it raised."""

    error: BaseException


class Worker:
    """A process, and a line to it, to which only one thread may speak."""

    def __init__(self, responder: Callable[..., Respond], *inherited: Any) -> None:
        """Start it.

        Args:
            responder: called in the process, with what it inherits; a function or class of a module.
            inherited: its arguments, which may be what only a process that is being started can be given, such as
                locks; small, since who starts a process that dies before it has read much of them waits for ever.
        """
        ours, theirs = SPAWN.Pipe()
        self._process = SPAWN.Process(target=_serve, args=(theirs, responder, inherited))
        self._process.start()
        theirs.close()
        self._line = Line(ours)
        # Who exits waits for all processes that were started: first of all, this one is ended.
        Finalize(self, _kill, (self._process,), exitpriority=10)

    @property
    def pid(self) -> int | None:
        """Of the process."""
        return self._process.pid

    def fileno(self) -> int:
        """Of the line, from which something can be read once the worker has answered, or is gone."""
        return self._line.fileno()

    def send(self, value: Any) -> None:
        """Send something to be answered.

        Raises:
            HungUpError: it is gone.
            Exception: whatever pickling raised; nothing is sent then.
        """
        self._line.send(value)

    def receive(self) -> Any:
        """Wait for an answer, or `Raised`.

        Raises:
            HungUpError: it is gone.
        """
        return self._line.recv()

    def exit_code(self) -> int | None:
        """Of one that is gone."""
        self._process.join(_END_SECONDS)
        return self._process.exitcode

    def hang_up(self) -> None:
        """Let it end, once it waits for what it is to answer next."""
        self._line.close()

    def end(self, seconds: float = 0.0) -> None:
        """End it, by force where it has not ended within some seconds."""
        self.hang_up()
        self._process.join(seconds)
        self._process.kill()
        self._process.join()


def end_all(workers: Collection[Worker], busy: Collection[Worker] = ()) -> None:
    """End workers: those that wait have some seconds for it, busy ones none."""
    for worker in workers:
        worker.hang_up()
    for worker in workers:
        worker.end(0.0 if worker in busy else _END_SECONDS)


def answered(workers: Iterable[Worker], seconds: float | None = None) -> list[Worker]:
    """Those who have answered, or are gone; waits for the first of them, if need be, but no longer than `seconds`."""
    by_descriptor: dict[Any, Worker] = {worker.fileno(): worker for worker in workers}
    return [by_descriptor[found] for found in connection.wait(list(by_descriptor), seconds)]


def _serve(theirs: Connection[Any, Any], responder: Callable[..., Respond], inherited: tuple[Any, ...]) -> None:
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    Thread(target=_follow_parent, daemon=True).start()
    line, respond = Line(theirs), responder(*inherited)
    with suppress(HungUpError):
        while True:
            _answer(line, respond)


def _answer(line: Line, respond: Respond) -> None:
    try:
        message = line.recv()
    except HungUpError:
        raise
    except Exception as error:  # unpickling runs the code of whatever is in the message
        got = f"{type(error).__name__}: {error}"
        line.send(Raised(WorkerDiedError(
            f"a worker process cannot read what it is sent: got {got}, expected classes of modules that it can import"
        )))  # fmt: skip
        return
    try:
        answer = respond(message)
    except BaseException as error:
        answer = Raised(_portable(error))
    try:
        line.send(answer)
    except HungUpError:
        raise
    except Exception as error:  # as above
        line.send(Raised(_portable(error)))


def _portable(error: BaseException) -> BaseException:
    """An error with its traceback as a note, in words where it could not be read at the other end of a line."""
    note = f"In a worker process:\n{''.join(traceback.format_exception(error))}"
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:  # exceptions are pickled by code of their own
        portable = False
    else:
        portable = not isinstance(error, SystemExit)  # which would end the command
    if not portable:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(note)
    return error


def _kill(process: SpawnProcess) -> None:
    process.kill()


def _follow_parent() -> None:
    """End this worker when the command that started it is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
