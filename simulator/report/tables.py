"""What a run found, as data frames: one row an estimate, one column a number."""

from __future__ import annotations

import pyarrow as pa

from simulator.experiment.results import Estimate, Responsiveness, Results
from simulator.report.frame import Frame

_TEXT, _REAL, _COUNT = pa.string(), pa.float64(), pa.int64()
_INTERVAL = {name: _REAL for name in ("low", "high", "unpaired_low", "unpaired_high")}
_BRANCH = {"branch": _TEXT, "request": _COUNT, "after_seconds": _REAL, "dose": _COUNT, "segment": _TEXT}


def responsiveness_frame(results: Results) -> Frame:
    """R of each arm at the first slate after the action, with the mean shares in both branches.

    Columns: arm, similarity, response, its interval (low, high) and the unpaired one, base, action, n, note.
    """
    columns = {"arm": _TEXT, "similarity": _TEXT, "response": _REAL} | _INTERVAL
    columns |= {"base": _REAL, "action": _REAL, "n": _COUNT, "note": _TEXT}
    return Frame.of(columns, (_response(r) for r in results.responsiveness))


def responses_frame(results: Results) -> Frame:
    """Everything that the counterfactual measured: `part` says which of the results' attributes a row comes from.

    Columns: part, those of `responsiveness_frame`, branch, request, after_seconds, dose, segment.
    """
    parts = ("responsiveness", "selectivity", "actions", "course", "doses", "segments")
    columns = {"part": _TEXT, "arm": _TEXT, "similarity": _TEXT, "response": _REAL} | _INTERVAL
    columns |= {"base": _REAL, "action": _REAL, "n": _COUNT, "note": _TEXT} | _BRANCH
    return Frame.of(
        columns,
        (
            (part, *_response(r), r.branch, r.request, r.after_seconds, r.dose, r.segment)
            for part in parts
            for r in getattr(results, part)
        ),
    )


def lift_frame(results: Results) -> Frame:
    """Each arm against the control, by metric.

    Columns: arm, metric, lift (relative), its interval (low, high) and the unpaired one, difference (absolute) with
    difference_low and difference_high, p_value, holm, benjamini_hochberg, n, note.
    """
    columns = {"arm": _TEXT, "metric": _TEXT, "lift": _REAL} | _INTERVAL
    columns |= {name: _REAL for name in ("difference", "difference_low", "difference_high")}
    columns |= {name: _REAL for name in ("p_value", "holm", "benjamini_hochberg")} | {"n": _COUNT, "note": _TEXT}
    return Frame.of(
        columns,
        (
            (
                c.arm, c.metric, *_estimate(c.lift), c.difference.value, c.difference.low, c.difference.high,
                c.p_value, c.holm, c.benjamini_hochberg, c.lift.n, c.lift.note,
            )
            for c in results.comparisons
        ),
    )  # fmt: skip


def metric_frame(results: Results) -> Frame:
    """The level of each metric in each arm.

    Columns: arm, metric, label, unit, mean, low, high, n, note.
    """
    about = {m.name: m for m in results.metrics}
    columns = {"arm": _TEXT, "metric": _TEXT, "label": _TEXT, "unit": _TEXT}
    columns |= {"mean": _REAL, "low": _REAL, "high": _REAL, "n": _COUNT, "note": _TEXT}
    return Frame.of(
        columns,
        (
            (
                row.arm, row.metric, about[row.metric].label, about[row.metric].unit,
                row.mean.value, row.mean.low, row.mean.high, row.mean.n, row.mean.note,
            )
            for row in results.levels
        ),
    )  # fmt: skip


def daily_frame(results: Results) -> Frame:
    """Each metric by simulated day of the A/B test; NaN where it is not defined. Columns: arm, metric, day, value."""
    return Frame.of(
        {"arm": _TEXT, "metric": _TEXT, "day": _COUNT, "value": _REAL},
        (
            (series.arm, series.metric, day, value)
            for series in results.series
            for day, value in zip(series.day, series.value, strict=True)
        ),
    )


def _response(r: Responsiveness) -> tuple[object, ...]:
    return (r.arm, r.similarity, *_estimate(r.response), r.base.value, r.action.value, r.response.n, r.response.note)


def _estimate(e: Estimate) -> tuple[float, ...]:
    return (e.value, e.low, e.high, e.unpaired_low, e.unpaired_high)
