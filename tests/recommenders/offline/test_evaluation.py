"""Every metric equals a slow, obvious second implementation; and nothing leaks from the future."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders.base import (
    PADDING,
    Feedback,
    Float32,
    Interactions,
    ItemFeatures,
    Recommender,
    RecommenderError,
    RequestDraws,
    Requests,
    Slates,
    State,
    Traits,
)
from recommenders.offline.backtest import ModelSpec, best_models, fit_and_measure, sizes, summarise
from recommenders.offline.evaluation import Evaluation, evaluate, labels_of
from recommenders.offline.faults import LogError
from recommenders.offline.metrics import metrics_at
from recommenders.offline.splits import Split, split_by_time, split_last
from recommenders.registry import build
from recommenders.topk import hide_viewed, top_k
from tests.recommenders.cases import SMALL, make_items, make_log

SEEDS = st.integers(0, 10_000)
K = 5


class Stub:
    """Scores that are a function of the history, with many ties."""

    traits = Traits(history_length=4)

    def __init__(self, score_of: Callable[[Requests], Float32] | None = None) -> None:
        self._score_of = score_of

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: object = None) -> None:
        self.n_items = items.n_items

    def scores(self, requests: Requests) -> Float32:
        if self._score_of is not None:
            return self._score_of(requests)
        newest = requests.history_item[:, -1:].astype(np.int64)
        return ((np.arange(self.n_items) * 7 + newest * 3) % 5).astype(np.float32)

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        return top_k(self.scores(requests), requests.eligible, k)

    def state_dict(self) -> State:
        return {}

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        self.n_items = items.n_items


def made(split: Split, stub: Recommender | None = None) -> Recommender:
    recommender = stub or Stub()
    recommender.fit(split.train, split.items, seed=0)
    return recommender


def slow_means(split: Split, recommender: Stub, k: int) -> dict[str, float]:
    """The metrics from their definitions, one event at a time; equal scores are averaged over by counting orders."""
    e = split.events
    users: dict[str, dict[int, list[float]]] = {}
    labels = labels_of(e)
    shown: set[int] = set()
    n_items = split.items.n_items

    def note(name: str, user: int, value: float) -> None:
        users.setdefault(name, {}).setdefault(user, []).append(value)

    def score_at(past: list[int], user: int) -> np.ndarray:
        width = recommender.traits.history_length
        window = ([PADDING] * width + [int(e.item[r]) for r in past])[-width:]
        requests = Requests(
            *(np.array([user], np.int32), np.zeros(1, np.int32), np.zeros(1, np.int32), np.zeros(1, np.int64)),
            np.array([window], np.int32),
            np.zeros((1, width), np.uint8),
            np.zeros((1, width), np.float32),
            np.zeros((1, width), np.int64),
            np.ones(n_items, np.bool_),
        )
        return recommender.scores(requests)[0]

    held: dict[int, tuple[set[int], set[int]]] = {}
    for row in np.flatnonzero(split.is_test).tolist():
        user, target = int(e.user[row]), int(e.item[row])
        liked, disliked = bool(labels.positive[row]), bool(labels.negative[row])
        if not (liked or disliked):
            continue
        past = [r for r in range(row) if e.user[r] == user]
        score = score_at(past, user)
        candidates = [i for i in range(n_items) if i == target or i not in {int(e.item[r]) for r in past}]
        above = sum(score[i] > score[target] for i in candidates)
        level = sum(score[i] == score[target] for i in candidates)
        ranks = range(above + 1, above + level + 1)
        hit = np.mean([r <= k for r in ranks])
        p = math.exp(float(score[target])) / sum(math.exp(float(s)) for s in score)
        shown |= set(sorted(candidates, key=lambda i, score=score: (-score[i], i))[:k])
        if liked:
            note(f"hr@{k}", user, hit)
            note(f"ndcg@{k}", user, np.mean([1 / math.log2(1 + r) if r <= k else 0 for r in ranks]))
            note(f"mrr@{k}", user, np.mean([1 / r if r <= k else 0 for r in ranks]))
            note("log_lift_positive", user, math.log(p * n_items))
            held.setdefault(user, (set(), set()))[0].add(target)
        else:
            note(f"hr_minus@{k}", user, hit)
            note("log_lift_negative", user, math.log(p * n_items))
            note("mass_negative", user, p * n_items)
            held.setdefault(user, (set(), set()))[1].add(target)
    for user, (liked_items, disliked_items) in held.items():
        more, less = liked_items - disliked_items, disliked_items - liked_items
        if more and less:
            score = score_at([r for r in range(len(e)) if e.user[r] == user and not split.is_test[r]], user)
            pairs = [(score[a] > score[b]) + 0.5 * (score[a] == score[b]) for a in more for b in less]
            note("dislike_auc", user, np.mean(pairs))
    found = {name: float(np.mean([np.mean(v) for v in by.values()])) for name, by in users.items()}
    return found | {f"coverage@{k}": len(shown) / n_items}


def some_split(seed: int, kind: str = "time", n_items: int = 25) -> Split:
    log = make_log(seed, n_users=8, n_rows=160, n_items=n_items)
    items = make_items(n_items)
    return split_last(log, items) if kind == "last" else split_by_time(log, items, test_share=0.4)


@settings(max_examples=25)
@given(seed=SEEDS, kind=st.sampled_from(["time", "last"]))
def test_every_metric_equals_the_slow_reference(seed: int, kind: str) -> None:
    split = some_split(seed, kind)
    recommender = made(split)
    try:
        found = evaluate(recommender, split, ks=(K,)).means()
    except LogError:  # a rare split without targets
        return
    expected = slow_means(split, recommender, K)  # type: ignore[arg-type]
    for name in found:
        if name in expected:
            assert found[name] == pytest.approx(expected[name], rel=1e-5), name
        else:
            assert math.isnan(found[name]), name


@given(seed=SEEDS)
def test_a_recommender_without_scores_gets_the_same_top_lists(seed: int) -> None:
    """A slate ranks as its scores do, if nothing ties."""
    split = some_split(seed)
    order = np.random.default_rng(seed).permutation(split.items.n_items).astype(np.float32)

    class Slated(Stub):
        scores = None  # type: ignore[assignment]

        def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
            return top_k(np.tile(order, (len(requests), 1)), requests.eligible, k)

    ours = evaluate(made(split, Slated()), split, ks=(K,)).means()
    theirs = evaluate(made(split, Stub(lambda r: np.tile(order, (len(r), 1)))), split, ks=(K,)).means()
    for name in theirs:
        if name.endswith(f"@{K}"):
            assert ours[name] == pytest.approx(theirs[name], nan_ok=True), name
        else:
            assert math.isnan(ours[name])


def prophet(split: Split, sign: float) -> Stub:
    """Knows each user's next row, and gives it the highest score (or the lowest); dislikes the other way round."""
    e, labels = split.events, labels_of(split.events)

    def score_of(requests: Requests) -> Float32:
        score = np.zeros((len(requests), split.items.n_items), np.float32)
        for i, (user, tick) in enumerate(zip(requests.user, requests.tick, strict=True)):
            later = (e.user == user) & (e.tick >= tick)
            score[i, e.item[later & labels.negative]] = -sign
            score[i, e.item[later & labels.positive]] = sign
            score[i, e.item[np.flatnonzero(later)[0]]] = 2 * sign * (1 if labels.positive[later][0] else -1)
        return score

    return Stub(score_of)


