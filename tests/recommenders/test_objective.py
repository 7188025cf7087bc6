from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from recommenders.gru4rec import GruEncoder
from recommenders.network import Network, combination_of
from recommenders.objective import Objective, Sampler, TrainingData, _nearest_positive, training_data
from recommenders.sequence_config import SequenceConfig
from recommenders.sequences import training_windows
from tests.recommenders.cases import make_items, make_log

LOSSES = ["not_to_recommend", "negative_label_weight", "raised_negative", "pairwise"]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def objective(**settings: Any) -> Objective:
    """Of a random network, in float64, so that a slow second computation agrees to the last digits."""
    config = SequenceConfig.model_validate(
        {"dim": 8, "window": 6, "negatives": 0, "negative_weight": {"dislike": 3.0}} | settings
    )
    network = Network(config, make_items(), GruEncoder, seeded(1)).double()
    network.mark_seen(np.arange(40, dtype=np.int32))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.5, generator=seeded(2))
    windows = training_windows(make_log(n_rows=200), config.window)
    data = training_data(windows, config, combination_of(config.input_flags()), torch.arange(40))
    return Objective(network, config, data, seeded(3))


def loss_slowly(o: Objective, row: int) -> tuple[float, int]:
    """Summed loss of one window under the full softmax, from its definition, and its positive labels."""
    data, kind = o.data, o.config.negative_loss
    embedding, bias = o.network.embedding(), o.network.bias()[:, 0]
    rows = torch.tensor([row])
    states = o.network.states(embedding, data.item[rows], data.combination[rows], data.length[rows])[0]
    z = (states @ embedding.T + bias).tolist()
    label, weight = data.label[row].tolist(), data.weight[row].tolist()
    positives = [t for t, w in enumerate(weight) if w > 0]

    def p(t: int, item: int) -> float:
        return math.exp(z[t][item]) / sum(math.exp(v) for v in z[t])

    total = sum(-weight[t] * math.log(p(t, label[t])) for t in positives)
    for t, w in enumerate(weight):
        before, after = [u for u in positives if u < t], [u for u in positives if u > t]
        partner = (before[-1:] + after[:1] + [None])[0]
        if w >= 0 or (partner is None and kind in ("raised_negative", "pairwise")):
            continue
        if kind == "not_to_recommend":
            total += w * math.log(1 - p(t, label[t]))
        elif kind == "negative_label_weight":
            total -= w * math.log(p(t, label[t]))
        elif kind == "pairwise":
            total += -w * math.log1p(math.exp(z[t][label[t]] - z[t][label[partner]]))
        elif label[t] != label[partner]:
            total += weight[partner] * math.log(1 + (-w - 1) * p(partner, label[t]))
    return total, len(positives)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("reward", [{}, {"like": 2.0}], ids=["plain", "rewarded"])
def test_equals_a_loop_over_labels(kind: str, reward: dict[str, float]) -> None:
    o = objective(negative_loss=kind, reward=reward)
    with torch.no_grad():
        found = float(o(torch.arange(len(o))))
        parts = [loss_slowly(o, row) for row in range(len(o))]
    assert (o.data.weight < 0).sum() > 10
    assert found == pytest.approx(sum(x for x, _ in parts) / sum(n for _, n in parts), rel=1e-9)


@pytest.mark.parametrize("kind", LOSSES)
def test_without_negative_labels_all_losses_are_the_cross_entropy(kind: str) -> None:
    settings: dict[str, Any] = {"negative_weight": {}}
    rows = torch.arange(20)
    plain, other = objective(**settings)(rows), objective(negative_loss=kind, **settings)(rows)
    torch.testing.assert_close(plain, other, rtol=1e-12, atol=0)


@pytest.mark.parametrize("negatives", [0, 8, 39, 128])
def test_a_share_is_that_of_the_gradient_of_an_untrained_model(negatives: int) -> None:
    o = objective(negatives=negatives, negative_share=0.5, negative_weight={"dislike": 1.0})
    data, n = o.data, min(negatives or 39, 39)
    positive, negative = data.weight[data.weight > 0].sum(), -data.weight[data.weight < 0].sum()
    # Gradients over the logits where all candidates are equally probable: 2 r (1 - p) and 2 w p.
    p = 1 / (1 + n)
    assert float(negative * p / (positive * (1 - p))) == pytest.approx(0.5, rel=1e-4)


@given(weight=st.lists(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=6, max_size=6), min_size=1, max_size=4))
def test_the_partner_is_the_nearest_positive_before_or_else_after(weight: list[list[float]]) -> None:
    found = _nearest_positive(np.array(weight, np.float32))
    for row, columns in zip(weight, found.tolist(), strict=True):
        positive = [t for t, w in enumerate(row) if w > 0]
        for t, column in enumerate(columns):
            before = [u for u in positive if u <= t]
            assert column == ((before[-1:] or positive[:1]) + [-1])[0]


