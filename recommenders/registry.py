"""Find a recommender by name, build it from settings, list what there is.

Three ways to name one: a built-in name (`popularity`), a name that an installed package offers by an entry point of the
group `pushback.recommenders`, or `module:Class`. A recommender's class names its settings in the attribute
`config_class` and is built as `Class(config)`; a class without that attribute takes no settings and is built as
`Class()`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from recommenders.base import Config, Recommender, RecommenderError
from recommenders.extras import IMPLICIT, LENSKIT, RECTOOLS, Extra
from recommenders.plugins import Entry, Kind


def _built_in(name: str, class_name: str, summary: str, package: str = "recommenders") -> Entry:
    return Entry(name, f"{package}.{name}:{class_name}", summary)


def _adapter(library: str, name: str, class_name: str, summary: str) -> Entry:
    return Entry(f"{library}_{name}", f"{_ADAPTERS}.{library}:{class_name}", summary)


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
        _built_in("matrix_factorization", "MatrixFactorization", "Implicit ALS; users are folded in from histories."),
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
        _adapter("implicit", "als", "ImplicitAls", "implicit's ALS; if so set, it reads dislikes."),
        _adapter("lenskit", "item_knn", "LenskitItemKnn", "LensKit's item-kNN, on what was liked."),
        _adapter("lenskit", "als", "LenskitAls", "LensKit's implicit ALS, on what was liked."),
        _adapter("lenskit", "biased_mf", "LenskitBiasedMf", "LensKit's ALS on ratings; it reads dislikes."),
        _adapter("rectools", "sasrec", "RectoolsSasRec", "RecTools' SASRec; no negative feedback."),
        _adapter("rectools", "bert4rec", "RectoolsBert4Rec", "RecTools' BERT4Rec; no negative feedback."),
    )
}

EXTRAS: Mapping[str, Extra] = {
    "implicit_als": IMPLICIT,
    "lenskit_item_knn": LENSKIT,
    "lenskit_als": LENSKIT,
    "lenskit_biased_mf": LENSKIT,
    "rectools_sasrec": RECTOOLS,
    "rectools_bert4rec": RECTOOLS,
}
"""The optional extras that recommenders need, by their names."""


KIND = Kind("recommender", "Class", BUILT_IN, RecommenderError)

_REQUIRED = ("traits", "fit", "recommend", "state_dict", "load_state_dict")


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
    cls, name = (KIND.load_class(resolve(source)), source) if isinstance(source, str) else (source, source.__qualname__)
    return KIND.build(cls, name, config or {}, _REQUIRED)  # type: ignore[no-any-return]


def config_class(name: str) -> type[Config]:
    """The type of a recommender's settings; `Config`, which takes none, where the class does not name one.

    Raises:
        RecommenderError: the name is unknown or cannot be imported, or its `config_class` is not a `Config`.
    """
    return KIND.config_class(KIND.load_class(resolve(name)), name)


def require_extra(name: str) -> None:
    """Check that the optional extra that a recommender needs, if any, is installed; nothing is imported.

    Raises:
        RecommenderError: it is not; the message says what installs it.
    """
    if name in EXTRAS:
        EXTRAS[name].require(name)


def describe_all() -> list[Entry]:
    """All recommenders with a name: the built-in ones, then those of other packages, by name.

    The summary of one whose extra is missing says so.
    """
    return [*(_with_what_is_missing(entry) for entry in BUILT_IN.values()), *KIND.describe_installed(KIND.load_class)]


def resolve(name: str) -> Entry:
    """Where a name leads, without importing it; other packages are looked through for unknown bare names only.

    Raises:
        RecommenderError: no such name.
    """
    return BUILT_IN[name] if name in BUILT_IN else KIND.find(name)


def _with_what_is_missing(entry: Entry) -> Entry:
    extra = EXTRAS.get(entry.name)
    if extra is None or not extra.is_missing():
        return entry
    return replace(entry, summary=f"{entry.summary} Not installed: {extra.install}")
