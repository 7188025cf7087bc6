"""What the schema cannot say of a counterfactual: settings that must fit each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.scenario.counterfactuals import NOTHING
from simulator.scenario.durations import format_duration, longest_plain_request_ticks, parse_duration
from simulator.scenario.faults import Path, describe, format_path

if TYPE_CHECKING:
    from simulator.scenario.checks import Draft

_CONTRADICTIONS = (("long_dwell", "skip"), ("like", "dislike"), ("like", "dismiss"), ("like", "skip"))
_SECTION = "counterfactual"
_PREFIX: Path = (_SECTION, "prefix")
_AVERSION = ("creator_aversion_probability", "creator_aversion")


def check_counterfactual(draft: Draft) -> None:
    """Report all that does not fit in the counterfactual; nothing without one."""
    if not draft.has(_SECTION):
        return
    _check_prefix_behaviour(draft)
    _check_actions(draft)
    _check_doses(draft)
    _check_trigger(draft)
    _check_replay(draft)
    if draft.get(*_PREFIX) == "lived":
        _check_runs(draft)
    elif draft.get(*_PREFIX) in ("random", "replayed"):
        _check_follow(draft)
        _check_delivery(draft)


def _check_prefix_behaviour(draft: Draft) -> None:
    keys = ("long_dwell_probability", "skip_probability")
    values = [draft.get(_SECTION, key) for key in keys]
    if all(isinstance(v, int | float) for v in values) and sum(values) > 1 + 1e-9:
        got = f"{' + '.join(keys)} = {sum(values):g}"
        draft.sources.report((_SECTION, keys[0]), got, "at most 1 together", also=[(_SECTION, keys[1])])


def _check_actions(draft: Draft) -> None:
    n_further = len(draft.entries(_SECTION, "further_actions"))
    paths: list[Path] = [(_SECTION, "base"), (_SECTION, "action")]
    paths += [(_SECTION, "further_actions", i) for i in range(n_further)]
    seen: dict[tuple[str, ...], Path] = {}
    for path in paths:
        actions = draft.entries(*path)
        for i, action in enumerate(actions):
            if isinstance(action, str) and action in actions[:i]:
                draft.sources.report((*path, i), describe(action), "each action once")
        contradictions = [*_CONTRADICTIONS, *((NOTHING, action) for action in actions if action != NOTHING)]
        for pair in contradictions:
            if all(action in actions for action in pair):
                got = " with ".join(describe(action) for action in pair)
                draft.sources.report(path, got, "actions that go together")
        if actions and all(isinstance(action, str) for action in actions):
            same = seen.setdefault(tuple(sorted(set(actions))), path)
            if same != path:
                expected = f"other actions than {format_path(same)}, to compare with them"
                draft.sources.report(path, " + ".join(actions), expected)


def _check_doses(draft: Draft) -> None:
    path: Path = (_SECTION, "doses")
    doses = draft.entries(*path)
    for i, dose in enumerate(doses):
        if isinstance(dose, int) and dose in doses[:i]:
            draft.sources.report((*path, i), describe(dose), "each dose once")
    for key, wanted in (("prefix", "random"), ("trigger", "item_k")):
        value = draft.get(_SECTION, key)
        if doses and isinstance(value, str) and value != wanted:
            draft.sources.report(path, f"doses with {key}: {value}", f"{key}: {wanted}", also=((_SECTION, key),))


def _check_trigger(draft: Draft) -> None:
    trigger, path = draft.get(_SECTION, "trigger"), (_SECTION, "trigger")
    if trigger == "averse_creator":
        for key in _AVERSION:
            where: Path = ("world", "population", key)
            if draft.get(*where) == 0:
                draft.sources.report(path, describe(trigger), f"{key} above 0, so that there are such", also=(where,))
    if draft.get(*_PREFIX) != "random" or trigger not in ("averse_creator", "repeated_topic"):
        return
    k, every, within = draft.get(_SECTION, "k"), *(_ticks(draft, key) for key in ("request_every", "trigger_within"))
    if isinstance(k, int) and every is not None and within is not None and (k - 1) * every >= within:
        expected = f"more than {format_duration((k - 1) * every)}, when item {k} is asked for"
        also: list[Path] = [(_SECTION, "k"), (_SECTION, "request_every")]
        draft.sources.report((_SECTION, "trigger_within"), format_duration(within), expected, also=also)


def _check_replay(draft: Draft) -> None:
    prefix, replay = draft.get(*_PREFIX), draft.get(_SECTION, "replay")
    path: Path = (_SECTION, "replay")
    if prefix == "replayed":
        if replay is None:
            draft.sources.report(_PREFIX, describe(prefix), "replay, with the log", also=(path,))
        if draft.get("world", "catalogue", "table") is None:
            expected = "world.catalogue.table, with the items of the log"
            draft.sources.report(_PREFIX, describe(prefix), expected, also=(("world", "catalogue", "table"),))
        trigger = draft.get(_SECTION, "trigger")
        if isinstance(trigger, str) and trigger != "item_k":
            draft.sources.report((_SECTION, "trigger"), describe(trigger), "item_k with a replayed prefix")
        if draft.get(_SECTION, "k") == 1:
            draft.sources.report((_SECTION, "k"), "1", "2 or more with a replayed prefix: k - 1 items are replayed")
    elif isinstance(prefix, str) and isinstance(replay, dict):
        draft.sources.report(path, f"a log with prefix: {prefix}", "prefix: replayed", also=(_PREFIX,))


def _check_runs(draft: Draft) -> None:
    runs, users = draft.get(_SECTION, "runs"), draft.get("world", "population", "users")
    if isinstance(runs, int) and isinstance(users, int) and runs > users:
        expected = f"at most {users}, the users who live in the world"
        also: Path = ("world", "population", "users")
        draft.sources.report((_SECTION, "runs"), describe(runs), expected, also=(_PREFIX, also))


def _check_follow(draft: Draft) -> None:
    if _ticks(draft, "follow") is not None:
        path: Path = (_SECTION, "follow")
        draft.sources.report(
            path, f"a value with prefix: {draft.get(*_PREFIX)}", "prefix: lived, since others do not live on"
        )


def _check_delivery(draft: Draft) -> None:
    """A request that is measured must come after the feedback on item k has been delivered.

    An arm with a longer delay of its own is let be: its responses say that the action had not been delivered.
    """
    every, requests = _ticks(draft, "request_every"), draft.get(_SECTION, "requests")
    dwell, overhead = (draft.get("world", "behaviour", key) for key in ("long_dwell_seconds", "overhead_seconds"))
    if every is None or not all(isinstance(part, int | float) for part in (requests, dwell, overhead)):
        return
    if draft.entries(_SECTION, "doses"):
        requests = 1  # the request after a dose is the only one that is measured
    done, path = longest_plain_request_ticks(dwell, overhead), ("platform", "ingestion_delay")
    delay = _span(draft.get(*path))
    if delay is None:
        return
    needed = max(done, -(-(done + delay) // requests))
    if every < needed:
        measured = "the next request" if requests == 1 else f"the last of {requests} measured requests"
        expected = f"at least {format_duration(needed)}, so that feedback on an item is delivered before {measured}"
        also: list[Path] = [path, ("world", "behaviour", "long_dwell_seconds")]
        draft.sources.report((_SECTION, "request_every"), format_duration(every), expected, also=also)


def _ticks(draft: Draft, key: str) -> int | None:
    return _span(draft.get(_SECTION, key))


def _span(value: Any) -> int | None:
    """Ticks of a duration that is written or a default; None for neither."""
    if isinstance(value, str):
        return parse_duration(value)
    return value if isinstance(value, int) else None
