from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from recommenders.base import Feedback
from recommenders.labels import weight_table
from recommenders.neighbours.pnfrec import OpposingSequences, PnfRec, PnfRecConfig, TwoEncoders, signed_sequence
from recommenders.registry import build
from recommenders.sequences import training_windows
from tests.recommenders.cases import SMALL, ask, assert_same, fitted, make_items, make_log, make_requests
from tests.recommenders.neighbours.planted_tastes import auc_of_tastes

CANDIDATE = torch.arange(40)


@given(seed=st.integers(0, 1000), window=st.integers(1, 8), sign=st.sampled_from([1, -1]))
def test_a_signed_sequence_holds_the_windows_interactions_of_its_sign(seed: int, window: int, sign: int) -> None:
    config = PnfRecConfig(window=window)
    windows = training_windows(make_log(seed, n_users=5, n_rows=60), window)
    sequence = signed_sequence(windows, config, CANDIDATE, sign)
    table = weight_table(config.reward, config.negative_weight)
    for row in range(len(windows)):
        real = windows.item[row] >= 0
        item = [windows.item[row, 0], *windows.next_item[row, real]]
        feedback = [windows.feedback[row, 0], *windows.next_feedback[row, real]]
        expected = [i for i, f in zip(item, feedback, strict=True) if sign * table[f] > 0]
        count, labels = int(sequence.count[row]), sequence.labels
        assert sequence.item[row, :count].tolist() == expected
        is_label = labels.weight[row] > 0
        assert labels.label[row, is_label].tolist() == expected[1:]
        assert labels.item[row, is_label].tolist() == expected[:-1]
        assert int(labels.length[row]) == max(count - 1, 0)
        assert (labels.weight[row] >= 0).all()


def objective(**settings: object) -> OpposingSequences:
    config = PnfRecConfig.model_validate({**SMALL, "dropout": 0.0, "negatives": 0, **settings})
    network = TwoEncoders(config, make_items(), torch.Generator().manual_seed(1))
    log = make_log()
    network.mark_seen(log.item)
    windows = training_windows(log, config.window)
    return OpposingSequences(network, config, windows, CANDIDATE, torch.Generator().manual_seed(2))


def test_the_loss_is_the_sum_of_its_three_parts_in_closed_form() -> None:
    made = objective()
    network, rows = made.encoders, torch.arange(len(made))
    with torch.no_grad():
        loss = made(rows)
        embedding, bias = network.embedding(), network.bias().squeeze(1)
        parts: dict[str, list[float]] = {"positive": [], "negative": [], "contrast": []}
        for row in range(len(made)):
            for name, labels in (("positive", made.data), ("negative", made.negative.labels)):
                x = network.inputs(embedding[labels.item[row]], labels.combination[row]).unsqueeze(0)
                encoder = network.encoder if name == "positive" else network.negative_encoder
                assert encoder is not None
                states = encoder.states(x, labels.length[row : row + 1])[0]
                for t in range(int(labels.length[row])):
                    z = embedding @ states[t] + (bias if name == "positive" else 0)
                    y = labels.label[row, t]
                    parts[name].append(float(z.logsumexp(0) - z[y]))
                    if name == "positive":
                        rejected = made.negative.item[row, : int(made.negative.count[row])]
                        parts["contrast"].append(float(torch.cat([z[y : y + 1], z[rejected]]).logsumexp(0) - z[y]))
    expected = np.mean(parts["positive"]) + 0.45 * np.mean(parts["negative"]) + 0.25 * np.mean(parts["contrast"])
    assert len(parts["negative"]) > 50
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_windows_without_negatives_have_no_contrast() -> None:
    settings = {"negative_sequence_weight": 0.0, "negative_weight": {"dislike": 0.0, "dismiss": 0.0, "skip": 0.0}}
    with_contrast, without = objective(**settings), objective(**settings, contrast_weight=0.0)
    rows = torch.arange(len(without))
    with torch.no_grad():
        assert float(with_contrast(rows)) == float(without(rows))


@pytest.fixture(scope="module")
def model() -> PnfRec:
    model = fitted("pnfrec")
    assert isinstance(model, PnfRec)
    return model


@given(seed=st.integers(0, 1000))
def test_only_positive_interactions_are_read(model: PnfRec, seed: int) -> None:
    requests = make_requests(seed)
    table = weight_table(PnfRecConfig().reward, PnfRecConfig().negative_weight)
    unread = (requests.history_item >= 0) & (table[requests.history_feedback] <= 0)
    other = replace(requests, history_item=np.where(unread, 39, requests.history_item))
    np.testing.assert_array_equal(model.scores(requests), model.scores(other))


def test_rejected_items_are_filtered_as_viewed(model: PnfRec) -> None:
    requests = make_requests(3, n=20)
    slates = ask(model, requests, 20)
    assert not any(np.isin(s, h).any() for s, h in zip(slates.item, requests.history_item, strict=True))


def test_early_stopping_keeps_a_model_that_serves() -> None:
    model = build("pnfrec", {**SMALL, "patience": 1, "epochs": 4})
    model.fit(make_log(), make_items(), seed=1)
    again = build("pnfrec", {**SMALL, "patience": 1, "epochs": 4})
    again.fit(make_log(), make_items(), seed=1)
    assert_same(ask(model, make_requests(), 5), ask(again, make_requests(), 5))


def test_another_loss_on_negatives_is_refused() -> None:
    with pytest.raises(ValidationError, match="negative_loss: got 'pairwise', expected the default"):
        PnfRecConfig(negative_loss="pairwise")


def test_each_term_lowers_rejected_items() -> None:
    def auc(alpha: float, beta: float) -> float:
        settings = {"epochs": 6, "negative_sequence_weight": alpha, "contrast_weight": beta}
        return auc_of_tastes("pnfrec", settings, Feedback.SKIP)

    neither = auc(0.0, 0.0)
    assert auc(0.45, 0.0) > neither + 0.05
    assert auc(0.0, 0.25) > neither + 0.05
    assert auc(0.45, 0.25) > neither + 0.05
