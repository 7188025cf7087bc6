"""The heuristics on top of any model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from recommenders.base import (
    PADDING,
    Config,
    Feedback,
    Float32,
    Interactions,
    ItemFeatures,
    Progress,
    Recommender,
    RecommenderError,
    RequestDraws,
    Requests,
    Scorer,
    Slates,
    State,
    Traits,
)
from recommenders.heuristics.heuristic import HeuristicConfig
from recommenders.heuristics.item_vectors import consumption_vectors, similarity
from recommenders.heuristics.negatives import TICKS_PER_DAY
from recommenders.heuristics.ranking import put_behind, spread
from recommenders.registry import build, config_class
from recommenders.topk import hide_viewed, top_k
from tests.recommenders.cases import ask, assert_same, make_items, make_log, make_requests

SEEDS = st.integers(0, 10_000)
TABLE = f"{__name__}:Table"
FLAG = {"dislike": Feedback.DISLIKE, "dismiss": Feedback.DISMISS, "skip": Feedback.SKIP}
HEURISTICS = ("block_disliked", "down_rank_similar", "forgetting_curve", "drop_disliked")


class TableConfig(Config):
    """Settings of `Table`."""

    width: int = Field(default=4, ge=0)
    levels: int = Field(default=1000, ge=1)
    filter_viewed: bool = False


class Table:
    """Scores drawn from the user's id, few levels making ties; refuses any width but its own; adds the newest item."""

    config_class: ClassVar[type[Config]] = TableConfig

    def __init__(self, config: TableConfig) -> None:
        self.config = config
        self.traits = Traits(history_length=config.width)
        self.n_items = 0
        self.log: Interactions | None = None
        self.seed = -1

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        self.n_items, self.log, self.seed = items.n_items, log, seed
        if progress is not None:
            progress(1, 1)

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        score = self.scores(requests)
        if self.config.filter_viewed:
            hide_viewed(score, requests.history_item)
        return top_k(score, requests.eligible, k)

    def scores(self, requests: Requests) -> Float32:
        if requests.history_item.shape[1] != self.config.width:
            raise RecommenderError(f"history_item: got {requests.history_item.shape[1]}, expected {self.config.width}")
        score = np.empty((len(requests), self.n_items), np.float32)
        for row, user in enumerate(requests.user):
            key = [int(user), *(requests.history_item[row] + 1).tolist()]
            score[row] = np.random.default_rng(key).integers(self.config.levels, size=self.n_items) / 8
        return score

    def state_dict(self) -> State:
        return {"n_items": np.array([self.n_items])}

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        self.n_items = int(state["n_items"][0])


class DemandingConfig(TableConfig):
    """Settings of `Demanding`."""

    needed: int


class Demanding(Table):
    """A scorer that cannot do without a setting."""

    config_class = DemandingConfig


class Unscored:
    """A recommender that is no scorer."""

    traits = Traits()
    fit = recommend = state_dict = load_state_dict = lambda self: None


def wrap(name: str, table: Mapping[str, Any] | None = None, **settings: Any) -> Any:
    recommender = build(name, {"model": {"recommender": TABLE, "config": dict(table or {})}, **settings})
    recommender.fit(make_log(), make_items(), seed=3)
    return recommender


def table_scores(requests: Requests, **table: Any) -> Float32:
    bare = Table(TableConfig(**table))
    bare.fit(make_log(), make_items(), seed=3)
    return bare.scores(last(requests, bare.config.width))


def last(requests: Requests, width: int) -> Requests:
    names = [field.name for field in fields(Requests) if field.name.startswith("history")]
    return replace(
        requests, **{name: getattr(requests, name)[:, requests.history_item.shape[1] - width :] for name in names}
    )


def aged_requests(seed: int, n: int = 5, width: int = 8) -> Requests:
    """Requests whose histories are up to ten days old."""
    requests = make_requests(seed, n=n, width=width)
    age = -np.sort(-np.random.default_rng(seed).integers(0, 10 * TICKS_PER_DAY, (n, width)), axis=1)
    tick = np.full(n, 20 * TICKS_PER_DAY, np.int64)
    history_tick = np.where(requests.history_item == PADDING, 0, tick[:, None] - age)
    return replace(requests, tick=tick, history_tick=history_tick)


