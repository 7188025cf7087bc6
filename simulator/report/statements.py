"""The answer in words: one sentence for the top of the report, one line for the end of the terminal's output."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import combinations

from simulator.experiment.results import Comparison, Estimate, Responsiveness, Results
from simulator.report.formatting import (
    has_interval,
    is_clear,
    is_exact_zero,
    missing,
    number,
    percent,
    percent_value,
    ratio,
)

DISLIKE_RATE = "dislike_rate"
LONG_VIEW_RATE = "long_view_rate"

_NAMED_ARMS = 4
"""Arms that a sentence names before it says how many more there are."""
_NAMED_OVERLAPS = 3
_NOUNS = {
    "long_dwell": "a long dwell",
    "skip": "a skip",
    "like": "a like",
    "dislike": "a dislike",
    "dismiss": "a dismissal",
}
_PUSH_BACK = {"skip", "dislike", "dismiss"}


def pushes_back(results: Results) -> bool:
    """Whether the counterfactual adds a push-back, so that showing less of the same is what the user asked for."""
    return bool(_added_actions(results) & _PUSH_BACK)


def action_phrase(results: Results) -> str:
    """What the other branch does that the base branch does not: `a dislike`, or `a skip instead of a long dwell`."""
    base, other = _actions(results.base_action), _actions(results.other_action)
    if set(base) <= set(other) and len(other) > len(base):
        return " and ".join(_NOUNS.get(a, a) for a in other if a not in base)
    if not (base and other):
        return "the action"
    return f"{' and '.join(_NOUNS.get(a, a) for a in other)} instead of {' and '.join(_NOUNS.get(a, a) for a in base)}"


def answer_line(results: Results) -> str:
    """The last line of a run: the answer as a ratio with its interval.

    The counterfactual response of the arm that responds most (same creator; same topic where that is not measured or
    exactly 0 in every arm) beside the control's, or that no arm responds where every response is exactly 0; without
    a counterfactual, the dislike rate of the arm that changes it most, as a ratio to the control's. Its end names the
    arms that failed.
    """
    return f"{_measured_line(results)}{_without_failed(results)}"


def _measured_line(results: Results) -> str:
    measured = [r for r in results.responsiveness if math.isfinite(r.response.value)]
    for similarity in ("creator", "topic"):
        rows = [r for r in measured if r.similarity == similarity]
        if not all(is_exact_zero(r.response) for r in rows):
            return _response_line(results, similarity, rows)
    if measured:
        return f"no arm changes the next slate after {action_phrase(results)} (exactly 0 in all)"
    compared = _compared(results, _headline_metric(results))
    return _lift_line(results, compared) if compared else _nothing(results)


def answer_sentence(results: Results) -> str:
    """The answer in words: which arms respond and in what order, whether intervals overlap, and what the A/B shows."""
    sentences = [*_response_sentences(results), *_ab_sentences(results)]
    failed = [f"{f.arm} failed ({f.stage}: {f.error}) and is not compared." for f in results.failures]
    if not sentences:
        return " ".join([_nothing(results), *failed])
    return " ".join([*failed, *sentences, f"Intervals are at {number(100 * results.confidence)}%."])


def _without_failed(results: Results) -> str:
    if not results.failures:
        return ""
    return f" (without {_listed(failure.arm for failure in results.failures)}, which failed)"


def _response_line(results: Results, similarity: str, measured: Sequence[Responsiveness]) -> str:
    strongest = _strongest_first(measured)[0]
    control = [r for r in measured if r.arm == results.control and r is not strongest]
    comparison = "otherwise" if " instead of " in action_phrase(results) else "without it"
    caveat = "" if _settled(strongest.response) else " (not clear of 1)"
    line = (
        f"{strongest.arm}: after {action_phrase(results)} the next slate shows {ratio(strongest.response)} times "
        f"as much of that {similarity} as {comparison}{caveat}"
    )
    return "; ".join([line, *(f"{r.arm} (control): {ratio(r.response)}" for r in control)])


def _lift_line(results: Results, compared: Sequence[Comparison]) -> str:
    order = _biggest_first(compared)
    label = _metric_label(results, order[0].metric)
    line = f"{order[0].arm}: {label} is {ratio(order[0].lift)} times that of {results.control} (control)"
    return line if _settled(order[0].lift) else f"no arm changes the {label} clearly; most in {line}"


def _nothing(results: Results) -> str:
    """Why there is no answer."""
    if not results.users and not results.runs:
        if results.protocol:
            return f"No answer: item k came to none of the users, who {results.protocol}."
        return "No answer: the run holds neither an A/B test nor a counterfactual."
    estimates = [r.response for r in results.responsiveness] + [c.lift for c in results.comparisons]
    notes = list(dict.fromkeys(e.note for e in estimates if e.note))
    if notes:
        return f"No answer: no comparison could be estimated ({notes[0]})."
    if results.users and len(results.arms) < 2:
        return f"No answer: {results.control} is the only arm, so there is nothing to compare it with."
    return "No answer: the run holds no comparison that could be estimated."


def _response_sentences(results: Results) -> list[str]:
    sentences: list[str] = []
    opening = f"After {action_phrase(results)}, the next slate"
    failed = {failure.arm for failure in results.failures}
    for similarity in ("creator", "topic"):
        rows = [r for r in results.responsiveness if r.similarity == similarity and r.arm not in failed]
        measured = [r for r in rows if math.isfinite(r.response.value)]
        if not measured:
            continue
        sentences += _one_similarity(opening, similarity, measured)
        opening = "It"
        if len(measured) < len(rows):
            lost = _listed(f"{r.arm} ({missing(r.response)})" for r in rows if r not in measured)
            sentences.append(f"Not measured in {lost}.")
    return sentences


def _one_similarity(opening: str, similarity: str, measured: Sequence[Responsiveness]) -> list[str]:
    clear = [r for r in _strongest_first(measured) if is_clear(r.response)]
    exact = [r for r in measured if is_exact_zero(r.response)]
    unknown = [r for r in measured if not has_interval(r.response)]
    unclear = [r for r in measured if r not in [*clear, *exact, *unknown]]
    less = [r for r in clear if r.response.value < 0]
    more = [r for r in clear if r.response.value > 0]
    groups = [("less", less), ("more", more)]
    claims = [f"{word} of the same {similarity} in {_ordered(rows)}" for word, rows in groups if rows]
    rest = [f"no response at all (exactly 0) in {_listed(map(_with_reason, exact))}"] if exact else []
    rest += [f"none clear from 0 in {_with_percents(unclear)}"] if unclear else []
    rest += [f"no interval in {_with_notes(unknown)}"] if unknown else []
    if not claims:
        return [f"{opening} does not clearly change its share of the same {similarity}: {'; '.join(rest)}."]
    first = f"{opening} holds {' and '.join(claims)}"
    return [f"{'; '.join([first, *rest])}.", *_order_sentence(clear, unclear, len(measured) - len(unknown))]


def _ordered(rows: Sequence[Responsiveness]) -> str:
    return f"{_with_percents(rows)}{', strongest first' if len(rows) > 1 else ''}"


def _order_sentence(clear: Sequence[Responsiveness], unclear: Sequence[Responsiveness], measured: int) -> list[str]:
    if measured < 2:
        return []
    overlapping = [
        (a, b) for a, b in combinations([*clear, *unclear], 2) if a in clear and _overlap(a.response, b.response)
    ]
    if not overlapping:
        if len(clear) == 1:
            return ["Its interval overlaps with no other arm's."]
        rest = "" if len(clear) == measured else ", with each other or with the rest"
        return [f"The intervals of the responding arms do not overlap{rest}."]
    if len(overlapping) > _NAMED_OVERLAPS:
        return [f"The intervals of {len(overlapping)} pairs of arms overlap, so the order of those is open."]
    pairs = "; ".join(f"{a.arm} and {b.arm}" for a, b in overlapping)
    return [f"Intervals that overlap, so that their order is open: {pairs}."]


def _ab_sentences(results: Results) -> list[str]:
    names = [m for m in (DISLIKE_RATE, LONG_VIEW_RATE) if _compared(results, m)] or [_headline_metric(results)]
    changes = []
    for name in names:
        compared = _compared(results, name)
        if compared:
            arms = _listed(f"{percent(c.lift)} in {c.arm}{_unclear_mark(c.lift)}" for c in _biggest_first(compared))
            changes.append(f"the {_metric_label(results, name)} changes by {arms}")
    if not changes:
        return []
    days = number(results.ab_days, 3)
    size = f"{results.users:,} users, {days} {'day' if results.ab_days == 1 else 'days'}"
    if results.design != "paired":
        size = f"a {results.design} of one world, {size}"
    return [f"In the A/B test against {results.control} ({size}), {'; '.join(changes)}."]


def _unclear_mark(estimate: Estimate) -> str:
    return "" if _settled(estimate) else " (not clear)"


def _settled(estimate: Estimate) -> bool:
    return is_clear(estimate) or is_exact_zero(estimate)


def _strongest_first(rows: Iterable[Responsiveness]) -> list[Responsiveness]:
    return sorted(rows, key=lambda r: (not is_clear(r.response), -abs(r.response.value)))


def _biggest_first(rows: Iterable[Comparison]) -> list[Comparison]:
    return sorted(rows, key=lambda c: (not is_clear(c.lift), -abs(c.lift.value)))


def _overlap(a: Estimate, b: Estimate) -> bool:
    return not (a.low > b.high or b.low > a.high)


def _with_percents(rows: Sequence[Responsiveness]) -> str:
    return _listed(f"{r.arm} ({percent(r.response)})" for r in rows)


def _with_reason(row: Responsiveness) -> str:
    return f"{row.arm} ({row.response.note})" if row.response.note else row.arm


def _with_notes(rows: Sequence[Responsiveness]) -> str:
    return _listed(f"{r.arm} ({percent_value(r.response)}, {missing(r.response)})" for r in rows)


def _listed(parts: Iterable[str]) -> str:
    every = list(parts)
    shown = every[:_NAMED_ARMS]
    if len(every) > len(shown):
        shown.append(f"{len(every) - len(shown)} more")
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else "".join(shown)


def _compared(results: Results, metric: str) -> list[Comparison]:
    return [
        c
        for c in results.comparisons
        if c.metric == metric and c.arm != results.control and math.isfinite(c.lift.value)
    ]


def _headline_metric(results: Results) -> str:
    for name in (DISLIKE_RATE, *(m.name for m in results.metrics)):
        if _compared(results, name):
            return name
    return DISLIKE_RATE


def _metric_label(results: Results, name: str) -> str:
    label = next((m.label for m in results.metrics if m.name == name), name.replace("_", " "))
    return label[:1].lower() + label[1:] if label[1:2].islower() else label


def _actions(text: str) -> list[str]:
    return [part.strip() for part in text.split("+") if part.strip()]


def _added_actions(results: Results) -> set[str]:
    return set(_actions(results.other_action)) - set(_actions(results.base_action))
