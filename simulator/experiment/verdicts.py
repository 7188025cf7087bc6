"""Whether a scenario's thresholds hold: the verdicts that set the exit code of a run."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from math import isnan, nan

from simulator.experiment.results import ArmMetric, Comparison, Estimate, Responsiveness, Verdict
from simulator.scenario.thresholds import Operator, Threshold

_HOLDS: dict[Operator, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def judge(
    thresholds: Sequence[Threshold],
    *,
    responsiveness: Sequence[Responsiveness] = (),
    comparisons: Sequence[Comparison] = (),
    levels: Sequence[ArmMetric] = (),
) -> tuple[Verdict, ...]:
    """Hold each threshold against the estimate that it names, in the order of the thresholds.

    A threshold on a bound is held against the paired interval. An estimate that is NaN, or that the run did not make,
    has `observed` NaN and fails, with the estimate's note as the reason: a guard that saw nothing has guarded nothing.

    Args:
        thresholds: the scenario's conditions.
        responsiveness, comparisons, levels: the parts of the results that they can name.
    """
    estimates: dict[tuple[str, str, str], Estimate] = {}
    estimates |= {("responsiveness", r.similarity, r.arm): r.response for r in responsiveness}
    estimates |= {("lift", c.metric, c.arm): c.lift for c in comparisons}
    estimates |= {("level", m.metric, m.arm): m.mean for m in levels}
    return tuple(_judge(t, estimates.get((t.estimand, t.subject, t.arm))) for t in thresholds)


def _judge(threshold: Threshold, estimate: Estimate | None) -> Verdict:
    observed = nan if estimate is None else float(getattr(estimate, threshold.bound))
    reason = estimate.note if estimate is not None and isnan(observed) else ""
    return Verdict(threshold.text, observed, _HOLDS[threshold.operator](observed, threshold.value), reason)
