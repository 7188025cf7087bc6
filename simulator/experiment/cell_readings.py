"""What the cells of a streamed test tell together: the readings that the analysis asks for, filled cell by cell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan

import numpy as np

from recommenders.base import Float64
from simulator.engine.log_parts import cells_hash
from simulator.experiment.cell_metrics import (
    CellOfArm,
    EachCell,
    MeasuredCell,
    StreamedTest,
    measure_cell,
    one_by_one,
)
from simulator.experiment.estimators import DifferenceAndLift, PerUser, compare, compare_independent
from simulator.experiment.metrics import LogView, Metric, WorldMetric
from simulator.experiment.metrics.base import Tally
from simulator.experiment.metrics.contract import conclude_tally
from simulator.experiment.readings import Rows


@dataclass(eq=False)
class ArmReadings:
    """What the cells of one arm tell together; filled cell by cell.

    Attributes:
        users: intp[n], who is in it, in order.
        parts: metric -> those of these users; of a switchback, their sums, a row a block.
        days: metric -> float64[2, n_days], numerators and denominators summed over users.
        tallies: metric of the world -> its tally.
        n_rows: of the log.
        n_active: users whom the window saw.
        hashes: of the cells that have rows.
        most_dislikes: of one user since the warm-up, for each cell.
    """

    users: Rows
    parts: dict[str, PerUser] = field(default_factory=dict)
    days: dict[str, Float64] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)
    n_rows: int = 0
    n_active: int = 0
    hashes: list[tuple[range, str]] = field(default_factory=list)
    most_dislikes: list[tuple[range, int]] = field(default_factory=list)

    def add(self, users: range, cell: CellOfArm, *, by_block: bool) -> None:
        """Take in a cell, whose parts are by user or by block."""
        if by_block:
            _add(self.parts, cell.parts)
        else:
            rows = slice(*np.searchsorted(self.users, [users.start, users.stop]))
            _fill(self.parts, cell.parts, rows, len(self.users))
        self.n_active += cell.n_active
        for total, new in ((self.days, cell.days), (self.tallies, cell.tallies)):
            for name, value in new.items():
                total[name] = total[name] + value if name in total else value
        self.most_dislikes.append((users, cell.most_dislikes))
        self.count(users, cell.n_rows, cell.sha256)

    def count(self, users: range, n_rows: int, sha256: str) -> None:
        """Take in a cell's rows and their hash."""
        self.n_rows += n_rows
        self.hashes += [(users, sha256)] if n_rows else []

    @property
    def sha256(self) -> str:
        """Of all rows."""
        return cells_hash(self.hashes)


def _fill(whole: dict[str, PerUser], parts: Mapping[str, PerUser], rows: slice, n: int) -> None:
    """Put the parts of some users to their rows among those of `n`."""
    for name, found in parts.items():
        into = whole.setdefault(name, PerUser(np.empty(n), np.empty(n), found.empty_note))
        into.numerator[rows], into.denominator[rows] = found.numerator, found.denominator


def _add(total: dict[str, PerUser], parts: Mapping[str, PerUser]) -> None:
    """Add the parts of other users, row by row."""
    for name, found in parts.items():
        so_far = total.get(name, PerUser(np.zeros(1), np.zeros(1), found.empty_note))
        total[name] = PerUser(
            so_far.numerator + found.numerator, so_far.denominator + found.denominator, found.empty_note
        )


@dataclass(frozen=True, eq=False)
class CellReadings:
    """A test read cell by cell: what the readings of each design have of logs in memory.

    Attributes:
        test: what was measured.
        by_arm: arm -> what its cells tell.
        warm_up: rows and hashes of the warm-up's log; of a split, also the metrics of all users in it.
        impressions, dislikes: float64[n_users], of the warm-up.
    """

    test: StreamedTest
    by_arm: Mapping[str, ArmReadings]
    warm_up: ArmReadings
    impressions: Float64
    dislikes: Float64

    @property
    def is_paired(self) -> bool:
        """Whether each arm has a world of its own."""
        return self.test.is_paired

    @property
    def worlds_compare(self) -> bool:
        """Whether the arms' worlds are of one size."""
        return self.test.assigned is None

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms."""
        return self.test.arms

    @property
    def view(self) -> LogView:
        """The window, without rows."""
        return self.test.window

    def users(self, arm: str) -> Rows:
        """Those behind its parts."""
        return self.by_arm[arm].users

    def parts(self, metric: Metric) -> dict[str, PerUser]:
        """Arm -> parts of its users, or of the blocks of a switchback."""
        return {arm: found.parts[metric.info.name] for arm, found in self.by_arm.items()}

    def numbers(self, metric: WorldMetric) -> dict[str, float]:
        """Arm -> the number of its world, or of its part of a world."""
        name = metric.info.name
        return {
            arm: conclude_tally(metric, found.tallies[name], self.test.window_of(arm))
            for arm, found in self.by_arm.items()
        }

    def compare(self, treatment: PerUser, control: PerUser, confidence: float) -> DifferenceAndLift:
        """Paired by user or block, or between different users."""
        by = compare if self.test.assigned is None else compare_independent
        return by(treatment, control, confidence)

    def between(self, start_tick: int, end_tick: int) -> CellReadings:
        """Another window.

        Raises:
            ValueError: it is not the test's, for no other was measured.
        """
        if (start_tick, end_tick) != (self.test.begin_tick, self.test.end_tick):
            got = f"[{start_tick}, {end_tick}), expected [{self.test.begin_tick}, {self.test.end_tick})"
            raise ValueError(f"the window of a streamed log: got {got}, all that was measured")
        return self

    def daily(self, metric: Metric) -> dict[str, tuple[float, ...]]:
        """Arm -> the level on each day; none of a switchback."""
        name = metric.info.name
        measured = {arm: found.days[name] for arm, found in self.by_arm.items() if name in found.days}
        return {arm: tuple(_ratio(*day) for day in days.T) for arm, days in measured.items()}


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator else nan


def read_test(test: StreamedTest, each_cell: EachCell = one_by_one) -> CellReadings:
    """Measure all metrics in all arms, reading every log once.

    Args:
        test: what to measure.
        each_cell: goes through the cells.

    Raises:
        LogFileError: a part is missing or damaged.
        MetricError: a metric failed or broke its contract.
    """
    by_arm = {arm: ArmReadings(test.members(arm)) for arm in test.arms}
    warm_up = ArmReadings(np.arange(test.n_users))
    impressions, dislikes = np.empty(test.n_users), np.empty(test.n_users)
    for cell in _in_order(each_cell(measure_cell, test), test.cells):
        rows = slice(cell.users.start, cell.users.stop)
        impressions[rows], dislikes[rows] = cell.impressions, cell.dislikes
        warm_up.count(cell.users, cell.warm_up_rows, cell.warm_up_sha256)
        _fill(warm_up.parts, cell.known, rows, test.n_users)
        for arm, found in cell.arms.items():
            by_arm[arm].add(cell.users, found, by_block=test.periods is not None)
    return CellReadings(test, by_arm, warm_up, impressions, dislikes)


def _in_order(found: Iterable[MeasuredCell], cells: Sequence[range]) -> Iterator[MeasuredCell]:
    """Cells in the order of their users, as sums of fractions depend on their order."""
    waiting: dict[int, MeasuredCell] = {}
    upcoming = iter(cells)
    following: range | None = next(upcoming)
    for cell in found:
        waiting[cell.users.start] = cell
        while following is not None and following.start in waiting:
            yield waiting.pop(following.start)
            following = next(upcoming, None)
