from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from recommenders.losses import cross_entropy, not_to_recommend, sample_uniform, sampled_logits

LOGITS = st.lists(st.floats(-30, 30), min_size=2, max_size=6)


def gradient(loss: Tensor, logit: Tensor) -> Tensor:
    return torch.autograd.grad(loss.sum(), logit)[0]


def as_row(values: list[float]) -> Tensor:
    return torch.tensor([values], dtype=torch.float64, requires_grad=True)


@given(values=LOGITS, weight=st.floats(0, 100))
def test_cross_entropy_has_its_closed_form(values: list[float], weight: float) -> None:
    logit, label = as_row(values), torch.tensor([1])
    loss = cross_entropy(logit, label, torch.tensor([weight], dtype=torch.float64))
    p = logit.detach().softmax(1)
    torch.testing.assert_close(loss, -weight * logit.log_softmax(1)[:, 1])
    torch.testing.assert_close(gradient(loss, logit), weight * (p - torch.eye(len(values), dtype=p.dtype)[1]))


@given(values=LOGITS, weight=st.floats(0, 100))
def test_not_to_recommend_has_its_closed_form(values: list[float], weight: float) -> None:
    logit, label = as_row(values), torch.tensor([0])
    loss = not_to_recommend(logit, label, torch.tensor([weight], dtype=torch.float64))
    with torch.no_grad():
        p = logit.softmax(1)[0]
        others = logit[:, 1:].softmax(1)[0]  # p_j / (1 - p_y), without the cancellation of 1 - p_y
        value = logit.logsumexp(1) - logit[:, 1:].logsumexp(1)
        expected = weight * torch.cat([p[:1], -p[0] * others])
    torch.testing.assert_close(loss, weight * value, rtol=1e-7, atol=1e-12 * max(weight, 1))
    torch.testing.assert_close(gradient(loss, logit)[0], expected, rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize(
    ("margin", "value", "slope"),
    [
        (-700.0, math.exp(-700), math.exp(-700)),
        (-40.0, math.exp(-40), math.exp(-40)),
        (40.0, 40.0, 1.0),
        (900.0, 900.0, 1.0),
    ],
)
def test_not_to_recommend_keeps_its_digits_near_0_and_1(margin: float, value: float, slope: float) -> None:
    logit = as_row([margin, 0.0])
    loss = not_to_recommend(logit, torch.tensor([0]))
    assert loss.item() == pytest.approx(value, rel=1e-12, abs=0)
    assert gradient(loss, logit)[0, 0].item() == pytest.approx(slope, rel=1e-12, abs=0)


@pytest.mark.parametrize("loss", [cross_entropy, not_to_recommend])
def test_gradients_agree_with_finite_differences(loss: object) -> None:
    logit = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    label, weight = torch.tensor([0, 4, 2, 2]), torch.tensor([1.0, 2.0, 0.5, 0.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: loss(z, label, weight), (logit,))  # type: ignore[operator]


def test_gradients_of_sampled_losses_agree_with_finite_differences() -> None:
    generator = torch.Generator().manual_seed(2)
    state = torch.randn(3, 4, dtype=torch.float64, generator=generator).requires_grad_()
    embedding = torch.randn(9, 4, dtype=torch.float64, generator=generator).requires_grad_()
    bias = torch.randn(9, dtype=torch.float64, generator=generator).requires_grad_()
    label, negative, first = torch.tensor([1, 2, 8]), torch.tensor([2, 5, 7]), torch.zeros(3, dtype=torch.int64)
    for loss in (cross_entropy, not_to_recommend):
        for population in (None, 9):
            assert torch.autograd.gradcheck(
                lambda s, e, b, f=loss, n=population: f(sampled_logits(s, e, b, label, negative, n), first),
                (state, embedding, bias),
            )


def test_the_only_candidate_cannot_be_not_recommended() -> None:
    with pytest.raises(ValueError, match="got 1 candidate, expected at least 2"):
        not_to_recommend(torch.zeros(1, 1), torch.tensor([0]))
    with pytest.raises(ValueError, match="got 1 items, expected at least 2"):
        sampled_logits(torch.zeros(1, 2), torch.zeros(3, 2), torch.zeros(3), torch.tensor([0]), torch.tensor([1]))


def test_an_accidental_hit_does_not_count() -> None:
    logit = sampled_logits(torch.ones(1, 2), torch.ones(3, 2), torch.zeros(3), torch.tensor([0]), torch.tensor([0, 2]))
    assert logit.tolist() == [[2.0, -math.inf, 2.0]]


def test_all_items_as_negatives_with_correction_give_the_full_softmax() -> None:
    generator = torch.Generator().manual_seed(3)
    state, embedding = torch.randn(4, 5, generator=generator), torch.randn(7, 5, generator=generator)
    bias, label = torch.randn(7, generator=generator), torch.tensor([0, 3, 6, 6])
    sampled = sampled_logits(state, embedding, bias, label, torch.arange(7), population=7)
    first = torch.zeros(4, dtype=torch.int64)
    for loss in (cross_entropy, not_to_recommend):
        torch.testing.assert_close(loss(sampled, first), loss(state @ embedding.T + bias, label))


def test_negatives_are_different_and_uniform() -> None:
    generator = torch.Generator().manual_seed(4)
    candidate = torch.tensor([3, 5, 8, 9, 11])
    count = torch.zeros(12)
    for _ in range(2000):
        sample = sample_uniform(candidate, 2, generator)
        assert len(set(sample.tolist())) == 2
        count[sample] += 1
    # Each of the five is drawn with chance 0.4: 800 times, with a standard deviation of 22.
    assert ((count[candidate] - 800).abs() < 110).all()
    assert count.sum() == 4000
    assert torch.equal(sample_uniform(candidate, 5, generator), candidate)
