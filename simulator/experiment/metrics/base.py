"""What a metric reads and what it is: the window of one arm's event log, and a function from it to parts per user.

An *impression* here is an examined row of the log: nobody reacts to what they did not look at. Slates are counted as
served, examined or not. A *day* is 24 simulated hours, counted from the start of the window.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt

from recommenders.base import Bool, Feedback, Float64, Int32, ItemFeatures
from simulator.engine.log import EventLog
from simulator.experiment.estimators import PerUser
from simulator.experiment.results import MetricInfo
from simulator.scenario.durations import TICKS_PER_DAY

NO_IMPRESSIONS = "nobody looked at anything"
NO_REQUESTS = "nobody was served a slate"
EMPTY_WINDOW = "the window is empty"

T = TypeVar("T")


class MetricError(ValueError):
    """A metric cannot be found or broke its contract; the message names it, what was got and what was expected."""


@dataclass(frozen=True, eq=False)
class LogView:
    """The window [start_tick, end_tick) of one arm's event log.

    Attributes:
        log: the arm's log; it may begin before the window (with the warm-up), and metrics that look back use that.
        items: of the catalogue; item ids in the log are its rows.
        n_users: number of users in the experiment; user ids are below it. Users without a row count as inactive.
        start_tick, end_tick: the window, in ticks.
        horizon_tick: how far metrics may look ahead of the window; None for its end.
        first_user: which user of the experiment the view calls 0. Not 0 where a log is streamed: it is then measured
            cell by cell, and the view holds the users of a cell.
    """

    log: EventLog
    items: ItemFeatures
    n_users: int
    start_tick: int
    end_tick: int
    horizon_tick: int | None = None
    first_user: int = 0
    _made: dict[Hashable, object] = field(init=False, default_factory=dict, repr=False)

    @cached_property
    def rows(self) -> EventLog:
        """The impressions of the window, examined or not."""
        return self.log.between(self.start_tick, self.end_tick)

    @cached_property
    def impressions(self) -> Float64:
        """float64[n_users], examined impressions of each user; read-only."""
        return _read_only(self.count(self.flagged(Feedback.EXAMINED)))

    @cached_property
    def opens_request(self) -> Bool:
        """bool[e], the first row of each request (slot 0); read-only."""
        return _read_only(self.rows.slot == 0)

    @property
    def n_days(self) -> int:
        """Days of the window; a last part of a day counts as one."""
        return -(-(self.end_tick - self.start_tick) // TICKS_PER_DAY)

    @property
    def length_days(self) -> float:
        """Length of the window in days; a part of a day counts as that part."""
        return (self.end_tick - self.start_tick) / TICKS_PER_DAY

    def flagged(self, flags: Feedback) -> Bool:
        """bool[e], the rows of the window that have any of the flags."""
        chosen: Bool = (self.rows.feedback & flags) != 0
        return chosen

    def count(self, chosen: Bool) -> Float64:
        """float64[n_users], chosen rows of each user; `chosen` is bool[e] over the rows of the window."""
        return np.bincount(self.rows.user[chosen], minlength=self.n_users).astype(np.float64)

    def sum_by_user(self, user: Int32, value: npt.NDArray[np.floating]) -> Float64:
        """float64[n_users], the sum of `value[m]` over the rows of `user`, int32[m]."""
        return np.bincount(user, weights=value, minlength=self.n_users).astype(np.float64)

    def every_user(self, value: float) -> Float64:
        """float64[n_users], the same value for each user."""
        return np.full(self.n_users, value, dtype=np.float64)

    def active_on(self, day: int) -> Bool:
        """bool[n_users], who was served a slate on a day, counted from the start of the window (up to the horizon)."""
        start = self.start_tick + day * TICKS_PER_DAY
        served = self.log.between(start, min(start + TICKS_PER_DAY, self._horizon))
        active = np.zeros(self.n_users, dtype=np.bool_)
        active[served.user] = True
        return active

    def is_whole(self, day: int) -> bool:
        """Whether a day lies inside the horizon from beginning to end."""
        return self.start_tick + (day + 1) * TICKS_PER_DAY <= self._horizon

    @cached_property
    def days(self) -> tuple[LogView, ...]:
        """The days of the window, each a view of its own; they look back and ahead as far as this view does."""
        return tuple(self.day(day) for day in range(self.n_days))

    def day(self, day: int) -> LogView:
        """One day of the window, from 0; it looks back and ahead as far as this view does.

        Raises:
            ValueError: no such day in the window.
        """
        if not 0 <= day < self.n_days:
            raise ValueError(f"day: got {day}, expected 0 to {self.n_days - 1}")
        start = self.start_tick + day * TICKS_PER_DAY
        return self.window(start, min(start + TICKS_PER_DAY, self.end_tick), self._horizon)

    def window(self, start_tick: int, end_tick: int, horizon_tick: int | None = None) -> LogView:
        """The same log, through another window."""
        view = replace(self, start_tick=start_tick, end_tick=end_tick, horizon_tick=horizon_tick)
        object.__setattr__(view, "_made", self._made)  # what `once` made of the log holds for each window
        return view

    def once(self, make: Callable[..., T], *arguments: Hashable) -> T:
        """`make(log, items, *arguments)`, made once for this view and all others that it has made.

        For what looks back over the whole log: a daily series would else read the log once for each day.

        Args:
            make: a function of the module, as it is part of the key; its result must not be modified.
            arguments: what else it takes.
        """
        key = (make, *arguments)
        if key not in self._made:
            self._made[key] = make(self.log, self.items, *arguments)
        return cast(T, self._made[key])

    @property
    def _horizon(self) -> int:
        return self.end_tick if self.horizon_tick is None else self.horizon_tick


@dataclass(frozen=True)
class Metric:
    """A ratio of sums over users.

    Attributes:
        info: how the report shows it.
        compute: its parts. Both are finite float64[n_users], the denominator >= 0; users without a row and empty logs
            are ordinary. It must not modify what the view holds. What it gives for a user follows from the rows of that
            user alone, since a log that is streamed is measured some users at a time.
    """

    info: MetricInfo
    compute: Callable[[LogView], PerUser]


Tally = npt.NDArray[np.float64]
"""float64[m], what a metric of the world counts; those of disjoint users add up."""


@dataclass(frozen=True)
class WorldMetric:
    """A metric of the world as a whole: one number, which has no spread over users and hence no interval.

    `compute` gives NaN where the number cannot be had.

    Attributes:
        info: how the report shows it.
        compute: the number.
        tally: what adds up over users, for `conclude`; None where the number can be had of the whole log only, which
            does not go with a log that is streamed. `of_tally` makes a metric from the two.
        conclude: the number of a tally, which must equal `compute` of the log that was tallied.
    """

    info: MetricInfo
    compute: Callable[[LogView], float]
    tally: Callable[[LogView], Tally] | None = None
    conclude: Callable[[Tally, LogView], float] | None = None

    @classmethod
    def of_tally(
        cls, info: MetricInfo, tally: Callable[[LogView], Tally], conclude: Callable[[Tally, LogView], float]
    ) -> WorldMetric:
        """A metric that can be measured some users at a time.

        Args:
            info: how the report shows it.
            tally: float64[m], counts that add up over users.
            conclude: the number; it may read of the view its items and its window only, not its log.
        """
        return cls(info, lambda view: conclude(tally(view), view), tally, conclude)


AnyMetric = Metric | WorldMetric

Array = TypeVar("Array", bound=npt.NDArray[np.generic])


def protected(log: EventLog) -> EventLog:
    """The same rows, whose columns cannot be written to: one metric cannot change what the next one reads."""
    return EventLog(**{name: _read_only(getattr(log, name).view()) for name in EventLog.DTYPES})


def _read_only(array: Array) -> Array:
    array.flags.writeable = False
    return array
