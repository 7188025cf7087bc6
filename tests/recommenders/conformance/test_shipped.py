"""Every shipped recommender keeps the contract, under all settings of the tests."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recommenders.conformance import CHECKS, Check, Subject, run_checks
from tests.recommenders.cases import CASES, name_of

CONTRACT = [check for check in CHECKS.values() if check.kind != "behaviour"]
DEAR = {"check_a_fresh_process_answers_alike", *(check.name for check in CONTRACT if check.kind == "cost")}
"""What takes a second or more: the fast suite tries it on some of the recommenders alone."""
WITH_ALL = ("popularity", "popularity hot", "ease", "linear_recurrent", "relife")


def failures(subject: Subject, checks: list[Check], share: float) -> str:
    fewer = [replace(check, examples=max(1, round(share * check.examples))) for check in checks]
    report = run_checks(subject, fewer)
    return "\n\n".join(f"{o.check}: {o.message}\n{o.code}" for o in report.outcomes if o.status == "failed")


@pytest.mark.parametrize("case", CASES)
def test_it_keeps_the_contract(case: str) -> None:
    subject = Subject(name_of(case), CASES[case])
    left_out = {*subject.known_failures, *(() if case in WITH_ALL else DEAR)}  # what few examples may not show fail
    tried = [check for check in CONTRACT if check.name not in left_out]
    assert failures(subject, tried, share=0.3 if subject.traits.batch_size is None else 0.05) == ""


@pytest.mark.parametrize("setting", [{"warm_start": True}, {"warm_start": True, "patience": 1}])
def test_a_warm_start_keeps_it_too(setting: dict[str, object]) -> None:
    subject = Subject("linear_recurrent", {**CASES["linear_recurrent"], **setting})
    tried = [check for check in CONTRACT if check.kind in {"fitting", "state"} and check.name not in DEAR]
    assert failures(subject, tried, share=0.1) == ""


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_it_keeps_the_contract_on_all_examples(case: str) -> None:
    assert failures(Subject(name_of(case), CASES[case]), CONTRACT, share=1.0) == ""
