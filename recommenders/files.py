"""Files from elsewhere: no more of them than fits, and nothing that never ends. Files of ours: forced to the disk."""

from __future__ import annotations

import errno
import gzip
import io
import os
import stat
from pathlib import Path
from typing import IO

GZIP = b"\x1f\x8b"
MOST_EXPANSION = 50
"""Bytes that a byte of a compressed file may become. Logs shrink to a fifth or a twentieth; a file of nothing but zeros
to a thousandth."""
FREE_BYTES = 1 << 26
"""What any file may become, however small it is."""


def read_bounded(path: Path, most: int) -> bytes:
    """The content of a file.

    Args:
        path: the file.
        most: bytes that it may have.

    Raises:
        OSError: it cannot be read, is larger, or is no regular file: a pipe or a device would never end.
    """
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"more than {most:,} bytes", str(path))
    return content


def open_regular(path: Path) -> IO[bytes]:
    """Open a regular file for reading.

    Raises:
        OSError: it cannot be opened, or is a pipe, a device or a folder.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "a pipe or a device", str(path))
    return os.fdopen(descriptor, "rb")


def most_bytes(size: int) -> int:
    """What a compressed file of a size may become.

    >>> most_bytes(10), most_bytes(10**9)
    (67108864, 50000000000)
    """
    return max(FREE_BYTES, MOST_EXPANSION * size)


class Gunzipped(io.RawIOBase):
    """A gzip file as what it holds, read in pieces; its `read` refuses to go beyond what its size allows.

    Raises:
        OSError: from `read`: it becomes more than `most_bytes`, or is damaged.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._most = most_bytes(os.fstat(file.fileno()).st_size)
        self._file = gzip.GzipFile(fileobj=file)
        self._done = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer with what comes next."""
        n = self._file.readinto(buffer)
        self._done += n
        if self._done > self._most:
            raise OSError(errno.EFBIG, f"a gzip file that becomes more than {self._most:,} bytes: unpack it first")
        return n


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk.

    Raises:
        OSError: it is not there, or the disk is full.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
