"""Memory that processes of one machine share: what one of them writes, all of them read."""

from __future__ import annotations

import mmap
import os
import weakref

import numpy as np

from recommenders.base import UInt8

AVAILABLE = hasattr(os, "memfd_create")
"""Whether there is any here: Linux has memory that is a file without a name, of no file system and its size."""


class SharedMemory:
    """Bytes that belong to every process which has a descriptor of them, or a map; zero at first.

    A `lines.Line` carries it to another process. The descriptor is closed with this object; maps stay, and the memory
    goes with the last of them.
    """

    def __init__(self, size: int, descriptor: int | None = None) -> None:
        """Make some, or take part in what another process made.

        Args:
            size: bytes, at least one.
            descriptor: of memory of this size; then it belongs to this object.

        Raises:
            OSError: the system gives none, or not as much.
        """
        self.size = size
        self.descriptor = os.memfd_create("pushback") if descriptor is None else descriptor
        weakref.finalize(self, os.close, self.descriptor)
        if descriptor is None:
            # Its pages are made now, by one process: several that write to them at a time would wait for each other.
            os.posix_fallocate(self.descriptor, 0, size)

    def map(self) -> UInt8:
        """uint8[size], to be read and written.

        Raises:
            OSError: the system gives no place for them.
        """
        return np.frombuffer(mmap.mmap(self.descriptor, self.size), np.uint8)
