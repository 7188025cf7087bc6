"""The report as one HTML file that works offline: no script, no external reference, every string escaped."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from simulator.experiment.results import Manifest, Results
from simulator.report import ab_views, charts, response_views, views
from simulator.report.formatting import number
from simulator.report.statements import answer_line, answer_sentence, pushes_back


@dataclass(frozen=True)
class Key:
    """An entry of a legend."""

    mark: Markup
    words: str


def render_html(results: Results, manifest: Manifest, scenario_yaml: str) -> str:
    """The whole report.

    Args:
        results: what the run found.
        manifest: how it was made.
        scenario_yaml: the resolved scenario's text, shown as it is.

    Returns:
        An HTML document without scripts or references; its security policy forbids loading anything.
    """
    ratio = answer_line(results)
    answer = results.answer or answer_sentence(results)
    parts: dict[str, object] = {
        "response_panels": views.response_panels(results),
        "response_details": response_views.details(results),
        "lift_panels": views.lift_panels(results),
        "metric_tables": views.metric_tables(results),
        "gains": views.gains(results),
        "series_panels": views.series_panels(results),
        "pairs": [views.pair_view(p) for p in results.pairs],
        "ratio_rows": ab_views.ratio_rows(results),
        "guardrail_rows": ab_views.guardrail_rows(results),
        "estimator_grids": ab_views.estimator_grids(results),
        "segment_grids": ab_views.segment_grids(results),
        "watched_tables": ab_views.watched_tables(results),
    }
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            **parts,
            results=results,
            manifest=manifest,
            scenario_yaml=scenario_yaml,
            sections=_sections(results, parts),
            verdict_summary=_verdict_summary(results),
            observed=views.observed,
            failures_heading=views.failures_heading(results),
            failures=views.failures(results, manifest),
            answer=answer,
            ratio="" if ratio == answer else ratio,
            response_keys=_response_keys(results),
            response_tables=views.response_tables(results),
            lift_keys=[Key(charts.marker(tone), words) for tone, words in views.TONES.items()],
            ab_length=_days(results.ab_days),
            confidence=f"{number(100 * results.confidence)}%",
            false_alarms=number(100 * (1 - results.confidence), 3),
            legend=[Key(charts.swatch(views.arm_style(results, arm)), arm) for arm in views.finished_arms(results)],
            shown_shared=views.SHOWN_SHARED,
            made=views.made(manifest),
            hints=views.HINTS,
            unit=ab_views.unit_of(results),
            estimator_columns=ab_views.estimator_columns(results),
            estimators_explained=ab_views.explained(ab_views.estimator_columns(results)),
            segment_columns=ab_views.segment_columns(results),
        )
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("simulator.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )


def _sections(results: Results, parts: dict[str, object]) -> list[tuple[str, str]]:
    details = cast(list[response_views.Detail], parts["response_details"])
    every = [
        ("failures", views.failures_heading(results), bool(results.failures)),
        ("thresholds", "Thresholds", bool(results.verdicts)),
        ("question", "Question", True),
        ("answer", "Answer", True),
        ("responsiveness", "Responsiveness", bool(parts["response_panels"])),
        *((detail.anchor, detail.title, True) for detail in details),
        ("ab-design", "The A/B test", bool(results.design_words or parts["ratio_rows"] or parts["guardrail_rows"])),
        ("metrics", "Metrics", bool(parts["lift_panels"] or parts["metric_tables"])),
        ("ab-estimators", "By other estimators", bool(parts["estimator_grids"])),
        ("ab-segments", "Among some of the users", bool(parts["segment_grids"])),
        ("ab-watched", "Watched day by day", bool(parts["watched_tables"])),
        ("pairing", "What pairing bought", bool(parts["gains"])),
        ("days", "By simulated day", bool(parts["series_panels"])),
        ("trajectories", "One user, two worlds", bool(parts["pairs"])),
        ("made", "How this run was made", True),
        ("definitions", "Definitions", bool(results.metrics)),
        ("reading", "How to read the intervals", True),
    ]
    return [(anchor, title) for anchor, title, there in every if there]


def _response_keys(results: Results) -> list[Key]:
    less, more = ("better", "worse") if pushes_back(results) else ("changed", "changed")
    keys = [Key(charts.marker(less), "clearly less of the same"), Key(charts.marker(more), "clearly more of the same")]
    if less == more:
        keys = [Key(charts.marker("changed"), "clearly less or more of the same")]
    return [*keys, Key(charts.marker("unclear"), views.TONES["unclear"])]


def _verdict_summary(results: Results) -> str:
    failed = sum(not v.passed for v in results.verdicts)
    if not failed:
        return f"all {len(results.verdicts)} hold" if len(results.verdicts) > 1 else "it holds"
    return f"{failed} of {len(results.verdicts)} {'fails' if failed == 1 else 'fail'}"


def _days(days: float) -> str:
    return f"{number(days, 3)} {'day' if days == 1 else 'days'}"
