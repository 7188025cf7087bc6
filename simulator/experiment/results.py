"""What an experiment found: the plain data from which JSON, terminal table and HTML report are made.

Numbers that cannot be had (a ratio over nothing, one user) are NaN, with a `note` that says why; JSON writes them as
null.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: the point estimate.
        low, high: limits of the interval from paired values (or of the mean, for a single arm).
        unpaired_low, unpaired_high: limits that an unpaired experiment of the same size would have had; NaN where the
            estimate compares nothing.
        n: number of users or runs behind it.
        note: why a number is missing, or is 0 with certainty; empty otherwise.
    """

    value: float
    low: float
    high: float
    unpaired_low: float = float("nan")
    unpaired_high: float = float("nan")
    n: int = 0
    note: str = ""


@dataclass(frozen=True)
class MetricInfo:
    """A metric as the report shows it.

    Attributes:
        name: as in `scenario.metrics`.
        label: in words, capitalised.
        definition: numerator and denominator in a sentence.
        unit: `share`, `seconds`, `count` or `score`; tells how to print a value.
        better: `lower`, `higher` or `neither`.
    """

    name: str
    label: str
    definition: str
    unit: str
    better: str


@dataclass(frozen=True)
class ArmMetric:
    """A metric's level in one arm."""

    arm: str
    metric: str
    mean: Estimate


@dataclass(frozen=True)
class Comparison:
    """An arm against the control on one metric; `lift` is the relative difference.

    Attributes:
        arm, metric: which.
        difference, lift: absolute, and relative to the control.
        p_value: two-sided, of no difference; NaN where there is no interval.
        holm, benjamini_hochberg: the p-value adjusted for all metrics of the arm: findings are those below the
            accepted chance of any false finding, or below the accepted share of false ones.
    """

    arm: str
    metric: str
    difference: Estimate
    lift: Estimate
    p_value: float = float("nan")
    holm: float = float("nan")
    benjamini_hochberg: float = float("nan")


@dataclass(frozen=True)
class EstimatorRow:
    """The same effect by another estimator.

    Attributes:
        arm, metric: which.
        estimator: `paired`, `unpaired`, `independent`, `cuped`, `stratified` or `bootstrap`.
        difference, lift: as in `Comparison`.
    """

    arm: str
    metric: str
    estimator: str
    difference: Estimate
    lift: Estimate


@dataclass(frozen=True)
class ArmCount:
    """Users of one arm: counted, and expected by the planned shares."""

    arm: str
    observed: int
    expected: float


@dataclass(frozen=True)
class SampleRatio:
    """Whether arms have the users that they were meant to have.

    Attributes:
        population: `assigned` users, or the `active` among them, who were served a slate in the window.
        arms: counts by arm.
        p_value: of the chi-square test that the counts come from the planned shares; NaN where it cannot be made.
    """

    population: str
    arms: tuple[ArmCount, ...]
    p_value: float


@dataclass(frozen=True)
class GuardrailVerdict:
    """Whether an arm keeps a metric from a loss beyond the margin.

    Attributes:
        arm, metric: which.
        margin: relative loss that is borne.
        verdict: `holds`, `broken` or `open`.
        lift: what it is judged by.
        reason: why it is open; empty otherwise.
    """

    arm: str
    metric: str
    margin: float
    verdict: str
    lift: Estimate
    reason: str = ""


@dataclass(frozen=True)
class WatchedPoint:
    """A lift over all days so far, as someone sees it who looks every day.

    Attributes:
        arm, metric: which.
        day: the last day that counts, 0 for the first.
        always: the interval that holds at all looks together.
        fixed: the interval that holds at one look planned beforehand.
    """

    arm: str
    metric: str
    day: int
    always: Estimate
    fixed: Estimate


@dataclass(frozen=True)
class SegmentEffect:
    """An effect among some of the users, with intervals that hold for all segments of an arm and metric together."""

    segment: str
    arm: str
    metric: str
    difference: Estimate
    lift: Estimate


