"""What `pushback validate-stats` says of arms that do not learn: whether the statistics keep what they promise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict

from simulator.commands.validate_stats_views import (
    DASH,
    Cell,
    Telling,
    View,
    figure,
    largest_error,
    percent,
    percent_cell,
)
from simulator.experiment.calibration import (
    COVERAGE,
    FALSE_POSITIVES,
    LEVEL,
    POWER,
    WATCHING,
    Accuracy,
    Calibration,
    Rate,
    Reduction,
)
from simulator.report.formatting import times


def tell_calibration(found: Calibration, metrics: Sequence[str]) -> Telling:
    """In words and tables, a column for each of the metrics."""
    counted = {
        "rates": [{**asdict(r), "judged": r.judged, "passed": r.passed} for r in found.rates],
        "accuracies": [asdict(a) for a in found.accuracies],
        "variance_reductions": [{**asdict(r), "passed": r.passed} for r in found.reductions],
    }
    return Telling(_answer(found), _views(found, metrics), NOTES, counted)


NOTES = (
    "A replicate is a population of new users on the same catalogue, who live in the control's world, in the control's "
    "world again with other random numbers in the recommender (A/A), and in the treatment's (A/B).",
    "Paired: the same users in both worlds. Split: half of them in either, drawn by lot. Switchback: all of them in "
    "one world that changes arms, period by period.",
    "In brackets: the Monte Carlo error of a share, exact limits (Clopper and Pearson) at 95%.",
    "Verdicts: an exact binomial test of what is expected, corrected over all shares of a table (Holm) so that a "
    f"library without fault fails a table in at most {percent(LEVEL)}% of validations.",
    "Not part of it: models that learn, and what they carry from one arm's users to the other's.",
)


def _answer(found: Calibration) -> str:
    verdict = f"all {found.checks} checks hold"
    if found.failures:
        verdict = f"{found.failures} of {found.checks} checks FAIL"
    parts = [f"{verdict} over {found.replicates} replicates"]
    parts += [_range(found.rates, FALSE_POSITIVES, "false positives in A/A"), _range(found.rates, COVERAGE, "coverage")]
    reductions = [times(r.observed) for r in found.reductions if math.isfinite(r.observed)]
    if reductions:
        parts.append(f"pairing needs {', '.join(reductions)} fewer users")
    return "; ".join(part for part in parts if part)


def _range(rates: Sequence[Rate], question: str, words: str) -> str:
    """Where the shares of a question lie; how many are in the allowed range as they stand, where that is no point."""
    counted = [r for r in rates if r.question == question and r.judged]
    if not counted:
        return ""
    low, mean, high = (percent(f([r.share for r in counted])) for f in (min, _mean, max))
    text = f"{words} {mean}% on average ({low} to {high}"
    allowed_low, allowed_high = counted[0].allowed_low, counted[0].allowed_high
    if allowed_low < allowed_high:
        n_inside = sum(allowed_low <= r.share <= allowed_high for r in counted)
        text += f"; {n_inside} of {len(counted)} within {percent(allowed_low)} to {percent(allowed_high)}"
    return text + ")"


def _views(found: Calibration, metrics: Sequence[str]) -> tuple[View, ...]:
    alpha, confidence = percent(1 - found.confidence), percent(found.confidence)
    titles = {
        FALSE_POSITIVES: (
            f"A/A: false positives, % of {found.replicates} replicates",
            f"Share of replicates whose {confidence}% interval leaves out the true 0. Expected: {alpha}.",
        ),
        COVERAGE: (
            "A/B with a planted effect: coverage, %",
            f"Share of replicates whose {confidence}% interval holds the true effect. Expected: within 2 points of "
            f"{confidence}; of a switchback nothing is, since what one arm leaves behind for the next biases it.",
        ),
        POWER: (
            "A/B: power, % found (% foreseen)",
            "Share of replicates whose interval of the lift shows the planted effect; foreseen by power planning from "
            "the average interval. Expected: within 5 points.",
        ),
        WATCHING: (
            "A/A looked at every day: ever a false positive, %",
            f"Expected of a confidence sequence: at most {alpha}. An interval for one look is there to compare.",
        ),
    }
    by_question = {question: [r for r in found.rates if r.question == question] for question in titles}
    tables = [
        View(title, remark, _rate_rows(by_question[question], metrics), largest_error(by_question[question]))
        for question, (title, remark) in titles.items()
    ]
    return (*tables, _reduction_view(found.reductions, metrics), _accuracy_view(found.accuracies, metrics))


def _rate_rows(rates: Sequence[Rate], metrics: Sequence[str]) -> tuple[tuple[str, tuple[Cell, ...]], ...]:
    keys = dict.fromkeys((r.design, r.estimator, r.statement) for r in rates)
    by_key = {(r.design, r.estimator, r.statement, r.metric): r for r in rates}
    return tuple((_row_name(*key), tuple(_rate_cell(by_key.get((*key, m))) for m in metrics)) for key in keys)


def _row_name(design: str, estimator: str, statement: str) -> str:
    return f"{design}, {estimator}: {statement}"


def _rate_cell(rate: Rate | None) -> Cell:
    if rate is None or rate.n == 0:
        return Cell(DASH)
    value = percent(rate.share)
    if rate.question == POWER:
        value += f" ({_foreseen(rate)})"
    return Cell(value, f"[{percent(rate.low)}, {percent(rate.high)}]", not rate.passed)


def _foreseen(rate: Rate) -> str:
    """The middle of the allowed range, or its end where that is the end of all shares."""
    if rate.allowed_high == 1:
        return f">{percent(rate.allowed_low)}"
    return percent((rate.allowed_low + rate.allowed_high) / 2)


def _reduction_view(reductions: Sequence[Reduction], metrics: Sequence[str]) -> View:
    by_metric = {r.metric: r for r in reductions}
    observed = tuple(_reduction_cell(by_metric[m]) for m in metrics)
    foreseen = tuple(Cell(figure(by_metric[m].foreseen)) for m in metrics)
    return View(
        "How many times fewer users pairing needs than a split",
        "Variance of the split's lift over that of the paired one, over replicates; below, what the paired tests "
        "themselves say on average.",
        (("observed", observed), ("foreseen", foreseen)),
    )


def _reduction_cell(r: Reduction) -> Cell:
    return Cell(figure(r.observed), f"[{figure(r.low)}, {figure(r.high)}]", not r.passed)


def _accuracy_view(accuracies: Sequence[Accuracy], metrics: Sequence[str]) -> View:
    lifts = [a for a in accuracies if a.estimand == "lift"]
    by_key = {(a.design, a.estimator, a.metric): a for a in lifts}
    rows = [("truth", tuple(_truth_cell(by_key["paired", "t", m]) for m in metrics))]
    for design, estimator in dict.fromkeys((a.design, a.estimator) for a in lifts):
        rows.append((f"{design}, {estimator}", tuple(_mean_cell(by_key[design, estimator, m]) for m in metrics)))
    return View(
        "Lift of the planted effect, %: the truth, and the mean of the estimates",
        "Truth: all replicates' users together, either arm alone in the world. In brackets two Monte Carlo standard "
        "errors to either side.",
        tuple(rows),
    )


def _truth_cell(a: Accuracy) -> Cell:
    return percent_cell(a.truth, a.truth_error)


def _mean_cell(a: Accuracy) -> Cell:
    return percent_cell(a.mean, a.mean_error)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
