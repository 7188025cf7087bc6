"""The catalogue: shape and laws of the synthetic one, and of the one made from a table."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from recommenders.base import ItemFeatures
from simulator.draws import Draws
from simulator.scenario import schema
from simulator.world.catalogue import NO_EXPIRY, Catalogue, build_catalogue, geometric_mix, zipf_weights
from simulator.world.item_table import CatalogueError

DAY = 86_400_000
HORIZON = 14 * DAY
FALSE_ALARM = 1e-5
"""Chance that a statistical test here would fail for another seed."""

SHIPPED = {
    "path": "shipped:kuairand_videos",
    "duration_unit": "ms",
    "columns": {
        "item": "video_id",
        "creator": "author_id",
        "topics": "tag",
        "duration": "video_duration",
        "release": "upload_dt",
    },
}


def build(seed: int = 1, horizon: int = HORIZON, directory: Path = Path(), **settings: Any) -> Catalogue:
    return build_catalogue(schema.Catalogue.model_validate(settings), Draws(seed), horizon, directory)


def from_csv(folder: Path, text: str, release: bool = False, **settings: Any) -> Catalogue:
    (folder / "items.csv").write_text("item_id,creator_id,topics,duration_seconds,released\n" + text)
    columns = {"release": "released"} if release else {}
    return build(directory=folder, table={"path": "items.csv", "columns": columns}, **settings)


def same(left: Catalogue, right: Catalogue) -> bool:
    arrays = [f.name for f in fields(Catalogue) if f.name != "features"]
    features = [f.name for f in fields(ItemFeatures)]
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in arrays) and all(
        np.array_equal(getattr(left.features, name), getattr(right.features, name)) for name in features
    )


@given(
    st.builds(
        dict,
        items=st.integers(1, 60),
        creators=st.integers(1, 40),
        topics=st.integers(1, 12),
        topics_per_creator=st.floats(1, 15),
        creator_exponent=st.floats(0, 3),
        popularity_exponent=st.floats(0, 3),
        quality_sd=st.floats(0, 2),
        embedding_dim=st.integers(2, 9),
        duration_sigma=st.floats(0, 2),
        released_share=st.floats(0.01, 1),
        lifetime=st.sampled_from([None, "1h", "3d", "30d"]),
    ),
    st.integers(0, 2**63),
)
def test_every_synthetic_catalogue_keeps_the_contract(settings: dict[str, Any], seed: int) -> None:
    catalogue = build(seed, **settings)
    features, n = catalogue.features, settings["items"]
    assert catalogue.n_items == n
    assert (features.n_creators, features.n_topics) == (settings["creators"], settings["topics"])
    dtypes = {
        "creator": (features.creator.dtype, np.int32),
        "topic": (features.topic.dtype, np.int32),
        "duration": (features.duration_seconds.dtype, np.float32),
        "release": (features.release_tick.dtype, np.int64),
        "quality": (catalogue.quality.dtype, np.float32),
        "popularity": (catalogue.popularity.dtype, np.float64),
        "expiry": (catalogue.expiry_tick.dtype, np.int64),
    }
    assert all(got == wanted for got, wanted in dtypes.values()), dtypes
    assert features.creator.min() >= 0
    assert features.creator.max() < features.n_creators
    assert features.topic.min() >= 0
    assert features.topic.max() < features.n_topics
    assert len(features.duration_seconds) == len(catalogue.quality) == len(catalogue.popularity) == n
    if n >= features.n_creators:
        assert len(np.unique(features.creator)) == features.n_creators, "every creator has an item"
    assert features.duration_seconds.min() > 0
    assert catalogue.embedding.shape == (n, settings["embedding_dim"])
    assert catalogue.embedding.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(catalogue.embedding, axis=1), 1, atol=1e-5)
    assert catalogue.popularity.min() > 0
    assert catalogue.popularity.sum() == pytest.approx(1)
    assert (np.diff(features.release_tick) >= 0).all()
    assert features.release_tick[-1] < HORIZON
    assert (catalogue.expiry_tick > features.release_tick).all()
    assert same(catalogue, build(seed, **settings))


def test_another_seed_gives_another_catalogue() -> None:
    one, other = build(1), build(2)
    assert not np.array_equal(one.features.creator, other.features.creator)
    assert not np.array_equal(one.quality, other.quality)
    assert abs(stats.pearsonr(one.quality, other.quality).statistic) < stats.norm.isf(FALSE_ALARM / 2) / 2_000**0.5


def test_large_catalogues_do_not_depend_on_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = build(items=300)
    monkeypatch.setattr("simulator.world.catalogue._BLOCK_CELLS", 100)
    assert same(whole, build(items=300))


def test_items_are_eligible_from_release_to_expiry() -> None:
    catalogue = build(items=100, released_share=0.5, lifetime="2d")
    for i in (0, 49, 50, 99):
        release, expiry = int(catalogue.features.release_tick[i]), int(catalogue.expiry_tick[i])
        assert expiry == release + 2 * DAY
        seen = [bool(catalogue.eligible(tick)[i]) for tick in (release - 1, release, expiry - 1, expiry)]
        assert seen == [False, True, True, False]


def test_the_released_share_is_there_at_the_start_and_the_rest_follows_evenly() -> None:
    catalogue = build(items=1_000, released_share=0.6)
    assert catalogue.eligible(0).sum() == 600
    assert catalogue.eligible(HORIZON // 2).sum() == pytest.approx(800, abs=1)
    assert catalogue.eligible(HORIZON).all()
    assert (catalogue.features.release_tick[:600] == 0).all()
    assert (catalogue.expiry_tick == NO_EXPIRY).all()


def test_items_with_a_lifetime_do_not_all_expire_at_once() -> None:
    catalogue = build(items=1_000, lifetime="4d")
    assert catalogue.eligible(0).all()
    remaining = [int(catalogue.eligible(day * DAY).sum()) for day in range(5)]
    assert remaining == pytest.approx([1_000, 750, 500, 250, 0], abs=1)


def test_items_per_creator_follow_zipf() -> None:
    """Beyond the one item that each creator has, the counts are multinomial with Zipf shares (chi-square)."""
    n_items, n_creators = 20_000, 50
    counts = np.bincount(build(items=n_items, creators=n_creators, creator_exponent=1.0).features.creator)
    expected = zipf_weights(n_creators, 1.0) * (n_items - n_creators)
    assert stats.chisquare(counts - 1, expected).pvalue > FALSE_ALARM


def test_item_numbers_tell_nothing_of_the_creator() -> None:
    creator = build(items=5_000).features.creator
    assert stats.pearsonr(np.arange(5_000), creator).pvalue > FALSE_ALARM


@pytest.mark.parametrize("effective", [1.0, 1.5, 4.0, 10.0])
def test_creators_spread_over_the_effective_number_of_topics(effective: float) -> None:
    """The sample's inverse Simpson index, corrected for drawing with replacement, averages to the setting."""
    features = build(items=40_000, creators=100, creator_exponent=0, topics=10, topics_per_creator=effective).features
    count = np.zeros((100, 10))
    np.add.at(count, (features.creator, features.topic), 1)
    n = count.sum(axis=1)
    simpson = (count * (count - 1)).sum(axis=1) / (n * (n - 1))
    assert 1 / simpson.mean() == pytest.approx(effective, rel=0.02)


