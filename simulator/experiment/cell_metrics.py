"""The metrics of streamed logs, cell by cell: memory holds a cell's rows at a time, in all arms, never a whole log.

A user's parts follow from that user's rows alone, and rows of a user stand in a cell in the same order as in the whole
log, so that parts equal those of the whole log bit for bit. Daily values, and the blocks of a switchback, are sums over
cells, which round in another order than a sum over all users at once: they may differ in the last digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from recommenders.base import Bool, Feedback, Float64, Int32, ItemFeatures
from simulator.engine.log import EventLog
from simulator.engine.log_parts import cell_hash, stored_cell
from simulator.experiment.estimators import PerUser
from simulator.experiment.metrics import METRICS, LogView, Metric, MetricError, WorldMetric, select_metrics
from simulator.experiment.metrics.base import Tally, protected
from simulator.experiment.metrics.contract import conclude_tally, measure, measure_tally
from simulator.experiment.readings import Rows, all_periods, by_block, rows_of

WARM_UP = "warm_up"


@dataclass(frozen=True, eq=False)
class StreamedTest:
    """A test whose logs are on the disk, in the same cells for all arms.

    Attributes:
        folder: of the logs: `folder / arm / cell`, and `warm_up` beside the arms.
        arms: in the scenario's order; of a split, in that of `assigned`.
        cells: ranges of users that make up the population.
        metrics: names; none for all built-in ones.
        items: of the catalogue.
        start_tick: where the warm-up ends.
        begin_tick, end_tick: the window that is analysed.
        assigned: of a split, int32[n_users], the arm that each user is meant for.
        periods: of a switchback, arm -> when it is looked at, from the one tick to before the other, once a block.
    """

    folder: Path
    arms: tuple[str, ...]
    cells: tuple[range, ...]
    metrics: tuple[str, ...]
    items: ItemFeatures
    start_tick: int
    begin_tick: int
    end_tick: int
    assigned: Int32 | None = None
    periods: Mapping[str, tuple[tuple[int, int], ...]] | None = None

    @property
    def is_paired(self) -> bool:
        """Whether each arm has a world of its own."""
        return self.assigned is None and self.periods is None

    def members(self, arm: str) -> Rows:
        """intp[n], the users who are in an arm, in order; of all designs but a split, everybody."""
        if self.assigned is None:
            return np.arange(self.n_users)
        return np.flatnonzero(self.assigned == self.arms.index(arm))

    @property
    def n_users(self) -> int:
        """Users of the population."""
        return self.cells[-1].stop

    @property
    def window(self) -> LogView:
        """The analysed window, without rows."""
        return LogView(EventLog.empty(), self.items, self.n_users, self.begin_tick, self.end_tick)

    def window_of(self, arm: str) -> LogView:
        """What an arm's world as a whole is measured over, without rows."""
        if self.periods is None:
            return self.window
        return self.window.window(self.periods[arm][0][0], self.periods[arm][-1][1])


@dataclass(frozen=True, eq=False)
class CellOfArm:
    """What a cell tells of one arm.

    Attributes:
        n_rows: of its log.
        sha256: of its rows.
        most_dislikes: of one user that it served, since the warm-up.
        n_active: users whom the window saw.
        parts: metric -> those of the cell's users; of a switchback, their sums, a row a block.
        days: metric -> float64[2, n_days], the sums of both over the cell's users, for each day as a window; none of a
            switchback.
        tallies: metric of the world -> its tally.

    Users are all of the cell's; of a split, those meant for the arm, whoever served them.
    """

    n_rows: int
    sha256: str
    most_dislikes: int
    n_active: int
    parts: Mapping[str, PerUser]
    days: Mapping[str, Float64]
    tallies: Mapping[str, Tally]


@dataclass(frozen=True, eq=False)
class MeasuredCell:
    """What a cell tells.

    Attributes:
        users: its range.
        warm_up_rows, warm_up_sha256: of the warm-up's log.
        impressions, dislikes: float64[n], of each user in the warm-up.
        known: metric -> parts of all users in the warm-up; of a split only.
        arms: arm -> what its log tells.
    """

    users: range
    warm_up_rows: int
    warm_up_sha256: str
    impressions: Float64
    dislikes: Float64
    known: Mapping[str, PerUser]
    arms: Mapping[str, CellOfArm]


EachCell = Callable[[Callable[[StreamedTest, range], MeasuredCell], StreamedTest], Iterable[MeasuredCell]]
"""How cells are gone through: here one after the other, or by workers side by side, in any order."""


def one_by_one(work: Callable[[StreamedTest, range], MeasuredCell], test: StreamedTest) -> Iterator[MeasuredCell]:
    """Cell after cell, in this process."""
    return (work(test, users) for users in test.cells)


def measure_cell(test: StreamedTest, users: range) -> MeasuredCell:
    """Read one cell of all arms, and measure it.

    Raises:
        LogFileError: a part is missing or damaged.
        MetricError: a metric failed or broke its contract.
    """
    before = stored_cell(test.folder / WARM_UP, users).read()
    view = _view(before, test, users, 0, test.start_tick)
    known: Mapping[str, PerUser] = {}
    if test.is_paired:
        arms = {arm: _cell_of_world(test, users, before, arm) for arm in test.arms}
    else:
        logs = {arm: stored_cell(test.folder / arm, users).read() for arm in test.arms}
        together = EventLog.concatenate([before, EventLog.merge(list(logs.values()))])
        whole = _view(together, test, users, test.begin_tick, test.end_tick)
        if test.periods is not None:
            arms = {arm: _cell_in_periods(test, whole, log, test.periods[arm]) for arm, log in logs.items()}
        else:
            arms = _cell_of_split(test, users, whole, logs)
            known = {metric.info.name: measure(metric, view) for metric in _by_user_metrics(test)}
    dislikes = view.count(view.flagged(Feedback.DISLIKE))
    return MeasuredCell(users, len(before), cell_hash(before), view.impressions, dislikes, known, arms)


