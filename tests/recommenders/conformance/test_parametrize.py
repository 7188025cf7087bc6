"""The checks as tests of pytest, in a run of pytest within this one."""

from __future__ import annotations

import pytest

from recommenders.base import RecommenderError
from recommenders.conformance import CHECKS, Subject, parametrize_with_checks
from tests.recommenders.conformance.stubborn import Stubborn

pytest_plugins = ["pytester"]

CHOSEN = "[CHECKS[n] for n in ('check_slates_are_valid', 'check_serving_unfitted_is_an_error')]"


def collected(pytester: pytest.Pytester, recommenders: str, checks: str = CHOSEN) -> pytest.Pytester:
    pytester.makepyfile(
        "from recommenders.conformance import CHECKS, Subject, parametrize_with_checks\n"
        "from tests.recommenders.conformance.stubborn import Listed, Stubborn\n"
        f"@parametrize_with_checks({recommenders}, {checks})\n"
        "def test_conformance(conformance):\n    conformance()\n"
    )
    return pytester


def test_a_test_for_each_recommender_and_check(pytester: pytest.Pytester) -> None:
    result = collected(pytester, "['popularity', Subject('popularity', {'smoothing': 2}), Stubborn]").runpytest("-v")
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(
        [
            "*::test_conformance[[]popularity-check_slates_are_valid[]] PASSED*",
            "*::test_conformance[[]popularity(smoothing=2)-check_serving_unfitted_is_an_error[]] PASSED*",
            "*::test_conformance[[]*stubborn:Stubborn-check_slates_are_valid[]] PASSED*",
        ]
    )


def test_a_broken_law_fails_with_the_law_what_was_found_and_the_code(pytester: pytest.Pytester) -> None:
    result = collected(pytester, "[Subject(Stubborn, {'fault': 'dtype'})]").runpytest()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            f"check_slates_are_valid: {CHECKS['check_slates_are_valid'].law.replace('[', '[[]')}",
            "slates.score: got float64[[]1, 3], expected float32[[]1, 3]",
            "from recommenders.conformance import Ask, Subject, checks",
            "subject = Subject('tests.recommenders.conformance.stubborn:Stubborn', {'fault': 'dtype'})",
            "checks.check_slates_are_valid(subject, asks=[[]Ask([[](7, 3)])], k=3, excluded=[[]])",
        ]
    )
    assert "_trial" not in result.stdout.str()


def test_known_failures_are_expected_with_their_reason(pytester: pytest.Pytester) -> None:
    result = collected(pytester, "[Subject(Listed, {'fault': 'dtype'})]").runpytest("-rx")
    result.assert_outcomes(passed=1, xfailed=1)
    result.stdout.fnmatch_lines(["XFAIL *check_slates_are_valid* - scores are float64, see issue 12*"])


def test_a_known_failure_that_holds_is_reported(pytester: pytest.Pytester) -> None:
    result = collected(pytester, "[Listed]").runpytest()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*XPASS(strict)* scores are float64, see issue 12*"])


def test_what_does_not_apply_is_skipped_with_its_reason(pytester: pytest.Pytester) -> None:
    nested = "[CHECKS['check_shorter_slates_begin_longer_ones']]"
    result = collected(pytester, "[Stubborn]", nested).runpytest("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED * does not declare `nested`"])


def test_nothing_is_fitted_by_collecting_and_once_by_serving_checks() -> None:
    served = [check for check in CHECKS.values() if check.kind == "serving"]
    Stubborn.fits.clear()
    (marked,) = [parametrize_with_checks([Subject(Stubborn, {"fault": "prints"})], served)]
    assert Stubborn.fits == []
    for case in marked.args[1]:
        if not case.marks:
            case.values[0]()
    assert Stubborn.fits == ["prints"]


def test_an_unknown_recommender_is_an_error_of_collection(pytester: pytest.Pytester) -> None:
    result = collected(pytester, "['popularty']").runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*did you mean 'popularity'?*"])
    with pytest.raises(RecommenderError, match="did you mean"):
        parametrize_with_checks(["popularty"])