def test_topics_differ_in_size_but_none_is_empty() -> None:
    size = np.bincount(build(items=20_000, creators=2_000).features.topic, minlength=20)
    assert size.min() > 0
    assert size[:5].sum() > 2 * size[-5:].sum()


@given(st.floats(1, 60), st.integers(1, 50))
def test_a_mix_has_its_effective_number(effective: float, n: int) -> None:
    mix = geometric_mix(effective, n)
    assert mix.sum() == pytest.approx(1)
    assert (np.diff(mix) <= 0).all()
    assert 1 / (mix**2).sum() == pytest.approx(min(effective, n), rel=1e-6)


def test_quality_and_duration_have_their_distributions() -> None:
    catalogue = build(items=20_000, quality_sd=0.4, duration_median_seconds=30, duration_sigma=0.5)
    log_duration = np.log(catalogue.features.duration_seconds.astype(float) / 30) / 0.5
    assert stats.kstest(catalogue.quality / 0.4, "norm").pvalue > FALSE_ALARM / 2
    assert stats.kstest(log_duration, "norm").pvalue > FALSE_ALARM / 2


def test_popularity_is_zipf_in_an_order_of_its_own() -> None:
    catalogue = build(items=5_000, popularity_exponent=1.2)
    np.testing.assert_allclose(np.sort(catalogue.popularity)[::-1], zipf_weights(5_000, 1.2))
    for other in (np.arange(5_000), catalogue.features.creator, catalogue.quality):
        assert stats.spearmanr(catalogue.popularity, other).pvalue > FALSE_ALARM / 3


