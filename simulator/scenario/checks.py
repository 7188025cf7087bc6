"""What the schema cannot say: names that must exist, settings that must fit each other.

The checks read plain data and leave out whatever is at fault already, so that one reading of a file reports all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Protocol

from pydantic import BaseModel

from simulator.scenario.ab_test_checks import check_ab_test
from simulator.scenario.counterfactuals import NOTHING
from simulator.scenario.durations import format_duration, longest_plain_request_ticks, parse_duration
from simulator.scenario.faults import Path, PathSet, Sources, describe, format_path, one_of
from simulator.scenario.schema import Scenario
from simulator.scenario.shipped import find_table
from simulator.scenario.thresholds import Threshold, parse_threshold
from simulator.scenario.validation import model_at, validate, value_at

_CONTRADICTIONS = (("long_dwell", "skip"), ("like", "dislike"), ("like", "dismiss"), ("like", "skip"))
_UNKNOWN = object()
_FURTHER: Path = ("counterfactual", "further_actions")
_CATALOGUE: Path = ("world", "catalogue")
_EXPRESSIVENESS: Path = ("world", "population", "expressiveness")


class ConfigLookup(Protocol):
    """Which recommenders there are and what settings each takes; the shell looks them up in the registry."""

    def names(self) -> Sequence[str]:
        """All registered names."""
        ...

    def config_class(self, name: str) -> type[BaseModel]:
        """The class of a recommender's settings, by registered name or `module:Class`.

        Raises:
            LookupError: there is none; the message says why.
        """
        ...


class MetricLookup(Protocol):
    """Which metrics there are; the shell looks them up in the registry."""

    def built_in(self) -> Sequence[str]:
        """Names of the metrics that are reported where a scenario names none."""
        ...

    def names(self) -> Sequence[str]:
        """All registered names, the built-in ones first."""
        ...

    def reported_name(self, name: str) -> str:
        """What reports and thresholds call a metric, by registered name or `module:object`.

        Raises:
            LookupError: there is none; the message says why.
        """
        ...


@dataclass(frozen=True)
class Draft:
    """A scenario on its way to be checked.

    Attributes:
        data: plain data, after presets and overrides.
        file: the scenario's file, from which tables are found.
        sources: receives the faults.
        broken: where the schema found faults; those settings are left out.
        configs: the recommenders.
        metrics: the metrics.
    """

    data: dict[str, Any]
    file: FilePath
    sources: Sources
    broken: PathSet
    configs: ConfigLookup
    metrics: MetricLookup

    def get(self, *path: str | int) -> Any:
        """The value at a path, or its default; `_UNKNOWN` where it is at fault or not there."""
        if self.broken.overlaps(path):
            return _UNKNOWN
        try:
            return value_at(self.data, path)
        except LookupError:
            return self._default(path)

    def entries(self, *path: str | int) -> list[Any]:
        """The list at a path, empty where it is not there; entries at fault are `_UNKNOWN`."""
        try:
            values = value_at(self.data, path)
        except LookupError:
            values = self._default(path)
        if not isinstance(values, list | tuple):
            return []
        return [_UNKNOWN if self.broken.overlaps((*path, i)) else value for i, value in enumerate(values)]

    def has(self, section: str) -> bool:
        """Whether an optional section is written, be it with faults."""
        return self.data.get(section) is not None or self.broken.overlaps((section,))

    def _default(self, path: Path) -> Any:
        if any(isinstance(part, int) for part in path):
            return _UNKNOWN
        section, key = model_at(Scenario, path[:-1], self.data), str(path[-1])
        if section is None or key not in section.model_fields or section.model_fields[key].is_required():
            return _UNKNOWN
        return section.model_fields[key].get_default()


def check_whole(draft: Draft) -> None:
    """Run every check that concerns more than one setting, or the world outside the file."""
    for check in _CHECKS:
        check(draft)


def _check_arms(draft: Draft) -> None:
    first: dict[str, int] = {}
    for i, name in enumerate(_arm_names(draft)):
        if name in first:
            other = format_path(("arms", first[name], "name"))
            draft.sources.report(("arms", i, "name"), describe(name), f"a name that {other} does not have")
        elif isinstance(name, str):
            first[name] = i
    control = draft.get("control")
    if isinstance(control, str) and first and control not in first and _UNKNOWN not in _arm_names(draft):
        draft.sources.report(("control",), describe(control), one_of(list(first), control))


def _check_recommenders(draft: Draft) -> None:
    policies: list[Path] = [("logging_policy",)] if draft.has("logging_policy") else []
    policies += [("arms", i) for i in range(len(draft.entries("arms")))]
    for path in policies:
        name, config = draft.get(*path, "recommender"), draft.get(*path, "config")
        if not isinstance(name, str):
            continue
        model = _config_class(draft, (*path, "recommender"), name)
        if model is not None and config is not _UNKNOWN:
            validate(model, config, (*path, "config"), draft.sources)
        elif model is not None and not draft.broken.overlaps((*path, "config")):
            _check_required(draft, model, path, name)


def _check_required(draft: Draft, model: type[BaseModel], path: Path, name: str) -> None:
    required = [key for key, field in model.model_fields.items() if field.is_required()]
    if required:
        expected = f"the settings of {name}: {', '.join(required)}"
        draft.sources.report((*path, "config"), "nothing", expected, also=((*path, "recommender"),))


def _config_class(draft: Draft, path: Path, name: str) -> type[BaseModel] | None:
    try:
        return draft.configs.config_class(name)
    except LookupError as error:
        reason = error.args[0] if error.args else "not found"
    names = () if ":" in name else draft.configs.names()
    if ":" in name or name in names:
        expected = f"a recommender that can be loaded ({reason})"
    else:
        expected = f"{one_of(names, name)}, or module:Class"
    draft.sources.report(path, describe(name), expected)
    return None


def _check_metrics(draft: Draft) -> None:
    seen: set[str] = set()
    for i, name in enumerate(draft.entries("metrics")):
        if not isinstance(name, str):
            continue
        reported = _reported_name(draft, ("metrics", i), name)
        if reported in seen:
            draft.sources.report(("metrics", i), describe(name), "each metric once")
        if reported is not None:
            seen.add(reported)


def _reported_name(draft: Draft, path: Path, name: str) -> str | None:
    """What reports call a metric; None after a fault was noted."""
    try:
        return draft.metrics.reported_name(name)
    except LookupError as error:
        reason = error.args[0] if error.args else "not found"
    names = () if ":" in name else draft.metrics.names()
    if ":" in name or name in names:
        expected = f"a metric that can be loaded ({reason})"
    else:
        expected = f"{one_of(names, name)}, or module:object"
    draft.sources.report(path, describe(name), expected)
    return None


def _check_has_question(draft: Draft) -> None:
    if not draft.has("ab_test") and not draft.has("counterfactual"):
        draft.sources.report((), "neither ab_test nor counterfactual", "at least one of them ({} takes all defaults)")


def _check_slates(draft: Draft) -> None:
    if draft.get(*_CATALOGUE, "table") is not None:
        return
    items, share = draft.get(*_CATALOGUE, "items"), draft.get(*_CATALOGUE, "released_share")
    if not isinstance(items, int) or not isinstance(share, int | float):
        return
    at_start = int(items * share)
    sections = ["platform"] + ["counterfactual"] * draft.has("counterfactual")
    for section in sections:
        size = draft.get(section, "slate_size")
        if isinstance(size, int) and size > at_start:
            expected = f"at most {at_start}, the number of synthetic items at the start"
            also: list[Path] = [(*_CATALOGUE, "items"), (*_CATALOGUE, "released_share")]
            draft.sources.report((section, "slate_size"), describe(size), expected, also=also)


def _check_table(draft: Draft) -> None:
    if draft.get(*_CATALOGUE, "table") is None:
        return
    path = draft.get(*_CATALOGUE, "table", "path")
    if isinstance(path, str):
        try:
            find_table(path, draft.file)
        except LookupError as error:
            draft.sources.report((*_CATALOGUE, "table", "path"), describe(path), str(error.args[0]))


def _check_expressiveness(draft: Draft) -> None:
    low, high = draft.get(*_EXPRESSIVENESS, "min_probability"), draft.get(*_EXPRESSIVENESS, "max_probability")
    if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
        path: Path = (*_EXPRESSIVENESS, "min_probability")
        also = ((*_EXPRESSIVENESS, "max_probability"),)
        draft.sources.report(path, describe(low), f"at most max_probability, {high}", also=also)


def _check_prefix_behaviour(draft: Draft) -> None:
    if not draft.has("counterfactual"):
        return
    keys = ("long_dwell_probability", "skip_probability")
    values = [draft.get("counterfactual", key) for key in keys]
    if all(isinstance(v, int | float) for v in values) and sum(values) > 1 + 1e-9:
        got = f"{' + '.join(keys)} = {sum(values):g}"
        draft.sources.report(("counterfactual", keys[0]), got, "at most 1 together", also=[("counterfactual", keys[1])])


def _check_actions(draft: Draft) -> None:
    if not draft.has("counterfactual"):
        return
    paths: list[Path] = [("counterfactual", "base"), ("counterfactual", "action")]
    paths += [("counterfactual", "further_actions", i) for i in range(len(draft.entries(*_FURTHER)))]
    seen: dict[tuple[Any, ...], Path] = {}
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
        same = seen.setdefault(tuple(actions), path)
        if same != path and actions and all(isinstance(action, str) for action in actions):
            expected = f"other actions than {format_path(same)}, to compare with them"
            draft.sources.report(path, " + ".join(actions), expected)


def _check_protocol(draft: Draft) -> None:
    """Settings of the counterfactual that only one kind of prefix, or of trigger, has."""
    if not draft.has("counterfactual"):
        return
    prefix, trigger = (draft.get("counterfactual", key) for key in ("prefix", "trigger"))
    lived: Path = ("counterfactual", "prefix")
    if prefix == "random" and draft.get("counterfactual", "follow") not in (None, _UNKNOWN):
        path = ("counterfactual", "follow")
        draft.sources.report(path, "a value with a random prefix", "prefix: lived, since random users do not live on")
    if draft.entries("counterfactual", "doses") and (prefix == "lived" or trigger not in ("item_k", _UNKNOWN)):
        got = f"doses with prefix: {prefix} and trigger: {trigger}"
        draft.sources.report(("counterfactual", "doses"), got, "a random prefix that parts at item k", also=(lived,))
    runs, users = draft.get("counterfactual", "runs"), draft.get("world", "population", "users")
    if prefix == "lived" and isinstance(runs, int) and isinstance(users, int) and runs > users:
        also: Path = ("world", "population", "users")
        expected = f"at most {users}, the users who live in the world"
        draft.sources.report(("counterfactual", "runs"), describe(runs), expected, also=(lived, also))


def _check_delivery(draft: Draft) -> None:
    """A request that is measured must come after the feedback on item k has been delivered."""
    if not draft.has("counterfactual") or draft.get("counterfactual", "prefix") == "lived":
        return
    spans = [draft.get(*path) for path in (("counterfactual", "request_every"), ("platform", "ingestion_delay"))]
    every, delay = (parse_duration(span) if isinstance(span, str) else span for span in spans)
    dwell, overhead = (draft.get("world", "behaviour", key) for key in ("long_dwell_seconds", "overhead_seconds"))
    requests = draft.get("counterfactual", "requests")
    if not all(isinstance(part, int | float) for part in (every, delay, dwell, overhead, requests)):
        return
    done = longest_plain_request_ticks(dwell, overhead)
    needed = max(done, -(-(done + delay) // requests))
    if every < needed:
        measured = "the next request" if requests == 1 else f"the last of {requests} measured requests"
        expected = f"at least {format_duration(needed)}, so that feedback on an item is delivered before {measured}"
        also: list[Path] = [("platform", "ingestion_delay"), ("world", "behaviour", "long_dwell_seconds")]
        draft.sources.report(("counterfactual", "request_every"), format_duration(every), expected, also=also)


def _check_ab_test(draft: Draft) -> None:
    check_ab_test(draft, _known_metrics(draft))


def _check_thresholds(draft: Draft) -> None:
    for i, text in enumerate(draft.entries("thresholds")):
        if not isinstance(text, str):
            continue
        path: Path = ("thresholds", i)
        try:
            threshold = parse_threshold(text)
        except ValueError as error:
            draft.sources.report(path, describe(text), str(error))
        else:
            _check_threshold(draft, path, threshold)


def _check_threshold(draft: Draft, path: Path, threshold: Threshold) -> None:
    arms = _arm_names(draft)
    section = "counterfactual" if threshold.estimand == "responsiveness" else "ab_test"
    known = _known_metrics(draft)
    if not draft.has(section):
        draft.sources.report(path, threshold.estimand, f"a section {section}, which makes that estimate")
    elif section == "ab_test" and known and threshold.subject not in known:
        draft.sources.report(path, describe(threshold.subject), one_of(known, threshold.subject))
    elif threshold.arm not in arms and _UNKNOWN not in arms:
        draft.sources.report(path, f"the arm {describe(threshold.arm)}", one_of(arms, threshold.arm))
    elif threshold.estimand == "lift" and threshold.arm == draft.get("control"):
        draft.sources.report(path, "a lift of the control", "another arm, since lifts compare with the control")


def _known_metrics(draft: Draft) -> list[str]:
    """The metrics that will be reported; empty where that cannot be known, for a fault that is told already."""
    known: list[str] = []
    for name in draft.entries("metrics"):
        if not isinstance(name, str):
            return []
        try:
            known.append(draft.metrics.reported_name(name))
        except LookupError:
            if ":" in name:
                return []
    return known or list(draft.metrics.built_in())


def _arm_names(draft: Draft) -> list[Any]:
    return [draft.get("arms", i, "name") for i in range(len(draft.entries("arms")))]


_CHECKS: tuple[Callable[[Draft], None], ...] = (
    _check_arms,
    _check_recommenders,
    _check_metrics,
    _check_has_question,
    _check_slates,
    _check_table,
    _check_expressiveness,
    _check_prefix_behaviour,
    _check_actions,
    _check_protocol,
    _check_delivery,
    _check_ab_test,
    _check_thresholds,
)
