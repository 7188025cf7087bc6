from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.experiment.results import Estimate, Responsiveness, Results
from simulator.report.formatting import level, percent, percent_half_width, ratio
from simulator.report.statements import action_phrase, answer_line, answer_sentence
from tests.simulator.report.samples import (
    NOTHING,
    SPARSE,
    empty_results,
    estimate,
    failed_results,
    sample_results,
    unmeasured_results,
)
from tests.simulator.report.strategies import PLAUSIBLE, anything

ZERO = Estimate(0.0, 0.0, 0.0, -0.1, 0.1, 500)


def responding(**responses: Estimate) -> Results:
    """A counterfactual in which each arm has the given same-creator response; the first arm is the control."""
    rows = tuple(
        Responsiveness(a, "creator", estimate(0.03, 0.001), estimate(0.02, 0.001), r) for a, r in responses.items()
    )
    arms = tuple(responses)
    return replace(
        empty_results(), arms=arms, control=arms[0], runs=500, responsiveness=rows,
        base_action="long_dwell", other_action="long_dwell + dislike",
    )  # fmt: skip


def test_line_prefers_the_strongest_response_and_names_the_control() -> None:
    results = responding(popularity=ZERO, input_only=estimate(-0.2, 0.02), ntr=estimate(-0.64, 0.02))
    assert answer_line(results) == (
        "ntr: after a dislike the next slate shows 0.36 [0.34, 0.38] times as much of that creator as without it; "
        "popularity (control): 1.00 [1.00, 1.00]"
    )


def test_a_clear_response_goes_before_a_larger_one_that_is_not_clear() -> None:
    results = responding(popularity=ZERO, noisy=estimate(-0.7, 0.9), sure=estimate(-0.2, 0.05))
    assert answer_line(results).startswith("sure: ")


def test_line_says_when_no_response_is_clear() -> None:
    assert "(not clear of 1)" in answer_line(responding(popularity=ZERO, noisy=estimate(-0.02, 0.05)))


def test_line_says_so_when_no_arm_responds_at_all() -> None:
    line = answer_line(responding(popularity=ZERO, gru=ZERO))
    assert line == "no arm changes the next slate after a dislike (exactly 0 in all)"


def test_line_turns_to_the_topic_where_no_share_of_a_creator_moves() -> None:
    results = responding(popularity=ZERO, ntr=ZERO)
    topic = tuple(replace(r, similarity="topic") for r in results.responsiveness)
    moved = replace(topic[1], response=estimate(-0.3, 0.02))
    line = answer_line(replace(results, responsiveness=(*results.responsiveness, topic[0], moved)))
    assert line.startswith("ntr: after a dislike the next slate shows 0.70 [0.68, 0.72] times as much of that topic")
    both = answer_line(replace(results, responsiveness=(*results.responsiveness, *topic)))
    assert both == "no arm changes the next slate after a dislike (exactly 0 in all)"


def test_a_response_without_an_interval_is_neither_clear_nor_ordered() -> None:
    results = responding(gru=ZERO, ntr=SPARSE, input_only=estimate(-0.2, 0.02))
    text = answer_sentence(results)
    assert "less of the same creator in input_only (-20.0% [-22.0, -18.0]);" in text
    assert "no interval in ntr (-100.0%, too few users with any event)" in text
    assert "ntr" not in text.split("no interval in ntr")[1]
    assert answer_line(results).startswith("input_only: ")
    assert "(not clear of 1)" in answer_line(responding(gru=ZERO, ntr=SPARSE))


def test_a_lift_without_an_interval_is_not_clear() -> None:
    full = replace(sample_results(), responsiveness=(), runs=0)
    results = replace(full, comparisons=tuple(replace(c, lift=SPARSE) for c in full.comparisons))
    assert answer_line(results).startswith("no arm changes the dislike rate clearly; most in ")
    assert "-100.0% (too few users with any event) in gru (not clear)" in answer_sentence(results)


def test_sentence_states_order_and_that_intervals_do_not_overlap() -> None:
    text = answer_sentence(responding(gru=ZERO, ntr=estimate(-0.6, 0.02), input_only=estimate(-0.2, 0.02)))
    assert text.index("ntr (-60.0% [-62.0, -58.0])") < text.index("input_only (-20.0% [-22.0, -18.0])")
    assert "less of the same creator" in text
    assert "strongest first" in text
    assert "no response at all (exactly 0) in gru" in text
    assert "intervals of the responding arms do not overlap" in text


def test_sentence_names_the_arms_whose_intervals_overlap() -> None:
    text = answer_sentence(responding(gru=ZERO, ntr=estimate(-0.25, 0.04), input_only=estimate(-0.2, 0.04)))
    assert "order is open: ntr and input_only" in text
    assert "do not overlap" not in text


def test_sentence_says_so_when_a_slate_shows_more() -> None:
    assert "holds more of the same creator in worse" in answer_sentence(responding(gru=ZERO, worse=estimate(0.2, 0.02)))


