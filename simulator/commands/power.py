"""What `pushback power` prints: how many users a test needs, or what it can see, by a finished run as the pilot."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console

from simulator.experiment.power import Planned, detectable_effect, needed_users, variance_reduction
from simulator.experiment.results import Estimate, Results
from simulator.report.formatting import times
from simulator.report.serialize import ReportError
from simulator.report.terminal import add_row, new_table, show


@dataclass(frozen=True)
class Plan:
    """What one metric's test can see or needs, in both designs; NaN, with a note, where it cannot be planned.

    Attributes:
        metric, label: which.
        paired: whether the row counts users who live in every arm, or users split at random into two arms.
        detectable: relative effect that `users` detect.
        needed: users who detect `effect`; NaN without one.
        reduction: how many times fewer users the paired design needs than the split.
        note: why a number is missing.
    """

    metric: str
    label: str
    paired: bool
    detectable: float
    needed: float
    reduction: float
    note: str


@dataclass(frozen=True)
class Asked:
    """What is planned: see the options of `pushback power`."""

    arm: str
    users: int
    effect: float | None
    power: float
    confidence: float


def treatments_of(results: Results) -> list[str]:
    """The arms whose effects the pilot knows by user.

    Raises:
        ReportError: the pilot has no A/B test, or a switchback, whose effects are known by block of time.
    """
    failed = {failure.arm for failure in results.failures}
    arms = [a for a in results.arms if a not in failed and any(c.arm == a for c in results.comparisons)]
    if not arms:
        raise ReportError(f"{results.scenario}: got a run without effects of an A/B test, expected one to plan from")
    if results.design == "switchback":
        raise ReportError(f"{results.scenario}: got a switchback, expected design: paired or split to plan users from")
    return arms


def plan(results: Results, asked: Asked) -> list[Plan]:
    """Plans for every metric that the pilot compared.

    Raises:
        ReportError: no such treatment.
    """
    treatments = treatments_of(results)
    if asked.arm not in treatments:
        raise ReportError(f"--arm: got {asked.arm}, expected one of {', '.join(treatments)}")
    lifts = {c.metric: c.lift for c in results.comparisons if c.arm == asked.arm}
    designs = (True, False) if results.design == "paired" else (False,)
    return [
        _plan(m.name, m.label, lifts[m.name], asked, results.confidence, paired)
        for m in results.metrics
        if m.name in lifts
        for paired in designs
    ]


def _plan(metric: str, label: str, lift: Estimate, asked: Asked, pilot: float, paired: bool) -> Plan:
    at = {"power": asked.power, "confidence": asked.confidence, "paired": paired, "pilot_confidence": pilot}
    detectable = detectable_effect(lift, users=asked.users, **at)  # type: ignore[arg-type]
    needed = Planned(math.nan)
    if asked.effect is not None:
        needed = needed_users(lift, effect=asked.effect, **at)  # type: ignore[arg-type]
    note = detectable.note or needed.note
    return Plan(metric, label, paired, detectable.value, needed.value, variance_reduction(lift), note)


def print_plans(results: Results, plans: Sequence[Plan], asked: Asked, console: Console) -> None:
    """The plans as a table, a row a metric, and why numbers are missing."""
    title = (
        f"Planned from {results.scenario}, {asked.arm} against {results.control}, {results.users:,} users: "
        f"{100 * asked.power:g}% power at {100 * asked.confidence:g}% confidence"
    )
    effect = [] if asked.effect is None else [f"users for {100 * abs(asked.effect):g}%"]
    table = new_table(title, ["metric", "design", f"seen by {asked.users:,}", *effect, "fewer users"], 26)
    for p in plans:
        needed = [] if asked.effect is None else [f"{p.needed:,.0f}" if math.isfinite(p.needed) else "–"]
        seen = f"± {100 * p.detectable:.3g}%" if math.isfinite(p.detectable) else "–"
        fewer = times(p.reduction) if p.paired and math.isfinite(p.reduction) else ""
        add_row(table, [p.label, "paired" if p.paired else "split", seen, *needed, fewer])
    console.print(table)
    for note in dict.fromkeys(p.note for p in plans if p.note):
        show(console, f"– {note}", "dim")
    show(
        console,
        "paired: users who live in every arm, which only a simulation has. split: users randomised into two arms of "
        "equal size, of both together. The plan holds for a test as long as the pilot.",
        "dim",
    )


def plans_as_json(plans: Sequence[Plan]) -> str:
    """The same for programs; what could not be planned is null."""
    records = [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(p).items()} for p in plans
    ]
    return json.dumps(records, indent=2, ensure_ascii=False)
