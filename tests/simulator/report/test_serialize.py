from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.experiment.results import Estimate, Manifest, Results
from simulator.report.serialize import (
    ReportError,
    manifest_from_json,
    manifest_to_json,
    results_from_json,
    results_to_json,
)
from tests.simulator.report.samples import sample_manifest, sample_results
from tests.simulator.report.strategies import anything

TEXT = st.text(max_size=12)


def comparable(value: Any) -> Any:
    """Nested data in which a number that is not finite equals another such number; keeps types apart."""
    if isinstance(value, dict):
        return {k: comparable(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(comparable(v) for v in value)
    if isinstance(value, float):
        return ("float", value.hex() if math.isfinite(value) else "not finite")
    return (type(value), value)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(anything(Results, TEXT))
def test_results_make_the_round_trip(results: Results) -> None:
    assert comparable(asdict(results_from_json(results_to_json(results)))) == comparable(asdict(results))


@given(anything(Manifest, TEXT))
def test_manifests_make_the_round_trip(manifest: Manifest) -> None:
    assert comparable(asdict(manifest_from_json(manifest_to_json(manifest)))) == comparable(asdict(manifest))


def test_non_finite_numbers_are_written_as_null_and_read_as_nan() -> None:
    results = sample_results()
    odd = Estimate(math.inf, -math.inf, math.nan)
    first = results.levels[0].__class__("popularity", "dislike_rate", odd)
    text = results_to_json(Results(**{**vars(results), "levels": (first,)}))
    assert json.loads(text)["levels"][0]["mean"]["value"] is None
    mean = results_from_json(text).levels[0].mean
    assert all(math.isnan(v) for v in (mean.value, mean.low, mean.high))


def test_a_part_that_an_older_version_did_not_write_is_empty() -> None:
    data = json.loads(results_to_json(sample_results()))
    del data["verdicts"], data["levels"][0]["mean"]["note"]
    read = results_from_json(json.dumps(data), "results.json")
    assert read.verdicts == ()
    assert read.levels[0].mean.note == ""


def corrupted(change: Any) -> str:
    data = json.loads(results_to_json(sample_results()))
    change(data)
    return json.dumps(data)


WRONG = {
    "not JSON": ("{", "run/results.json: not readable as JSON"),
    "empty": ("", "run/results.json: not readable as JSON"),
    "a list": ("[]", "run/results.json: got a list, expected a JSON object"),
    "NaN": ('{"schema": NaN}', "got NaN, expected null"),
    "twice": ('{"schema": 1, "schema": 2}', "'schema' is given twice"),
    "deep": ("[" * 200_000, "run/results.json: not readable as JSON"),
    "no schema": ("{}", "run/results.json: schema: got null, expected 'pushback.results/1'"),
    "other schema": (
        corrupted(lambda d: d.update(schema="pushback.results/99")),
        "schema: got \"pushback.results/99\", expected 'pushback.results/1'",
    ),
    "missing key": (corrupted(lambda d: d.pop("arms")), "run/results.json: arms: missing, expected a list"),
    "unknown key": (corrupted(lambda d: d.update(extra=1)), "run/results.json: extra: unknown key"),
    "text for a number": (
        corrupted(lambda d: d["levels"][2]["mean"].update(value="much")),
        'run/results.json: levels[2].mean.value: got "much", expected a finite number or null',
    ),
    "too large a number": (
        corrupted(lambda d: d["levels"][0]["mean"].update(value=10**400)),
        "levels[0].mean.value: got 1000000000000000000000000000000000000000..., expected a finite number or null",
    ),
    "a truth for a count": (corrupted(lambda d: d.update(users=True)), "users: got true, expected an integer"),
    "a fraction for a count": (corrupted(lambda d: d.update(users=1.5)), "users: got 1.5, expected an integer"),
    "null for a text": (corrupted(lambda d: d.update(question=None)), "question: got null, expected a string"),
    "a text for a list": (corrupted(lambda d: d.update(arms="abc")), 'arms: got "abc", expected a list'),
    "a number for a record": (
        corrupted(lambda d: d.update(levels=[3])),
        "levels[0]: got 3, expected an object with arm",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_results_say_where_and_what_was_expected(case: str) -> None:
    text, message = WRONG[case]
    with pytest.raises(ReportError) as caught:
        results_from_json(text, "run/results.json")
    assert message in str(caught.value)
    assert str(caught.value).startswith("run/results.json: ")


def test_a_wrong_manifest_names_the_key_of_a_mapping() -> None:
    data = json.loads(manifest_to_json(sample_manifest()))
    data["seconds"]["world"] = "long"
    with pytest.raises(
        ReportError, match=r'manifest.json: seconds.world: got "long", expected a finite number or null'
    ):
        manifest_from_json(json.dumps(data))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(json.loads(results_to_json(sample_results())))), JSON)
def test_a_changed_key_reads_or_gives_a_report_error(key: str, value: object) -> None:
    text = corrupted(lambda d: d.update({key: value}))
    message = read_error(text)
    assert message is None or message.startswith("results.json: ")


def read_error(text: str) -> str | None:
    """The message with which reading fails, None where it does not; any other error passes through."""
    try:
        results_from_json(text)
    except ReportError as error:
        return str(error)
    return None
