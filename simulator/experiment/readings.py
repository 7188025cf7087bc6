"""How each design of an A/B test reads a metric: its parts by unit in each arm, and how two arms are compared.

A unit is a user where users are in arms, and a block of time where a whole population changes arms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from recommenders.base import Bool, Int32
from simulator.engine.log import EventLog
from simulator.experiment.estimators import DifferenceAndLift, PerUser, compare, compare_independent
from simulator.experiment.metrics import LogView, Metric, WorldMetric
from simulator.experiment.metrics.contract import measure, measure_world

Rows = npt.NDArray[np.intp]


class Readings(Protocol):
    """What the analysis needs of a design, over one window of time."""

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms."""
        ...

    @property
    def worlds_compare(self) -> bool:
        """Whether the arms' numbers of the world as a whole are about worlds of one size."""
        ...

    def parts(self, metric: Metric) -> dict[str, PerUser]:
        """Arm -> the metric's parts, a row a unit."""
        ...

    def numbers(self, metric: WorldMetric) -> dict[str, float]:
        """Arm -> a metric of the world as a whole."""
        ...

    def compare(self, treatment: PerUser, control: PerUser, confidence: float) -> DifferenceAndLift:
        """The effect between two arms' parts, by the design's own estimator."""
        ...

    def daily(self, metric: Metric) -> dict[str, tuple[float, ...]]:
        """Arm -> the metric's level on each day of the window, where arms serve all days; days look ahead as far as
        the window does.
        """
        ...


class UserReadings(Readings, Protocol):
    """Readings by user, which can be cut in time."""

    @property
    def is_paired(self) -> bool:
        """Whether row i is the same user in every arm."""
        ...

    def users(self, arm: str) -> Rows:
        """intp[n], the users behind an arm's parts, row by row."""
        ...

    @property
    def view(self) -> LogView:
        """A view whose window is that of the readings; of one of the arms, or of all."""
        ...

    def between(self, start_tick: int, end_tick: int) -> UserReadings:
        """The same over another window, as if nothing after it was known yet."""
        ...


@dataclass(frozen=True, eq=False)
class TwinReadings:
    """A paired test: every user lives in every arm's own world.

    Attributes:
        views: arm -> the window of its log.
    """

    views: Mapping[str, LogView]
    is_paired: bool = True
    worlds_compare: bool = True

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms."""
        return tuple(self.views)

    @property
    def view(self) -> LogView:
        """That of the first arm."""
        return next(iter(self.views.values()))

    def users(self, arm: str) -> Rows:
        """All of them, in every arm."""
        return np.arange(self.views[arm].n_users)

    def parts(self, metric: Metric) -> dict[str, PerUser]:
        """Arm -> parts of all users."""
        return {arm: measure(metric, view) for arm, view in self.views.items()}

    def numbers(self, metric: WorldMetric) -> dict[str, float]:
        """Arm -> the number of its world."""
        return {arm: measure_world(metric, view) for arm, view in self.views.items()}

    def compare(self, treatment: PerUser, control: PerUser, confidence: float) -> DifferenceAndLift:
        """Paired by user."""
        return compare(treatment, control, confidence)

    def between(self, start_tick: int, end_tick: int) -> TwinReadings:
        """The same over another window."""
        return TwinReadings({arm: view.window(start_tick, end_tick) for arm, view in self.views.items()})

    def daily(self, metric: Metric) -> dict[str, tuple[float, ...]]:
        """Arm -> the level on each day."""
        return {arm: tuple(measure(metric, day).ratio() for day in view.days) for arm, view in self.views.items()}


@dataclass(frozen=True, eq=False)
class SplitReadings:
    """A split: each user belongs to one arm, whoever served them at what time (intention to treat).

    Attributes:
        view: the window of the log of all arms together.
        members: arm -> bool[n_users], who was assigned to it.
    """

    view: LogView
    members: Mapping[str, Bool]
    is_paired: bool = False
    worlds_compare: bool = False

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms."""
        return tuple(self.members)

    def users(self, arm: str) -> Rows:
        """Those assigned to the arm."""
        return np.flatnonzero(self.members[arm])

    def parts(self, metric: Metric) -> dict[str, PerUser]:
        """Arm -> parts of its users."""
        everybody = measure(metric, self.view)
        return {arm: rows_of(everybody, self.users(arm)) for arm in self.members}

    def numbers(self, metric: WorldMetric) -> dict[str, float]:
        """Arm -> the number of its users' part of the world."""
        return {arm: measure_world(metric, view) for arm, view in self._own_views.items()}

    def compare(self, treatment: PerUser, control: PerUser, confidence: float) -> DifferenceAndLift:
        """Between different users."""
        return compare_independent(treatment, control, confidence)

    def between(self, start_tick: int, end_tick: int) -> SplitReadings:
        """The same over another window."""
        return SplitReadings(self.view.window(start_tick, end_tick), self.members)

    def daily(self, metric: Metric) -> dict[str, tuple[float, ...]]:
        """Arm -> the level on each day."""
        everybody = [measure(metric, day) for day in self.view.days]
        return {arm: tuple(rows_of(day, self.users(arm)).ratio() for day in everybody) for arm in self.members}

    @cached_property
    def _own_views(self) -> dict[str, LogView]:
        log = self.view.log
        return {arm: replace(self.view, log=log.take(mine[log.user])) for arm, mine in self.members.items()}


@dataclass(frozen=True, eq=False)
class BlockReadings:
    """A switchback: the whole population changes arms, so that the unit is a block, which holds every arm once.

    Attributes:
        views: arm -> the windows of its periods, one a block, in order of time.
    """

    views: Mapping[str, tuple[LogView, ...]]
    worlds_compare: bool = True

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms."""
        return tuple(self.views)

    def parts(self, metric: Metric) -> dict[str, PerUser]:
        """Arm -> parts summed over users, a row a block."""
        return {arm: by_block([measure(metric, view) for view in views]) for arm, views in self.views.items()}

    def numbers(self, metric: WorldMetric) -> dict[str, float]:
        """Arm -> the number of all its periods together."""
        return {arm: measure_world(metric, all_periods(views)) for arm, views in self.views.items()}

    def compare(self, treatment: PerUser, control: PerUser, confidence: float) -> DifferenceAndLift:
        """Paired by block."""
        return compare(treatment, control, confidence)

    def daily(self, metric: Metric) -> dict[str, tuple[float, ...]]:
        """None: no arm serves all days."""
        return {}


def rows_of(per_user: PerUser, rows: Rows | Int32 | Bool | slice) -> PerUser:
    """The parts of some of the units."""
    return PerUser(per_user.numerator[rows], per_user.denominator[rows], per_user.empty_note)


def by_block(periods: Sequence[PerUser]) -> PerUser:
    """Parts summed over users, a row a block, from those of all users in each block's period."""
    numerator, denominator = ([float(p.sum()) for p in parts] for parts in zip(*map(_both, periods), strict=True))
    return PerUser(np.array(numerator), np.array(denominator), periods[0].empty_note)


def _both(per_user: PerUser) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    return per_user.numerator, per_user.denominator


def all_periods(views: Sequence[LogView]) -> LogView:
    """The rows of some windows, in order of time, as one."""
    log = EventLog.concatenate([view.rows for view in views])
    return replace(views[0], log=log, end_tick=views[-1].end_tick)
