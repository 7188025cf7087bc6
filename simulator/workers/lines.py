"""Messages between two processes, in which large arrays are not copied before they leave and after they arrive.

They may hold `SharedMemory`, whose bytes do not travel at all.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Sequence
from io import BytesIO
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler, recv_handle, send_handle
from typing import Any

import numpy as np

from simulator.workers.shared_memory import SharedMemory

_LARGE = 65_536
"""Bytes of an array from which on it travels by itself: a `Connection` copies what it sends three times."""


class HungUpError(Exception):
    """Nobody is at the other end of a line any more."""


class Line:
    """One end of a `Connection`, whose other end is one, too."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection

    def send(self, value: Any) -> None:
        """Send a value.

        Raises:
            HungUpError: nobody is at the other end.
            Exception: whatever pickling the value raised; nothing is sent then.
        """
        apart: list[memoryview] = []
        memories: list[SharedMemory] = []

        def goes_along(buffer: Any) -> bool:
            """Whether a buffer of an array is pickled with the rest (PEP 574)."""
            view: memoryview = buffer.raw()
            if view.nbytes < _LARGE:
                return True
            apart.append(view)
            return False

        pickled = BytesIO()
        _Pickler(pickled, goes_along, memories).dump(value)
        try:
            self._connection.send(([view.nbytes for view in apart], [memory.size for memory in memories]))
            self._connection.send_bytes(pickled.getbuffer())
            for memory in memories:
                send_handle(self._connection, memory.descriptor, None)
            for view in apart:
                self._write(view)
        except OSError as error:
            raise HungUpError from error

    def recv(self) -> Any:
        """Wait for a value.

        Raises:
            HungUpError: nobody is at the other end any more.
            Exception: whatever unpickling it raised; the next one can be received.
        """
        try:
            sizes, sizes_shared = self._connection.recv()
            pickled = self._connection.recv_bytes()
            memories = [SharedMemory(size, recv_handle(self._connection)) for size in sizes_shared]
            apart = [np.empty(size, np.uint8).data for size in sizes]
            for view in apart:
                self._read(view)
        except (EOFError, OSError, RuntimeError) as error:  # the latter where there is no descriptor for what is shared
            raise HungUpError from error
        return _Unpickler(pickled, apart, memories).load()

    def _write(self, view: memoryview) -> None:
        sent = 0
        while sent < view.nbytes:
            sent += os.write(self.fileno(), view[sent:])

    def _read(self, view: memoryview) -> None:
        received = 0
        while received < view.nbytes:
            n = os.readv(self.fileno(), [view[received:]])
            if n == 0:
                raise EOFError
            received += n

    def fileno(self) -> int:
        """For `connection.wait`."""
        return self._connection.fileno()

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


class _Pickler(ForkingPickler):
    """Leaves out shared memory, and says in its place which of the message's it is."""

    def __init__(self, file: BytesIO, goes_along: Callable[[Any], bool], memories: list[SharedMemory]) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL, True, goes_along)
        self._memories = memories

    def persistent_id(self, value: Any) -> int | None:
        if not isinstance(value, SharedMemory):
            return None
        self._memories.append(value)
        return len(self._memories) - 1


class _Unpickler(pickle.Unpickler):
    def __init__(self, pickled: bytes, apart: Sequence[memoryview], memories: Sequence[SharedMemory]) -> None:
        super().__init__(BytesIO(pickled), buffers=apart)
        self._memories = memories

    def persistent_load(self, nth: int) -> SharedMemory:
        return self._memories[nth]
