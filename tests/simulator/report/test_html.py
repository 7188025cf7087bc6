from __future__ import annotations

import re
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from simulator.experiment.results import Manifest, Results
from simulator.report.html import render_html
from tests.simulator.report.samples import (
    FAILURES,
    SCENARIO_YAML,
    empty_results,
    failed_results,
    sample_manifest,
    sample_results,
    sparse_results,
    split_results,
    switchback_results,
    unmeasured_results,
)
from tests.simulator.report.strategies import PLAUSIBLE, anything

VOID = {"meta", "br"}
LONG_ARMS = ("popularity", *(f"sequence_model_with_input_weight_{2**i}" for i in range(11)))
FULL = sample_results()
VARIANTS = {
    "everything": FULL,
    "12 arms": sample_results(LONG_ARMS),
    "one arm": sample_results(("only",)),
    "no A/B test": replace(FULL, users=0, ab_days=0.0, metrics=(), levels=(), comparisons=(), series=()),
    "no counterfactual": replace(
        FULL, runs=0, responsiveness=(), pairs=FULL.pairs[2:], base_action="", other_action=""
    ),
    "nothing": empty_results(),
    "nothing measured": unmeasured_results(),
    "no intervals": sparse_results(),
    "split": split_results(),
    "switchback": switchback_results(),
    "arms failed": failed_results(),
}