def one_request(*history: tuple[int, int, float]) -> Requests:
    """One user's history of (item, feedback, age in days), padded to 8."""
    requests = make_requests(0, n=1, width=8)
    pad = 8 - len(history)
    tick = 100 * TICKS_PER_DAY
    return replace(
        requests,
        tick=np.array([tick], np.int64),
        history_item=np.array([[PADDING] * pad + [item for item, _, _ in history]], np.int32),
        history_feedback=np.array([[0] * pad + [int(given) for _, given, _ in history]], np.uint8),
        history_dwell_seconds=np.zeros((1, 8), np.float32),
        history_tick=np.array([[0] * pad + [tick - round(age * TICKS_PER_DAY) for _, _, age in history]], np.int64),
    )


def negatives_of(
    requests: Requests, row: int, kinds: tuple[str, ...], interactions: int, days: float | None
) -> list[Any]:
    """The slow way: (item, interactions since, days since), oldest first."""
    found = []
    width = requests.history_item.shape[1]
    for column in range(width):
        item, feedback = int(requests.history_item[row, column]), int(requests.history_feedback[row, column])
        since = width - 1 - column
        age = (int(requests.tick[row]) - int(requests.history_tick[row, column])) / TICKS_PER_DAY
        if item == PADDING or since >= interactions or (days is not None and age > days):
            continue
        if any(feedback & FLAG[kind] for kind in kinds):
            found.append((item, since, age))
    return found


KINDS = st.lists(st.sampled_from(sorted(FLAG)), min_size=1, max_size=3, unique=True).map(tuple)
DAYS = st.none() | st.sampled_from([0.5, 3.0, 30.0])


@given(
    seed=SEEDS,
    kinds=KINDS,
    interactions=st.integers(1, 8),
    days=DAYS,
    by=st.sampled_from([("creator",), ("topic",), ("creator", "topic")]),
    levels=st.sampled_from([3, 1000]),
    viewed=st.booleans(),
)
def test_blocked_items_stand_behind_all_others_in_order_of_their_scores(
    seed: int, kinds: tuple[str, ...], interactions: int, days: float | None, by: Any, levels: int, viewed: bool
) -> None:
    requests, items = aged_requests(seed), make_items()
    table = {"levels": levels, "filter_viewed": viewed}
    blocker = wrap("block_disliked", table, feedback=kinds, interactions=interactions, days=days, by=by)
    slates = ask(blocker, requests, 40)
    score = table_scores(requests, **table)
    for row in range(len(requests)):
        bad = [item for item, _, _ in negatives_of(requests, row, kinds, interactions, days)]
        creators, topics = {items.creator[i] for i in bad}, {items.topic[i] for i in bad}
        seen = set(requests.history_item[row, -4:].tolist()) if viewed else set()

        places = []
        for item in range(40):
            blocked = "creator" in by and items.creator[item] in creators
            blocked |= "topic" in by and items.topic[item] in topics
            places.append((1, 0, 0, item) if item in seen else (0, int(blocked), -score[row, item], item))
        assert slates.item[row].tolist() == [place[-1] for place in sorted(places)]


def test_a_creator_is_blocked_for_a_while() -> None:
    history = [(3, Feedback.EXAMINED | Feedback.DISLIKE, 2.0)] + [(20, Feedback.EXAMINED, 1.0)] * 3
    requests = one_request(*history)
    creator = make_items().creator

    def shows_creator(**settings: Any) -> bool:
        return bool((creator[ask(wrap("block_disliked", **settings), requests, 30).item] == 3).any())

    assert not shows_creator()
    assert not shows_creator(interactions=4)
    assert shows_creator(interactions=3)
    assert not shows_creator(days=2.0)
    assert shows_creator(days=1.9)
    assert shows_creator(feedback=["skip", "dismiss"])


