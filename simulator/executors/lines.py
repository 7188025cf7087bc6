"""Messages between two processes, in which large arrays are not copied before they leave and after they arrive.

They may hold `SharedMemory`, whose bytes do not travel at all.
"""

from __future__ import annotations

import os
import pickle
from io import BytesIO
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler, recv_handle, send_handle
from typing import Any

import numpy as np

from simulator.executors.shared_memory import SharedMemory

_LARGE = 65_536
"""Bytes of an array from which on it travels by itself: a `Connection` copies what it sends three times."""


class Line:
    """One end of a `Connection`, whose other end is one, too."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection

    def send(self, value: Any) -> None:
        """Send a value.

        Raises:
            OSError: nobody is at the other end.
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
        _Pickler(pickled, 5, True, goes_along, memories).dump(value)
        self._connection.send(([view.nbytes for view in apart], [memory.size for memory in memories]))
        self._connection.send_bytes(pickled.getbuffer())
        for memory in memories:
            send_handle(self._connection, memory.descriptor, None)
        for view in apart:
            sent = 0
            while sent < view.nbytes:
                sent += os.write(self.fileno(), view[sent:])

    def recv(self) -> Any:
        """Wait for a value.

        Raises:
            EOFError, OSError: nobody is at the other end any more.
        """
        sizes, sizes_shared = self._connection.recv()
        pickled = self._connection.recv_bytes()
        memories = [SharedMemory(size, recv_handle(self._connection)) for size in sizes_shared]
        apart = [np.empty(size, np.uint8).data for size in sizes]
        for view in apart:
            received = 0
            while received < view.nbytes:
                n = os.readv(self.fileno(), [view[received:]])
                if n == 0:
                    raise EOFError
                received += n
        return _Unpickler(BytesIO(pickled), apart, memories).load()

    def fileno(self) -> int:
        """For `connection.wait`."""
        return self._connection.fileno()

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


class _Pickler(ForkingPickler):
    """Names shared memory by its place among all of the message."""

    def __init__(
        self, file: BytesIO, protocol: int, fix_imports: bool, callback: Any, memories: list[SharedMemory]
    ) -> None:
        super().__init__(file, protocol, fix_imports, callback)
        self._memories = memories

    def persistent_id(self, value: Any) -> int | None:
        if not isinstance(value, SharedMemory):
            return None
        self._memories.append(value)
        return len(self._memories) - 1


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BytesIO, apart: list[memoryview], memories: list[SharedMemory]) -> None:
        super().__init__(file, buffers=apart)
        self._memories = memories

    def persistent_load(self, nth: int) -> SharedMemory:
        return self._memories[nth]