class Outline(HTMLParser):
    """Checks that tags nest, and collects headings, ids, links and attributes."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def page_of(results: Results) -> str:
    return render_html(results, sample_manifest(), SCENARIO_YAML)


def poisoned(value: Any, poison: str) -> Any:
    """The same data with a poison at the end of every string that is free text."""
    if is_dataclass(value):
        return type(value)(**{f.name: poisoned(getattr(value, f.name), poison) for f in fields(value)})
    if isinstance(value, tuple):
        return tuple(poisoned(v, poison) for v in value)
    if isinstance(value, dict):
        return {poisoned(k, poison): poisoned(v, poison) for k, v in value.items()}
    return value + poison if isinstance(value, str) else value


@pytest.mark.parametrize(
    "poison", ["<script>alert(1)</script>", "\"><img src=x onerror='y'>", "</title></style>{{ 7*7 }}"]
)
@pytest.mark.parametrize("results", [FULL, unmeasured_results()], ids=["measured", "unmeasured"])
def test_every_string_is_escaped(results: Results, poison: str) -> None:
    clean = render_html(results, sample_manifest(), SCENARIO_YAML)
    page = render_html(poisoned(results, poison), poisoned(sample_manifest(), poison), SCENARIO_YAML + poison)
    assert {t for t, _ in outline(page).tags} <= {t for t, _ in outline(clean).tags}
    assert "<script" not in page
    assert "<img" not in page
    assert page.count("</title></style>") == 0
    assert "{{ 7*7 }}" in page or "7*7" not in poison


@pytest.mark.parametrize("name", VARIANTS)
def test_page_needs_nothing_from_outside(name: str) -> None:
    page = page_of(VARIANTS[name])
    for reference in ("http://", "https://", "src=", "url(", "@import", "<script", "<link", "javascript:", "//"):
        assert reference not in page.replace("/>", "")
    policy = [a for t, a in outline(page).tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == [
        {"http-equiv": "Content-Security-Policy", "content": "default-src 'none'; style-src 'unsafe-inline'"}
    ]


@pytest.mark.parametrize("name", VARIANTS)
def test_page_is_well_formed_and_accessible(name: str) -> None:
    parsed = outline(page_of(VARIANTS[name]))
    tags = [t for t, _ in parsed.tags]
    levels = [int(t[1]) for t in tags if re.fullmatch(r"h[1-6]", t)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(tags.count(landmark) == 1 for landmark in ("header", "nav", "main", "footer"))
    ids = [a["id"] for _, a in parsed.tags if "id" in a]
    assert len(set(ids)) == len(ids)
    assert all((a["href"] or "")[1:] in ids for t, a in parsed.tags if t == "a")
    assert all(a.get("aria-label") for _, a in parsed.tags if a.get("role") == "img")
    assert all(a.get("role") == "img" or a.get("aria-hidden") == "true" for t, a in parsed.tags if t == "svg")
    assert tags.count("caption") == tags.count("table")
    assert all("scope" in a for t, a in parsed.tags if t == "th")


@pytest.mark.parametrize("name", VARIANTS)
def test_no_number_is_printed_as_nan(name: str) -> None:
    page = page_of(VARIANTS[name])
    assert not re.search(r"\b(nan|inf|NaN|None)\b", page)


def test_missing_estimates_show_their_note() -> None:
    text = "".join(outline(page_of(unmeasured_results())).text)
    assert "no dislikes in the control" in text
    assert "No answer: no comparison could be estimated" in text


def test_values_without_intervals_are_shown_with_their_reason_and_never_as_clear() -> None:
    page = page_of(sparse_results())
    text = "".join(outline(page).text)
    assert "-100.0% (no interval)" in text
    assert "not clear: too few users with any event" in text
    assert "0% (too few users with any event)" in text
    for tone in ("better", "worse", "changed"):
        assert f'<g class="{tone}"' not in page


def test_content_comes_in_order() -> None:
    sections = [a["id"] for t, a in outline(page_of(FULL)).tags if t == "section"]
    assert sections == [
        "thresholds", "question", "answer", "responsiveness", "metrics", "pairing", "days", "trajectories", "made",
        "definitions", "reading",
    ]  # fmt: skip


def test_numbers_and_verdicts_are_printed_for_people() -> None:
    text = " ".join(outline(page_of(FULL)).text)
    assert "-61.3% [-63.0, -59.6]" in text
    assert "observed -0.613" in text
    assert "1 of 2 fails" in text


def test_trajectories_mark_the_focus_with_text() -> None:
    pair = FULL.pairs[0]
    text = "".join(outline(page_of(FULL)).text)
    same = sum(i.creator == pair.focus_creator for i in pair.right)
    assert f"50 items, {same} ◆ same creator" in text
    assert f"creator {pair.focus_creator} ◆" in text


def test_an_answer_of_the_results_is_shown_as_it_is() -> None:
    assert "The answer is 42 &amp; more." in page_of(replace(FULL, answer="The answer is 42 & more."))


def test_a_typical_page_stays_small() -> None:
    assert len(page_of(FULL).encode()) < 100_000


# Without shrinking: a failing page is large, and shrinking it takes minutes.
@settings(
    max_examples=40,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    anything(Results, st.sampled_from(["a", "b", "creator", "dislike"]), PLAUSIBLE),
    anything(Manifest, st.just("m"), PLAUSIBLE),
)
def test_any_results_make_a_page(results: Results, manifest: Manifest) -> None:
    days = tuple(range(2))
    series = tuple(replace(s, day=days, value=(*s.value, 0.0, 0.0)[:2]) for s in results.series)
    page = render_html(replace(results, series=series), manifest, "")
    assert not re.search(r"\b(nan|inf)\b", "".join(outline(page).text))


def test_arms_that_failed_come_first_with_what_they_said_as_text() -> None:
    page = render_html(failed_results(), replace(sample_manifest(), failures=FAILURES), SCENARIO_YAML)
    seen = "".join(outline(page).text)
    assert "2 arms failed" in seen
    assert "A/B test, recommend failed: ValueError: <b>no</b> [bold]ideas[/]" in seen
    assert "on a batch of 5" in seen
    assert "training failed: SystemExit\n" in seen
    assert "not measured: arm lost failed (A/B test, recommend)" in seen
    ids = [attributes["id"] for tag, attributes in outline(page).tags if tag == "section"]
    assert ids[:2] == ["failures", "thresholds"]