def test_a_block_is_lifted_where_too_few_items_remain() -> None:
    requests = one_request((3, Feedback.DISLIKE, 1.0))
    requests = replace(requests, eligible=np.isin(np.arange(40), [3, 11, 19, 27, 0]))
    slates = ask(wrap("block_disliked"), requests, 5)
    score = table_scores(requests)[0]
    assert slates.item[0].tolist() == [0, *sorted([3, 11, 19, 27], key=lambda item: (-score[item], item))]


@given(
    seed=SEEDS,
    kinds=KINDS,
    interactions=st.integers(1, 8),
    days=DAYS,
    unit=st.sampled_from(["interactions", "days"]),
    memory=st.sampled_from([0.3, 5.0]),
    share=st.sampled_from([0.0, 0.6, 1.0]),
)
def test_the_forgetting_curve_fades_as_it_says(
    seed: int, kinds: tuple[str, ...], interactions: int, days: float | None, unit: str, memory: float, share: float
) -> None:
    requests, items = aged_requests(seed), make_items()
    settings = {"feedback": kinds, "interactions": interactions, "days": days}
    curve = wrap("forgetting_curve", unit=unit, memory=memory, creator_share=share, penalty=1.5, **settings)
    score = table_scores(requests)
    expected = score.astype(np.float64)
    for row in range(len(requests)):
        unit_of_penalty = math.sqrt(np.mean((score[row] - np.mean(score[row], dtype=np.float64)) ** 2))
        for item, since, age in negatives_of(requests, row, kinds, interactions, days):
            left = math.exp(-(since if unit == "interactions" else age) / memory)
            for other in range(40):
                alike = share * (items.creator[other] == items.creator[item])
                alike += (1 - share) * (items.topic[other] == items.topic[item])
                expected[row, other] -= 1.5 * unit_of_penalty * left * alike
    np.testing.assert_allclose(curve.scores(requests), expected, rtol=1e-5, atol=2e-4)


def test_a_fresh_dislike_costs_one_penalty_and_a_memory_later_its_e_th_part() -> None:
    score = table_scores(one_request((8, Feedback.DISLIKE, 0.0)))[0]

    def penalty(days: float) -> float:
        curve = wrap("forgetting_curve", penalty=3.0, memory=4.0, unit="days", creator_share=1.0)
        return float(score[16] - curve.scores(one_request((8, Feedback.DISLIKE, days)))[0, 16])

    assert penalty(0) == pytest.approx(3 * score.std(dtype=np.float64), rel=1e-5)
    assert penalty(4) == pytest.approx(penalty(0) / math.e, rel=1e-5)


@given(
    seed=SEEDS,
    kinds=KINDS,
    interactions=st.integers(1, 8),
    radius=st.sampled_from([0.2, 0.8, 1.5]),
    weights=st.sampled_from([(1.0, 1.0, 0.5), (1.0, 0.0, 0.0), (0.0, 1.0, 1.0)]),
)
def test_what_is_near_push_back_is_down_ranked_by_distance(
    seed: int, kinds: tuple[str, ...], interactions: int, radius: float, weights: tuple[float, float, float]
) -> None:
    requests, items = aged_requests(seed), make_items()
    names = ("consumption_weight", "creator_weight", "topic_weight")
    settings: dict[str, Any] = dict(zip(names, weights, strict=True)) | {
        "feedback": kinds,
        "interactions": interactions,
    }
    ranker = wrap("down_rank_similar", radius=radius, penalty=2.5, dim=8, **settings)
    vector = consumption_vectors(make_log(), 40, 8, 10.0, 3)
    score = table_scores(requests)
    expected = score.astype(np.float64)
    for row in range(len(requests)):
        bad = [item for item, _, _ in negatives_of(requests, row, kinds, interactions, None)]
        for other in range(40):
            nearest = math.inf
            for item in bad:
                alike = weights[0] * math.fsum(vector[item] * vector[other])
                alike += weights[1] * (items.creator[item] == items.creator[other])
                alike += weights[2] * (items.topic[item] == items.topic[other])
                nearest = min(nearest, 1 - alike / sum(weights))
            expected[row, other] -= 2.5 * score[row].std(dtype=np.float64) * max(0, 1 - nearest / radius)
    np.testing.assert_allclose(ranker.scores(requests), expected, rtol=1e-5, atol=2e-4)