@given(seed=SEEDS)
def test_a_prophet_scores_one_and_its_opposite_zero(seed: int) -> None:
    split = some_split(seed, n_items=200)  # so that more than K items are left that the user never had
    right = evaluate(made(split, prophet(split, 1)), split, ks=(K,)).means()
    wrong = evaluate(made(split, prophet(split, -1)), split, ks=(K,)).means()
    for name in ("hr", "ndcg", "mrr"):
        assert right[f"{name}@{K}"] == 1
        assert wrong[f"{name}@{K}"] == 0
    if not math.isnan(right[f"hr_minus@{K}"]):
        assert right[f"hr_minus@{K}"] == 0
        assert wrong[f"hr_minus@{K}"] == 1
        assert wrong["mass_negative"] > 1 > right["mass_negative"]
    assert right["log_lift_positive"] > 0 > wrong["log_lift_positive"]


@given(seed=SEEDS)
def test_turning_the_scores_round_turns_the_dislike_auc_round(seed: int) -> None:
    split = some_split(seed)
    score = np.random.default_rng(seed).integers(0, 4, split.items.n_items).astype(np.float32)
    auc = [
        evaluate(made(split, Stub(lambda r, s=s: np.tile(s * score, (len(r), 1)))), split, ks=(K,)).by_user[
            "dislike_auc"
        ]
        for s in (1, -1)
    ]
    np.testing.assert_allclose(auc[0], 1 - auc[1])


