"""One replicate of a validation: what every estimator says of new users in the worlds of `replicate_worlds`.

Both comparisons, A/A and A/B, are made by the paired design and by a split. A split needs no simulation of its own:
where models do not learn, a user's life depends on nothing but the user and the arm, so the rows of the treated half
come from the one world and those of the others from the other (a test holds this to `simulate_mixed`, row by row). A
switchback does need one for each comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from recommenders.base import Bool, Int32, ItemFeatures
from simulator.draws import Purpose
from simulator.experiment.adjusted import compare_cuped, compare_stratified
from simulator.experiment.bootstrap import bootstrap_independent, bootstrap_paired
from simulator.experiment.estimators import DifferenceAndLift, PerUser, compare, compare_independent
from simulator.experiment.metrics import LogView, Metric
from simulator.experiment.metrics.contract import measure
from simulator.experiment.power import variance_reduction
from simulator.experiment.readings import rows_of
from simulator.experiment.replicate_worlds import (
    AGAIN,
    BATCH,
    CONTROL,
    TREATMENT,
    Plan,
    Switchback,
    simulate_switchback,
    simulate_worlds,
    world_of,
)
from simulator.experiment.robustness import strata
from simulator.experiment.sequential import confidence_sequence_independent, confidence_sequence_paired
from simulator.scenario.durations import TICKS_PER_DAY

NULL, PLANTED = "null", "planted"
"""Kinds of comparison: of the control with itself, and with the treatment."""
WORLD_OF = {NULL: AGAIN, PLANTED: TREATMENT}
"""Kind -> the world compared with the control's."""
SWITCHBACK = "switchback"
"""The design whose units are blocks of time."""
RESAMPLES = 400
"""Of a bootstrap here: its level, over many replicates, hardly needs the tail of a single one to be smooth."""


@dataclass(frozen=True)
class Reading:
    """What one estimator said in one replicate.

    Attributes:
        kind: `null` or `planted`.
        design: `paired`, `split` or `switchback`.
        estimator: as reports call it.
        metric: its name.
        estimand: `difference` or `lift`.
        value, low, high: NaN where missing.
        p_value: of no difference; that of the difference for a lift, too.
    """

    kind: str
    design: str
    estimator: str
    metric: str
    estimand: str
    value: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class Watching:
    """Whether daily looks at an A/A test ever left out 0.

    Attributes:
        design, metric: as in `Reading`.
        sequence: by the confidence sequence of the difference.
        fixed: by the interval that holds at one look only.
    """

    design: str
    metric: str
    sequence: bool
    fixed: bool


@dataclass(frozen=True)
class Replicate:
    """What one replicate gave.

    Attributes:
        number: which.
        impressions: simulated in the test, over all its worlds, and in the warm-up, once a world.
        readings: in the same order in every replicate.
        watched: likewise.
        sums: metric -> numerator and denominator summed over users, of the control and of the treatment.
        reductions: metric -> `variance_reduction` as the paired test itself estimates it, of the planted effect's lift.
    """

    number: int
    impressions: int
    readings: tuple[Reading, ...]
    watched: tuple[Watching, ...]
    sums: Mapping[str, tuple[float, float, float, float]]
    reductions: Mapping[str, float]


