"""What the report says of an A/B test's design: true for the design, and what matters first."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from simulator.experiment.results import Results
from simulator.report import ab_views
from simulator.report.html import render_html
from simulator.report.serialize import results_from_json, results_to_json
from simulator.report.statements import answer_sentence
from simulator.report.views import gains, metric_tables
from tests.simulator.report.samples import (
    SCENARIO_YAML,
    sample_manifest,
    sample_results,
    split_results,
    switchback_results,
)

SPLIT = split_results()


def page_of(results: Results) -> str:
    return render_html(results, sample_manifest(), SCENARIO_YAML)


def test_the_page_begins_with_the_design_then_ratios_then_guardrails_then_effects() -> None:
    page = page_of(SPLIT)
    words = ["randomised into arms.", "not as planned", "✗ broken", "Relative change", "By other estimators</h2>"]
    places = [page.index(w) for w in words]
    assert places == sorted(places)


@pytest.mark.parametrize("results", [SPLIT, switchback_results()], ids=["split", "switchback"])
def test_a_shared_world_claims_no_worlds_of_their_own(results: Results) -> None:
    page = page_of(results)
    assert "each arm's own world" not in page
    assert "own world" not in answer_sentence(results)
    assert f"a {results.design} of one world" in answer_sentence(results)
    assert "in each arm's own world" in page_of(sample_results()).replace("&#39;", "'")
    assert [g.label for g in gains(results)] == ["Responsiveness, same creator", "Responsiveness, same topic"]


def test_a_mismatch_of_assignment_and_one_of_activity_say_different_things() -> None:
    lost, active = SPLIT.sample_ratios
    rows = ab_views.ratio_rows(replace(SPLIT, sample_ratios=(lost, active, replace(active, p_value=1e-4))))
    assert [r.is_mismatch for r in rows] == [True, False, True]
    assert [r.reading.partition(":")[0] for r in rows] == ["not as planned", "as planned", "activity differs by arm"]
    unknown = ab_views.ratio_rows(replace(SPLIT, sample_ratios=(replace(active, p_value=math.nan),)))[0]
    assert (unknown.reading, unknown.is_mismatch) == ("too few users to tell", False)


def test_grids_have_a_row_for_each_arm_and_a_cell_for_each_column() -> None:
    grids = ab_views.estimator_grids(SPLIT)
    assert [g.label for g in grids][:2] == ["Dislike rate", "Dwell per user-day"]
    assert [row.arm for row in grids[0].rows] == list(SPLIT.arms[1:])
    assert (
        grids[0].rows[0].cells
        == ["+3.0% [+2.0, +4.0]", "-100.0% (too few users with any event)"] + ["+3.0% [+2.0, +4.0]"] * 2
    )
    assert ab_views.segment_columns(SPLIT) == ["heavy users", "light users"]
    partial = replace(SPLIT, estimators=SPLIT.estimators[1:])
    assert ab_views.estimator_grids(partial)[0].rows[0].cells[-1] == "–"


def test_the_watched_course_shows_guarded_metrics_first_and_not_all() -> None:
    titles = [t.title for t in ab_views.watched_tables(SPLIT)]
    assert titles[0] == f"Dwell per user-day, {SPLIT.arms[1]}"
    assert len(titles) == 3 * 3
    assert ab_views.watched_tables(SPLIT)[0].rows[0] == ("1", "+3.0%", "[+1.0, +5.0]%", "[+2.0, +4.0]%")


def test_p_values_stand_beside_the_lifts() -> None:
    table = metric_tables(sample_results())[0]
    assert [(r.p_value, r.holm, r.benjamini_hochberg) for r in table.rows[:2]] == [
        ("–", "–", "–"),
        ("0.010", "0.030", "0.020"),
    ]


def test_results_of_a_split_are_read_as_written_and_older_files_still_are() -> None:
    text = results_to_json(SPLIT)
    assert results_to_json(results_from_json(text)) == text
    new = ("design", "design_words", "estimators", "sample_ratios", "guardrails", "watched", "ab_segments")
    data = {k: v for k, v in json.loads(results_to_json(sample_results())).items() if k not in new}
    for comparison in data["comparisons"]:
        for key in ("p_value", "holm", "benjamini_hochberg"):
            del comparison[key]
    older = results_from_json(json.dumps(data))
    assert older.design == "paired"
    assert math.isnan(older.comparisons[0].p_value)
    assert "The A/B test</h2>" not in page_of(older)
