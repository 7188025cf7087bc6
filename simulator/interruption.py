"""Stopping a run: the first signal asks it to come to a good place, the second one ends it at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

from simulator.engine.checkpoints import StoppedError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_NAMES = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Flag(Protocol):
    """A byte that processes share, without a lock: a handler may come in the middle of anything."""

    value: int


@dataclass(frozen=True)
class Asked:
    """Whether a run is asked to stop, for all of its processes."""

    flag: Flag

    def __call__(self) -> bool:
        """Look."""
        return bool(self.flag.value)


@dataclass
class Interruption:
    """What signals have asked for.

    Attributes:
        flag: raised when the run is asked to stop.
        signal: the one that asked first; None so far.
        patient: whether there is something to come to that takes a moment; else the first signal ends the run.
        orderly: whether the run has come to a good place when it stops, and has the time to keep what it has.
    """

    flag: Flag
    signal: signal.Signals | None = None
    patient: bool = False
    orderly: bool = False

    def handle(self, number: int, _: FrameType | None) -> None:
        """Take a signal.

        Raises:
            StoppedError: it ends the run at once.
        """
        first = self.signal is None
        self.orderly = first and self.patient
        self.signal = self.signal or signal.Signals(number)
        self.flag.value = 1
        if first and self.patient:
            # os.write: a handler may come in the middle of a print.
            os.write(sys.stderr.fileno(), f"\n{self.word}: finishing the current round, again to stop now\n".encode())
            return
        raise StoppedError

    @property
    def word(self) -> str:
        """What has become of the run."""
        return _NAMES.get(self.signal or signal.SIGINT, "interrupted")

    @property
    def exit_code(self) -> int:
        """By convention, 128 and the signal's number."""
        return 128 + (self.signal or signal.SIGINT)


@contextmanager
def interruptible(flag: Flag) -> Iterator[Interruption]:
    """Take SIGINT and SIGTERM while the block lasts; in another thread than the main one they stay as they are."""
    interruption = Interruption(flag)
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = {number: signal.signal(number, interruption.handle) for number in _SIGNALS}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
