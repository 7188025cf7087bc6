"""What the schema cannot say of an A/B test: settings that must fit each other, names that must exist."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from simulator.scenario.ab_tests import HOLDOUT
from simulator.scenario.durations import format_duration, parse_duration
from simulator.scenario.faults import Path, describe, one_of

if TYPE_CHECKING:
    from simulator.scenario.checks import Draft

_SUM_TOLERANCE = 1e-6
"""How far shares may be from 1 together: thirds are written with a few digits."""


def check_ab_test(draft: Draft, metrics: Collection[str]) -> None:
    """Report all that does not fit in the A/B test; nothing without one.

    Args:
        draft: the scenario.
        metrics: what the metrics are called that will be reported; empty where that cannot be known.
    """
    if not draft.has("ab_test"):
        return
    design = draft.get("ab_test", "design")
    _check_excluded(draft)
    _check_guardrails(draft, metrics)
    if design in ("split", "switchback"):
        _check_arms(draft, design)
        _check_failing_arms(draft, design)
    if design == "split":
        _check_shares(draft)
        _check_ramp(draft)
    if design == "switchback":
        _check_blocks(draft)


def _check_arms(draft: Draft, design: str) -> None:
    arms = draft.entries("arms")
    if len(arms) == 1:
        draft.sources.report(
            ("ab_test", "design"), f"{describe(design)} with one arm", "at least two arms to randomise"
        )
    holdout = draft.get("ab_test", "holdout") if design == "split" else 0
    names = [draft.get("arms", i, "name") for i in range(len(arms))]
    if isinstance(holdout, int | float) and holdout > 0 and HOLDOUT in names:
        expected = "another name, since the users whom ab_test.holdout holds out have this one"
        draft.sources.report(("arms", names.index(HOLDOUT), "name"), describe(HOLDOUT), expected)


def _check_failing_arms(draft: Draft, design: str) -> None:
    path: Path = ("execution", "on_arm_error")
    if draft.get(*path) == "continue":
        expected = f"stop with the design {design}: what an arm did before it failed stays in the world that all share"
        draft.sources.report(path, "continue", expected, also=[("ab_test", "design")])


def _check_shares(draft: Draft) -> None:
    path: Path = ("ab_test", "shares")
    shares = draft.get(*path)
    names = [draft.get("arms", i, "name") for i in range(len(draft.entries("arms")))]
    if not isinstance(shares, dict) or not shares or not all(isinstance(name, str) for name in names):
        return
    unknown = [arm for arm in shares if arm not in names]
    for arm in unknown:
        draft.sources.report((*path, arm), "an unknown arm", one_of(names, arm), on_key=True)
    absent = [name for name in names if name not in shares]
    if absent and not unknown:
        draft.sources.report(path, f"no share of {', '.join(absent)}", "a share of every arm")
    total = math.fsum(shares.values())
    if not (unknown or absent) and abs(total - 1) > _SUM_TOLERANCE:
        draft.sources.report(path, f"{total:g} together", "shares that sum to 1")


def _check_ramp(draft: Draft) -> None:
    steps = range(len(draft.entries("ab_test", "ramp")))
    after = [_ticks(draft.get("ab_test", "ramp", i, "after")) for i in steps]
    share = [draft.get("ab_test", "ramp", i, "treated_share") for i in steps]
    duration = _ticks(draft.get("ab_test", "duration"))
    for i in steps:
        path: Path = ("ab_test", "ramp", i)
        now, before = after[i], after[i - 1] if i else None
        if now is not None and before is not None and now <= before:
            expected = f"more than {format_duration(before)}, that of the step before"
            draft.sources.report((*path, "after"), format_duration(now), expected)
        elif now is not None and duration is not None and now >= duration:
            expected = f"less than {format_duration(duration)}, the duration of the test"
            draft.sources.report((*path, "after"), format_duration(now), expected)
        if i and all(isinstance(s, int | float) for s in share[i - 1 : i + 1]) and share[i] <= share[i - 1]:
            expected = f"more than {share[i - 1]:g}, that of the step before, since nobody switches back"
            draft.sources.report((*path, "treated_share"), describe(share[i]), expected)


def _check_blocks(draft: Draft) -> None:
    period, washout = (_ticks(draft.get("ab_test", key)) for key in ("period", "washout"))
    duration, n_arms = _ticks(draft.get("ab_test", "duration")), len(draft.entries("arms"))
    if period is None or not n_arms:
        return
    if washout is not None and washout >= period:
        expected = f"less than the period, {format_duration(period)}"
        draft.sources.report(("ab_test", "washout"), format_duration(washout), expected, also=[("ab_test", "period")])
    block = n_arms * period
    if duration is not None and duration % block:
        expected = f"a whole number of blocks of {format_duration(block)} ({n_arms} arms, a period each)"
        also: list[Path] = [("ab_test", "period")]
        draft.sources.report(("ab_test", "duration"), format_duration(duration), expected, also=also)
    excluded = _ticks(draft.get("ab_test", "exclude_first"))
    if excluded is not None and duration is not None and duration - block < excluded < duration:
        expected = f"at most {format_duration(max(duration - block, 0))}, so that a whole block is left"
        draft.sources.report(("ab_test", "exclude_first"), format_duration(excluded), expected)


def _check_excluded(draft: Draft) -> None:
    excluded, duration = (_ticks(draft.get("ab_test", key)) for key in ("exclude_first", "duration"))
    if excluded is not None and duration is not None and excluded >= duration:
        expected = f"less than the duration, {format_duration(duration)}"
        also: list[Path] = [("ab_test", "duration")]
        draft.sources.report(("ab_test", "exclude_first"), format_duration(excluded), expected, also=also)


def _check_guardrails(draft: Draft, metrics: Collection[str]) -> None:
    seen: set[Any] = set()
    for i in range(len(draft.entries("ab_test", "guardrails"))):
        path: Path = ("ab_test", "guardrails", i, "metric")
        name = draft.get(*path)
        if not isinstance(name, str):
            continue
        if metrics and name not in metrics:
            draft.sources.report(path, describe(name), one_of(metrics, name))
        elif name in seen:
            draft.sources.report(path, describe(name), "each metric once")
        seen.add(name)


def _ticks(value: object) -> int | None:
    """Ticks of a span as it is written or as it is by default; None where it is at fault."""
    if isinstance(value, str):
        return parse_duration(value)
    return value if isinstance(value, int) else None
