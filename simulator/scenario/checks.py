"""What the schema cannot say: names that must exist, settings that must fit each other.

The checks read plain data and leave out whatever is at fault already, so that one reading of a file reports all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from pydantic import BaseModel

from simulator.scenario.ab_test_checks import check_ab_test
from simulator.scenario.counterfactual_checks import check_counterfactual
from simulator.scenario.faults import Path, PathSet, Sources, describe, format_path, one_of
from simulator.scenario.parts import ConfigLookup, Parts, expected_part
from simulator.scenario.schema import Scenario
from simulator.scenario.shipped import find_table
from simulator.scenario.thresholds import Threshold, parse_threshold
from simulator.scenario.validation import model_at, validate, value_at

_UNKNOWN = object()
_CATALOGUE: Path = ("world", "catalogue")
_EXPRESSIVENESS: Path = ("world", "population", "expressiveness")


@dataclass(frozen=True)
class Draft:
    """A scenario on its way to be checked.

    Attributes:
        data: plain data, after presets and overrides.
        file: the scenario's file, from which tables are found.
        sources: receives the faults.
        broken: where the schema found faults; those settings are left out.
        parts: what a scenario can name.
    """

    data: dict[str, Any]
    file: FilePath
    sources: Sources
    broken: PathSet
    parts: Parts

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
        _check_configured(draft, path, "recommender", draft.parts.recommenders)
        _check_extra(draft, (*path, "recommender"))


def _check_extra(draft: Draft, path: Path) -> None:
    name = draft.get(*path)
    if not isinstance(name, str):
        return
    try:
        draft.parts.recommenders.require_extra(name)
    except LookupError as error:
        draft.sources.report(path, describe(name), f"a recommender whose library is installed ({error.args[0]})")


def _check_user_model(draft: Draft) -> None:
    _check_configured(draft, ("world", "user_model"), "behaviour", draft.parts.behaviours)


def _check_configured(draft: Draft, path: Path, kind: str, lookup: ConfigLookup) -> None:
    """Check a section that names a part and has its settings as `config`."""
    name, config = draft.get(*path, kind), draft.get(*path, "config")
    if not isinstance(name, str):
        return
    try:
        model = lookup.config_class(name)
    except LookupError as error:
        draft.sources.report((*path, kind), describe(name), expected_part(kind, "Class", name, lookup, error))
        return
    if config is not _UNKNOWN:
        validate(model, config, (*path, "config"), draft.sources)
    elif not draft.broken.overlaps((*path, "config")):
        _check_required(draft, model, path, kind, name)


def _check_required(draft: Draft, model: type[BaseModel], path: Path, kind: str, name: str) -> None:
    required = [key for key, field in model.model_fields.items() if field.is_required()]
    if required:
        expected = f"the settings of {name}: {', '.join(required)}"
        draft.sources.report((*path, "config"), "nothing", expected, also=((*path, kind),))


def _check_metrics(draft: Draft) -> None:
    seen: set[str] = set()
    lookup = draft.parts.metrics
    for i, name in enumerate(draft.entries("metrics")):
        if not isinstance(name, str):
            continue
        path: Path = ("metrics", i)
        try:
            reported = lookup.reported_name(name)
        except LookupError as error:
            draft.sources.report(path, describe(name), expected_part("metric", "object", name, lookup, error))
            continue
        if reported in seen:
            draft.sources.report(path, describe(name), "each metric once")
        seen.add(reported)


def _check_reports(draft: Draft) -> None:
    seen: set[str] = set()
    lookup = draft.parts.reports
    for i, name in enumerate(draft.entries("reports")):
        if not isinstance(name, str):
            continue
        path: Path = ("reports", i)
        try:
            lookup.check(name)
        except LookupError as error:
            draft.sources.report(path, describe(name), expected_part("report", "function", name, lookup, error))
            continue
        if name in seen:
            draft.sources.report(path, describe(name), "each report once")
        seen.add(name)


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
    measured = draft.has("counterfactual") and draft.get("counterfactual", "prefix") != "lived"
    sections = ["platform"] + ["counterfactual"] * measured
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


def _check_ab_test(draft: Draft) -> None:
    check_ab_test(draft, _known_metrics(draft))


def _check_log(draft: Draft) -> None:
    columns = draft.entries("log", "columns")
    for i, name in enumerate(columns):
        if isinstance(name, str) and name in columns[:i]:
            draft.sources.report(("log", "columns", i), describe(name), "each column once")
    if draft.get("log", "stream") != "always":
        return
    watched = draft.get("ab_test", "watch")
    if not draft.has("ab_test"):
        draft.sources.report(("log", "stream"), "always", "auto or never without an ab_test")
    elif watched is True:
        draft.sources.report(
            ("log", "stream"), "always", "auto or never with a watched ab_test", also=(("ab_test", "watch"),)
        )


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
            known.append(draft.parts.metrics.reported_name(name))
        except LookupError:
            if ":" in name:
                return []
    return known or list(draft.parts.metrics.built_in())


def _arm_names(draft: Draft) -> list[Any]:
    return [draft.get("arms", i, "name") for i in range(len(draft.entries("arms")))]


_CHECKS: tuple[Callable[[Draft], None], ...] = (
    _check_arms,
    _check_recommenders,
    _check_user_model,
    _check_metrics,
    _check_reports,
    _check_has_question,
    _check_slates,
    _check_table,
    _check_expressiveness,
    check_counterfactual,
    _check_ab_test,
    _check_log,
    _check_thresholds,
)