def test_sentence_reports_dislike_and_long_view_rate() -> None:
    text = answer_sentence(sample_results())
    assert "In the A/B test against popularity (2,000 users, 7 days)" in text
    assert "the dislike rate changes by -7.0% [-8.2, -5.8] in gru_ntr" in text
    assert "the long-view rate changes by -2.3% [-3.9, -0.7] in gru_ntr" in text
    assert "in gru (not clear)" in text


def test_sentence_names_arms_that_could_not_be_measured() -> None:
    text = answer_sentence(responding(gru=ZERO, ntr=estimate(-0.5, 0.02), broken=NOTHING))
    assert "Not measured in broken (no dislikes in the control)." in text


def test_without_a_counterfactual_the_line_gives_the_dislike_rate() -> None:
    results = replace(sample_results(), responsiveness=(), runs=0)
    assert answer_line(results) == "gru_ntr: dislike rate is 0.93 [0.92, 0.94] times that of popularity (control)"


def test_without_a_clear_lift_the_line_says_so() -> None:
    full = sample_results()
    lifts = tuple(replace(c, lift=estimate(-0.01, 0.05)) for c in full.comparisons)
    line = answer_line(replace(full, responsiveness=(), comparisons=lifts))
    assert line.startswith(
        "no arm changes the dislike rate clearly; most in gru: dislike rate is 0.99 [0.94, 1.04] times"
    )


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        (empty_results(), "neither an A/B test nor a counterfactual"),
        (unmeasured_results(), "no dislikes in the control"),
        (replace(empty_results(), users=10), "only is the only arm"),
        (replace(empty_results(), users=10, arms=("only", "other")), "no comparison that could be estimated"),
    ],
    ids=["nothing asked", "nothing measured", "one arm", "no comparison"],
)
def test_nothing_to_say_gives_the_reason(results: Results, reason: str) -> None:
    for text in (answer_line(results), answer_sentence(results)):
        assert text.startswith("No answer: ")
        assert reason in text


@pytest.mark.parametrize(
    ("base", "other", "phrase"),
    [
        ("long_dwell", "long_dwell + dislike", "a dislike"),
        ("long_dwell", "long_dwell + dislike + dismiss", "a dislike and a dismissal"),
        ("long_dwell", "skip", "a skip instead of a long dwell"),
        ("", "", "the action"),
    ],
)
def test_the_action_is_said_in_words(base: str, other: str, phrase: str) -> None:
    assert action_phrase(replace(empty_results(), base_action=base, other_action=other)) == phrase


@settings(max_examples=40)
@given(anything(Results, st.sampled_from(["a", "creator", "dislike_rate"]), PLAUSIBLE))
def test_any_results_give_one_printable_line(results: Results) -> None:
    for text in (answer_line(results), answer_sentence(results)):
        assert text
        assert text.isprintable()
        assert "nan" not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Estimate(-0.613, -0.63, -0.595), "-61.3% [-63.0, -59.5]"),
        (Estimate(0.0, 0.0, 0.0), "0.0% [0.0, 0.0]"),
        (Estimate(-0.0001, -0.02, 0.02), "0.0% [-2.0, +2.0]"),
        (Estimate(0.00012, 0.0001, 0.00014), "+0.012% [+0.010, +0.014]"),
        (Estimate(0.014, 0.0001, 0.0279), "+1.40% [+0.01, +2.79]"),
        (Estimate(0.3, float("nan"), float("nan")), "+30.0% (no interval)"),
        (SPARSE, "-100.0% (too few users with any event)"),
        (NOTHING, "no dislikes in the control"),
    ],
)
def test_percents_carry_sign_and_enough_digits(value: Estimate, text: str) -> None:
    assert percent(value) == text


def test_other_numbers_by_unit() -> None:
    assert level(Estimate(0.0341, 0.033, 0.0352), "share") == "3.41% [3.30, 3.52]"
    assert level(Estimate(1843.2, 1800.4, 1886.0), "seconds") == "1,843 s [1,800, 1,886]"
    assert level(Estimate(1.42, 1.40, 1.44), "count") == "1.420 [1.400, 1.440]"
    assert ratio(Estimate(-0.64, -0.66, -0.62)) == "0.36 [0.34, 0.38]"
    assert percent_half_width(Estimate(-0.125, -0.151, -0.099)) == "-12.5% ± 2.6*"


def test_a_value_without_an_interval_is_printed_with_its_reason() -> None:
    assert level(replace(SPARSE, value=0.0), "share") == "0% (too few users with any event)"
    assert ratio(SPARSE) == "0.00 (too few users with any event)"
    assert percent_half_width(SPARSE) == "-100.0% ± –"


def test_arms_that_failed_are_named_in_the_sentence_and_at_the_end_of_the_line() -> None:
    whole, found = sample_results(), failed_results()
    assert answer_line(found) == f"{answer_line(whole)} (without lost and silent, which failed)"
    lost = "lost failed (A/B test, recommend: ValueError) and is not compared."
    silent = "silent failed (training: SystemExit) and is not compared."
    assert answer_sentence(found) == f"{lost} {silent} {answer_sentence(whole)}"
