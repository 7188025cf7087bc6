"""The vectorised metrics against a slow second implementation that reads the log row by row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders.base import Feedback
from simulator.engine.log import EventLog
from simulator.experiment.metrics import METRICS, LogView, Metric, MetricError, WorldMetric, select_metrics
from simulator.experiment.metrics.base import protected
from simulator.experiment.metrics.contract import check_info
from simulator.scenario.durations import TICKS_PER_DAY
from tests.simulator.experiment.strategies import HOUR, MAX_USERS, Row, items, log_of, logs, rows_of

ITEMS = items()
PER_USER = {name: metric for name, metric in METRICS.items() if isinstance(metric, Metric)}
ADDITIVE = sorted(set(PER_USER) - {"dismissing_users"})


class Naive:
    """The definitions, by loops: each method gives a (numerator, denominator) for one user."""

    def __init__(self, log: EventLog, start: int, end: int) -> None:
        self.everything = rows_of(log)
        self.rows = [r for r in self.everything if start <= r.tick < end]
        self.start, self.end = start, end
        self.days = (end - start) / TICKS_PER_DAY

    def of(self, user: int) -> list[Row]:
        return [r for r in self.rows if r.user == user]

    def impressions(self, user: int) -> int:
        return sum(r.feedback & Feedback.EXAMINED for r in self.of(user))

    def rate(self, user: int, flag: Feedback) -> tuple[float, float]:
        return sum(1 for r in self.of(user) if r.feedback & flag), self.impressions(user)

    def dwell(self, user: int) -> tuple[float, float]:
        return sum(r.dwell_seconds for r in self.of(user)), self.days

    def sessions(self, user: int) -> tuple[float, float]:
        seen = {r.session for r in self.everything if r.user == user and r.tick < self.start}
        return len({r.session for r in self.of(user)} - seen), self.days

    def active_days(self, user: int) -> set[int]:
        return {(r.tick - self.start) // TICKS_PER_DAY for r in self.of(user)}

    def active(self, user: int) -> tuple[float, float]:
        return len(self.active_days(user)), int(np.ceil(self.days))

    def returned(self, user: int, later: int) -> tuple[float, float]:
        days = self.active_days(user)
        eligible = [d for d in days if self.start + (d + later + 1) * TICKS_PER_DAY <= self.end]
        return sum(d + later in days for d in eligible), len(eligible)

    def repeats(self, user: int, kind: str) -> tuple[float, float]:
        group = getattr(ITEMS, kind)
        before: set[int] = set()
        count = 0
        for r in self.everything:
            if r.user == user and r.feedback & Feedback.DISLIKE:
                count += group[r.item] in before and self.start <= r.tick < self.end
                before.add(group[r.item])
        return count, self.impressions(user)

    def dismisses(self, user: int) -> tuple[float, float]:
        return float(any(r.feedback & Feedback.DISMISS for r in self.of(user))), 1

    def slates(self, user: int) -> list[list[Row]]:
        requests = defaultdict(list)
        for r in self.of(user):
            requests[r.tick].append(r)
        return list(requests.values())

    def satisfied(self, user: int) -> tuple[float, float]:
        return sum(slate[0].satisfaction for slate in self.slates(user)), len(self.slates(user))

    def diversity(self, user: int) -> tuple[float, float]:
        slates = self.slates(user)
        return sum(len({ITEMS.topic[r.item] for r in slate}) / len(slate) for slate in slates), len(slates)

    def coverage(self) -> float:
        released = sum(int(tick) < self.end for tick in ITEMS.release_tick)
        return len({r.item for r in self.rows}) / released


NAIVE: dict[str, Callable[[Naive, int], tuple[float, float]]] = {
    "dislike_rate": lambda naive, user: naive.rate(user, Feedback.DISLIKE),
    "skip_rate": lambda naive, user: naive.rate(user, Feedback.SKIP),
    "long_view_rate": lambda naive, user: naive.rate(user, Feedback.LONG_DWELL),
    "like_rate": lambda naive, user: naive.rate(user, Feedback.LIKE),
    "dwell_per_user_day": Naive.dwell,
    "sessions_per_user_day": Naive.sessions,
    "daily_active_users": Naive.active,
    "return_1d": lambda naive, user: naive.returned(user, 1),
    "return_7d": lambda naive, user: naive.returned(user, 7),
    "repeat_dislikes_creator": lambda naive, user: naive.repeats(user, "creator"),
    "repeat_dislikes_topic": lambda naive, user: naive.repeats(user, "topic"),
    "dismissing_users": Naive.dismisses,
    "satisfaction": Naive.satisfied,
    "slate_diversity": Naive.diversity,
}

windows = st.tuples(st.integers(0, 72), st.integers(1, 9 * 24)).map(lambda w: (w[0] * HOUR, (w[0] + w[1]) * HOUR))


def view_of(log: EventLog, window: tuple[int, int], n_users: int = MAX_USERS) -> LogView:
    return LogView(log, ITEMS, n_users, *window)


@given(log=logs(), window=windows)
@settings(deadline=None, max_examples=150)
def test_metrics_equal_their_definitions_read_row_by_row(log: EventLog, window: tuple[int, int]) -> None:
    view, naive = view_of(log, window), Naive(log, *window)
    assert set(NAIVE) == set(PER_USER)
    for name, metric in PER_USER.items():
        expected = np.array([NAIVE[name](naive, user) for user in range(MAX_USERS)], dtype=np.float64)
        parts = metric.compute(view)
        np.testing.assert_allclose(parts.numerator, expected[:, 0], rtol=1e-12, err_msg=name)
        np.testing.assert_allclose(parts.denominator, expected[:, 1], rtol=1e-12, err_msg=name)
    coverage = METRICS["catalogue_coverage"]
    assert isinstance(coverage, WorldMetric)
    assert coverage.compute(view) == naive.coverage()


@given(log=logs(), window=windows)
@settings(deadline=None, max_examples=50)
def test_days_add_up_to_the_window(log: EventLog, window: tuple[int, int]) -> None:
    view = view_of(log, window)
    days = [view.day(d) for d in range(view.n_days)]
    for name in ADDITIVE:
        whole, parts = PER_USER[name].compute(view), [PER_USER[name].compute(day) for day in days]
        np.testing.assert_allclose(sum(p.numerator for p in parts), whole.numerator, rtol=1e-9, err_msg=name)
        np.testing.assert_allclose(sum(p.denominator for p in parts), whole.denominator, rtol=1e-9, err_msg=name)


@given(log=logs(), window=windows)
@settings(deadline=None, max_examples=30)
def test_a_days_value_owes_nothing_to_what_its_window_has_worked_out_before(
    log: EventLog, window: tuple[int, int]
) -> None:
    view = view_of(log, window)
    for name, metric in PER_USER.items():
        metric.compute(view)
        for day in view.days:
            alone = LogView(log, ITEMS, MAX_USERS, day.start_tick, day.end_tick, horizon_tick=window[1])
            np.testing.assert_array_equal(metric.compute(day).numerator, metric.compute(alone).numerator, err_msg=name)


@given(log=logs(), window=windows, order=st.permutations(range(MAX_USERS)))
@settings(deadline=None, max_examples=30)
def test_renaming_users_renames_their_values(log: EventLog, window: tuple[int, int], order: list[int]) -> None:
    renamed = log_of([replace(row, user=order[row.user]) for row in rows_of(log)])
    for name, metric in PER_USER.items():
        before, after = metric.compute(view_of(log, window)), metric.compute(view_of(renamed, window))
        np.testing.assert_array_equal(after.numerator[order], before.numerator, err_msg=name)
        np.testing.assert_array_equal(after.denominator[order], before.denominator, err_msg=name)


@pytest.mark.parametrize("n_users", [0, 3])
@pytest.mark.parametrize("name", PER_USER)
def test_an_empty_log_has_values_of_the_right_type_and_no_events(name: str, n_users: int) -> None:
    parts = PER_USER[name].compute(view_of(EventLog.empty(), (0, 2 * TICKS_PER_DAY), n_users))
    assert parts.numerator.dtype == parts.denominator.dtype == np.float64
    assert parts.numerator.tolist() == [0.0] * n_users
    assert len(parts.denominator) == n_users


def test_coverage_counts_released_items_and_is_missing_before_any_release() -> None:
    coverage = METRICS["catalogue_coverage"]
    assert isinstance(coverage, WorldMetric)
    log = log_of([Row(0, 0, item=0), Row(HOUR, 1, item=0), Row(2 * HOUR, 0, item=1)])
    assert coverage.compute(view_of(log, (0, 4 * TICKS_PER_DAY))) == 2 / 8
    assert coverage.compute(view_of(log, (0, TICKS_PER_DAY))) == 2 / 2
    assert isnan(coverage.compute(view_of(EventLog.empty(), (-HOUR, 0))))


def test_dislikes_of_the_warm_up_make_a_later_dislike_a_repeat() -> None:
    dislike = int(Feedback.EXAMINED | Feedback.DISLIKE)
    log = log_of([Row(0, 0, item=1, feedback=dislike), Row(TICKS_PER_DAY, 0, item=4, feedback=dislike)])
    test = view_of(log, (TICKS_PER_DAY, 2 * TICKS_PER_DAY))
    assert PER_USER["repeat_dislikes_creator"].compute(test).numerator[0] == 1
    assert PER_USER["repeat_dislikes_topic"].compute(test).numerator[0] == 0


def test_what_metrics_share_cannot_be_written_to() -> None:
    log = log_of([Row(0, 0)])
    view = view_of(protected(log), (0, TICKS_PER_DAY))
    for array in (view.log.feedback, view.rows.user, view.impressions, view.opens_request, view.day(0).rows.tick):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    assert log.feedback.flags.writeable


def test_a_return_needs_its_later_day_whole() -> None:
    log = log_of([Row(0, 0), Row(TICKS_PER_DAY, 0)])
    whole = PER_USER["return_1d"].compute(view_of(log, (0, 2 * TICKS_PER_DAY)))
    cut = PER_USER["return_1d"].compute(view_of(log, (0, 2 * TICKS_PER_DAY - 1)))
    assert whole.ratio() == 1.0
    assert isnan(cut.ratio())
    assert "+1 in the window" in cut.empty_note


def test_selection_keeps_the_order_asked_for_and_names_what_is_unknown() -> None:
    assert [m.info.name for m in select_metrics(["skip_rate", "dislike_rate"])] == ["skip_rate", "dislike_rate"]
    assert select_metrics([]) == tuple(METRICS.values())
    with pytest.raises(MetricError, match=r"got 'clicks', expected one of dislike_rate, .*, or module:object$"):
        select_metrics(["skip_rate", "clicks"])


def test_a_day_outside_the_window_is_refused() -> None:
    view = view_of(EventLog.empty(), (0, TICKS_PER_DAY))
    with pytest.raises(ValueError, match="got 1, expected 0 to 0"):
        view.day(1)


def test_infos_are_complete() -> None:
    for name, metric in METRICS.items():
        assert metric.info.name == name
        check_info(metric.info, name)
        assert metric.info.label[0].isupper()
