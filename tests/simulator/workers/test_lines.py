"""What arrives at the other end of a line is what was sent."""

from __future__ import annotations

import os
from multiprocessing.connection import Pipe
from threading import Thread
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from simulator.workers import lines
from simulator.workers.lines import HungUpError, Line
from simulator.workers.shared_memory import AVAILABLE, SharedMemory

ARRAYS = st_numpy.arrays(
    st.sampled_from([np.dtype(t) for t in (np.int64, np.float32, np.bool_, np.uint8)]),
    st_numpy.array_shapes(min_dims=0, min_side=0, max_side=40),
)


def sent(value: Any) -> Any:
    ours, theirs = Pipe()
    sender = Thread(target=Line(theirs).send, args=(value,))
    sender.start()
    found = Line(ours).recv()
    sender.join()
    ours.close()
    theirs.close()
    return found


@pytest.fixture(params=[1, 64, 65_536], autouse=True)
def large(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_LARGE", request.param)


@given(st.lists(ARRAYS, max_size=4), st.booleans())
def test_arrays_arrive_as_they_were(arrays: list[Any], turned: bool) -> None:
    arrays = [array.T for array in arrays] if turned else arrays
    for a, b in zip(arrays, sent({"arrays": arrays})["arrays"], strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a.dtype, a.shape, b.flags.writeable) == (b.dtype, b.shape, True)


def test_what_is_larger_than_a_pipe_holds_arrives_whole() -> None:
    wide = np.arange(3_000_000, dtype=np.int64)
    narrow = wide.reshape(1000, -1)[:, :7]
    found = sent((wide, narrow, "after"))
    np.testing.assert_array_equal(found[0], wide)
    np.testing.assert_array_equal(found[1], narrow)
    assert found[2] == "after"


def test_messages_follow_each_other() -> None:
    ours, theirs = Pipe()
    left, right = Line(ours), Line(theirs)
    for n in (1, 5000):
        right.send(np.full(n, n))
        right.send(n)
    assert [np.sum(left.recv()) for _ in range(4)] == [1, 1, 5000**2, 5000]


def test_who_hangs_up_in_the_middle_is_noticed() -> None:
    ours, theirs = Pipe()
    theirs.send(([100], []))
    theirs.send_bytes(b"")
    os.write(theirs.fileno(), b"half of it")
    theirs.close()
    with pytest.raises(HungUpError):
        Line(ours).recv()


def test_what_cannot_be_pickled_is_not_begun() -> None:
    ours, theirs = Pipe()
    with pytest.raises(Exception, match="pickle"):
        Line(theirs).send((np.zeros(100_000), lambda: None))
    assert not ours.poll()


@pytest.mark.skipif(not AVAILABLE, reason="no memory without a file here")
def test_shared_memory_is_the_same_at_both_ends() -> None:
    one, other, large = SharedMemory(1000), SharedMemory(70_000), np.arange(100_000)
    found = sent([other, "between", large, one, other])
    np.testing.assert_array_equal(found[2], large)
    ours, theirs = (one.map(), other.map()), (found[3].map(), found[0].map())
    del found, one, other
    for nth, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        b[nth] = 7
        a[-1] = 8
        assert a.size == b.size
        assert (a[nth], b[-1], a.sum()) == (7, 8, 15)


@pytest.mark.skipif(not AVAILABLE, reason="no memory without a file here")
def test_descriptors_of_shared_memory_are_given_back() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        sent(SharedMemory(10)).map()
    assert len(os.listdir("/proc/self/fd")) == before