def sampler(sampling: str, label: Tensor, **settings: Any) -> Sampler:
    config = SequenceConfig.model_validate({"negatives": 5, "sampling": sampling} | settings)
    shape = torch.zeros_like(label)
    data = TrainingData(shape, shape[:, 0], shape, label, torch.ones_like(label).float(), shape, torch.arange(40))
    return Sampler(config, data, seeded(4))


@pytest.mark.parametrize("sampling", ["uniform", "popularity", "in_batch"])
def test_negatives_are_at_least_two_different_candidates(sampling: str) -> None:
    label = torch.tensor([[7, 7, 7, 8, 9, 10]])
    draw = sampler(sampling, label)
    for batch in (label[0], label[0, :3], label[0, :0]):
        for _ in range(20):
            item = draw(batch).item
            assert 2 <= len(item) == len(item.unique()) <= 5
            assert ((item >= 0) & (item < 40)).all()


def test_popular_negatives_come_more_often_and_every_candidate_can_come() -> None:
    label = torch.tensor([[3] * 400])
    draw = sampler("popularity", label, negatives=2000)
    assert len(draw(label[0]).item) == 40
    few = sampler("popularity", label, negatives=5)
    # Item 3 has 401 ** .75 = 90 times the chance of each of 39 others, 70% a draw, where uniform draws give it 12% a
    # step. A step fails to hold it with chance .3 ** 5, or draws nothing else with chance .7 ** 5 and is drawn anew.
    assert sum(3 in few(label[0]).item.tolist() for _ in range(200)) > 140


def test_in_batch_negatives_are_labels_of_the_batch() -> None:
    label = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8]])
    draw = sampler("in_batch", label)
    for _ in range(20):
        item = draw(label[0, :6]).item
        assert set(item.tolist()) <= set(range(1, 7))
        assert len(item) == 5


def test_no_negatives_asked_for_means_all_candidates() -> None:
    for sampling in ("uniform", "popularity", "in_batch"):
        draw = sampler(sampling, torch.tensor([[1, 2]]), negatives=0)
        assert sorted(draw(torch.tensor([1, 2])).item.tolist()) == list(range(40))


@pytest.mark.parametrize("kind", LOSSES)
def test_how_many_windows_share_negatives_does_not_matter_where_all_items_are_negatives(kind: str) -> None:
    rows = torch.arange(7)
    whole = objective(negative_loss=kind)(rows).item()
    for size in (1, 3, 7, 10):
        assert objective(negative_loss=kind, negatives_shared_by=size)(rows).item() == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("logq", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_groups_in_one_product_equal_groups_one_by_one(size: int, logq: bool) -> None:
    settings = {"negatives": 5, "negatives_shared_by": size, "logq_correction": logq}
    batched, one_by_one = objective(**settings), objective(**settings)
    assert batched._batches_groups()
    one_by_one._batches_groups = lambda: False
    rows = torch.arange(8)
    losses = [o(rows) for o in (batched, one_by_one)]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-12)
    gradients = [
        torch.autograd.grad(loss, list(o.network.parameters()), materialize_grads=True)
        for loss, o in zip(losses, (batched, one_by_one), strict=True)
    ]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_a_method_with_a_loss_of_its_own_is_not_batched() -> None:
    class Own(Objective):
        pass

    o = objective(negatives=5, negatives_shared_by=2)
    own = Own(o.network, o.config, o.data, seeded(3))
    assert not own._batches_groups()
    assert own(torch.arange(6)).item() == pytest.approx(o(torch.arange(6)).item(), rel=1e-12)


def test_windows_share_as_many_draws_of_negatives_as_the_setting_says() -> None:
    for size, draws in ((0, 1), (1, 7), (3, 3), (10, 1)):
        o = objective(negatives=5, negatives_shared_by=size)
        sampler, drawn = o.sampler, []

        def recorded(positive: Tensor, sampler: Sampler = sampler, drawn: list[Any] = drawn) -> Any:
            drawn.append(sampler(positive))
            return drawn[-1]

        o.sampler = recorded
        o(torch.arange(7))
        assert len(drawn) == draws
        assert len({tuple(sorted(d.item.tolist())) for d in drawn}) == draws


def test_the_mean_over_windows_weighs_batches_by_their_positive_labels() -> None:
    o = objective()
    with torch.no_grad():
        assert o.mean(7) == pytest.approx(float(o(torch.arange(len(o)))), rel=1e-6)
