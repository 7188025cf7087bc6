from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from simulator.experiment.results import Results, Verdict
from simulator.report.terminal import print_results
from tests.simulator.report.samples import (
    FAILURES,
    empty_results,
    failed_results,
    sample_manifest,
    sample_results,
    sparse_results,
    split_results,
    switchback_results,
    unmeasured_results,
)

LONG_ARMS = ("popularity", *(f"sequence_model_with_input_weight_{2**i}" for i in range(11)))


def printed(results: Results, width: int = 80) -> str:
    stream = io.StringIO()
    manifest = replace(sample_manifest(), failures=FAILURES if results.failures else ())
    print_results(results, manifest, Console(file=stream, width=width))
    return stream.getvalue()


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize(
    "results",
    [
        sample_results(),
        sample_results(LONG_ARMS),
        sample_results(("only",)),
        unmeasured_results(),
        sparse_results(),
        empty_results(),
        split_results(),
        switchback_results(),
        failed_results(),
    ],
    ids=["full", "12 arms", "one arm", "unmeasured", "sparse", "nothing", "split", "switchback", "failed"],
)
def test_piped_text_is_plain_and_fits(results: Results, width: int) -> None:
    text = printed(results, width)
    assert all(len(line) <= width for line in text.splitlines())
    assert text.replace("\n", "").isprintable()
    assert "nan" not in text


def test_thresholds_come_first() -> None:
    lines = printed(sample_results()).splitlines()
    assert lines[1] == "Thresholds"
    assert lines[2] == "  pass  responsiveness.creator[gru_ntr] <= -0.3  (observed -0.613)"
    assert lines[3] == "  FAIL  lift.long_view_rate[gru_ntr] >= 0  (observed -0.0241)"


def test_arms_that_failed_come_before_the_thresholds() -> None:
    lines = printed(failed_results(), 200).splitlines()
    assert lines[1] == "Arms that failed and were given up"
    said = "ValueError: <b>no</b> [bold]ideas[/]  [31m"
    assert lines[2] == f"  lost: A/B test, recommend failed: {said} (on a batch of 5)"
    assert lines[3] == "  silent: training failed: SystemExit"
    assert "  FAIL  lift.skip_rate[lost] < 0  (not measured: arm lost failed (A/B test, recommend))" in lines


def test_responsiveness_shows_both_intervals_unbroken() -> None:
    row = next(line for line in printed(sample_results()).splitlines() if line.startswith(" gru_ntr"))
    assert row.split() == ["gru_ntr", "creator", "-61.3%", "[-63.0,", "-59.6]%", "[-65.5,", "-57.1]%"]


def test_clear_lifts_are_marked() -> None:
    row = next(line for line in printed(sample_results()).splitlines() if line.startswith(" Long-view rate"))
    assert row.split("rate", 1)[1].split("  ")[-1].strip() == "-2.3% ± 1.6*"
    assert "-1.0% ± 1.6 " in row


def test_every_arm_has_its_column() -> None:
    rows = [line for line in printed(sample_results(LONG_ARMS)).splitlines() if line.startswith(" Dislike rate")]
    assert sum(row.count("±") for row in rows) == len(LONG_ARMS) - 1


def test_reasons_for_missing_numbers_are_said_once() -> None:
    text = printed(unmeasured_results())
    assert text.count("– no dislikes in the control") == 2


def test_values_without_intervals_have_no_star_and_their_reason_below() -> None:
    text = printed(sparse_results())
    assert "-100.0% ± –" in text
    assert "–*" not in text
    assert text.count("– too few users with any event") == 2


def test_markup_and_control_characters_are_inert() -> None:
    hostile = "[bold red]x[/bold red] [/] \x1b[31m :smile:"
    results = replace(
        sample_results(),
        scenario=hostile,
        control=hostile,
        base_action=hostile,
        verdicts=(Verdict(hostile, 1.0, True),),
    )
    text = printed(results, 200)
    assert "[bold red]x[/bold red] [/]" in text
    assert ":smile:" in text
    assert "\x1b" not in text


def test_colours_reach_a_terminal() -> None:
    stream = io.StringIO()
    print_results(sample_results(), sample_manifest(), Console(file=stream, width=80, force_terminal=True))
    assert "\x1b[" in stream.getvalue()


def test_a_mismatch_and_the_guardrails_come_before_the_lifts() -> None:
    text = printed(split_results(), 200)
    places = [text.index(words) for words in ("randomised into arms", "not as planned", "Guardrails", "Change against")]
    assert places == sorted(places)
    assert "popularity 700 (expected 500)" in text
    assert "✗ broken" in text
    assert "paired" not in text[text.index("Change against") :]