@dataclass(frozen=True)
class DailySeries:
    """A metric by simulated day of the experiment, one value a day; NaN where it is not defined."""

    arm: str
    metric: str
    day: tuple[int, ...]
    value: tuple[float, ...]


@dataclass(frozen=True)
class Responsiveness:
    """How the next slate changes when the user adds the action, for one arm.

    Attributes:
        arm: name of the arm.
        similarity: `topic` or `creator`: what an item shares with item k.
        base, action: mean share of similar items in the next slate, in each branch.
        response: R = (action - base) / base, a ratio of means over runs.
        branch: what the user does, in words; empty for the main action.
        request: which request after item k, from 1.
        after_seconds: simulated time from the first request after item k in the base branch, the median over runs.
        dose: how many such actions in a row.
        segment: which users; empty for all.
    """

    arm: str
    similarity: str
    base: Estimate
    action: Estimate
    response: Estimate
    branch: str = ""
    request: int = 1
    after_seconds: float = 0.0
    dose: int = 1
    segment: str = ""


@dataclass(frozen=True)
class CourseSummary:
    """How long a response lasts.

    Attributes:
        arm, similarity: whose.
        half_life_requests: requests until half of the first response is gone; NaN, with a note, where there is none.
        recovered_request: the first request whose response is not clear from 0; 0 where there is none.
        note: why there is no half-life; empty otherwise.
    """

    arm: str
    similarity: str
    half_life_requests: float
    recovered_request: int
    note: str = ""


@dataclass(frozen=True)
class FutureEffect:
    """What an action does to the user's own future on one metric: the branch against the base."""

    arm: str
    branch: str
    metric: str
    difference: Estimate
    lift: Estimate


@dataclass(frozen=True)
class Impression:
    """One impression of a trajectory, for the drill-down.

    Attributes:
        tick: when it was served.
        session, step, slot: where.
        item, creator, topic: what.
        feedback: flag names in lower case, such as `("examined", "dislike")`; empty where not looked at.
        dwell_seconds: how long.
    """

    tick: int
    session: int
    step: int
    slot: int
    item: int
    creator: int
    topic: int
    feedback: tuple[str, ...]
    dwell_seconds: float


@dataclass(frozen=True)
class TrajectoryPair:
    """One user in two worlds, side by side.

    Attributes:
        kind: `counterfactual` (one arm, two branches) or `ab_test` (two arms).
        user: the user.
        arm: the arm (counterfactual), or the treatment (ab_test).
        left_label, right_label: what each side is, such as `long_dwell` and `long_dwell + dislike`, or two arms.
        shared: impressions that both sides have in common, oldest first (the prefix, or the warm-up's last ones).
        left, right: impressions after they part.
        focus_creator, focus_topic: creator and topic of the item at which they part; -1 where there is none.
        why: why this user was picked, in a sentence.
    """

    kind: str
    user: int
    arm: str
    left_label: str
    right_label: str
    shared: tuple[Impression, ...]
    left: tuple[Impression, ...]
    right: tuple[Impression, ...]
    focus_creator: int
    focus_topic: int
    why: str


@dataclass(frozen=True)
class Verdict:
    """A threshold of the scenario and whether it holds.

    Attributes:
        condition: as it is written.
        observed: NaN where the estimate is missing.
        passed: whether it holds; never without an estimate.
        reason: why the estimate is missing, where that is known; empty otherwise.
    """

    condition: str
    observed: float
    passed: bool
    reason: str = ""


@dataclass(frozen=True)
class ArmFailure:
    """An arm that was given up because its recommender failed; the others were finished.

    Attributes:
        arm: its name.
        stage: what it was about, such as `training` or `A/B test, recommend`.
        error: type of the error.
        message: what the error says, cut where it is long.
        where: at which request; in the manifest alone, since it depends on how the work was cut up.
    """

    arm: str
    stage: str
    error: str
    message: str
    where: str = ""