def test_items_of_one_audience_are_near_and_others_far() -> None:
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(60, dtype=np.int32), 10)
    item = (rng.integers(20, size=600) + 20 * (user % 2)).astype(np.int32)
    log = replace(make_log(n_rows=600), user=user, item=item, feedback=np.full(600, int(Feedback.LONG_DWELL), np.uint8))
    vector = consumption_vectors(log, 41, 2, 1.0, 0)
    product = vector @ vector.T
    assert product[:20, :20].min() > 0.9
    assert abs(product[:20, 20:40]).max() < 0.1
    assert (vector[40] == 0).all()
    np.testing.assert_allclose(np.diag(product)[:40], 1, atol=1e-4)


def test_similarities_do_not_depend_on_the_shape_of_their_product() -> None:
    vector = consumption_vectors(make_log(), 40, 16, 10.0, 3)
    items = make_items()
    together = similarity(vector, (items.creator, items.topic), (1.0, 1.0, 0.5), np.arange(40, dtype=np.int32))
    for item in range(40):
        alone = similarity(vector, (items.creator, items.topic), (1.0, 1.0, 0.5), np.array([item], np.int32))
        assert alone[0].tobytes() == together[item].tobytes()
        exact = [math.fsum(vector[item] * other) for other in vector]
        assert (vector[item] @ vector.T).tolist() == exact


@given(seed=SEEDS, kinds=KINDS)
def test_dropping_serves_as_if_push_back_had_never_been(seed: int, kinds: tuple[str, ...]) -> None:
    requests = aged_requests(seed)
    dropper = wrap("drop_disliked", feedback=kinds, interactions=8)
    rows = []
    for row in range(len(requests)):
        columns = [
            column
            for column in range(8)
            if requests.history_item[row, column] != PADDING
            and not any(requests.history_feedback[row, column] & FLAG[kind] for kind in kinds)
        ][-4:]
        rows.append([PADDING] * (4 - len(columns)) + requests.history_item[row, columns].tolist())
    without = replace(last(requests, 4), history_item=np.array(rows, np.int32))
    assert dropper.scores(requests).tobytes() == table_scores(without).tobytes()


def test_dropping_fits_and_reads_all_fields_without_push_back() -> None:
    log = make_log()
    dropper = wrap("drop_disliked", {"width": 3}, feedback=["dislike"], interactions=5)
    kept = (log.feedback & Feedback.DISLIKE) == 0
    assert 0 < kept.sum() < len(log)
    for field in fields(log):
        np.testing.assert_array_equal(getattr(dropper.model.log, field.name), getattr(log, field.name)[kept])
    assert dropper.traits.history_length == 5
    requests = one_request((1, Feedback.LIKE, 3), (2, Feedback.DISLIKE, 2), (3, Feedback.SKIP, 1), (4, 17, 0))
    read: list[Requests] = []
    dropper.model.scores = lambda inner: read.append(inner) or np.zeros((1, 40), np.float32)
    dropper.scores(requests)
    tick = requests.history_tick[0, -4:].tolist()
    assert read[0].history_item.tolist() == [[-1, 1, 3]]
    assert read[0].history_feedback.tolist() == [[0, int(Feedback.LIKE), int(Feedback.SKIP)]]
    assert read[0].history_tick.tolist() == [[0, tick[0], tick[2]]]
    assert read[0].history_item.dtype == np.int32
    assert read[0].history_feedback.dtype == np.uint8


def test_dropped_items_are_still_kept_from_being_shown_again() -> None:
    dropper = wrap("drop_disliked", {"width": 4, "filter_viewed": True})
    slates = ask(dropper, one_request((7, Feedback.DISLIKE, 1.0), (9, Feedback.LIKE, 1.0)), 40)
    assert sorted(slates.item[0, -2:].tolist()) == [7, 9]


