"""The effects in other ways: each is the estimator that it is named after, on the right users and days."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders.base import Float64
from simulator.engine.log import EventLog
from simulator.experiment.adjusted import compare_cuped, compare_stratified
from simulator.experiment.bootstrap import bootstrap_independent, bootstrap_paired
from simulator.experiment.estimators import PerUser, compare, compare_independent
from simulator.experiment.metrics import LogView, Metric
from simulator.experiment.readings import SplitReadings, TwinReadings, rows_of
from simulator.experiment.results import MetricInfo
from simulator.experiment.robustness import (
    WarmUp,
    estimator_rows,
    segment_effects,
    segments,
    strata,
    warm_up_of,
    watched_points,
)
from simulator.experiment.sequential import confidence_sequence_independent, confidence_sequence_paired
from simulator.scenario.durations import TICKS_PER_DAY
from tests.simulator.experiment.strategies import HOUR, Row, items, log_of, normals

ITEMS = items()
N_USERS, WARM_UP, DAYS = 60, 2, 3
END = (WARM_UP + DAYS) * TICKS_PER_DAY


def rate(view: LogView) -> PerUser:
    """A metric with a spread: dwell per impression."""
    return PerUser(view.sum_by_user(view.rows.user, view.rows.dwell_seconds), view.impressions)


RATE = Metric(MetricInfo("rate", "Rate", "Dwell per impression", "seconds", "higher"), rate)


def busy_log(seed: int) -> EventLog:
    """Most users come once a day, at their own hour, with a dwell around their own level."""
    noise = normals(seed, N_USERS, WARM_UP + DAYS)
    rows = [
        Row(day * TICKS_PER_DAY + (user % 20) * HOUR, user, feedback=1 + 16 * (noise[user, day] > 1),
            dwell_seconds=float(np.exp(1 + 0.3 * (user % 7) + 0.2 * noise[user, day])))
        for user in range(N_USERS) for day in range(WARM_UP + DAYS) if (user + day) % 5
    ]  # fmt: skip
    return log_of(rows)


LOGS = {"control": busy_log(1), "a": busy_log(1000)}
BEFORE = LogView(LOGS["control"], ITEMS, N_USERS, 0, WARM_UP * TICKS_PER_DAY)
WARM = warm_up_of(BEFORE)


def twins() -> TwinReadings:
    views = {arm: LogView(log, ITEMS, N_USERS, WARM_UP * TICKS_PER_DAY, END) for arm, log in LOGS.items()}
    return TwinReadings(views)


def split() -> SplitReadings:
    members = {"control": np.arange(N_USERS) % 3 > 0, "a": np.arange(N_USERS) % 3 == 0}
    return SplitReadings(LogView(LOGS["control"], ITEMS, N_USERS, WARM_UP * TICKS_PER_DAY, END), members)


def test_twins_have_paired_unpaired_and_bootstrap() -> None:
    rows = {r.estimator: r for r in estimator_rows(twins(), "control", [RATE], WARM, 0.9, seed=3)}
    treatment, control = (rate(view) for view in (twins().views["a"], twins().views["control"]))
    paired = compare(treatment, control, 0.9)
    assert list(rows) == ["paired", "unpaired", "bootstrap"]
    assert rows["paired"].lift == paired.lift
    assert (rows["unpaired"].lift.low, rows["unpaired"].lift.high) == (
        paired.lift.unpaired_low,
        paired.lift.unpaired_high,
    )
    resampled = bootstrap_paired(treatment, control, 0.9, seed=3, resamples=1000)
    np.testing.assert_equal(rows["bootstrap"].difference, resampled.difference)


def test_a_split_adjusts_by_the_same_users_warm_up() -> None:
    readings = split()
    rows = {r.estimator: r for r in estimator_rows(readings, "control", [RATE], WARM, 0.9, seed=3)}
    everybody, before, stratum = rate(readings.view), rate(BEFORE), strata(WARM.impressions)
    a, c = readings.members["a"], readings.members["control"]
    arms = rows_of(everybody, a), rows_of(everybody, c)
    expected = {
        "independent": compare_independent(*arms, 0.9),
        "cuped": compare_cuped(*arms, rows_of(before, a), rows_of(before, c), 0.9),
        "stratified": compare_stratified(*arms, stratum[a], stratum[c], 0.9),
        "bootstrap": bootstrap_independent(*arms, 0.9, seed=3, resamples=1000),
    }
    assert list(rows) == list(expected)
    for name, effect in expected.items():
        np.testing.assert_equal(repr((rows[name].difference, rows[name].lift)), repr((effect.difference, effect.lift)))
    widths = {name: row.lift.high - row.lift.low for name, row in rows.items()}
    assert widths["cuped"] < widths["independent"]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60))
def test_strata_are_quartiles_of_those_whom_the_warm_up_saw(impressions: list[int]) -> None:
    counts = np.array(impressions, np.float64)
    stratum = strata(counts)
    assert ((stratum == 0) == (counts == 0)).all()
    assert stratum.max() <= 4
    order = np.argsort(counts, kind="stable")
    assert (np.diff(stratum[order]) >= 0).all()
    for value in set(impressions):
        assert len(set(stratum[counts == value])) == 1
    seen = counts[counts > 0]
    if len(set(seen)) == len(seen) and len(seen) % 4 == 0:
        assert (np.bincount(stratum, minlength=5)[1:] == len(seen) // 4).all()


def test_segments_part_the_users_in_two_each() -> None:
    view = LogView(EventLog.empty(), ITEMS, 4, 0, 1)
    found = segments(WarmUp(lambda _metric: rate(view), np.array([0.0, 5, 9, 2]), np.array([0.0, 1, 0, 0])))
    assert {name: np.flatnonzero(users).tolist() for name, users in found.items()} == {
        "heavy users": [1, 2], "light users": [0, 3], "disliked before": [1], "did not dislike before": [0, 2, 3],
    }  # fmt: skip


@pytest.mark.parametrize("readings", [twins(), split()], ids=["twins", "split"])
def test_segments_hold_together_on_their_own_users(readings: TwinReadings | SplitReadings) -> None:
    parts = readings.parts(RATE)
    for found in segment_effects(readings, "control", [RATE], WARM, 0.9):
        users = np.flatnonzero(segments(WARM)[found.segment])
        of = {arm: rows_of(parts[arm], np.isin(readings.users(arm), users)) for arm in readings.arms}
        expected = readings.compare(of["a"], of["control"], 1 - 0.1 / 4)
        assert repr((found.difference, found.lift)) == repr((expected.difference, expected.lift))


@pytest.mark.parametrize("readings", [twins(), split()], ids=["twins", "split"])
def test_a_watched_test_sees_the_days_so_far(readings: TwinReadings | SplitReadings) -> None:
    start = WARM_UP * TICKS_PER_DAY
    looks = [readings.between(start, start + day * TICKS_PER_DAY).parts(RATE) for day in range(1, DAYS + 1)]
    sequence = confidence_sequence_paired if readings.is_paired else confidence_sequence_independent
    always = sequence([x["a"] for x in looks], [x["control"] for x in looks], 0.9, n_looks=DAYS)
    points = watched_points(readings, "control", [RATE], 0.9)
    assert [p.day for p in points] == list(range(DAYS))
    for point, look, expected in zip(points, looks, always, strict=True):
        assert repr(point.fixed) == repr(readings.compare(look["a"], look["control"], 0.9).lift)
        assert repr(point.always) == repr(expected.lift)
    last = points[-1]
    assert last.always.high - last.always.low > last.fixed.high - last.fixed.low


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_the_bootstrap_is_a_function_of_its_seed(seed: int) -> None:
    def numbers(seed: int) -> list[Float64]:
        rows = estimator_rows(split(), "control", [RATE], WARM, 0.9, seed=seed)
        return [np.array([r.lift.low, r.lift.high]) for r in rows]

    np.testing.assert_array_equal(numbers(seed), numbers(seed))
    assert not np.array_equal(numbers(seed)[-1], numbers(seed + 1)[-1])