@given(seed=SEEDS)
def test_renaming_items_changes_nothing(seed: int) -> None:
    log, items = make_log(seed, n_users=8, n_rows=160, n_items=25), make_items(25)
    name = np.random.default_rng(seed).permutation(25).astype(np.int32)
    weight = np.random.default_rng(seed + 1).integers(0, 6, 25).astype(np.float32)

    def measure(log: Interactions, weight_of_item: Float32) -> dict[str, float]:
        split = split_by_time(log, items, test_share=0.4)
        stub = Stub(lambda r: np.tile(weight_of_item[split.item], (len(r), 1)))
        means = evaluate(made(split, stub), split, ks=(K,)).means()
        return {
            n: v for n, v in means.items() if "coverage" not in n
        }  # which of equal items is shown is a matter of ids

    renamed = np.empty(25, np.float32)
    renamed[name] = weight
    before, after = measure(log, weight), measure(replace(log, item=name[log.item]), renamed)
    for key in before:
        assert before[key] == pytest.approx(after[key], rel=1e-6, nan_ok=True), key


@settings(max_examples=4)
@given(seed=SEEDS)
def test_the_future_changes_no_training_and_no_earlier_result(seed: int) -> None:
    """Other users, items and feedback after the boundary: the same weights bit for bit, the same earlier figures."""
    log, items = make_log(seed, n_users=8, n_rows=160, n_items=25), make_items(25)
    rng = np.random.default_rng(seed)
    boundary, change_from = int(log.tick[96]), int(log.tick[130])
    later = log.tick >= change_from
    other = replace(
        log,
        user=np.where(later, rng.integers(0, 12, 160), log.user).astype(np.int32),
        item=np.where(later, rng.integers(0, 25, 160), log.item).astype(np.int32),
        feedback=np.where(later, 1 | rng.integers(0, 64, 160), log.feedback).astype(np.uint8),
    )
    splits = [split_by_time(one, items, boundary_tick=boundary) for one in (log, other)]
    for field in fields(ItemFeatures):
        np.testing.assert_array_equal(*(getattr(s.items, field.name) for s in splits))
    models = [build("gru4rec", SMALL) for _ in splits]
    for model, split in zip(models, splits, strict=True):
        model.fit(split.train, split.items, seed=1)
    ours, theirs = (model.state_dict() for model in models)
    assert all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)
    early = [
        replace(s, events=s.events.take(s.events.tick < change_from), is_test=s.is_test[s.events.tick < change_from])
        for s in splits
    ]
    whole = evaluate(models[0], early[0], ks=(K,)).means()
    again = evaluate(models[1], early[1], ks=(K,)).means()
    assert whole == pytest.approx(again, nan_ok=True)


@given(seed=SEEDS)
def test_the_history_is_what_the_user_did_before(seed: int) -> None:
    split = some_split(seed)
    asked: list[Requests] = []

    def remember(requests: Requests) -> Float32:
        asked.append(requests)
        return np.zeros((len(requests), split.items.n_items), np.float32)

    evaluate(made(split, Stub(remember)), split, ks=(K,))
    e = split.events
    for requests in asked:
        for i in range(len(requests)):
            past = (e.user == requests.user[i]) & (e.tick < requests.tick[i])
            known = e.item[past][-4:].tolist()
            assert requests.history_item[i].tolist() == [PADDING] * (4 - len(known)) + known
            assert (requests.history_tick[i][4 - len(known) :] < requests.tick[i]).all()