@pytest.mark.parametrize("name", HEURISTICS)
@given(seed=SEEDS)
def test_without_push_back_a_wrapper_answers_as_the_model(name: str, seed: int) -> None:
    requests = aged_requests(seed)
    calm = replace(requests, history_feedback=requests.history_feedback & int(Feedback.EXAMINED | Feedback.LIKE))
    for viewed in (False, True):
        bare = Table(TableConfig(filter_viewed=viewed))
        bare.fit(make_log(), make_items(), seed=3)
        wrapped = wrap(name, {"filter_viewed": viewed})
        assert_same(ask(wrapped, calm, 9), ask(bare, last(calm, 4), 9))


@pytest.mark.parametrize("name", HEURISTICS)
def test_a_model_that_hands_out_its_own_scores_keeps_them(name: str) -> None:
    wrapped = wrap(name, {"filter_viewed": True})
    for seed in range(5):
        requests = aged_requests(seed)
        own = table_scores(requests)
        before = own.copy()
        wrapped.model.scores = lambda _, own=own: own
        ask(wrapped, requests, 5)
        np.testing.assert_array_equal(own, before)


@pytest.mark.parametrize("name", HEURISTICS)
def test_a_wrapper_wraps_a_wrapper(name: str) -> None:
    inner = {"recommender": TABLE, "config": {"width": 3, "filter_viewed": True}}
    outer = build(name, {"model": {"recommender": "block_disliked", "config": {"model": inner, "interactions": 7}}})
    assert isinstance(outer, Scorer)
    outer.fit(make_log(), make_items(), seed=3)
    requests = aged_requests(4)
    slates = ask(outer, requests, 40)
    for shown, history in zip(slates.item, requests.history_item[:, -3:], strict=True):
        viewed = set(history.tolist()) - {PADDING}
        assert set(shown[40 - len(viewed) :].tolist()) == viewed
    loaded = build(name, outer.config.model_dump())  # type: ignore[attr-defined]
    loaded.load_state_dict(outer.state_dict(), make_items())
    assert_same(ask(loaded, requests, 40), slates)
    assert "model.model.n_items" in outer.state_dict()


@pytest.mark.parametrize("name", HEURISTICS)
def test_seed_progress_and_traits_pass_through(name: str) -> None:
    recommender = build(name, {"model": {"recommender": TABLE, "config": {"width": 60}}, "interactions": 20})
    calls: list[tuple[int, int]] = []
    recommender.fit(make_log(), make_items(), seed=11, progress=lambda done, total: calls.append((done, total)))
    assert recommender.model.seed == 11  # type: ignore[attr-defined]
    assert calls == [(1, 1)]
    assert replace(recommender.traits, dislike_response=None) == Traits(history_length=60)
    inner = {"recommender": "gru4rec", "config": {"window": 9, "warm_start": True}}
    traits = build(name, {"model": inner, "interactions": 20}).traits
    expected = Traits(history_length=20, batch_size=256, warm_start=True, nested=True)
    assert replace(traits, dislike_response=None) == expected


