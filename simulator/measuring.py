"""Streamed logs measured by worker processes, each cell by one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from simulator.experiment.cell_metrics import EachCell, MeasuredCell, StreamedTest, one_by_one
from simulator.workers import done_by_workers

_Measure = Callable[[StreamedTest, range], MeasuredCell]
_worker: dict[str, object] = {}
"""What a worker process was given when it started: what to do and with what."""


def side_by_side(n_workers: int) -> EachCell:
    """Go through cells with so many processes; with one, here.

    Raises:
        WorkerDiedError: as the cells are gone through, a worker died.
    """
    if n_workers <= 1:
        return one_by_one

    def each_cell(work: _Measure, test: StreamedTest) -> Iterator[MeasuredCell]:
        tasks = [(users,) for users in test.cells]
        return done_by_workers(min(n_workers, len(tasks)), tasks, _measure_here, _adopt, (work, test))

    return each_cell


def _adopt(work: _Measure, test: StreamedTest) -> None:
    _worker["work"], _worker["test"] = work, test


def _measure_here(users: range) -> MeasuredCell:
    return _worker["work"](_worker["test"], users)  # type: ignore[no-any-return, operator]
