"""Arms that fail: whether the run goes on without one, and what its results then say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from simulator.engine.serving import EngineError
from simulator.experiment.estimators import missing
from simulator.experiment.results import ArmFailure, ArmMetric, Comparison, Responsiveness, Results
from simulator.experiment.validity import judge_guardrails
from simulator.scenario.ab_tests import Guardrail
from simulator.scenario.schema import Scenario

MOST_CHARACTERS = 500
"""Of a message, which is whatever somebody's recommender raised."""


def give_up(scenario: Scenario, arm: str, stage: str, error: EngineError) -> ArmFailure:
    """What is told of an arm that failed, where the run goes on without it.

    Args:
        scenario: says whether it does.
        arm: its name.
        stage: in which it failed, in words.
        error: of the arm's simulation.

    Raises:
        EngineError: the run ends: the arm's recommender is not to blame, the scenario wants the run to stop, or the
            arm is the control.
    """
    blame = error.blame
    if blame is None or scenario.execution.on_arm_error == "stop":
        raise error
    if arm == scenario.control:
        why = f"{arm} is the control, without which there is nothing to compare with"
        raise EngineError(f"{error}\nThe run ends, although execution.on_arm_error is continue: {why}.", blame)
    about = blame.doing if blame.doing == stage else f"{stage}, {blame.doing}"
    return ArmFailure(arm, about, *(_cut(text) for text in (blame.error, blame.message, blame.where)))


def check_treatments_left(scenario: Scenario, failures: Sequence[ArmFailure]) -> None:
    """End a run that has nothing left to compare.

    Args:
        scenario: with its arms.
        failures: of all arms that were given up so far.

    Raises:
        EngineError: every treatment failed; tells of each.
    """
    failed = {failure.arm: failure for failure in failures}
    treatments = [arm.name for arm in scenario.arms if arm.name != scenario.control]
    if treatments and failed.keys() >= set(treatments):
        told = "\n".join(f"arm {sentence(failed[arm])}" for arm in treatments)
        why = "no treatment is left to compare with the control"
        raise EngineError(f"{told}\nThe run ends, although execution.on_arm_error is continue: {why}.")


def sentence(failure: ArmFailure) -> str:
    """An arm's failure in a line.

    >>> sentence(ArmFailure("ntr", "A/B test, recommend", "KeyError", "'weights'", "on a batch of 5"))
    "ntr: A/B test, recommend failed: KeyError: 'weights' (on a batch of 5)"
    """
    said = f": {failure.message}" if failure.message else ""
    where = f" ({failure.where})" if failure.where else ""
    return f"{failure.arm}: {failure.stage} failed: {failure.error}{said}{where}"


def with_failures(results: Results, failures: Sequence[ArmFailure], guardrails: Sequence[Guardrail]) -> Results:
    """Results that have a missing estimate, with the reason, wherever an arm that failed would have had one.

    Args:
        results: of the arms that were finished, the control among them.
        failures: of the others.
        guardrails: the scenario's.
    """
    for failure in failures:
        arm, lost = failure.arm, missing(f"arm {failure.arm} failed ({failure.stage})")
        metrics = [row.metric for row in results.levels if row.arm == results.control]
        comparisons = [Comparison(arm, metric, lost, lost) for metric in metrics]
        similar, selective = (
            [Responsiveness(arm, row.similarity, lost, lost, lost) for row in rows if row.arm == results.control]
            for rows in (results.responsiveness, results.selectivity)
        )
        results = replace(
            results,
            levels=(*results.levels, *(ArmMetric(arm, metric, lost) for metric in metrics)),
            comparisons=(*results.comparisons, *comparisons),
            guardrails=(*results.guardrails, *judge_guardrails(guardrails, comparisons, results.metrics)),
            responsiveness=(*results.responsiveness, *similar),
            selectivity=(*results.selectivity, *selective),
        )
    told = tuple(replace(failure, where="") for failure in failures)
    return replace(results, failures=told)


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}..."