@given(seed=SEEDS, levels=st.sampled_from([2, 5, 10**6]))
def test_put_behind_keeps_order_and_ties(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    score = ((rng.integers(levels, size=(6, 30)) - levels // 2) / levels).astype(np.float32)
    behind = rng.random((6, 30)) < rng.random((6, 1))
    behind[0], behind[1] = True, False
    before = score.copy()
    moved = put_behind(score, behind)
    assert np.isfinite(moved).all()
    np.testing.assert_array_equal(score, before)
    np.testing.assert_array_equal(moved[~behind], score[~behind])
    for old, new, back in zip(score, moved, behind, strict=True):
        np.testing.assert_array_equal(np.sign(new[back][:, None] - new[back]), np.sign(old[back][:, None] - old[back]))
        if back.any() and not back.all():
            assert new[back].max() < new[~back].min()


def test_put_behind_may_order_by_something_else_and_passes_zero() -> None:
    score = np.array([[0.0, 5.0, -0.0, 9.0]], np.float32)
    behind = np.array([False, True, False, True])
    moved = put_behind(score, behind, np.array([[0.0, 2.0, 0.0, 1.0]], np.float32))
    assert np.argsort(-moved[0], kind="stable").tolist() == [0, 2, 1, 3]
    assert moved[0, 1] < 0


def test_equal_scores_have_a_spread_of_one() -> None:
    score = np.array([[0.1] * 30, [0.0] * 15 + [2.0] * 15], np.float32)
    assert spread(score, np.ones(30, np.bool_)).tolist() == [1.0, 1.0]
    assert spread(score, np.arange(30) < 20).tolist() == [1.0, pytest.approx(math.sqrt(0.75))]


def test_errors_of_the_wrapped_settings_say_where() -> None:
    def errors(config: Mapping[str, Any]) -> list[tuple[tuple[int | str, ...], str]]:
        with pytest.raises(ValidationError) as caught:
            build("forgetting_curve", config)
        return [(error["loc"], error["msg"]) for error in caught.value.errors()]

    inner = {"recommender": "popularity", "config": {"smoothing": -1, "smoth": 2}}
    assert [loc for loc, _ in errors({"model": inner})] == [
        ("model", "config", "smoothing"),
        ("model", "config", "smoth"),
    ]
    assert "a setting of popularity: smoothing," in errors({"model": inner})[1][1]
    nested = {"recommender": "block_disliked", "config": {"model": inner, "interactions": 0}}
    assert [loc for loc, _ in errors({"model": nested})] == [
        ("model", "config", "model", "config", "smoothing"),
        ("model", "config", "model", "config", "smoth"),
        ("model", "config", "interactions"),
    ]
    assert errors({"model": {"recommender": "populrity"}})[0][0] == ("model", "recommender")
    assert errors({"penalty": -1, "by": 3}) == [
        (("penalty",), "Input should be greater than or equal to 0"),
        (("by",), "Extra inputs are not permitted"),
    ]


def test_a_model_without_scores_is_refused() -> None:
    for name in (f"{__name__}:Unscored", "random"):
        with pytest.raises(ValidationError, match="expected a recommender with `scores`") as caught:
            build("block_disliked", {"model": {"recommender": name}})
        assert [error["loc"] for error in caught.value.errors()] == [("model", "recommender")]


def test_required_settings_of_the_wrapped_model_may_not_be_left_out() -> None:
    with pytest.raises(ValidationError, match="Field required") as caught:
        build("block_disliked", {"model": {"recommender": f"{__name__}:Demanding"}})
    assert [error["loc"] for error in caught.value.errors()] == [("model", "config", "needed")]


def test_a_similarity_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="expected a weight above 0"):
        build("down_rank_similar", {"consumption_weight": 0, "creator_weight": 0, "topic_weight": 0})


def test_vectors_of_another_catalogue_are_refused() -> None:
    state = wrap("down_rank_similar").state_dict()
    other: Recommender = build("down_rank_similar", {"model": {"recommender": TABLE}})
    with pytest.raises(RecommenderError, match="state: vector: got 40 rows, expected 41"):
        other.load_state_dict(state, make_items(41))


def test_a_scenario_is_read_strictly_down_to_the_wrapped_settings() -> None:
    text = '{"model": {"recommender": "popularity", "config": {"temperature": "3", "window": 4}}}'
    with pytest.raises(ValidationError) as caught:
        config_class("block_disliked").model_validate_json(text, strict=True)
    assert [error["loc"] for error in caught.value.errors()] == [("model", "config", "temperature")]
    valid = config_class("block_disliked").model_validate_json(text.replace('"3"', "3"), strict=True)
    assert isinstance(valid, HeuristicConfig)
    full = config_class("popularity").model_validate({"temperature": 3, "window": 4})
    assert valid.model.config == full.model_dump()