@given(seed=SEEDS, kind=st.sampled_from(["time", "last"]))
def test_a_split_leaves_no_row_out_and_keeps_its_sides_apart(seed: int, kind: str) -> None:
    log, items = make_log(seed, n_users=8, n_rows=100, n_items=60), make_items(60)
    split = split_last(log, items) if kind == "last" else split_by_time(log, items, test_share=0.3)
    assert len(split.events) + split.n_unknown_item_rows == len(log)
    assert set(split.train.item.tolist()) == set(range(split.items.n_items))
    assert set(split.train.user.tolist()) == set(range(split.n_train_users))
    e = split.events
    if kind == "time":
        assert e.tick[~split.is_test].max() < e.tick[split.is_test].min()
    for user in range(len(split.user)):
        own = split.is_test[e.user == user]
        assert (np.diff(own.astype(int)) >= 0).all()
        if kind == "last":
            assert own.sum() <= 1
    np.testing.assert_array_equal(split.items.topic, np.unique(items.topic[split.item], return_inverse=True)[1])


@pytest.mark.parametrize("name", ["item_knn", "gru4rec", "popularity", "ease"])
def test_a_model_is_measured_alike_with_one_seed(name: str) -> None:
    split = some_split(3)
    config = SMALL if name == "gru4rec" else {}
    fits = [
        fit_and_measure(
            ModelSpec(name, name, config), split, seed=4, ks=(3, K), negative_kinds=Feedback.DISLIKE
        ).evaluation
        for _ in range(2)
    ]
    assert fits[0].means() == fits[1].means()
    assert set(fits[0].means()) >= {"hr@3", f"hr@{K}", "coverage@3", "dislike_auc"}


def test_random_slates_hit_with_the_chance_that_they_should() -> None:
    """Fails by chance for one seed in about 10,000; the seed is fixed."""
    log, items = make_log(1, n_users=400, n_rows=3000), make_items()
    split = split_by_time(log, items, test_share=0.5)
    random = made(split, build("random"))
    found = evaluate(random, split, ks=(4,), seed=2).means()
    seen = [len(set(log.item[log.user == u].tolist())) for u in range(400)]
    assert 4 / 40 * 0.8 < found["hr@4"] < 4 / (40 - max(seen)) + 0.02


def test_what_cannot_be_measured_is_missing_and_says_why() -> None:
    log = make_log(5, n_users=8, n_rows=160, n_items=25)
    log = replace(log, feedback=log.feedback & ~np.uint8(Feedback.DISLIKE))
    split = split_by_time(log, make_items(25), test_share=0.4)
    fit = fit_and_measure(ModelSpec("p", "popularity"), split, seed=0, ks=(K,), negative_kinds=Feedback.DISLIKE)
    metrics = metrics_at((K,))
    figures = summarise(metrics, [fit], seed=0)
    for name in (f"hr_minus@{K}", f"delta_hr@{K}", "dislike_auc", "lift_negative", "mass_negative"):
        assert math.isnan(figures[name].value)
        assert figures[name].note.startswith("not measured")
    assert figures[f"hr@{K}"].interval == "none"
    assert "fewer than 10" in figures[f"hr@{K}"].note
    assert best_models(metrics, {"p": figures})[f"hr@{K}"] == frozenset()
    assert sizes(split, Feedback.DISLIKE).negative_rows == 0


def evaluation_of(values: list[float]) -> Evaluation:
    return Evaluation({f"hr@{K}": np.array(values), f"hr_minus@{K}": np.full(len(values), np.nan)}, {})


def test_intervals_over_seeds_and_over_users_have_their_closed_forms() -> None:
    from recommenders.offline.backtest import Fit

    rng = np.random.default_rng(0)
    users = rng.random(400)
    fits = [Fit(evaluation_of((users + shift).tolist()), 0, 0) for shift in (0.0, 0.1, 0.3)]
    hr = next(m for m in metrics_at((K,)) if m.name == f"hr@{K}")
    several = summarise([hr], fits, seed=0)[hr.name]
    assert several.interval == "seeds"
    # t quantile 4.3027 with 2 degrees of freedom
    half = 4.302652729911275 * np.std([0, 0.1, 0.3], ddof=1) / math.sqrt(3)
    assert several.high - several.value == pytest.approx(half)
    one = summarise([hr], fits[:1], seed=0)[hr.name]
    assert one.interval == "users"
    assert one.high - one.low == pytest.approx(2 * 1.96 * users.std() / 20, rel=0.1)
    same = summarise([hr], [fits[0]] * 2, seed=0)[hr.name]
    assert (same.interval, same.note) == ("none", "the same for every seed")
    assert (same.users_low, same.users_high) == (one.users_low, one.users_high)


