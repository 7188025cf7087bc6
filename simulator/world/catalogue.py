"""The catalogue: what there is to recommend, synthetic or read from a table of real items.

Equations (u ~ uniform, g ~ standard normal; all keyed, all independent):

    topics of a creator     an order of topics, drawn without replacement with chances ~ rank**-0.6, weighted r**place;
                            r is such that the inverse Simpson index of the weights is `topics_per_creator`
    creator of an item      one item for each creator, then chances ~ rank**-creator_exponent
    embedding               unit(topic + 0.7 creator + 0.5 g / sqrt(d)), of unit vectors in d dimensions
    quality                 quality_sd * g
    duration                duration_median_seconds * exp(duration_sigma * g)
    popularity              ~ rank**-popularity_exponent, in a random order of the items
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtri

from recommenders.base import Bool, Float32, Float64, Int32, Int64, ItemFeatures
from simulator.draws import Draws, Purpose
from simulator.scenario import schema
from simulator.world.item_table import read_items

NO_EXPIRY = int(np.iinfo(np.int64).max)
"""The expiry tick of an item that stays."""

_TOPIC_EXPONENT = 0.6
_CREATOR_WEIGHT = 0.7
_NOISE_WEIGHT = 0.5
_BLOCK_CELLS = 1 << 20
_NEGLIGIBLE = 1e-9

# The last id of a draw says which quantity of its purpose it is for.
_VECTOR = 0
_TOPIC_ORDER = 1
_SCALARS = 0
_ORDERS = 1


@dataclass(frozen=True)
class Catalogue:
    """All items of a world. Arrays have one row an item; the row number is the item id.

    Attributes:
        features: what a recommender may know of the items. Release ticks of items that are older than the world are
            negative.
        embedding: float32[n_items, d], rows of length 1.
        quality: float32[n_items], in units of utility, the same for every user.
        popularity: float64[n_items], > 0 with sum 1; prior weights from which logging policies start.
        expiry_tick: int64[n_items], the first tick at which the item is gone; `NO_EXPIRY` for items that stay.
        item_name, creator_name, topic_name: names by id, for items from a table; None for synthetic ones.
    """

    features: ItemFeatures
    embedding: Float32
    quality: Float32
    popularity: Float64
    expiry_tick: Int64
    item_name: tuple[str, ...] | None = None
    creator_name: tuple[str, ...] | None = None
    topic_name: tuple[str, ...] | None = None

    @property
    def n_items(self) -> int:
        """Number of items, released or not."""
        return self.features.n_items

    def eligible(self, tick: int) -> Bool:
        """Which items may be shown at a tick, released and not expired: bool[n_items]."""
        return (self.features.release_tick <= tick) & (tick < self.expiry_tick)


def build_catalogue(settings: schema.Catalogue, draws: Draws, horizon_ticks: int, directory: Path) -> Catalogue:
    """The catalogue of a scenario: from its table where it names one, else synthetic.

    Args:
        settings: the scenario's `world.catalogue`.
        draws: the world's random numbers.
        horizon_ticks: length of the simulated time, over which new items are released.
        directory: what a relative path of a table starts from.

    Raises:
        CatalogueError: the table cannot be used (`simulator.world.item_table`).
    """
    if settings.table is None:
        return synthetic_catalogue(settings, draws, horizon_ticks)
    return catalogue_from_table(settings, settings.table, draws, horizon_ticks, directory)


def synthetic_catalogue(settings: schema.Catalogue, draws: Draws, horizon_ticks: int) -> Catalogue:
    """A catalogue by the equations at the top of this module.

    Item ids ascend with the release. `released_share` of the items are there from the start, the others follow at
    equal distances over the horizon. Where items have a lifetime, those there from the start are released at equal
    distances over one lifetime before it, so that they do not expire all at once; without a lifetime, at tick 0.
    """
    n = settings.items
    creator_uniform, rank_uniform, duration_uniform, quality_uniform = draws.uniform(
        Purpose.ITEMS, np.arange(n), 0, 0, _SCALARS
    )
    creator = _item_creators(settings, draws, creator_uniform)
    topic = _item_topics(settings, draws, creator, rank_uniform)
    log_duration = settings.duration_sigma * ndtri(duration_uniform)
    features = ItemFeatures(
        creator=creator,
        topic=topic,
        duration_seconds=(settings.duration_median_seconds * np.exp(log_duration)).astype(np.float32),
        release_tick=_synthetic_releases(settings, horizon_ticks),
        n_creators=settings.creators,
        n_topics=settings.topics,
    )
    topic_vector = _unit(_normals(draws, Purpose.TOPICS, settings.topics, settings.embedding_dim))
    return Catalogue(
        features=features,
        embedding=_embedding(topic_vector[topic], features, settings.embedding_dim, draws),
        quality=(settings.quality_sd * ndtri(quality_uniform)).astype(np.float32),
        popularity=_popularity(settings, draws, n),
        expiry_tick=_expiry(features.release_tick, settings.lifetime),
    )


def catalogue_from_table(
    settings: schema.Catalogue, table: schema.ItemTable, draws: Draws, horizon_ticks: int, directory: Path
) -> Catalogue:
    """A catalogue of real items; quality, popularity and embeddings, which no table has, are synthetic.

    The topic part of an embedding is the mean of the vectors of all topics that the table names for the item.

    The world begins with the earliest release of the table. If the releases span more than the simulated time, it
    begins later, so that it ends with the latest release: most of a long-grown catalogue is then there from the start,
    and the newest items appear during the run. Without a column of release dates all items are there from tick 0.

    Raises:
        CatalogueError: the table cannot be used.
    """
    rows = read_items(table, directory)
    n = len(rows.item_name)
    release = np.zeros(n, dtype=np.int64)
    if rows.release_milliseconds is not None:
        first, last = rows.release_milliseconds.min(), rows.release_milliseconds.max()
        release = rows.release_milliseconds - max(first, last - horizon_ticks)
    features = ItemFeatures(
        creator=rows.creator,
        topic=rows.topic,
        duration_seconds=rows.duration_seconds,
        release_tick=release,
        n_creators=len(rows.creator_name),
        n_topics=len(rows.topic_name),
    )
    tag_vector = _unit(_normals(draws, Purpose.TOPICS, rows.n_tag_names, settings.embedding_dim))
    topic_part = _unit(np.add.reduceat(tag_vector[rows.tag], rows.tag_start, axis=0))
    quality_uniform = draws.uniform(Purpose.ITEMS, np.arange(n), 0, 0, _SCALARS)[3]
    return Catalogue(
        features=features,
        embedding=_embedding(topic_part, features, settings.embedding_dim, draws),
        quality=(settings.quality_sd * ndtri(quality_uniform)).astype(np.float32),
        popularity=_popularity(settings, draws, n),
        expiry_tick=_expiry(release, settings.lifetime),
        item_name=rows.item_name,
        creator_name=rows.creator_name,
        topic_name=rows.topic_name,
    )


def zipf_weights(n: int, exponent: float) -> Float64:
    """Shares proportional to rank**-exponent, the largest first: float64[n] with sum 1.

    >>> zipf_weights(3, 1.0).round(3)
    array([0.545, 0.273, 0.182])
    """
    weight = np.arange(1, n + 1, dtype=np.float64) ** -exponent
    return np.asarray(weight / weight.sum(), dtype=np.float64)


def geometric_mix(effective: float, n: int) -> Float64:
    """Falling weights r**0, r**1, ... with a given effective number (inverse Simpson index, 1 / sum of squares).

    Args:
        effective: the effective number, >= 1; from n on, all n weights are equal.
        n: how many weights there may be.

    Returns:
        float64[m], m <= n, with sum 1; the tail under 1e-9 is cut.

    Source: the inverse Simpson index as a number of species, Hill 1973, Ecology.

    >>> geometric_mix(1.0, 20)
    array([1.])
    """
    if effective >= n:
        return np.full(n, 1 / n)

    def excess(ratio: float) -> float:
        weight = ratio ** np.arange(n)
        return float(weight.sum() ** 2 / (weight**2).sum()) - effective

    weight = brentq(excess, 0.0, 1.0, xtol=1e-12) ** np.arange(n)
    kept = weight[weight >= _NEGLIGIBLE * weight.sum()]
    return np.asarray(kept / kept.sum(), dtype=np.float64)


def _item_creators(settings: schema.Catalogue, draws: Draws, uniform: Float64) -> Int32:
    """int32[n_items]: each creator has an item as far as the items go round; the rest by Zipf shares."""
    creator = _choose(zipf_weights(settings.creators, settings.creator_exponent), uniform)
    first = min(settings.items, settings.creators)
    creator[:first] = np.arange(first)
    return creator[_random_order(draws, settings.items, word=0)]


def _item_topics(settings: schema.Catalogue, draws: Draws, creator: Int32, uniform: Float64) -> Int32:
    """int32[n_items], each drawn from the mix of its creator."""
    mix = geometric_mix(settings.topics_per_creator, settings.topics)
    order = _creator_topics(settings, draws, len(mix))
    return order[creator, _choose(mix, uniform)]


def _creator_topics(settings: schema.Catalogue, draws: Draws, n_places: int) -> Int32:
    """The first topics of every creator, without repeats: int32[n_creators, n_places].

    Drawn without replacement by exponential races: Efraimidis & Spirakis 2006, Information Processing Letters.
    """
    share = zipf_weights(settings.topics, _TOPIC_EXPONENT)
    order = np.empty((settings.creators, n_places), dtype=np.int32)
    for rows in _blocks(settings.creators, settings.topics):
        uniform = _uniforms(draws, Purpose.CREATORS, rows, settings.topics, _TOPIC_ORDER)
        order[rows] = np.argsort(-np.log(uniform) / share, axis=1)[:, :n_places]
    return order


def _synthetic_releases(settings: schema.Catalogue, horizon_ticks: int) -> Int64:
    n_start = max(1, round(settings.released_share * settings.items))
    n_later = settings.items - n_start
    age = (settings.lifetime or 0) * np.arange(n_start - 1, -1, -1, dtype=np.int64) // n_start
    later = horizon_ticks * np.arange(1, n_later + 1, dtype=np.int64) // (n_later + 1)
    return np.concatenate([-age, later])


def _expiry(release_tick: Int64, lifetime: int | None) -> Int64:
    return np.full_like(release_tick, NO_EXPIRY) if lifetime is None else release_tick + lifetime


def _popularity(settings: schema.Catalogue, draws: Draws, n_items: int) -> Float64:
    weights = np.empty(n_items)
    weights[_random_order(draws, n_items, word=1)] = zipf_weights(n_items, settings.popularity_exponent)
    return weights


def _random_order(draws: Draws, n_items: int, word: int) -> npt.NDArray[np.intp]:
    """A permutation of the items."""
    return np.argsort(draws.uniform(Purpose.ITEMS, np.arange(n_items), 0, 0, _ORDERS)[word], kind="stable")


def _choose(weights: Float64, uniform: Float64) -> Int32:
    """By inverse distribution function: int32 in [0, len(weights)), with the shape of `uniform`."""
    bounds = np.cumsum(weights)[:-1]
    return np.searchsorted(bounds, uniform, side="right").astype(np.int32)


def _embedding(topic_part: Float32, features: ItemFeatures, dim: int, draws: Draws) -> Float32:
    """float32[n_items, dim] of unit rows. Args: topic_part: float32[n_items, dim], unit rows."""
    creator_vector = _unit(_normals(draws, Purpose.CREATORS, features.n_creators, dim))
    noise = _normals(draws, Purpose.ITEM_EMBEDDING, features.n_items, dim)
    return _unit(
        topic_part
        + np.float32(_CREATOR_WEIGHT) * creator_vector[features.creator]
        + np.float32(_NOISE_WEIGHT / np.sqrt(dim)) * noise
    )


def _unit(rows: Float32) -> Float32:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def _normals(draws: Draws, purpose: Purpose, n_rows: int, n_columns: int) -> Float32:
    """Independent standard normals, row i keyed by i: float32[n_rows, n_columns]."""
    out = np.empty((n_rows, n_columns), dtype=np.float32)
    for rows in _blocks(n_rows, n_columns):
        out[rows] = ndtri(_uniforms(draws, purpose, rows, n_columns, _VECTOR))
    return out


def _uniforms(draws: Draws, purpose: Purpose, rows: slice, n_columns: int, quantity: int) -> Float64:
    """float64[rows, n_columns], keyed by row and column."""
    row, block = np.arange(rows.start, rows.stop)[:, None], np.arange((n_columns + 3) // 4)[None, :]
    words = draws.uniform(purpose, row, block, 0, quantity)
    return words.transpose(1, 2, 0).reshape(len(row), -1)[:, :n_columns]


def _blocks(n_rows: int, n_columns: int) -> list[slice]:
    """Slices of rows small enough that the temporaries of a large catalogue stay small."""
    step = max(1, _BLOCK_CELLS // n_columns)
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]
