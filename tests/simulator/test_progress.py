"""What a terminal shows while a study runs."""

from __future__ import annotations

import io
import re

from rich.console import Console

from simulator.progress import StudyProgress, throttled

CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\r")


def shown(stages: list[tuple[str, str, float, float, int]]) -> str:
    """All that was written to a terminal of 80 columns, without its control sequences."""
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with StudyProgress(console) as progress:
        for stage in stages:
            progress.update(*stage)
            progress._progress.refresh()
        progress.finish(stages[-1][0])
    assert isinstance(console.file, io.StringIO)
    return CONTROL.sub("", console.file.getvalue())


def test_an_arm_goes_from_stage_to_stage_on_one_line() -> None:
    text = shown(
        [
            ("a_long_arm_name_", "training", 2, 5, 0),
            ("a_long_arm_name_", "A/B test", 0.5, 0.173611, 120_000),
            ("a_long_arm_name_", "counterfactual", 1.0, 2.0, 40_000),
        ]
    )
    assert "2 of 5" in text
    assert "day 0.5 of 0.174" in text
    lines = [line for line in text.splitlines() if line.strip()]
    assert all(line.startswith("a_long_arm_name_ ") for line in lines)
    assert re.search(r"counterfactual .* day 1.0 of 2 .*k/s", lines[-1])


def test_a_console_that_is_no_terminal_shows_nothing() -> None:
    console = Console(file=io.StringIO(), width=80)
    with StudyProgress(console) as progress:
        progress.update("arm", "training", 1, 2, 0)
        progress.update("arm", "A/B test", 1, 2, 10)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == ""


def test_no_impression_is_lost_between_updates() -> None:
    told: list[int] = []
    tell = throttled(lambda who, stage, done, total, impressions: told.append(impressions))
    for done in range(1, 101):
        tell("arm", "A/B test", done, 100, 7)
    assert sum(told) == 700
    assert len(told) < 100
