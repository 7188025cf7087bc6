"""Whether an A/B test can be trusted, and whether its treatments are safe: sample ratios and guardrails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan

from scipy import stats

from simulator.experiment import guardrails
from simulator.experiment.results import ArmCount, Comparison, GuardrailVerdict, MetricInfo, SampleRatio
from simulator.scenario.ab_tests import Guardrail

FEWEST_EXPECTED = 5
"""Expected users of every arm that the chi-square test needs (Cochran 1954, Biometrics)."""


def sample_ratio(population: str, counts: Mapping[str, int], shares: Mapping[str, float]) -> SampleRatio:
    """Whether counts of users agree with the shares that were planned.

    A p-value below a thousandth says that users went missing by arm, or were assigned wrongly; no effect can be
    trusted then. Activity may differ by arm because of a treatment: the active users then tell of that.

    Args:
        population: whom the counts are of.
        counts: arm -> users.
        shares: arm -> planned share; they sum to 1.

    Returns:
        Counts and expectations by arm; the p-value is NaN where an arm is expected to have fewer than five users.

    Source: Fabijan et al. 2019, KDD (sample ratio mismatch); Pearson's chi-square test.

    >>> sample_ratio("assigned", {"a": 480, "b": 520}, {"a": 0.5, "b": 0.5}).p_value.__round__(4)
    0.2059
    """
    total = sum(counts.values())
    rows = tuple(ArmCount(arm, counts[arm], share * total) for arm, share in shares.items())
    p_value = nan
    if len(rows) > 1 and min(row.expected for row in rows) >= FEWEST_EXPECTED:
        p_value = float(stats.chisquare([r.observed for r in rows], [r.expected for r in rows]).pvalue)
    return SampleRatio(population, rows, p_value)


def judge_guardrails(
    settings: Sequence[Guardrail], comparisons: Sequence[Comparison], metrics: Sequence[MetricInfo]
) -> tuple[GuardrailVerdict, ...]:
    """Hold each guardrail against every treatment's lift, in the order of the settings and of the comparisons.

    A metric of which neither direction is better has nothing to lose; its guardrail stays open, and says so.
    """
    better = {metric.name: metric.better for metric in metrics}
    return tuple(
        _judge(guardrail, comparison, better.get(guardrail.metric, "neither"))
        for guardrail in settings
        for comparison in comparisons
        if comparison.metric == guardrail.metric
    )


def _judge(guardrail: Guardrail, comparison: Comparison, better: str) -> GuardrailVerdict:
    if better not in ("lower", "higher"):
        verdict, reason = "open", "neither direction of the metric is better"
    else:
        judged = guardrails.non_inferiority(comparison.lift, margin=guardrail.margin, better=better)
        verdict, reason = judged.verdict, judged.reason
    return GuardrailVerdict(comparison.arm, guardrail.metric, guardrail.margin, verdict, comparison.lift, reason)
