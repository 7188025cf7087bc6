"""Find a recommender by name, build it from settings, list what there is.

Three ways to name one: a built-in name (`popularity`), a name that an installed package offers by an entry point of the
group `pushback.recommenders`, or `module:Class`. A recommender's class names its settings in the attribute
`config_class` and is built as `Class(config)`; a class without that attribute takes no settings and is built as
`Class()`.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from recommenders.base import Config, Recommender, RecommenderError

ENTRY_POINT_GROUP = "pushback.recommenders"


@dataclass(frozen=True)
class Entry:
    """A recommender that can be named in a scenario.

    Attributes:
        name: what the scenario writes.
        target: `module:Class`.
        summary: what it is, in a line.
        provider: `pushback`, or the distribution that brings it.
    """

    name: str
    target: str
    summary: str
    provider: str = "pushback"


def _built_in(name: str, class_name: str, summary: str, package: str = "recommenders") -> Entry:
    return Entry(name, f"{package}.{name}:{class_name}", summary)


_HEURISTICS = "recommenders.heuristics"
_NEIGHBOURS = "recommenders.neighbours"
_ADAPTERS = "recommenders.adapters"

# Named by text, so that a run of simple recommenders never imports torch.
BUILT_IN: Mapping[str, Entry] = {
    entry.name: entry
    for entry in (
        _built_in("random", "Random", "Uniformly random eligible items, with exact propensities."),
        _built_in("popularity", "Popularity", "Most long dwells and likes first; with a temperature, a random policy."),
        _built_in("item_knn", "ItemKnn", "Items liked together with what the user liked (cosine, shrunk)."),
        _built_in("markov", "Markov", "What is liked next after what the user liked last, counted and smoothed."),
        _built_in("ease", "Ease", "Linear item-to-item weights in closed form; signed, it reads dislikes."),
        _built_in("gru4rec", "Gru4Rec", "Recurrent sequence model; dislikes as input, as label, or not at all."),
        _built_in("linear_recurrent", "LinearRecurrent", "Light sequence model that trains in seconds; same choices."),
        _built_in("sasrec", "SasRec", "Self-attentive sequence model; same choices."),
        _built_in("lsgrec", "LsgRec", "Signed graph: positive and negative preferences in two spaces.", _NEIGHBOURS),
        _built_in("oracle", "Oracle", "Knows the latent utilities, which no platform can see: a bound or a stand-in."),
        _built_in("block_disliked", "BlockDisliked", "Any model; disliked creators or topics go last.", _HEURISTICS),
        _built_in(
            "down_rank_similar", "DownRankSimilar", "Any model; what is near to dislikes goes down.", _HEURISTICS
        ),
        _built_in("forgetting_curve", "ForgettingCurve", "Any model; a fading penalty after dislikes.", _HEURISTICS),
        _built_in("drop_disliked", "DropDisliked", "Any model, which never hears of disliked items.", _HEURISTICS),
        _built_in("pnfrec", "PnfRec", "Two attention encoders, over liked and over rejected items.", _NEIGHBOURS),
        _built_in("contrastive_skips", "ContrastiveSkips", "Pushed away from what the session skipped.", _NEIGHBOURS),
        _built_in("csrec", "CsRec", "Attention model trained on the soft labels of teachers.", _NEIGHBOURS),
        _built_in("pmors", "Pmors", "Pre-ranker: agrees with a ranker, forgets push-back slowly.", _NEIGHBOURS),
        _built_in("relife", "Relife", "Re-ranker: reads clicks and non-clicks of whole past lists.", _NEIGHBOURS),
        _built_in("typed_negatives", "TypedNegatives", "Disliked items as negatives beside random ones.", _NEIGHBOURS),
        _built_in(
            "hard_negative_mixing",
            "HardNegativeMixing",
            "Random, disliked and skipped items as negatives.",
            _NEIGHBOURS,
        ),
        _built_in(
            "latent_intent", "LatentIntent", "Attention model told an intent inferred from behaviour.", _NEIGHBOURS
        ),
        _built_in("http", "HttpRecommender", "A model that a server of yours serves, over HTTP.", _ADAPTERS),
    )
}


def build(source: str | type[Any], config: Mapping[str, Any] | None = None) -> Recommender:
    """A recommender, not yet fitted.

    Args:
        source: a built-in name, an installed one, `module:Class`, or a class.
        config: its settings; None for the defaults.

    Raises:
        RecommenderError: the name is unknown, cannot be imported, or is not a recommender.
        pydantic.ValidationError: the settings are wrong; locations are relative to the settings.

    >>> build("popularity", {"smoothing": 2.0}).config
    PopularityConfig(smoothing=2.0, temperature=0.0)
    """
    cls, name = (_load(resolve(source)), source) if isinstance(source, str) else (source, source.__qualname__)
    settings = _config_class_of(cls, name).model_validate(dict(config or {}))
    recommender = cls(settings) if hasattr(cls, "config_class") else cls()
    missing = [part for part in _REQUIRED if not hasattr(recommender, part)]
    if missing:
        raise RecommenderError(f"recommender {name!r}: {cls.__qualname__} lacks {', '.join(missing)}")
    return recommender  # type: ignore[no-any-return]


def config_class(name: str) -> type[Config]:
    """The type of a recommender's settings; `Config`, which takes none, where the class does not name one.

    Raises:
        RecommenderError: the name is unknown or cannot be imported, or its `config_class` is not a `Config`.
    """
    return _config_class_of(_load(resolve(name)), name)


def _config_class_of(cls: type[Any], name: str) -> type[Config]:
    found = getattr(cls, "config_class", Config)
    if not (inspect.isclass(found) and issubclass(found, Config)):
        raise RecommenderError(
            f"recommender {name!r}: config_class: got {found!r}, expected a recommenders.base.Config"
        )
    return found


def describe_all() -> list[Entry]:
    """All recommenders with a name: the built-in ones, then those of other packages, by name."""
    return [*BUILT_IN.values(), *(_described(point) for point in _installed().values())]


def resolve(name: str) -> Entry:
    """Where a name leads, without importing it; other packages are looked through for unknown bare names only.

    Raises:
        RecommenderError: no such name.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    if ":" in name:
        return Entry(name, name, "")
    installed = _installed()
    if name in installed:
        return Entry(name, installed[name].value, "", _provider(installed[name]))
    known = [*BUILT_IN, *installed]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise RecommenderError(f"recommender: got {name!r}, expected one of {', '.join(known)}, or module:Class{hint}")


