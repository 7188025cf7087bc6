"""What a metric of one's own may get wrong: each fault is told, and none becomes a number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf, isnan, nan

import numpy as np
import pytest

from simulator.experiment import abtest
from simulator.experiment.abtest import analyse, rehearse
from simulator.experiment.metrics import LogView, Metric, MetricError, MetricInfo, PerUser, WorldMetric
from simulator.experiment.metrics.contract import check_info, measure, measure_world
from simulator.scenario.durations import TICKS_PER_DAY
from tests.simulator.experiment.strategies import Row, items, log_of

INFO = MetricInfo("boredom", "Boredom", "Yawns per user", "count", "lower")
N_USERS = 3
LOG = log_of([Row(0, 0), Row(1, 2)])
VIEW = LogView(LOG, items(), N_USERS, 0, TICKS_PER_DAY)
ONES = np.ones(N_USERS)


def with_user_1(value: float) -> np.ndarray:
    return np.array([1.0, value, 1.0])


BROKEN: dict[str, tuple[Callable[[LogView], object], str]] = {
    "raises": (lambda view: 1 // 0, ": ZeroDivisionError: integer division or modulo by zero"),
    "nothing": (lambda view: None, "compute: got None, expected PerUser"),
    "a number": (lambda view: 0.5, "compute: got 0.5, expected PerUser"),
    "a pair": (lambda view: (ONES, ONES), "compute: got tuple, expected PerUser"),
    "a list": (lambda view: PerUser([1, 2, 3], ONES), "numerator: got list, expected float64[3], one number a user"),
    "a scalar": (lambda view: PerUser(ONES, 1.0), "denominator: got 1.0, expected float64[3], one number a user"),
    "integers": (
        lambda view: PerUser(ONES.astype(np.int64), ONES),
        "numerator: got int64[3], expected float64[3]",
    ),
    "single precision": (lambda view: PerUser(ONES, ONES.astype(np.float32)), "denominator: got float32[3], expected"),
    "too few users": (lambda view: PerUser(ONES[:2], ONES), "numerator: got float64[2], expected float64[3]"),
    "a matrix": (lambda view: PerUser(ONES, np.ones((3, 1))), "denominator: got float64[3, 1], expected float64[3]"),
    "not a number": (lambda view: PerUser(with_user_1(nan), ONES), "numerator: got nan for user 1, expected finite"),
    "infinite": (lambda view: PerUser(ONES, with_user_1(inf)), "denominator: got inf for user 1, expected finite"),
    "negative": (lambda view: PerUser(ONES, with_user_1(-2)), "denominator: got -2 for user 1, expected 0 or more"),
    "a note": (lambda view: PerUser(ONES, ONES, 7), "empty_note: got 7, expected text"),  # type: ignore[arg-type]
    "writes to the log": (
        lambda view: view.log.feedback.__setitem__(0, 16),
        ": ValueError: assignment destination is read-only",
    ),
}


def analysis_with(metric: Metric | WorldMetric, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(abtest, "select_metrics", lambda names: (metric,))
    return analyse(
        {"control": LOG, "other": LOG}, "control", ["any"], items(),
        n_users=N_USERS, start_tick=0, end_tick=TICKS_PER_DAY, confidence=0.95,
    )  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_metric_is_blamed_by_name(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compute, message = BROKEN[fault]
    metric = Metric(INFO, compute)  # type: ignore[arg-type]
    for run in (
        lambda: analysis_with(metric, monkeypatch),
        lambda: rehearse(["any"], LOG, items(), n_users=N_USERS, end_tick=TICKS_PER_DAY),
    ):
        with pytest.raises(MetricError) as raised:
            run()
        assert str(raised.value).startswith("metric boredom: ")
        assert message in str(raised.value)


def test_a_failure_is_located_in_the_metrics_own_file() -> None:
    def compute(view: LogView) -> PerUser:
        return PerUser(np.zeros(2) + np.zeros(3), ONES)

    line = compute.__code__.co_firstlineno + 1
    with pytest.raises(MetricError, match=rf"compute failed at test_metric_contract\.py:{line}: ValueError: op"):
        measure(Metric(INFO, compute), VIEW)
    with pytest.raises(MetricError, match="boredom: compute failed: TypeError: 'int' object is not callable"):
        measure(Metric(INFO, 3), VIEW)  # type: ignore[arg-type]


def test_a_metric_of_which_only_a_day_is_broken_is_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = TICKS_PER_DAY

    def compute(view: LogView) -> PerUser:
        return PerUser(ONES, ONES if view.end_tick - view.start_tick > whole else -ONES)

    monkeypatch.setattr(abtest, "select_metrics", lambda names: (Metric(INFO, compute),))
    with pytest.raises(MetricError, match="metric boredom: denominator: got -1 for user 0"):
        analyse(
            {"control": LOG}, "control", ["any"], items(),
            n_users=N_USERS, start_tick=0, end_tick=2 * whole, confidence=0.95,
        )  # fmt: skip


def test_a_sound_metric_passes_as_it_is() -> None:
    parts = PerUser(-ONES, np.zeros(N_USERS))
    assert measure(Metric(INFO, lambda view: parts), VIEW) is parts


@pytest.mark.parametrize("value", [0, 0.25, np.float32(0.25), np.int64(3)])
def test_a_number_of_the_world_may_be_of_any_real_type(value: float) -> None:
    found = measure_world(WorldMetric(INFO, lambda view: value), VIEW)
    assert type(found) is float
    assert found == value


def test_a_number_of_the_world_may_be_missing_but_nothing_else() -> None:
    assert isnan(measure_world(WorldMetric(INFO, lambda view: nan), VIEW))
    for value, got in ((inf, "inf"), (None, "None"), (True, "True"), ("1", "'1'"), (ONES, "ndarray"), (1j, "complex")):
        metric = WorldMetric(INFO, lambda view, value=value: value)  # type: ignore[misc]
        with pytest.raises(MetricError, match=f"metric boredom: compute: got {got}, expected a finite number, or NaN"):
            measure_world(metric, VIEW)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "Bored"}, "info.name: got 'Bored', expected at most 40 small letters"),
        ({"name": "b" * 41}, "info.name: got 'bbb"),
        ({"name": "bored\n"}, "info.name: got 'bored"),
        ({"name": None}, "info.name: got None"),
        ({"label": " "}, "info.label: got ' ', expected a few words"),
        ({"definition": ""}, "info.definition: got '', expected a sentence that says numerator and denominator"),
        ({"unit": "percent"}, "info.unit: got 'percent', expected one of share, seconds, count, score"),
        ({"better": "more"}, "info.better: got 'more', expected one of lower, higher, neither"),
    ],
)
def test_what_a_metric_says_about_itself_is_checked(change: dict[str, str], message: str) -> None:
    check_info(INFO, "mine:boredom")
    with pytest.raises(MetricError) as raised:
        check_info(replace(INFO, **change), "mine:boredom")
    assert str(raised.value).startswith(f"metric 'mine:boredom': {message}")
