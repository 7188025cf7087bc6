"""Reports, for all who read them: terminals, notebooks, documents, programs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from recommenders.base import RecommenderError
from recommenders.conformance import CHECKS, Effect, Report, Subject, Violation, check_recommender, choose_checks
from recommenders.conformance.report import Outcome
from recommenders.popularity import Popularity
from tests.recommenders.conformance.stubborn import Stubborn

PASSED = Outcome("check_a", "All is well.", "serving", "passed", "", "", 40, 0.126, None)
MEASURED = replace(PASSED, check="check_b", kind="behaviour", effect=Effect(-0.4211, -0.451, -0.39, "a <change>"))
SKIPPED = replace(PASSED, check="check_c", status="skipped", message="does not declare `nested`", examples=0)
KNOWN = replace(PASSED, check="check_d", status="known", message="see issue 12 (got 3)", code="checks.check_d(subject)")
BROKEN = replace(
    PASSED,
    check="check_e",
    law="A | law <b> that takes more than the width of the column of laws in a table of plain text, which wraps it.",
    status="failed",
    message="got <3>, expected 4",
    code="from recommenders.conformance import Subject, checks\n\nsubject = Subject('x')\nchecks.check_e(subject, k=3)",
    examples=7,
)


def report(*outcomes: Outcome) -> Report:
    return Report("mine:Mine", {"dim": 8}, outcomes, 3.14, 5)


ALL = report(PASSED, SKIPPED, KNOWN, BROKEN, MEASURED)


def test_the_verdict_counts() -> None:
    assert report(PASSED, MEASURED).verdict == "mine:Mine: 2 laws hold, 0 skipped, 0 broken in 3.1 s"
    assert report(PASSED).verdict == "mine:Mine: 1 law holds, 0 skipped, 0 broken in 3.1 s"
    assert ALL.verdict == "mine:Mine: 2 laws hold, 1 skipped, 1 known to fail, 1 broken in 3.1 s"


def test_only_unknown_failures_break_it() -> None:
    assert report(PASSED, SKIPPED, KNOWN).passed
    report(PASSED, SKIPPED, KNOWN).raise_if_broken()
    assert not ALL.passed
    with pytest.raises(Violation) as raised:
        ALL.raise_if_broken()
    assert "got <3>, expected 4" in str(raised.value)
    assert BROKEN.code in str(raised.value)


def test_the_text_has_the_table_the_reasons_the_code_and_the_verdict_last() -> None:
    text = str(ALL)
    assert text == repr(ALL)
    lines = text.splitlines()
    assert lines[0].split() == ["check", "status", "examples", "seconds"]
    assert lines[3].split() == [PASSED.check, "passed", "40", "0.13"]
    assert "    -0.421 [-0.451, -0.39] a <change>" in text
    assert "skipped: check_c: does not declare `nested`" in lines
    assert "known: check_d: see issue 12 (got 3)" in lines
    assert BROKEN.code in text
    assert "Found by example 7; the smallest that does it:" in lines
    assert lines[-1] == ALL.verdict
    assert max(len(line) for line in lines if line.startswith("  ")) <= 80


def test_a_reason_that_many_share_is_told_once() -> None:
    hung = report(*(replace(SKIPPED, check=f"check_{i}", message="not tried") for i in range(9)))
    assert hung.remarks == ("skipped: 9 checks: not tried",)


def test_html_is_escaped_and_needs_nothing_else() -> None:
    page = ALL._repr_html_()
    assert "<b>" not in page.replace(f"<b>{ALL.verdict}</b>", "")
    assert "got &lt;3&gt;, expected 4" in page
    for outside in ("http", "<script", "<link", "<style", "src="):
        assert outside not in page
    assert len(page) < 5_000


def test_markdown_keeps_its_columns() -> None:
    lines = ALL.to_markdown().splitlines()
    assert lines[:2] == ["| law | status | examples | seconds | effect |", "| --- | --- | --- | --- | --- |"]
    assert len(lines) == 7
    assert {line.replace("\\|", "").count("|") for line in lines} == {6}


def test_json_has_all_of_it() -> None:
    endless = replace(MEASURED, effect=Effect(1.0, float("-inf"), float("nan"), "x"))
    all_and_endless = replace(ALL, outcomes=(*ALL.outcomes, endless))
    found = json.loads(all_and_endless.to_json())
    assert {key: found[key] for key in ("format", "subject", "config", "seed", "passed", "verdict", "seconds")} == {
        "format": 1,
        "subject": "mine:Mine",
        "config": {"dim": 8},
        "seed": 5,
        "passed": False,
        "verdict": all_and_endless.verdict,
        "seconds": 3.14,
    }
    assert [o["check"] for o in found["outcomes"]] == [f"check_{c}" for c in "acdebb"]
    assert found["outcomes"][3]["code"] == BROKEN.code
    assert found["outcomes"][0]["effect"] is None
    assert found["outcomes"][4]["effect"]["of"] == "a <change>"
    assert found["outcomes"][5]["effect"] == {"value": 1.0, "low": None, "high": None, "of": "x"}


def test_one_call_checks_a_class_a_name_and_a_subject() -> None:
    for source in (Popularity, "popularity", Subject("popularity")):
        found = check_recommender(source, only="unfitted")
        assert [outcome.status for outcome in found.outcomes] == ["passed"]
    found = check_recommender(Stubborn, {"fault": "dtype"}, only="valid")
    assert found.subject.endswith("stubborn:Stubborn")
    assert not found.passed
    known = check_recommender(
        Stubborn, {"fault": "dtype"}, only="valid", known_failures={"check_slates_are_valid": "float64"}
    )
    assert known.passed


def test_what_cannot_be_checked_is_refused() -> None:
    with pytest.raises(RecommenderError, match="got an instance of Stubborn, expected a name, a class or a Subject"):
        check_recommender(Stubborn(Stubborn.config_class()))  # type: ignore[arg-type]
    with pytest.raises(RecommenderError, match="beside a Subject"):
        check_recommender(Subject("popularity"), {"smoothing": 2})
    with pytest.raises(RecommenderError, match="known_failures: got 'check_x', expected the name of a check"):
        check_recommender("popularity", known_failures={"check_x": "?"})


def test_checks_are_chosen_by_parts_of_their_names() -> None:
    names = [check.name for check in choose_checks(only=["valid", "s*begin"])]
    assert names == ["check_slates_are_valid", "check_shorter_slates_begin_longer_ones"]
    assert len(choose_checks(skip="valid")) == len(CHECKS) - 1
    assert choose_checks() == list(CHECKS.values())
    assert {check.kind for check in choose_checks(kind="serving")} == {"serving"}
    with pytest.raises(RecommenderError, match="only: got 'zzz', expected part of the name of a check"):
        choose_checks(only="zzz")
    with pytest.raises(RecommenderError, match="no check is chosen"):
        choose_checks(only="valid", skip="slates")