def run_batch(plan: Plan, batch: int, n_replicates: int = BATCH) -> tuple[Replicate, ...]:
    """Simulate the replicates of a batch and estimate everything in each.

    Args:
        plan: what `check_plan` let pass, and nothing of which learns.
        batch: which; its first replicate has the number batch * BATCH.
        n_replicates: how many of the batch, from its first on; never changes a replicate.

    Raises:
        EngineError: a recommender broke its contract.
        MetricError: a metric failed.
    """
    world = world_of(plan, batch, n_replicates)
    numbers = range(batch * BATCH, batch * BATCH + n_replicates)
    start, logs = simulate_worlds(plan, world)
    switchbacks = {name: simulate_switchback(plan, world, start, numbers, name) for name in WORLD_OF.values()}
    n, (begin, end) = world.population.n_users, plan.window
    items = world.catalogue.features
    views = {name: LogView(log, items, n, begin, end) for name, log in logs.items()}
    before = LogView(start.log, items, n, 0, start.tick)
    periods = {name: _periods(switchback, items, n) for name, switchback in switchbacks.items()}
    measured = [_measure(metric, views, before, periods) for metric in plan.metrics]
    treated = world.draws.uniform(Purpose.ASSIGNMENT, np.arange(n))[0] >= 0.5
    users = np.concatenate([log.user for log in (*logs.values(), *(s.log for s in switchbacks.values()))])
    impressions = np.bincount(users // plan.n_users, minlength=n_replicates)
    found = []
    for place, number in enumerate(numbers):
        own = slice(place * plan.n_users, (place + 1) * plan.n_users)
        stratum = strata(before.impressions[own])
        seed = world.draws.integer_seed(Purpose.BOOTSTRAP, place)
        serves = {name: switchback.other[place] for name, switchback in switchbacks.items()}
        parts = [m.of(own, serves) for m in measured]
        found.append(
            _replicate(number, int(impressions[place]), parts, stratum, treated[own], plan.scenario.confidence, seed)
        )
    return tuple(found)


def _periods(switchback: Switchback, items: ItemFeatures, n_users: int) -> list[LogView]:
    return [LogView(switchback.log, items, n_users, s.start_tick, s.end_tick) for s in switchback.stretches]


@dataclass(frozen=True, eq=False)
class Measured:
    """One metric's parts per user.

    Attributes:
        metric: its name.
        worlds: world -> parts in the test.
        before: parts in the warm-up.
        looks: world -> parts up to the end of each day of the test.
        periods: world that the control takes turns with in a switchback -> parts in each of its periods.
        blocks: of one replicate only: likewise, parts summed over users, a row a block, of that world and the control.
    """

    metric: str
    worlds: Mapping[str, PerUser]
    before: PerUser
    looks: Mapping[str, Sequence[PerUser]]
    periods: Mapping[str, Sequence[PerUser]]
    blocks: Mapping[str, tuple[PerUser, PerUser]] = field(default_factory=dict)

    def of(self, users: slice, serves: Mapping[str, npt.NDArray[np.bool_]]) -> Measured:
        """Those of one replicate: its users, and world -> bool[n_periods], when not the control but it served them."""
        return Measured(
            self.metric,
            {world: rows_of(parts, users) for world, parts in self.worlds.items()},
            rows_of(self.before, users),
            {world: [rows_of(look, users) for look in looks] for world, looks in self.looks.items()},
            {},
            {world: _blocks(periods, users, serves[world]) for world, periods in self.periods.items()},
        )


def _blocks(periods: Sequence[PerUser], users: slice, other: npt.NDArray[np.bool_]) -> tuple[PerUser, PerUser]:
    sums = np.array([[p.numerator[users].sum(), p.denominator[users].sum()] for p in periods])
    new, old = (PerUser(sums[at, 0], sums[at, 1], periods[0].empty_note) for at in (other, ~other))
    return new, old


def _measure(
    metric: Metric, views: Mapping[str, LogView], before: LogView, periods: Mapping[str, Sequence[LogView]]
) -> Measured:
    return Measured(
        metric.info.name,
        {world: measure(metric, view) for world, view in views.items()},
        measure(metric, before),
        {world: _looks(metric, views[world]) for world in (CONTROL, AGAIN)},
        {world: [measure(metric, period) for period in found] for world, found in periods.items()},
    )


def _looks(metric: Metric, view: LogView) -> list[PerUser]:
    ends = [min(view.start_tick + day * TICKS_PER_DAY, view.end_tick) for day in range(1, view.n_days + 1)]
    return [measure(metric, replace(view, end_tick=end)) for end in ends]


def _replicate(
    number: int,
    impressions: int,
    measured: Sequence[Measured],
    stratum: Int32,
    treated: Bool,
    confidence: float,
    seed: int,
) -> Replicate:
    readings: list[Reading] = []
    watched: list[Watching] = []
    sums, reductions = {}, {}
    for m in measured:
        new, old = m.worlds[TREATMENT], m.worlds[CONTROL]
        for kind, other in WORLD_OF.items():
            pair = Pair(m.worlds[other], old, m.before, stratum, treated)
            readings += _readings(kind, m.metric, pair, confidence, seed)
            readings += readings_of(kind, SWITCHBACK, "t", m.metric, compare(*m.blocks[other], confidence))
        watched += _watched(m, treated, confidence)
        sums[m.metric] = sums_of(new, old)
        reductions[m.metric] = variance_reduction(compare(new, old, confidence).lift)
    return Replicate(number, impressions, tuple(readings), tuple(watched), sums, reductions)


@dataclass(frozen=True, eq=False)
class Pair:
    """Two worlds of the same users, and how a split would have divided these.

    Attributes:
        new, old: parts of all users in either world.
        before: in the warm-up.
        stratum: int32[n_users].
        treated: bool[n_users], whom the split gives the new world.
    """

    new: PerUser
    old: PerUser
    before: PerUser
    stratum: Int32
    treated: Bool

    def estimates(self, confidence: float, seed: int) -> Iterator[tuple[str, str, DifferenceAndLift]]:
        """Design, estimator and effect, of every estimator."""
        yield "paired", "t", compare(self.new, self.old, confidence)
        yield "paired", "bootstrap", bootstrap_paired(self.new, self.old, confidence, seed=seed, resamples=RESAMPLES)
        treated = self.treated
        new, old = rows_of(self.new, treated), rows_of(self.old, ~treated)
        known = rows_of(self.before, treated), rows_of(self.before, ~treated)
        yield "split", "t", compare_independent(new, old, confidence)
        yield "split", "cuped", compare_cuped(new, old, *known, confidence)
        yield (
            "split", "stratified",
            compare_stratified(new, old, self.stratum[treated], self.stratum[~treated], confidence),
        )  # fmt: skip
        yield "split", "bootstrap", bootstrap_independent(new, old, confidence, seed=seed, resamples=RESAMPLES)


def _readings(kind: str, metric: str, pair: Pair, confidence: float, seed: int) -> Iterator[Reading]:
    for design, estimator, effect in pair.estimates(confidence, seed):
        yield from readings_of(kind, design, estimator, metric, effect)


def readings_of(kind: str, design: str, estimator: str, metric: str, effect: DifferenceAndLift) -> Iterator[Reading]:
    """What an estimator said: of the difference, then of the lift."""
    for estimand, e in (("difference", effect.difference), ("lift", effect.lift)):
        yield Reading(kind, design, estimator, metric, estimand, e.value, e.low, e.high, effect.p_value)


def sums_of(new: PerUser, old: PerUser) -> tuple[float, float, float, float]:
    """Numerator and denominator summed over users, of the old world and of the new."""
    old_sums, new_sums = ((float(p.numerator.sum()), float(p.denominator.sum())) for p in (old, new))
    return (*old_sums, *new_sums)


def _watched(measured: Measured, treated: Bool, confidence: float) -> Iterator[Watching]:
    """The A/A test looked at after every day."""
    new, old = measured.looks[AGAIN], measured.looks[CONTROL]
    designs = {
        "paired": (new, old, confidence_sequence_paired, compare),
        "split": (
            [rows_of(look, treated) for look in new], [rows_of(look, ~treated) for look in old],
            confidence_sequence_independent, compare_independent,
        ),
    }  # fmt: skip
    for design, (t, c, sequence, once) in designs.items():
        always = sequence(t, c, confidence, n_looks=len(t))
        fixed = [once(a, b, confidence) for a, b in zip(t, c, strict=True)]
        yield Watching(design, measured.metric, any(map(_leaves_out_0, always)), any(map(_leaves_out_0, fixed)))


def _leaves_out_0(effect: DifferenceAndLift) -> bool:
    return effect.difference.low > 0 or effect.difference.high < 0