def test_the_best_model_is_marked_where_models_can_be_compared() -> None:
    split = some_split(2)
    figures = {
        name: summarise(
            metrics_at((K,)),
            [fit_and_measure(ModelSpec(name, name, config), split, seed=0, ks=(K,), negative_kinds=Feedback.DISLIKE)],
            seed=0,
        )
        for name, config in (("popularity", {}), ("item_knn", {"window": 5}))
    }
    best = best_models(metrics_at((K,)), figures)
    for name, pick in ((f"hr@{K}", max), (f"hr_minus@{K}", min), ("dislike_auc", max)):
        top = pick(f[name].value for f in figures.values())
        assert best[name] == {m for m, f in figures.items() if f[name].value == top} or len(best[name]) == 0
    assert best[f"hr@{K}"]
    assert {len(best[name]) for name in ("lift_positive", "lift_negative", "mass_negative")} == {0}


def test_wrong_scores_and_impossible_splits_are_errors() -> None:
    split = some_split(1)
    with pytest.raises(RecommenderError, match="scores: got NaN"):
        evaluate(
            made(split, Stub(lambda r: np.full((len(r), split.items.n_items), np.nan, np.float32))), split, ks=(K,)
        )
    with pytest.raises(RecommenderError, match=r"scores: got shape .* expected"):
        evaluate(made(split, Stub(lambda r: np.zeros((len(r), 2), np.float32))), split, ks=(K,))
    with pytest.raises(RecommenderError, match="reads latent utilities"):
        evaluate(build("oracle"), split, ks=(K,))
    with pytest.raises(LogError, match="k: got 1000, expected at most"):
        evaluate(made(split), split, ks=(1000,))
    log, items = make_log(0, n_rows=10), make_items()
    with pytest.raises(LogError, match="got no test row"):
        split_by_time(log, items, boundary_tick=10**9)
    with pytest.raises(LogError, match="got no training row"):
        split_by_time(log, items, boundary_tick=0)
    with pytest.raises(LogError, match="got no user with two rows"):
        split_last(log.take(slice(0, 1)), items)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_share_of_the_rows_is_that_share(share: float) -> None:
    log = replace(make_log(0, n_rows=10), tick=np.arange(10, dtype=np.int64))
    assert split_by_time(log, make_items(), test_share=share).train.tick.tolist() == list(range(10 - round(10 * share)))


def test_coverage_counts_no_item_that_was_seen() -> None:
    n = 4
    log = Interactions(
        np.arange(n + 1, dtype=np.int64),
        np.zeros(n + 1, np.int32),
        np.array([*range(n), 0], np.int32),
        np.full(n + 1, 9, np.uint8),
        np.zeros(n + 1, np.float32),
    )
    split = split_by_time(log, make_items(n), boundary_tick=n)
    # The user has had all four: the target alone is a candidate.
    assert evaluate(made(split), split, ks=(3,)).overall["coverage@3"] == 1 / n


def test_viewed_items_are_no_candidates_but_a_repeated_target_is() -> None:
    rows = [(0, 0), (0, 1), (1, 2), (0, 0)]
    log = Interactions(
        tick=np.arange(4, dtype=np.int64),
        user=np.array([u for u, _ in rows], np.int32),
        item=np.array([i for _, i in rows], np.int32),
        feedback=np.full(4, 9, np.uint8),
        dwell_seconds=np.zeros(4, np.float32),
    )
    split = split_by_time(log, make_items(3), boundary_tick=3)
    # Item 1 scores highest but was viewed; the target was viewed too, and still beats the remaining item 2.
    scores = np.array([[2, 3, 1]], np.float32)
    hidden = scores.copy()
    hide_viewed(hidden, np.array([[1]], np.int32))
    found = evaluate(made(split, Stub(lambda r: np.repeat(scores, len(r), 0))), split, ks=(1,)).means()
    assert found["hr@1"] == 1
    assert hidden.argmax() == 0
