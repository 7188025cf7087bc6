"""What a whole A/B test gives, by design."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from pydantic import TypeAdapter

from simulator.draws import Draws
from simulator.engine.log import EventLog
from simulator.experiment.ab_findings import ABFindings, find
from simulator.experiment.assignment import assign
from simulator.experiment.design_words import describe_design
from simulator.experiment.metrics import METRICS, LogView
from simulator.scenario.ab_tests import ABTest, PairedABTest
from simulator.scenario.durations import TICKS_PER_DAY
from simulator.scenario.schema import Scenario
from tests.simulator.experiment.strategies import HOUR, Row, items, log_of, normals

ITEMS = items()
N_USERS = 80
START = TICKS_PER_DAY
ARMS = ("base", "ntr")


def scenario_of(ab_test: dict[str, object], **keys: object) -> Scenario:
    arms = [{"name": name, "recommender": "popularity"} for name in ARMS]
    return Scenario.model_validate(
        {
            "question": "?", "expected": "!", "run_time": "1 s", "arms": arms, "control": "base",
            "ab_test": ab_test, "world": {"population": {"users": N_USERS}}, **keys,
        }
    )  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """A made-up test: everybody comes every six hours; the treatment adds dwell, and in the first day twice as much."""

    scenario: Scenario
    warm_up: EventLog
    logs: dict[str, EventLog]
    findings: ABFindings


def outcome_of(ab_test: dict[str, object], effect: float = 5.0) -> Outcome:
    scenario = scenario_of(ab_test)
    settings = TypeAdapter(ABTest).validate_python(ab_test)
    n_days = settings.duration // TICKS_PER_DAY
    plan = None
    if not isinstance(settings, PairedABTest):
        plan = assign(settings, ARMS, "base", draws=Draws(3), n_users=N_USERS, start_tick=START)
    noise = normals(7, N_USERS, 4 * (n_days + 1))

    def row(user: int, visit: int, arm: str) -> Row:
        tick = visit * 6 * HOUR + user
        extra = effect * (arm == "ntr") * (2 if visit < 8 else 1)
        return Row(tick, user, dwell_seconds=20 + extra + float(noise[user, visit]), session=visit)

    def served(user: int, visit: int) -> str:
        assert plan is not None
        tick = visit * 6 * HOUR + user
        stretch = next(s for s in plan.stretches if s.start_tick <= tick < s.end_tick)
        return plan.arms[stretch.arm[user]]

    everything = [(user, visit) for user in range(N_USERS) for visit in range(4, 4 * (n_days + 1))]
    arms = ARMS if plan is None else plan.arms
    logs = {arm: log_of([row(u, v, arm) for u, v in everything if plan is None or served(u, v) == arm]) for arm in arms}
    warm_up = log_of([row(user, visit, "base") for user in range(N_USERS) for visit in range(4)])
    findings = find(scenario, settings, plan, logs, warm_up, ITEMS, n_users=N_USERS, start_tick=START, seed=1)
    return Outcome(scenario, warm_up, logs, findings)


def dwell_difference(found: ABFindings) -> float:
    return next(c for c in found.analysis.comparisons if c.metric == "dwell_per_user_day").difference.value


def test_a_paired_test_has_its_estimators_and_segments_and_no_sample_ratio() -> None:
    found = outcome_of({"duration": "4d", "guardrails": [{"metric": "dwell_per_user_day", "margin": 0.02}]}).findings
    assert {r.estimator for r in found.estimators} == {"paired", "unpaired", "bootstrap"}
    assert len({s.segment for s in found.segments}) == 4
    assert (found.sample_ratios, found.watched) == ((), ())
    assert [g.verdict for g in found.guardrails] == ["holds"]
    assert dwell_difference(found) == pytest.approx(4 * 5 * 1.25)


def test_the_novelty_period_is_left_out() -> None:
    found = outcome_of({"duration": "4d", "exclude_first": "1d"}).findings
    assert dwell_difference(found) == pytest.approx(4 * 5)
    assert found.analysis.series[0].day == (0, 1, 2)


def test_a_split_compares_different_users_and_counts_them() -> None:
    found = outcome_of({"design": "split", "duration": "4d", "watch": True, "exclude_first": "1d"}).findings
    assert {r.estimator for r in found.estimators} == {"independent", "cuped", "stratified", "bootstrap"}
    assert [r.population for r in found.sample_ratios] == ["assigned", "active"]
    assert sum(a.observed for a in found.sample_ratios[0].arms) == N_USERS
    comparison = next(c for c in found.analysis.comparisons if c.metric == "dwell_per_user_day")
    assert comparison.difference.n == N_USERS
    assert comparison.difference.value == pytest.approx(4 * 5, abs=1.5)
    assert comparison.p_value < comparison.benjamini_hochberg <= comparison.holm < 1e-6
    assert {p.day for p in found.watched} == {0, 1, 2}


def test_a_ramp_dilutes_the_effect_and_keeps_the_arms() -> None:
    ramp = [{"after": "2d", "treated_share": 1}]
    outcome = outcome_of({"design": "split", "duration": "4d", "ramp": ramp, "exclude_first": "1d"})
    assert dwell_difference(outcome.findings) == pytest.approx(4 * 5 * 2 / 3, abs=1.5)
    assert len(outcome.logs["ntr"].between(0, START + 2 * TICKS_PER_DAY)) == 0


def test_a_holdout_is_compared_like_an_arm() -> None:
    found = outcome_of({"design": "split", "duration": "4d", "holdout": 0.3}).findings
    assert {c.arm for c in found.analysis.comparisons} == {"ntr", "holdout"}
    assert {a.arm for a in found.sample_ratios[0].arms} == {"base", "ntr", "holdout"}
    assert sum(a.expected for a in found.sample_ratios[0].arms) == pytest.approx(N_USERS)


def test_a_switchback_has_blocks_for_units() -> None:
    settings: dict[str, object] = {"design": "switchback", "duration": "8d", "period": "1d", "exclude_first": "1d"}
    found = outcome_of(settings).findings
    comparison = next(c for c in found.analysis.comparisons if c.metric == "dwell_per_user_day")
    assert comparison.difference.n == 3  # the first of four blocks begins in the period left out
    assert comparison.difference.value == pytest.approx(4 * 5, abs=0.5)
    assert (found.estimators, found.segments, found.sample_ratios, found.analysis.series) == ((), (), (), ())


def test_a_washout_is_left_out_of_every_period() -> None:
    settings: dict[str, object] = {"design": "switchback", "duration": "4d", "period": "1d", "washout": "12h"}
    outcome = outcome_of(settings, effect=0.0)
    level = next(m for m in outcome.findings.analysis.levels if m.metric == "dwell_per_user_day" and m.arm == "base")
    whole = EventLog.merge(list(outcome.logs.values()))
    ends = [START + day * TICKS_PER_DAY for day in range(1, 5)]
    halves = [LogView(whole, ITEMS, N_USERS, end - 12 * HOUR, end) for end in ends]
    mine = [h for h in halves if np.isin(h.rows.tick, outcome.logs["base"].tick).all()]
    assert len(mine) == 2
    parts = [METRICS["dwell_per_user_day"].compute(half) for half in mine]
    expected = sum(p.numerator.sum() for p in parts) / sum(p.denominator.sum() for p in parts)
    assert level.mean.value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("ab_test", "words"),
    [
        ({}, ["Paired: the same 80 users live in each arm's own world", "feedback of its own world"]),
        ({"design": "split", "shares": {"base": 0.4, "ntr": 0.6}}, ["base 40%, ntr 60%", "what it served itself"]),
        ({"design": "split", "training": "pooled"}, ["base 50%, ntr 50%", "everybody's feedback"]),
        ({"design": "split", "holdout": 0.1}, ["10% of all users are held out"]),
        (
            {"design": "split", "ramp": [{"after": "2d", "treated_share": 0.1}], "exclude_first": "1d"},
            ["10% after 2d", "intention to treat", "The first 1d is left out"],
        ),
        (
            {"design": "switchback", "duration": "4d", "washout": "2h"},
            ["changes arms every 1d", "block of 2 periods", "first 2h of each period", "Blocks are the units"],
        ),
    ],
)
def test_the_design_is_told_in_words(ab_test: dict[str, object], words: list[str]) -> None:
    text = describe_design(scenario_of(ab_test, platform={"retrain_every": "1d"}))
    assert [w for w in words if w not in text] == []
    assert "No arm retrains" in describe_design(scenario_of(ab_test))
