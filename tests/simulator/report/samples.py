"""Made-up results with plausible numbers, for the tests of the report only."""

from __future__ import annotations

import math
from dataclasses import replace

from simulator.experiment.failures import with_failures
from simulator.experiment.results import (
    ArmCount,
    ArmFailure,
    ArmMetric,
    Comparison,
    DailySeries,
    Estimate,
    EstimatorRow,
    GuardrailVerdict,
    Impression,
    Manifest,
    MetricInfo,
    Responsiveness,
    Results,
    SampleRatio,
    SegmentEffect,
    TrajectoryPair,
    Verdict,
    WatchedPoint,
)

NAN = math.nan
NOTHING = Estimate(NAN, NAN, NAN, note="no dislikes in the control")
SPARSE = Estimate(-1.0, NAN, NAN, n=500, note="too few users with any event")
"""A value without an interval."""

METRICS = (
    ("dislike_rate", "Dislike rate", "share", "lower", 0.082),
    ("skip_rate", "Skip rate", "share", "lower", 0.412),
    ("long_view_rate", "Long-view rate", "share", "higher", 0.287),
    ("dwell_per_user_day", "Dwell per user-day", "seconds", "higher", 1843.0),
    ("sessions_per_user_day", "Sessions per user-day", "count", "higher", 1.42),
    ("daily_active_users", "Daily active users", "share", "higher", 0.713),
    ("return_1d", "Return within 1 day", "share", "higher", 0.655),
    ("return_7d", "Return within 7 days", "share", "higher", 0.971),
    ("repeat_dislikes_creator", "Repeated dislikes of the same creator", "share", "lower", 0.0131),
    ("repeat_dislikes_topic", "Repeated dislikes of the same topic", "share", "lower", 0.044),
    ("dismissing_users", "Users who dismiss", "share", "lower", 0.213),
    ("satisfaction", "Satisfaction", "score", "higher", 0.183),
    ("slate_diversity", "Slate diversity", "score", "neither", 0.842),
    ("catalogue_coverage", "Catalogue coverage", "share", "neither", 0.934),
)


def estimate(value: float, half: float, ghost: float = 3.0, n: int = 2000) -> Estimate:
    return Estimate(value, value - half, value + half, value - ghost * half, value + ghost * half, n)


def _responsiveness(arms: tuple[str, ...]) -> tuple[Responsiveness, ...]:
    rows = []
    for similarity, base, strongest in (("creator", 0.034, -0.613), ("topic", 0.121, -0.208)):
        for i, arm in enumerate(arms):
            share = max(i - 1, 0) / max(len(arms) - 2, 1)
            r = (
                Estimate(0.0, 0.0, 0.0, -0.06, 0.06, 2000)
                if share == 0
                else estimate(strongest * share**2, 0.0175, 2.4)
            )
            rows.append(
                Responsiveness(arm, similarity, estimate(base, 0.002), estimate(base * (1 + r.value), 0.0018), r)
            )
    return tuple(rows)


def _comparisons(arms: tuple[str, ...]) -> tuple[Comparison, ...]:
    rows = []
    for j, (name, _, _, better, level) in enumerate(METRICS):
        for i, arm in enumerate(arms[1:], start=1):
            direction = -1 if better == "lower" else 1
            lift = direction * 0.125 * (i / len(arms)) ** 2 / (1 + j % 5) * (-1 if j == 2 else 1)
            half = 0.012 + 0.002 * (j % 3)
            e = estimate(lift, half, 2.0 + j % 4)
            rows.append(Comparison(arm, name, estimate(lift * level, half * level), e, 0.01, 0.03, 0.02))
    return tuple(rows)


_FEEDBACK = (("examined", "long_dwell"), ("examined", "skip"), ("examined", "long_dwell", "dislike"), ("examined",))


