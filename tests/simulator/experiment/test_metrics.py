"""The vectorised metrics against a slow second implementation that reads the log row by row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, product
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
ADDITIVE = sorted(set(PER_USER) - {"dislike_users", "dismissing_users", "consumed_diversity"})
LONG = int(Feedback.EXAMINED | Feedback.LONG_DWELL)


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

    def satisfied_dwell(self, user: int) -> tuple[float, float]:
        seconds = 0.0
        for r in self.of(user):
            unhappy = r.feedback & Feedback.DISLIKE or r.feedback & Feedback.DISMISS
            if r.feedback & Feedback.LONG_DWELL and not unhappy:
                seconds += r.dwell_seconds
        return seconds, self.days

    def pushed_back(self, user: int) -> tuple[float, float]:
        bad = (Feedback.DISLIKE, Feedback.DISMISS, Feedback.SKIP)
        return sum(1 for r in self.of(user) if any(r.feedback & flag for flag in bad)), self.impressions(user)

    def per_session(self, user: int, total: float) -> tuple[float, float]:
        return total, self.sessions(user)[0]

    def by_day(self, user: int) -> dict[int, list[Row]]:
        days = defaultdict(list)
        for r in self.of(user):
            days[(r.tick - self.start) // TICKS_PER_DAY].append(r)
        return days

    def days_that(self, user: int, holds: Callable[[list[Row]], bool]) -> tuple[float, float]:
        return sum(holds(rows) for rows in self.by_day(user).values()), int(np.ceil(self.days))

    def enjoys(self, user: int) -> tuple[float, float]:
        means = []
        for rows in self.by_day(user).values():
            answer = {r.tick: r.satisfaction for r in rows}
            means.append(sum(answer.values()) / len(answer))
        return sum(means), len(means)

    def consumes(self, user: int) -> tuple[float, float]:
        topics = [ITEMS.topic[r.item] for r in self.of(user) if r.feedback & Feedback.LONG_DWELL]
        pairs = list(combinations(topics, 2))
        return (sum(a != b for a, b in pairs) / len(pairs), 1) if pairs else (0, 0)

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

    def repeats(self, user: int, flag: Feedback, kind: str) -> tuple[float, float]:
        group = getattr(ITEMS, kind)
        before: set[int] = set()
        count = 0
        for r in self.everything:
            if r.user == user and r.feedback & flag:
                count += group[r.item] in before and self.start <= r.tick < self.end
                before.add(group[r.item])
        return count, self.impressions(user)

    def ever(self, user: int, flag: Feedback) -> tuple[float, float]:
        return float(any(r.feedback & flag for r in self.of(user))), 1

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
    "expected_dislike_rate": lambda naive, user: (
        sum(r.dislike_probability for r in naive.of(user)),
        naive.impressions(user),
    ),
    "skip_rate": lambda naive, user: naive.rate(user, Feedback.SKIP),
    "long_view_rate": lambda naive, user: naive.rate(user, Feedback.LONG_DWELL),
    "like_rate": lambda naive, user: naive.rate(user, Feedback.LIKE),
    "push_back_rate": Naive.pushed_back,
    "dwell_per_user_day": Naive.dwell,
    "satisfied_dwell_per_user_day": Naive.satisfied_dwell,
    "sessions_per_user_day": Naive.sessions,
    "session_impressions": lambda naive, user: naive.per_session(user, naive.impressions(user)),
    "dwell_per_session": lambda naive, user: naive.per_session(user, naive.dwell(user)[0]),
    "daily_active_users": Naive.active,
    "viewers": lambda naive, user: naive.days_that(
        user, lambda rows: any(r.feedback & Feedback.LONG_DWELL for r in rows)
    ),
    "heavy_users": lambda naive, user: naive.days_that(
        user, lambda rows: sum(r.dwell_seconds for r in rows) >= 60 * 60
    ),
    "return_1d": lambda naive, user: naive.returned(user, 1),
    "return_7d": lambda naive, user: naive.returned(user, 7),
    "repeat_dislikes_creator": lambda naive, user: naive.repeats(user, Feedback.DISLIKE, "creator"),
    "repeat_dislikes_topic": lambda naive, user: naive.repeats(user, Feedback.DISLIKE, "topic"),
    "repeat_skips_creator": lambda naive, user: naive.repeats(user, Feedback.SKIP, "creator"),
    "dislike_users": lambda naive, user: naive.ever(user, Feedback.DISLIKE),
    "dismissing_users": lambda naive, user: naive.ever(user, Feedback.DISMISS),
    "satisfaction": Naive.satisfied,
    "enjoyment": Naive.enjoys,
    "slate_diversity": Naive.diversity,
    "consumed_diversity": Naive.consumes,
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


@given(log=logs(), window=windows)
@settings(deadline=None, max_examples=30)
def test_sessions_carry_all_dwell_and_all_impressions(log: EventLog, window: tuple[int, int]) -> None:
    parts = {name: PER_USER[name].compute(view_of(log, window)) for name in PER_USER}
    sessions, dwell = parts["sessions_per_user_day"], parts["dwell_per_user_day"]
    for name in ("session_impressions", "dwell_per_session"):
        np.testing.assert_array_equal(parts[name].denominator, sessions.numerator, err_msg=name)
    np.testing.assert_array_equal(parts["session_impressions"].numerator, parts["skip_rate"].denominator)
    if sessions.numerator.sum():
        np.testing.assert_allclose(dwell.ratio(), parts["dwell_per_session"].ratio() * sessions.ratio())


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


def test_skips_of_the_warm_up_make_a_later_skip_a_repeat_but_dislikes_do_not() -> None:
    skip, dislike = (int(Feedback.EXAMINED | flag) for flag in (Feedback.SKIP, Feedback.DISLIKE))
    log = log_of(
        [
            Row(0, 0, item=1, feedback=skip),
            Row(0, 1, item=1, feedback=dislike),
            Row(TICKS_PER_DAY, 0, item=4, feedback=skip),
            Row(TICKS_PER_DAY, 1, item=4, feedback=skip),
        ]
    )
    parts = PER_USER["repeat_skips_creator"].compute(view_of(log, (TICKS_PER_DAY, 2 * TICKS_PER_DAY)))
    assert parts.numerator.tolist() == [1, 0, 0, 0]


def test_an_hour_of_dwell_counts_within_one_day_only() -> None:
    together = log_of([Row(0, 0, dwell_seconds=3599.0), Row(HOUR, 0, dwell_seconds=1.0)])
    apart = log_of([Row(0, 0, dwell_seconds=3599.0), Row(TICKS_PER_DAY, 0, dwell_seconds=1.0)])
    heavy = PER_USER["heavy_users"]
    assert heavy.compute(view_of(together, (0, 2 * TICKS_PER_DAY), n_users=1)).ratio() == 1 / 2
    assert heavy.compute(view_of(apart, (0, 2 * TICKS_PER_DAY), n_users=1)).ratio() == 0


def test_enjoyment_counts_days_alike_where_satisfaction_counts_requests() -> None:
    happy = [Row(hour * HOUR, 0, satisfaction=1.0) for hour in range(9)]
    log = log_of([*happy, Row(TICKS_PER_DAY, 0, satisfaction=-1.0)])
    view = view_of(log, (0, 2 * TICKS_PER_DAY))
    assert PER_USER["satisfaction"].compute(view).ratio() == 0.8
    assert PER_USER["enjoyment"].compute(view).ratio() == 0.0


@pytest.mark.parametrize("n", [2, 3, 5])
def test_consumed_diversity_does_not_grow_with_the_number_of_long_dwells(n: int) -> None:
    # Over all sequences of n long dwells on two topics of chance 1/3 and 2/3 the mean is 1 - sum of p^2, whatever n.
    topics = ITEMS.topic
    item_of = {0: int(np.flatnonzero(topics == 0)[0]), 1: int(np.flatnonzero(topics == 1)[0])}
    values = []
    for sequence in product([0, 1, 1], repeat=n):
        rows = [Row(i * HOUR, 0, item=item_of[topic], feedback=LONG) for i, topic in enumerate(sequence)]
        values.append(PER_USER["consumed_diversity"].compute(view_of(log_of(rows), (0, TICKS_PER_DAY))).ratio())
    assert np.mean(values) == pytest.approx(1 - (1 / 3) ** 2 - (2 / 3) ** 2)


def test_one_long_dwell_has_no_diversity() -> None:
    log = log_of([Row(0, 0, feedback=LONG), Row(HOUR, 1)])
    parts = PER_USER["consumed_diversity"].compute(view_of(log, (0, TICKS_PER_DAY)))
    assert isnan(parts.ratio())
    assert parts.empty_note == "nobody had two long dwells"


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