_REQUIRED = ("traits", "fit", "recommend", "state_dict", "load_state_dict")


def _load(entry: Entry) -> type[Any]:
    module_name, _, class_name = entry.target.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise RecommenderError(f"recommender {entry.name!r}: cannot import {entry.target!r}: {error}") from error
    if not inspect.isclass(found):
        raise RecommenderError(f"recommender {entry.name!r}: {entry.target!r}: got {found!r}, expected a class")
    return found


def _installed() -> dict[str, metadata.EntryPoint]:
    """Entry points of other packages by name, in order of name, the first by value of those that share one; a built-in
    name cannot be taken over."""
    points = sorted(metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda point: (point.name, point.value))
    found: dict[str, metadata.EntryPoint] = {}
    for point in points:
        if point.name not in BUILT_IN:
            found.setdefault(point.name, point)
    return found


def _described(point: metadata.EntryPoint) -> Entry:
    """A listing must survive a plug-in that cannot be imported: its line then says so."""
    entry = Entry(point.name, point.value, "", _provider(point))
    try:
        summary = (inspect.getdoc(_load(entry)) or "No description.").partition("\n")[0]
    except RecommenderError as error:
        summary = str(error)
    return Entry(entry.name, entry.target, summary, entry.provider)


def _provider(point: metadata.EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "unknown"
