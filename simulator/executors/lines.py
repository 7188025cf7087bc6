"""Messages between two processes, in which large arrays are not copied before they leave and after they arrive."""

from __future__ import annotations

import os
from io import BytesIO
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np

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

        def goes_along(buffer: Any) -> bool:
            """Whether a buffer of an array is pickled with the rest (PEP 574)."""
            view: memoryview = buffer.raw()
            if view.nbytes < _LARGE:
                return True
            apart.append(view)
            return False

        pickled = BytesIO()
        ForkingPickler(pickled, 5, True, goes_along).dump(value)
        self._connection.send([view.nbytes for view in apart])
        self._connection.send_bytes(pickled.getbuffer())
        for view in apart:
            sent = 0
            while sent < view.nbytes:
                sent += os.write(self.fileno(), view[sent:])

    def recv(self) -> Any:
        """Wait for a value.

        Raises:
            EOFError, OSError: nobody is at the other end any more.
        """
        sizes = self._connection.recv()
        pickled = self._connection.recv_bytes()
        apart = [np.empty(size, np.uint8).data for size in sizes]
        for view in apart:
            received = 0
            while received < view.nbytes:
                n = os.readv(self.fileno(), [view[received:]])
                if n == 0:
                    raise EOFError
                received += n
        return ForkingPickler.loads(pickled, buffers=apart)

    def fileno(self) -> int:
        """For `connection.wait`."""
        return self._connection.fileno()

    def close(self) -> None:
        """Hang up."""
        self._connection.close()