def test_embeddings_are_closer_within_a_topic_and_closest_within_a_creator() -> None:
    catalogue = build(items=1_000, embedding_dim=32)
    cosine = catalogue.embedding @ catalogue.embedding.T
    topic, creator = catalogue.features.topic, catalogue.features.creator
    same_topic, same_creator = topic[:, None] == topic, creator[:, None] == creator
    off_diagonal = ~np.eye(1_000, dtype=bool)
    both = cosine[same_topic & same_creator & off_diagonal].mean()
    only_topic = cosine[same_topic & ~same_creator].mean()
    neither = cosine[~same_topic & ~same_creator].mean()
    assert both > only_topic + 0.1
    assert only_topic > neither + 0.3
    assert abs(neither) < 0.1


def test_the_shipped_videos_make_a_catalogue() -> None:
    catalogue = build(table={**SHIPPED, "min_topic_items": 30})
    features = catalogue.features
    assert (catalogue.n_items, features.n_creators) == (7_583, 6_510)
    assert catalogue.item_name is not None
    assert catalogue.creator_name is not None
    assert catalogue.topic_name is not None
    assert (len(catalogue.item_name), len(catalogue.creator_name)) == (7_583, 6_510)
    assert catalogue.topic_name[-2:] == ("other", "unknown")
    assert np.bincount(features.topic).min() >= 30
    assert len(catalogue.topic_name) == features.n_topics == 37
    assert [int(catalogue.eligible(day * DAY).sum()) for day in range(3)] == [2_832, 6_256, 7_583]
    assert 5 <= features.duration_seconds.min() < features.duration_seconds.max() < 1_200
    np.testing.assert_allclose(np.linalg.norm(catalogue.embedding, axis=1), 1, atol=1e-5)


def test_the_order_of_a_tables_rows_changes_nothing(tmp_path: Path) -> None:
    rows = [f'{i},{i % 7},"t{i % 3},t{i % 5}",{i + 1},2022-04-{1 + i % 9:02}\n' for i in range(60)]
    assert same(from_csv(tmp_path, "".join(rows), True), from_csv(tmp_path, "".join(reversed(rows)), True))


def test_without_release_dates_all_items_are_there_from_the_start(tmp_path: Path) -> None:
    catalogue = from_csv(tmp_path, "1,a,x,1,2022-04-10\n2,a,x,1,2022-04-09\n")
    assert catalogue.features.release_tick.tolist() == [0, 0]


def test_the_world_begins_with_the_earliest_release(tmp_path: Path) -> None:
    catalogue = from_csv(tmp_path, "1,a,x,1,2022-04-10\n2,a,x,1,2022-04-09\n3,a,x,1,2022-04-23\n", release=True)
    assert catalogue.features.release_tick.tolist() == [DAY, 0, HORIZON]


def test_a_table_longer_than_the_run_ends_with_it(tmp_path: Path) -> None:
    catalogue = from_csv(tmp_path, "1,a,x,1,2022-04-23\n2,a,x,1,2005-04-23\n3,a,x,1,2022-04-20\n", release=True)
    assert catalogue.features.release_tick[[0, 2]].tolist() == [HORIZON, HORIZON - 3 * DAY]
    assert catalogue.features.release_tick[1] < 0
    assert catalogue.eligible(0).tolist() == [False, True, False]


def test_an_items_topics_are_averaged_in_its_embedding(tmp_path: Path) -> None:
    rows = [f'{i},c{i},"{"x" if i < 100 else "y" if i < 200 else "x,y"}",1,\n' for i in range(300)]
    catalogue = from_csv(tmp_path, "".join(rows), embedding_dim=64)
    x, y, both = (catalogue.embedding[part].mean(axis=0) for part in (slice(100), slice(100, 200), slice(200, 300)))
    mean = (x + y) / np.linalg.norm(x + y)
    assert both @ mean / np.linalg.norm(both) > 0.95
    assert catalogue.topic_name == ("x", "y")
    assert (catalogue.features.topic[200:] == 0).all()


def test_a_table_of_one_item_will_do(tmp_path: Path) -> None:
    catalogue = from_csv(tmp_path, "only,a,,5,\n")
    assert (catalogue.n_items, catalogue.topic_name) == (1, ("unknown",))
    assert catalogue.popularity.tolist() == [1.0]


def test_faults_of_a_table_come_through(tmp_path: Path) -> None:
    with pytest.raises(
        CatalogueError, match=r"^items\.csv:2: duration_seconds: got 'long', expected a number from 1e-6"
    ):
        from_csv(tmp_path, "1,a,x,long,\n2,a,x,1,\n")
