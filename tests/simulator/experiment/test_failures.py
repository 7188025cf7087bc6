"""Whether a run goes on without an arm, and what its results then hold."""

from __future__ import annotations

from dataclasses import replace
from math import isnan
from typing import Literal

import pytest

from simulator.engine.serving import Blame, EngineError
from simulator.experiment.failures import MOST_CHARACTERS, check_treatments_left, give_up, sentence, with_failures
from simulator.experiment.results import ArmFailure
from simulator.scenario.ab_tests import Guardrail
from simulator.scenario.schema import Arm, Execution, Scenario
from tests.simulator.report.samples import sample_results

BLAME = Blame("recommend", "KeyError", "'weights'", "on a batch of 5")
FAILURE = ArmFailure("ntr", "A/B test, recommend", "KeyError", "'weights'", "on a batch of 5")


def scenario(on_arm_error: Literal["stop", "continue"] = "continue") -> Scenario:
    return Scenario(
        question="?",
        expected="!",
        run_time="a second",
        arms=tuple(Arm(name=name, recommender="random") for name in ("base", "ntr", "other")),
        control="base",
        execution=Execution(on_arm_error=on_arm_error),
    )


def test_an_arm_whose_recommender_is_to_blame_is_given_up() -> None:
    assert give_up(scenario(), "ntr", "A/B test", EngineError("no", BLAME)) == FAILURE
    once = Blame("training", "ValueError", "no", "")
    assert give_up(scenario(), "ntr", "training", EngineError("no", once)).stage == "training"


@pytest.mark.parametrize(
    ("error", "arm", "on_arm_error"),
    [
        (EngineError("no", BLAME), "ntr", "stop"),
        (EngineError("no"), "ntr", "continue"),
        (EngineError("no", BLAME), "base", "continue"),
    ],
    ids=["stop", "nobody to blame", "control"],
)
def test_else_the_run_ends_with_the_error(
    error: EngineError, arm: str, on_arm_error: Literal["stop", "continue"]
) -> None:
    with pytest.raises(EngineError, match=r"^no(\n.*base is the control.*)?$"):
        give_up(scenario(on_arm_error), arm, "A/B test", error)


def test_the_run_ends_when_no_treatment_is_left() -> None:
    check_treatments_left(scenario(), [FAILURE])
    check_treatments_left(scenario(), [])
    with pytest.raises(EngineError, match=r"(?s)arm ntr: .*arm other: .*no treatment is left"):
        check_treatments_left(scenario(), [replace(FAILURE, arm="other"), FAILURE])


def test_what_an_error_says_is_cut() -> None:
    long = give_up(scenario(), "ntr", "training", EngineError("no", replace(BLAME, message="x" * 10**6)))
    assert long.message == "x" * MOST_CHARACTERS + "..."


def test_an_error_without_a_message_is_told_without() -> None:
    assert sentence(ArmFailure("ntr", "training", "SystemExit", "")) == "ntr: training failed: SystemExit"


def test_results_miss_what_a_failed_arm_would_have_had_and_keep_the_rest() -> None:
    full = sample_results(("base", "other"))
    metric = full.metrics[0].name
    found = with_failures(full, [FAILURE], [Guardrail(metric=metric, margin=0.1)])
    assert found.failures == (replace(FAILURE, where=""),)
    for part in ("levels", "comparisons", "responsiveness"):
        before, after = getattr(full, part), getattr(found, part)
        assert after[: len(before)] == before
        assert {row.arm for row in after[len(before) :]} == {"ntr"}
        assert len(after) - len(before) == len([row for row in before if row.arm == "other"])
    assert all(isnan(c.lift.value) and isnan(c.p_value) for c in found.comparisons if c.arm == "ntr")
    assert [(g.arm, g.metric, g.verdict) for g in found.guardrails] == [("ntr", metric, "open")]
    assert with_failures(full, [], []) == full
