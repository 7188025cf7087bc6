"""Streamed logs measured by worker processes, each cell by one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from simulator.experiment.cell_metrics import EachCell, MeasuredCell, StreamedTest, one_by_one
from simulator.workers.pool import done_by_workers

_Measure = Callable[[StreamedTest, range], MeasuredCell]


def side_by_side(n_workers: int) -> EachCell:
    """Go through cells with so many processes; with one, here.

    Raises:
        WorkerDiedError: as the cells are gone through, a worker died.
    """
    if n_workers <= 1:
        return one_by_one

    def each_cell(work: _Measure, test: StreamedTest) -> Iterator[MeasuredCell]:
        return done_by_workers(n_workers, [(users,) for users in test.cells], work, (test,))

    return each_cell