@dataclass(frozen=True)
class Results:
    """All that a run found.

    Attributes:
        scenario: name of the scenario (its file's stem).
        question, expected: from the scenario.
        control: name of the control arm.
        arms: names of the arms, in the scenario's order, those that failed included.
        confidence: level of all intervals.
        users: users in the A/B test; 0 without one.
        runs: trajectories in the counterfactual, of the arm with fewest; 0 without one.
        protocol: what leads up to the branches, in words.
        base_action, other_action: the two branches of the counterfactual, in words.
        ab_days: length of the A/B test in days; 0 without one.
        answer: the answer in a sentence with its interval.
        design: of the A/B test: `paired`, `split` or `switchback`.
        design_words: who was randomised and whose feedback trains, in sentences; empty without an A/B test.
        estimators, sample_ratios, guardrails, watched, ab_segments: what else the A/B test tells; see the types.
        metrics, levels, comparisons, series, responsiveness, pairs, verdicts: see the types.
        selectivity: what else changes in the next slate with the main action.
        actions: the response to every action; empty where there is but one.
        course: the response by request; empty where only one is measured.
        course_summaries: how long it lasts.
        doses: the response to one and to more actions in a row; empty where only one is.
        segments: the response of groups of users, at a level that holds for all groups of an arm together.
        futures: what the actions do to the users' own future.
        failures: arms that were given up; of them `levels`, `comparisons`, `responsiveness`, `selectivity` and
            `guardrails` hold missing estimates, and nothing else anything.
    """

    scenario: str
    question: str
    expected: str
    control: str
    arms: tuple[str, ...]
    confidence: float
    users: int
    runs: int
    base_action: str
    other_action: str
    ab_days: float
    answer: str
    metrics: tuple[MetricInfo, ...] = ()
    levels: tuple[ArmMetric, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    series: tuple[DailySeries, ...] = ()
    responsiveness: tuple[Responsiveness, ...] = ()
    pairs: tuple[TrajectoryPair, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    protocol: str = ""
    selectivity: tuple[Responsiveness, ...] = ()
    actions: tuple[Responsiveness, ...] = ()
    course: tuple[Responsiveness, ...] = ()
    course_summaries: tuple[CourseSummary, ...] = ()
    doses: tuple[Responsiveness, ...] = ()
    segments: tuple[Responsiveness, ...] = ()
    futures: tuple[FutureEffect, ...] = ()
    design: str = "paired"
    design_words: str = ""
    estimators: tuple[EstimatorRow, ...] = ()
    sample_ratios: tuple[SampleRatio, ...] = ()
    guardrails: tuple[GuardrailVerdict, ...] = ()
    watched: tuple[WatchedPoint, ...] = ()
    ab_segments: tuple[SegmentEffect, ...] = ()
    failures: tuple[ArmFailure, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """How a run was made; the only place where the wall clock appears.

    Attributes:
        run: name of the run's folder.
        scenario: name of the scenario.
        seed: the seed in force.
        scenario_sha256: of the resolved scenario.
        log_sha256: arm -> hash of its event log's rows.
        versions: package -> version.
        machine: processor and operating system.
        started_utc: ISO time.
        seconds: stage -> wall-clock seconds.
        impressions: rows over all arms.
        impressions_per_second: of simulated serving, over all arms.
        command: the command line that made it.
        complete: False until everything is written.
        resumed: how often the run was stopped and went on; `seconds` then count what was kept of earlier goes.
        directory: of an unfinished run, where the tables are that its scenario names.
        failures: arms that were given up.
    """

    run: str
    scenario: str
    seed: int
    scenario_sha256: str
    log_sha256: dict[str, str]
    versions: dict[str, str]
    machine: str
    started_utc: str
    seconds: dict[str, float]
    impressions: int
    impressions_per_second: float
    command: str
    complete: bool
    resumed: int = 0
    directory: str = ""
    failures: tuple[ArmFailure, ...] = ()