def _cell_of_world(test: StreamedTest, users: range, before: EventLog, arm: str) -> CellOfArm:
    """A cell in the world of one arm."""
    log = stored_cell(test.folder / arm, users).read()
    whole = _view(EventLog.concatenate([before, log]), test, users, test.begin_tick, test.end_tick)
    return _cell_of_arm(test, log, _by_user(test, whole), whole, np.ones(len(users), np.bool_))


def _cell_of_split(
    test: StreamedTest, users: range, whole: LogView, logs: Mapping[str, EventLog]
) -> dict[str, CellOfArm]:
    """A cell, by the arm that its users are meant for."""
    assert test.assigned is not None
    by_user, meant_for = _by_user(test, whole), test.assigned[users.start : users.stop]
    found = {}
    for nth, (arm, log) in enumerate(logs.items()):
        members = meant_for == nth
        own = replace(whole, log=protected(whole.log.take(members[whole.log.user])))
        found[arm] = _cell_of_arm(test, log, by_user, own, members)
    return found


def _cell_in_periods(
    test: StreamedTest, whole: LogView, log: EventLog, periods: Sequence[tuple[int, int]]
) -> CellOfArm:
    """A cell in the periods of one arm of a switchback, whose own log is `log`."""
    views = [whole.window(*period) for period in periods]
    parts = {metric.info.name: by_block([measure(metric, view) for view in views]) for metric in _by_user_metrics(test)}
    tallies = {metric.info.name: measure_tally(metric, all_periods(views)) for metric in _world_metrics(test)}
    return CellOfArm(len(log), cell_hash(log), 0, 0, parts, {}, tallies)


def _view(log: EventLog, test: StreamedTest, users: range, begin: int, end: int) -> LogView:
    own = replace(log, user=log.user - np.int32(users.start))
    return LogView(protected(own), test.items, len(users), begin, end, first_user=users.start)


_ByUser = Mapping[str, tuple[PerUser, Sequence[PerUser]]]
"""Metric -> parts of all users of a cell, over the window and on each of its days."""


def _by_user_metrics(test: StreamedTest) -> list[Metric]:
    return [metric for metric in select_metrics(test.metrics) if isinstance(metric, Metric)]


def _world_metrics(test: StreamedTest) -> list[WorldMetric]:
    return [metric for metric in select_metrics(test.metrics) if isinstance(metric, WorldMetric)]


def _by_user(test: StreamedTest, view: LogView) -> _ByUser:
    return {
        metric.info.name: (measure(metric, view), [measure(metric, day) for day in view.days])
        for metric in _by_user_metrics(test)
    }


def _cell_of_arm(test: StreamedTest, log: EventLog, by_user: _ByUser, view: LogView, members: Bool) -> CellOfArm:
    """What a cell tells of an arm, from the log of what it served, and from the view and the parts of its members."""
    parts, days = {}, {}
    for name, (whole, by_day) in by_user.items():
        parts[name] = rows_of(whole, members)
        days[name] = np.array(
            [[d.numerator[members].sum() for d in by_day], [d.denominator[members].sum() for d in by_day]]
        )
    dislikes = np.bincount(log.user[(log.feedback & Feedback.DISLIKE) != 0] - view.first_user)
    active = np.bincount(view.rows.user, minlength=len(members)) > 0
    return CellOfArm(
        len(log), cell_hash(log), int(dislikes.max(initial=0)), int(active.sum()), parts, days,
        {metric.info.name: measure_tally(metric, view) for metric in _world_metrics(test)},
    )  # fmt: skip


def rehearse_streamed(test: StreamedTest) -> None:
    """Try the metrics that are not built in on a cell of the warm-up, before the arms take their time.

    Raises:
        MetricError: a metric is unknown, failed, or broke its contract; or it gives users other parts when it is shown
            some of them alone, as it will be.
    """
    users = test.cells[0]
    halves = [users[: len(users) // 2], users[len(users) // 2 :]]
    log = stored_cell(test.folder / WARM_UP, users).read()
    views = [_view(log.take(np.isin(log.user, some)), test, some, 0, test.start_tick) for some in (users, *halves)]
    for metric in select_metrics(test.metrics):
        if metric.info.name in METRICS:
            continue
        if isinstance(metric, WorldMetric):
            conclude_tally(metric, np.sum([measure_tally(metric, view) for view in views[1:]], axis=0), test.window)
            continue
        whole, *parts = (measure(metric, view) for view in views)
        for part in ("numerator", "denominator"):
            alone = np.concatenate([getattr(p, part) for p in parts])
            differs = np.flatnonzero(alone != getattr(whole, part))
            if len(differs):
                user = differs[0]
                got = f"{alone[user]:g} for user {users.start + user} among fewer users, {getattr(whole, part)[user]:g}"
                raise MetricError(
                    f"metric {metric.info.name}: {part}: got {got} among more, expected what follows from the user's "
                    "own rows, as logs are streamed (log.stream)"
                )
