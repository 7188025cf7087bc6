"""Laws of the sequence models beyond those of every recommender."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from recommenders import serving
from recommenders.base import Feedback, Float32, Interactions, RecommenderError, State, UInt8
from recommenders.gru4rec import GruEncoder
from recommenders.linear_recurrent import LinearRecurrentConfig, LinearRecurrentEncoder
from recommenders.network import Encoder
from recommenders.registry import build
from recommenders.sasrec import SasRecConfig, SasRecEncoder
from recommenders.sequence_config import SequenceConfig
from recommenders.sequence_model import SequenceRecommender
from recommenders.sequences import compacted
from tests.recommenders.cases import SMALL, ask, assert_same, make_items, make_log, make_requests

MODELS = pytest.mark.parametrize("name", ["gru4rec", "linear_recurrent", "sasrec"])
SEEDS = st.integers(0, 10_000)
DISLIKE, DISMISS = np.uint8(Feedback.DISLIKE), np.uint8(Feedback.DISMISS)


def fit(name: str, log: Interactions, **settings: object) -> SequenceRecommender:
    model = build(name, SMALL | settings)
    assert isinstance(model, SequenceRecommender)
    model.fit(log, make_items(), seed=5)
    return model


@cache
def fitted(name: str, *, dislike_input: bool = True, drop_disliked: bool = False) -> SequenceRecommender:
    return fit(name, make_log(), dislike_input=dislike_input, drop_disliked=drop_disliked)


def with_feedback(log: Interactions, feedback: UInt8) -> Interactions:
    return replace(log, feedback=feedback)


def equal(a: State, b: State) -> bool:
    return all(a[name].tobytes() == b[name].tobytes() for name in a)


@MODELS
@given(seed=SEEDS)
def test_the_blind_arm_answers_alike_with_and_without_dislikes(name: str, seed: int) -> None:
    requests = make_requests(seed)
    pressed = np.where(requests.history_item >= 0, requests.history_feedback ^ DISLIKE, 0).astype(np.uint8)
    disliked = replace(requests, history_feedback=pressed)
    blind = fitted(name, dislike_input=False)
    assert_same(ask(blind, requests, 10), ask(blind, disliked, 10))


@MODELS
def test_the_blind_arm_trains_alike_with_and_without_dislikes(name: str) -> None:
    log = make_log()
    pressed = with_feedback(log, log.feedback ^ DISLIKE)
    assert equal(fit(name, log).state_dict(), fit(name, pressed).state_dict())
    for settings in ({"dislike_input": True}, {"negative_weight": {"dislike": 1.0}}):
        assert not equal(fit(name, log, **settings).state_dict(), fit(name, pressed, **settings).state_dict())


@MODELS
def test_dismissals_are_never_a_signal(name: str) -> None:
    settings = {"dislike_input": True, "negative_weight": {"dislike": 8.0}}
    log = make_log()
    model = fit(name, log, **settings)
    assert equal(model.state_dict(), fit(name, with_feedback(log, log.feedback ^ DISMISS), **settings).state_dict())
    requests = make_requests(1)
    dismissed = replace(requests, history_feedback=requests.history_feedback ^ DISMISS)
    assert_same(ask(model, requests, 10), ask(model, dismissed, 10))


@MODELS
@pytest.mark.parametrize(
    ("setting", "flags"), [("dwell_input", Feedback.LONG_DWELL | Feedback.SKIP), ("like_input", Feedback.LIKE)]
)
def test_an_input_that_is_off_is_not_read(name: str, setting: str, flags: Feedback) -> None:
    model = fit(name, make_log(), **{setting: False})
    requests = make_requests(2)
    other = replace(requests, history_feedback=requests.history_feedback ^ np.uint8(flags))
    assert_same(ask(model, requests, 10), ask(model, other, 10))


@MODELS
@given(seed=SEEDS)
def test_padding_never_leaks(name: str, seed: int) -> None:
    requests = make_requests(seed)
    noise = np.random.default_rng(seed).integers(0, 64, requests.history_feedback.shape)
    leaking = np.where(requests.history_item < 0, noise, requests.history_feedback).astype(np.uint8)
    model = fitted(name)
    assert_same(ask(model, requests, 10), ask(model, replace(requests, history_feedback=leaking), 10))


@MODELS
@given(seed=SEEDS)
def test_nothing_before_the_window_matters(name: str, seed: int) -> None:
    requests, older = make_requests(seed), make_requests(seed + 1, width=3)
    wide = replace(
        requests,
        history_item=np.hstack([older.history_item, requests.history_item]),
        history_feedback=np.hstack([older.history_feedback, requests.history_feedback]),
    )
    assert_same(ask(fitted(name), requests, 10), ask(fitted(name), wide, 10))


@MODELS
def test_a_history_narrower_than_the_window_is_an_error(name: str) -> None:
    with pytest.raises(RecommenderError, match="history_item: got width 5, expected at least 6"):
        ask(fitted(name), make_requests(width=5), 3)


@MODELS
def test_the_full_softmax_and_the_correction_train_too(name: str) -> None:
    plain = fit(name, make_log(), negative_weight={"dislike": 2.0})
    for settings in ({"negatives": 0}, {"logq_correction": True}):
        other = fit(name, make_log(), negative_weight={"dislike": 2.0}, **settings)
        assert not equal(plain.state_dict(), other.state_dict())
        assert np.isfinite(ask(other, make_requests(), 10).score).all()


@MODELS
def test_new_items_score_as_their_creator_and_topic_until_seen(name: str) -> None:
    log = make_log()
    log = log.take(log.item >= 16)  # items 0 to 15 stay unseen; 0 and 8 share creator and topic
    requests = make_requests(3)
    score = fit(name, log).scores(requests)
    np.testing.assert_array_equal(score[:, 0], score[:, 8])
    assert (score[:, 0] != score[:, 16]).any()


@MODELS
def test_items_not_yet_released_are_no_negatives(name: str) -> None:
    log, items = make_log(n_items=32), make_items()
    late = replace(items, release_tick=np.where(np.arange(40) < 32, 0, 10**9).astype(np.int64))
    alone = replace(late, topic=np.where(np.arange(40) < 32, items.topic, 4).astype(np.int32), n_topics=5)
    model = build(name, SMALL | {"negatives": 0, "weight_decay": 0.0, "epochs": 1})
    other = build(name, SMALL | {"negatives": 0, "weight_decay": 0.0, "epochs": 2})
    for one in (model, other):
        one.fit(log, alone, seed=5)
    # The late items' topic has no other items: with no gradient it keeps its first values however long one trains.
    a, b = (one.state_dict()["embedding.topic_vector"] for one in (model, other))
    np.testing.assert_array_equal(a[4], b[4])
    assert (a[:4] != b[:4]).any()


@MODELS
def test_dropped_dislikes_leave_no_trace(name: str) -> None:
    log = make_log()
    model = fit(name, log, drop_disliked=True)
    without = log.take((log.feedback & DISLIKE) == 0)
    assert equal(model.state_dict(), {**fit(name, without).state_dict(), **seen(log)})
    requests = make_requests(5, n=20)
    item, feedback = compacted(requests.history_item, requests.history_feedback, Feedback.DISLIKE)
    never = replace(requests, history_item=item, history_feedback=feedback)
    np.testing.assert_array_equal(model.scores(requests), model.scores(never))


def seen(log: Interactions) -> dict[str, Float32]:
    marked = (np.bincount(log.item, minlength=40) > 0).astype(np.float32)[:, None]
    return {"embedding.seen": marked, "bias.seen": marked}


@MODELS
@pytest.mark.parametrize("flag", ["dislike", "dismiss", "skip"])
def test_each_kind_of_feedback_can_be_a_negative_label(name: str, flag: str) -> None:
    log = make_log()
    kind = np.uint8(Feedback[flag.upper()])
    model = fit(name, log, dwell_input=False, negative_weight={flag: 2.0})
    other = fit(name, with_feedback(log, log.feedback & ~kind), dwell_input=False, negative_weight={flag: 2.0})
    assert not equal(model.state_dict(), other.state_dict())


@MODELS
@pytest.mark.parametrize("part", ["id", "creator", "topic"])
def test_any_part_of_an_items_vector_may_stand_alone(name: str, part: str) -> None:
    model, items = fit(name, make_log(), item_parts=[part]), make_items()
    score = model.scores(make_requests(6, n=8))
    group = {"id": np.arange(40), "creator": items.creator, "topic": items.topic}[part]
    for row in score:
        assert len(np.unique(row)) == group.max() + 1
        np.testing.assert_array_equal(row, row[np.unique(group, return_index=True)[1]][group])


@MODELS
def test_a_warm_start_goes_on_where_training_stopped(name: str) -> None:
    once = fit(name, make_log(), warm_start=True)
    first = once.state_dict()
    first = {key: value.copy() for key, value in first.items()}
    loaded = build(name, SMALL | {"warm_start": True})
    loaded.load_state_dict(first, make_items())
    for model in (once, loaded):
        model.fit(make_log(1), make_items(), seed=6)
    assert equal(once.state_dict(), loaded.state_dict())
    fresh = fit(name, make_log(1), warm_start=True)
    assert not equal(once.state_dict(), fresh.state_dict())
    distance = [
        sum(float(np.square(a[key] - first[key]).sum()) for key in first)
        for a in (once.state_dict(), fresh.state_dict())
    ]
    assert distance[0] < distance[1]


@MODELS
def test_patience_keeps_the_best_epoch_on_held_out_windows(name: str) -> None:
    ticks: list[tuple[int, int]] = []
    model = build(name, SMALL | {"patience": 1, "epochs": 60, "learning_rate": 0.3, "validation_share": 0.3})
    model.fit(make_log(), make_items(), seed=5, progress=lambda done, total: ticks.append((done, total)))
    steps = [done for done, _ in ticks]
    # At this rate the held-out loss soon rises: training ends early, and progress jumps to the end.
    assert steps[-1] == ticks[-1][1]
    assert len(steps) < ticks[-1][1]


@given(n_users=st.integers(1, 7), patience=st.integers(0, 2))
def test_logs_of_a_few_users_can_be_fitted(n_users: int, patience: int) -> None:
    fit("gru4rec", make_log(n_users=n_users, n_rows=2 * n_users), patience=patience, sampling="popularity")


@MODELS
def test_a_warm_start_on_another_catalogue_is_an_error(name: str) -> None:
    model = fit(name, make_log(), warm_start=True)
    with pytest.raises(RecommenderError, match="state: does not fit"):
        model.fit(make_log(), make_items(41), seed=1)


@MODELS
def test_a_state_is_a_copy(name: str) -> None:
    model, requests = fit(name, make_log()), make_requests(1)
    before = model.scores(requests)
    for value in model.state_dict().values():
        value[:] = 0
    np.testing.assert_array_equal(model.scores(requests), before)


def test_one_item_alone_can_be_fitted_and_shown() -> None:
    log = make_log(n_items=1)
    for name in ("gru4rec", "linear_recurrent", "sasrec"):
        model = build(name, SMALL | {"negative_weight": {"dislike": 2.0}, "sampling": "popularity"})
        model.fit(log, make_items(1, 1, 1), seed=1)
        requests = make_requests(1, n_items=1)
        assert ask(model, requests, 1).item.tolist() == [[0]] * 5


def test_a_device_that_is_not_there_is_an_error() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(RecommenderError, match="device: got 'cuda', expected one that is there"):
        build("gru4rec", {"device": "cuda"})


def test_a_lone_negative_is_refused() -> None:
    with pytest.raises(ValidationError, match="expected 0 or at least 2"):
        SequenceConfig(negatives=1)


def encoders() -> list[Encoder]:
    generator = torch.Generator().manual_seed(9)
    return [
        GruEncoder(SequenceConfig(dim=4), generator),
        LinearRecurrentEncoder(LinearRecurrentConfig(dim=4), generator),
        SasRecEncoder(SasRecConfig(dim=4, heads=2, window=7), generator).eval(),
    ]


@pytest.mark.parametrize("encoder", encoders(), ids=lambda e: type(e).__name__)
@given(length=st.integers(0, 7), seed=SEEDS)
def test_serving_equals_training(encoder: Encoder, length: int, seed: int) -> None:
    x = torch.randn(1, length, 4, generator=torch.Generator().manual_seed(seed))
    padding = torch.zeros(1, 7 - length, 4)
    with torch.no_grad():
        served = encoder.final_state(torch.cat([padding, x], 1), torch.tensor([length]))
        trained = encoder.states(torch.cat([x, padding + 3], 1), torch.tensor([length]))
    expected = trained[:, length - 1] if length else torch.zeros(1, 4)
    torch.testing.assert_close(served, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["gru4rec", "linear_recurrent"])
@pytest.mark.parametrize("settings", [{"dislike_input": True}, {"drop_disliked": True}], ids=["read", "dropped"])
@given(seed=SEEDS)
def test_advancing_equals_recomputing(name: str, settings: dict[str, bool], seed: int) -> None:
    model, requests = fitted(name, **settings), make_requests(seed, n=3)
    carried = model.initial_states(3)
    for item, feedback in zip(requests.history_item.T, requests.history_feedback.T, strict=True):
        before = carried.copy()
        advanced = model.advance(carried, item, feedback)
        np.testing.assert_array_equal(carried, before)
        np.testing.assert_array_equal(advanced[item < 0], before[item < 0])
        carried = advanced
    np.testing.assert_allclose(model.scores_of_carried(carried), model.scores(requests), rtol=1e-4, atol=1e-5)
    slates = model.recommend_carried(carried, requests, 5)
    np.testing.assert_allclose(slates.score, ask(model, requests, 5).score, rtol=1e-4, atol=1e-5)


@given(seed=SEEDS, n=st.integers(1, 300))
def test_a_carried_row_does_not_depend_on_its_batch(seed: int, n: int) -> None:
    model, requests = fitted("gru4rec"), make_requests(seed, n=n)
    item, feedback = requests.history_item[:, -1], requests.history_feedback[:, -1]
    once = model.advance(model.initial_states(n), item, feedback)
    one = np.random.default_rng(seed).integers(n, size=1)
    np.testing.assert_array_equal(model.advance(model.initial_states(1), item[one], feedback[one]), once[one])
    alone = model.recommend_carried(once[one], requests.take(one), 5)
    np.testing.assert_array_equal(alone.item, model.recommend_carried(once, requests, 5).item[one])


def test_attention_has_no_state_to_carry() -> None:
    with pytest.raises(RecommenderError, match="SasRecEncoder has no state to carry"):
        fitted("sasrec").initial_states(1)


@MODELS
def test_inputs_from_the_table_and_on_the_fly_agree(name: str) -> None:
    model, requests = fitted(name, dislike_input=True), make_requests(4)
    with patch.object(serving, "INPUT_TABLE_BYTES", 0):
        slim = build(name, SMALL | {"dislike_input": True})
        slim.load_state_dict(model.state_dict(), make_items())
        assert isinstance(slim, SequenceRecommender)
        np.testing.assert_allclose(slim.scores(requests), model.scores(requests), rtol=1e-4, atol=1e-5)


def test_the_linear_recurrence_equals_its_definition() -> None:
    encoder = encoders()[1]
    assert isinstance(encoder, LinearRecurrentEncoder)
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        decay = encoder.decay_logit.sigmoid()
        h = torch.zeros(len(decay), 4)
        for row in x:
            h = decay[:, None] * h + (1 - decay[:, None] ** 2).sqrt() * row
        state = torch.einsum("md,mde->e", h, encoder.readout)
        torch.testing.assert_close(encoder.states(x[None], torch.tensor([6]))[0, -1], state, rtol=1e-4, atol=1e-5)