def _impressions(tick: int, first_item: int, count: int, creators: int, responded: bool) -> tuple[Impression, ...]:
    rows = []
    for i in range(count):
        feedback = (
            ("examined", "long_dwell"),
            ("examined", "skip"),
            ("examined", "long_dwell", "dislike"),
            ("examined",),
        )[i % 4]
        rows.append(
            Impression(
                tick=tick + 30_000 * (i // 10),
                session=12,
                step=3 + i // 10,
                slot=i % 10,
                item=first_item + 37 * i,
                creator=(17 + 5 * i) % creators,
                topic=(3 + i) % 9,
                feedback=feedback if responded else (),
                dwell_seconds=3.2 + 2.7 * i if responded else 0.0,
            )
        )
    return tuple(rows)


def sample_results(arms: tuple[str, ...] = ("popularity", "gru", "gru_input", "gru_ntr")) -> Results:
    """A run with everything in it."""
    day = tuple(range(7))
    series = tuple(
        DailySeries(arm, name, day, tuple(level * (1 + 0.02 * math.sin(d + j) + 0.03 * i * d / 7) for d in day))
        for j, (name, _, _, _, level) in enumerate(METRICS)
        for i, arm in enumerate(arms)
    )
    tick = 8 * 86_400_000 + 50_400_000
    shared = _impressions(tick, 100, 20, 60, True)
    after = tick + 60_000
    actions = ("long_dwell", "long_dwell + dislike")
    pairs = (
        TrajectoryPair(
            "counterfactual", 1204, arms[-1], *actions, shared,
            _impressions(after, 300, 50, 40, False), _impressions(after, 301, 50, 12, False),
            17, 3, "The user whose next slate changes most.",
        ),
        TrajectoryPair(
            "counterfactual", 77, arms[-1], *actions, shared,
            _impressions(after, 500, 50, 12, False), _impressions(after, 500, 50, 12, False),
            17, 3, "A user of median change.",
        ),
        TrajectoryPair(
            "ab_test", 311, arms[-1], arms[0], arms[-1], shared,
            _impressions(after, 700, 40, 20, True), _impressions(after, 800, 40, 50, True),
            -1, -1, "The user with most dislikes in the control.",
        ),
    )  # fmt: skip
    return Results(
        scenario="quickstart",
        question="Does telling the model about dislikes, and training on them, make it respond to a dislike?",
        expected="No response without the signal, some with it as input, a strong one with the not-to-recommend loss.",
        control=arms[0],
        arms=arms,
        confidence=0.95,
        users=2000,
        runs=2000,
        base_action="long_dwell",
        other_action="long_dwell + dislike",
        ab_days=7.0,
        answer="",
        metrics=tuple(
            MetricInfo(
                name, label, f"{label} over all impressions of the experiment, users weighted equally.", unit, better
            )
            for name, label, unit, better, _ in METRICS
        ),
        levels=tuple(
            ArmMetric(arm, name, estimate(level, 0.02 * level)) for name, _, _, _, level in METRICS for arm in arms
        ),
        comparisons=_comparisons(arms),
        series=series,
        responsiveness=_responsiveness(arms),
        pairs=pairs,
        verdicts=(
            Verdict(f"responsiveness.creator[{arms[-1]}] <= -0.3", -0.613, True),
            Verdict(f"lift.long_view_rate[{arms[-1]}] >= 0", -0.0241, False),
        ),
    )


def split_results() -> Results:
    """A split with everything that one has: a lost arm, guardrails of every verdict, a watched course."""
    full = sample_results()
    treated, counts = full.arms[1:], (700, 500, 400, 400)
    lift, wide = estimate(0.03, 0.01), estimate(0.03, 0.02)
    metrics = ("dislike_rate", "dwell_per_user_day", "satisfaction", "return_7d")
    return replace(
        full,
        pairs=full.pairs[:2],
        comparisons=tuple(
            replace(c, lift=replace(c.lift, unpaired_low=NAN, unpaired_high=NAN)) for c in full.comparisons
        ),
        design="split",
        design_words="Split: 2,000 users live in one world, randomised into arms.",
        sample_ratios=(
            SampleRatio("assigned", tuple(ArmCount(a, n, 500.0) for a, n in zip(full.arms, counts, strict=True)), 1e-9),
            SampleRatio("active", tuple(ArmCount(a, 480, 480.0) for a in full.arms), 0.5),
        ),
        guardrails=tuple(
            GuardrailVerdict(arm, "dwell_per_user_day", 0.02, verdict, lift, "too wide" if verdict == "open" else "")
            for arm, verdict in zip(treated, ("holds", "broken", "open"), strict=True)
        ),
        estimators=tuple(
            EstimatorRow(arm, metric, name, lift, lift if name != "cuped" else SPARSE)
            for metric in metrics
            for arm in treated
            for name in ("independent", "cuped", "stratified", "bootstrap")
        ),
        watched=tuple(
            WatchedPoint(arm, metric, day, wide, lift) for metric in metrics for arm in treated for day in range(3)
        ),
        ab_segments=tuple(
            SegmentEffect(name, arm, metric, wide, wide)
            for metric in metrics
            for arm in treated
            for name in ("heavy users", "light users")
        ),
    )


def switchback_results() -> Results:
    """A switchback: fewer things beside the lifts."""
    split = split_results()
    return replace(
        split, design="switchback", design_words="Switchback: blocks.", sample_ratios=(), estimators=(), watched=(),
        ab_segments=(), series=(),
    )  # fmt: skip


FAILURES = (
    ArmFailure("lost", "A/B test, recommend", "ValueError", "<b>no</b> [bold]ideas[/] \x1b[31m", "on a batch of 5"),
    ArmFailure("silent", "training", "SystemExit", ""),
)


def failed_results() -> Results:
    """A run that gave up two arms."""
    full = sample_results()
    found = with_failures(replace(full, arms=(*full.arms, "lost", "silent")), FAILURES, ())
    lost = Verdict("lift.skip_rate[lost] < 0", NAN, False, "arm lost failed (A/B test, recommend)")
    return replace(found, verdicts=(*found.verdicts, lost))


def sample_manifest() -> Manifest:
    return Manifest(
        run="2026-11-23-191500-seed1",
        scenario="quickstart",
        seed=1,
        scenario_sha256="5f" * 32,
        log_sha256={"popularity": "0a" * 32, "gru": "1b" * 32, "gru_input": "2c" * 32, "gru_ntr": "3d" * 32},
        versions={"pushback": "0.1.0", "python": "3.11.9", "numpy": "2.1.0", "torch": "2.5.1", "simpy": "4.1.1"},
        machine="2 cores, x86_64, Linux",
        started_utc="2026-11-23T19:15:00Z",
        seconds={
            "world": 0.31,
            "warm-up": 6.2,
            "training": 31.0,
            "a/b test": 22.4,
            "counterfactual": 9.8,
            "estimates": 1.4,
        },
        impressions=3_214_551,
        impressions_per_second=151_233.0,
        command="pushback run scenarios/quickstart.yaml --seed 1",
        complete=True,
    )


SCENARIO_YAML = """question: Does it respond?
seed: 1
world:
  preset: lively
  population:
    users: 2000
arms:
- name: popularity
  recommender: popularity
  config: {}
- name: gru_ntr
  recommender: gru4rec
  config:
    ntr_weight: 64
control: popularity
thresholds:
- responsiveness.creator[gru_ntr] <= -0.3
"""


def empty_results() -> Results:
    """A run in which nothing was measured."""
    return Results("empty", "Is there anything?", "Nothing.", "only", ("only",), 0.95, 0, 0, "", "", 0.0, "")


def sparse_results() -> Results:
    """A run in which every number has a value and none an interval."""
    full = sample_results()
    return replace(
        full,
        levels=tuple(replace(x, mean=replace(SPARSE, value=0.0)) for x in full.levels),
        comparisons=tuple(replace(x, difference=SPARSE, lift=SPARSE) for x in full.comparisons),
        responsiveness=tuple(replace(x, response=SPARSE) for x in full.responsiveness),
    )


def unmeasured_results() -> Results:
    """A run in which every number is missing."""
    full = sample_results()
    lost = replace(NOTHING)
    return replace(
        full,
        levels=tuple(replace(x, mean=lost) for x in full.levels),
        comparisons=tuple(replace(x, difference=lost, lift=lost) for x in full.comparisons),
        series=tuple(replace(x, value=(NAN,) * len(x.day)) for x in full.series),
        responsiveness=tuple(replace(x, base=lost, action=lost, response=lost) for x in full.responsiveness),
        verdicts=tuple(replace(x, observed=NAN, passed=False) for x in full.verdicts),
    )
