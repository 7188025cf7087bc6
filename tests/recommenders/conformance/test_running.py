"""The search: small examples, kept limits, and recommenders that do what they like."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence

import pytest
from hypothesis import strategies as st

from recommenders.conformance import CHECKS, Check, Subject, Violation, run_check, run_checks, running
from recommenders.conformance.laws import NotApplicableError, applies_to_all, no_arguments
from recommenders.limits import OutOfTime, time_limit
from tests.recommenders.conformance.stubborn import Listed, Stubborn

VALID = CHECKS["check_slates_are_valid"]
POPULARITY = Subject("popularity")


def stubborn(fault: str) -> Subject:
    return Subject(Stubborn, {"fault": fault})


def law(holds: Callable[..., None], examples: int = 50, *, fits: bool = False) -> Check:
    return Check(holds, "serving", lambda subject: {"x": st.integers(0, 10_000)}, examples, fits, applies_to_all)


def test_a_good_recommender_passes() -> None:
    outcome = run_check(VALID, stubborn("none"))
    assert (outcome.status, outcome.examples, outcome.message, outcome.code) == ("passed", 80, "", "")


def test_a_law_that_turns_out_not_to_apply_is_skipped_with_its_reason() -> None:
    def holds(subject: Subject, *, x: int) -> None:
        raise NotApplicableError("states no propensities")

    outcome = run_check(law(holds), POPULARITY)
    assert (outcome.status, outcome.message, outcome.code) == ("skipped", "states no propensities", "")


def test_a_broken_law_is_broken_though_it_does_not_apply_to_smaller_examples() -> None:
    def holds(subject: Subject, *, x: int) -> None:
        if x < 100 and broken:
            raise NotApplicableError("too small")
        if x >= 100:
            broken.append(x)
            raise Violation("large")

    broken: list[int] = []
    outcome = run_check(law(holds), POPULARITY)
    assert outcome.status == "failed"
    assert outcome.code.endswith("x=100)")


def test_the_smallest_example_has_nothing_to_leave_out() -> None:
    outcome = run_check(VALID, stubborn("dtype"))
    assert outcome.status == "failed"
    assert outcome.message == "slates.score: got float64[1, 3], expected float32[1, 3]"
    assert outcome.code.endswith("(subject, asks=[Ask([(7, 3)])], k=3, excluded=[])")


def test_the_same_seed_finds_the_same() -> None:
    first, second = (run_check(VALID, stubborn("dtype"), search_seed=4) for _ in range(2))
    assert (first.code, first.examples) == (second.code, second.examples)


def test_the_code_is_a_script_that_raises_the_violation() -> None:
    outcome = run_check(VALID, stubborn("dtype"))
    with pytest.raises(Violation, match="got float64") as raised:
        exec(outcome.code, {})
    assert str(raised.value) == outcome.message


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("raises", "recommend raised ZeroDivisionError: three"),
        ("exits", "recommend raised SystemExit: 3"),
        ("quits", "Quit: enough"),
        ("no_fit", "fit raised ValueError: nothing to learn"),
    ],
)
def test_whatever_is_raised_breaks_the_law(fault: str, message: str) -> None:
    outcome = run_check(VALID, stubborn(fault))
    assert (outcome.status, outcome.message) == ("failed", message)


@pytest.mark.parametrize(
    ("fault", "message"), [("no_fit", "fit raised ValueError: nothing to learn"), ("quits_fit", "Quit: enough")]
)
def test_a_failing_fit_breaks_laws_that_fit(fault: str, message: str) -> None:
    def holds(subject: Subject, *, x: int) -> None:
        subject.fit()

    assert run_check(law(holds, fits=True), stubborn(fault)).message == message


def test_an_interrupt_is_the_users() -> None:
    def holds(subject: Subject, *, x: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_check(law(holds), POPULARITY)


def test_a_fault_of_the_kit_is_no_broken_law() -> None:
    def unknown(subject: Subject) -> dict[str, st.SearchStrategy[int]]:
        raise LookupError("no such strategy")

    with pytest.raises(LookupError, match="no such strategy"):
        run_check(Check(print, "serving", unknown, 1, False, applies_to_all), POPULARITY)


def test_what_hangs_is_ended_and_located() -> None:
    started = time.perf_counter()
    outcome = run_check(VALID, stubborn("hangs"), example_seconds=0.3)
    assert time.perf_counter() - started < 10
    assert outcome.out_of_time
    assert outcome.status == "failed"
    assert outcome.message.startswith("no answer within 0.3 s; it was at ")
    assert "stubborn.py:" in outcome.message
    assert outcome.message.endswith("in _at_fault")


def test_a_law_without_examples_is_ended_too() -> None:
    def holds(subject: Subject) -> None:
        time.sleep(60)

    outcome = run_check(Check(holds, "cost", no_arguments, 1, False, applies_to_all), POPULARITY, example_seconds=0.2)
    assert outcome.out_of_time


def test_after_one_that_hangs_the_others_are_skipped() -> None:
    checks = [VALID, CHECKS["check_the_same_call_twice_gives_the_same"]]
    report = run_checks(stubborn("hangs"), checks, example_seconds=0.3)
    assert [outcome.status for outcome in report.outcomes] == ["failed", "skipped"]
    assert report.outcomes[1].message == "not tried, as check_slates_are_valid ran out of time"


def test_a_slow_law_is_tried_on_few_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "SEARCH_SECONDS", 0.3)

    def holds(subject: Subject, *, x: int) -> None:
        time.sleep(0.2)

    outcome = run_check(law(holds), POPULARITY)
    assert outcome.status == "passed"
    assert outcome.examples == running.FEWEST_FITS


def test_a_known_failure_is_looked_for_on_all_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "SEARCH_SECONDS", 0.0)

    def holds(subject: Subject, *, x: int) -> None:
        tried.append(x)
        if len(tried) > 20:
            raise Violation("late")

    tried: list[int] = []
    known = Subject("popularity", known_failures={"holds": "see issue 12"})
    assert run_check(law(holds), known).status == "known"
    tried.clear()
    assert run_check(law(holds), POPULARITY).status == "passed"


def test_the_search_for_a_smaller_example_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "SHRINK_SECONDS", 0.3)

    def holds(subject: Subject, *, x: Sequence[int]) -> None:
        time.sleep(0.1)
        if sum(x) > 1000:
            raise Violation("too much")

    numbers = Check(holds, "cost", lambda _: {"x": st.lists(st.integers(0, 999))}, 50, False, applies_to_all)
    monkeypatch.setattr(running, "SEARCH_SECONDS", 20.0)
    started = time.perf_counter()
    outcome = run_check(numbers, POPULARITY)
    assert outcome.message == "too much"
    assert time.perf_counter() - started < 15


def test_known_failures_are_named_with_their_reason_and_must_fail() -> None:
    known = Subject(Listed, {"fault": "dtype"})
    outcome = run_check(VALID, known)
    assert outcome.status == "known"
    assert outcome.message.startswith("scores are float64, see issue 12 (slates.score: got float64")
    mended = run_check(VALID, Subject(Listed))
    assert mended.status == "failed"
    assert "but it holds; take it off the list" in mended.message


def test_the_limit_leaves_signals_as_they_were() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(OutOfTime), time_limit(0.05):
        time.sleep(5)
    with time_limit(5):
        pass
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_whoever_does_not_listen_is_told_again() -> None:
    def deaf_once() -> None:
        try:
            time.sleep(5)
        except BaseException:
            time.sleep(5)

    started = time.perf_counter()
    with pytest.raises(OutOfTime), time_limit(0.1):
        deaf_once()
    assert time.perf_counter() - started < 4
