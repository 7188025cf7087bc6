"""Ends what hangs: a part that gives no answer must not keep others from theirs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_AGAIN_SECONDS = 1.0


class OutOfTime(KeyboardInterrupt):
    """Time is up; the message says where. No `Exception`, so that neither plug-ins nor hypothesis keep it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Stop what takes longer.

    Signals do it, which arrive between two steps of Python on the main thread: elsewhere there is no limit, and a call
    into C is waited for. Time is said to be up again and again, should somebody not hear.

    Raises:
        OutOfTime: in the code that runs for longer.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        where = f"{frame.f_code.co_filename}:{frame.f_lineno}, in {frame.f_code.co_name}" if frame else "nowhere"
        raise OutOfTime(f"no answer within {seconds:g} s; it was at {where}")

    handler = signal.signal(signal.SIGALRM, ring)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)
