from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from time import perf_counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from docs.plot_losses import FOLDER, charts
from recommenders.losses import (
    cross_entropy,
    grouped_softmax_loss,
    negative_label_weight,
    not_to_recommend,
    pairwise,
    raised_negative,
    sampled_softmax_loss,
    weight_for_share,
)
from recommenders.sampling import add_candidate, sampled_logits, uniform_negatives

RAISE = 1.5
"""log_weight of `raised_negative` in tests of all losses."""
LOGITS = st.lists(st.floats(-30, 30), min_size=3, max_size=6)
Loss = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""All losses in one form: logits, column of the label, column of the other item, weight."""

LOSSES: dict[str, Loss] = {
    "cross_entropy": lambda z, y, k, w: cross_entropy(z, y, w),
    "not_to_recommend": lambda z, y, k, w: not_to_recommend(z, k, w),
    "negative_label_weight": lambda z, y, k, w: negative_label_weight(z, k, w),
    "raised_negative": lambda z, y, k, w: raised_negative(z, y, k, RAISE, w),
    "pairwise": pairwise,
}


def gradient(loss: Tensor, logit: Tensor) -> Tensor:
    return torch.autograd.grad(loss.sum(), logit)[0]


def as_row(values: list[float]) -> Tensor:
    return torch.tensor([values], dtype=torch.float64, requires_grad=True)


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def one_hot(column: int, width: int) -> Tensor:
    return torch.eye(width, dtype=torch.float64)[column]


def closed_form(name: str, z: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and gradient of logits [c] with label 0 and disliked item 1, from the formulas in the module's docstring."""
    p, others = z.softmax(0), torch.cat([z[:1], z[2:]]).softmax(0)  # p_j / (1 - p_1), without the cancellation
    label, disliked = one_hot(0, len(z)), one_hot(1, len(z))
    if name == "cross_entropy":
        return -z.log_softmax(0)[0], p - label
    if name == "not_to_recommend":
        slope = -p[1] * torch.cat([others[:1], numbers(-1), others[1:]])
        return z.logsumexp(0) - torch.cat([z[:1], z[2:]]).logsumexp(0), slope
    if name == "negative_label_weight":
        return z.log_softmax(0)[1], disliked - p
    if name == "raised_negative":
        q = (z + RAISE * disliked).softmax(0)
        # The excess over the cross-entropy is log(1 + (w - 1) p_k).
        return torch.log1p(math.expm1(RAISE) * p[1]) - z.log_softmax(0)[0], q - label
    q_disliked = torch.sigmoid(z[1] - z[0])
    return torch.nn.functional.softplus(z[1] - z[0], threshold=100), q_disliked * (disliked - label)


@pytest.mark.parametrize("name", LOSSES)
@given(values=LOGITS, weight=st.just(0.0) | st.floats(1e-6, 100))
def test_value_and_gradient_have_their_closed_form(name: str, values: list[float], weight: float) -> None:
    logit = as_row(values)
    loss = LOSSES[name](logit, torch.tensor([0]), torch.tensor([1]), numbers(weight))
    value, slope = closed_form(name, logit.detach()[0])
    # The closed forms themselves cancel at the ends of p, by about 1e-16 of the logits.
    torch.testing.assert_close(loss[0], weight * value, rtol=1e-12, atol=2e-14 * weight)
    torch.testing.assert_close(gradient(loss, logit)[0], weight * slope, rtol=1e-12, atol=2e-15 * weight)


ENDS = [(-700.0, math.exp(-700), math.exp(-700)), (-40.0, math.exp(-40), math.exp(-40)), (40.0, 40.0, 1.0)]
"""Margin t, softplus(t), its slope: to the last digits of a float64."""


@pytest.mark.parametrize(("margin", "value", "slope"), [*ENDS, (900.0, 900.0, 1.0)])
def test_not_to_recommend_and_pairwise_keep_their_digits_at_both_ends(
    margin: float, value: float, slope: float
) -> None:
    logit = as_row([0.0, margin])
    for name in ("not_to_recommend", "pairwise"):
        loss = LOSSES[name](logit, torch.tensor([0]), torch.tensor([1]), None)
        assert loss.item() == pytest.approx(value, rel=1e-12, abs=0)
        assert gradient(loss, logit)[0].tolist() == pytest.approx([-slope, slope], rel=1e-12, abs=0)


@pytest.mark.parametrize(("margin", "value", "slope"), ENDS)
def test_cross_entropy_and_its_negative_are_exact_to_rounding_at_both_ends(
    margin: float, value: float, slope: float
) -> None:
    logit = as_row([0.0, margin])
    for label, sign, loss_of in ((0, 1.0, cross_entropy), (0, -1.0, negative_label_weight)):
        loss = loss_of(logit, torch.tensor([label]))
        assert loss.item() == pytest.approx(sign * value, rel=1e-15, abs=1e-15)
        assert gradient(loss, logit)[0].tolist() == pytest.approx([-sign * slope, sign * slope], rel=1e-15, abs=1e-15)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_agree_with_finite_differences(name: str) -> None:
    logit = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    # Without its label, a row's disliked item and some other must remain: columns 3 and 4 are masked in turn.
    masked = torch.zeros(4, 5, dtype=torch.bool)
    masked[0, 3] = masked[1, 4] = True
    label, disliked, weight = torch.tensor([0, 1, 2, 2]), torch.tensor([1, 0, 4, 3]), numbers(1, 2, 0.5, 0)
    assert torch.autograd.gradcheck(
        lambda z: LOSSES[name](z.masked_fill(masked, -math.inf), label, disliked, weight), (logit,)
    )


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("corrected", [False, True])
def test_sampled_gradients_agree_with_finite_differences_in_and_out_of_the_sample(name: str, corrected: bool) -> None:
    rng = torch.Generator().manual_seed(2)
    shapes = ((4, 3), (9, 3), (9,))
    model = [torch.randn(s, dtype=torch.float64, generator=rng).requires_grad_() for s in shapes]
    # Positive labels in, out, in, out of the sample; disliked ones in, in, out, out.
    negative, label, disliked = torch.tensor([2, 5, 7]), torch.tensor([2, 1, 5, 8]), torch.tensor([5, 7, 0, 3])
    log_q = numbers(-1.0, -0.5, -2.0) if corrected else None
    first, last = torch.zeros(4, dtype=torch.int64), torch.full((4,), 4)

    def loss(state: Tensor, embedding: Tensor, bias: Tensor) -> Tensor:
        if name in ("not_to_recommend", "negative_label_weight"):
            logit = sampled_logits(state, embedding, bias, disliked, negative, log_q=log_q)
            return LOSSES[name](logit, first, first, None)
        logit = sampled_logits(state, embedding, bias, label, negative, log_q=log_q)
        logit = add_candidate(logit, state, embedding, bias, label, negative, disliked)
        return LOSSES[name](logit, first, last, None)

    assert torch.autograd.gradcheck(loss, model)


@pytest.mark.parametrize("name", LOSSES)
@given(values=LOGITS, shift=st.floats(-100, 100))
def test_a_shift_of_all_logits_changes_nothing(name: str, values: list[float], shift: float) -> None:
    logit, moved = as_row(values), as_row([v + shift for v in values])
    label, disliked = torch.tensor([0]), torch.tensor([1])
    loss, moved_loss = (LOSSES[name](z, label, disliked, None) for z in (logit, moved))
    torch.testing.assert_close(loss, moved_loss, rtol=1e-10, atol=1e-12)
    slope = gradient(loss, logit)
    torch.testing.assert_close(slope, gradient(moved_loss, moved), rtol=1e-10, atol=1e-12)
    assert slope.sum().item() == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize("name", LOSSES)
@given(values=LOGITS, n_masked=st.integers(1, 3))
def test_masked_candidates_change_nothing(name: str, values: list[float], n_masked: int) -> None:
    logit, padded = as_row(values), as_row([*values, *[-math.inf] * n_masked])
    label, disliked = torch.tensor([0]), torch.tensor([1])
    loss, padded_loss = (LOSSES[name](z, label, disliked, None) for z in (logit, padded))
    torch.testing.assert_close(padded_loss, loss, rtol=1e-13, atol=1e-15)
    slope = gradient(padded_loss, padded)[0]
    torch.testing.assert_close(slope[: len(values)], gradient(loss, logit)[0], rtol=1e-13, atol=1e-15)
    assert (slope[len(values) :] == 0).all()


def test_the_only_candidate_costs_nothing_and_cannot_be_not_recommended() -> None:
    only, column = as_row([3.0]), torch.tensor([0])
    for loss_of in (cross_entropy, negative_label_weight):
        loss = loss_of(only, column)
        assert loss.item() == gradient(loss, only).item() == 0
    with pytest.raises(ValueError, match="got 1 candidate, expected at least 2"):
        not_to_recommend(only, column)


@given(values=st.lists(st.floats(-10, 10), min_size=2, max_size=6), weight=st.floats(0.1, 10))
def test_not_to_recommend_is_the_unlikelihood_of_one_token(values: list[float], weight: float) -> None:
    z = torch.tensor([values], dtype=torch.float64)
    p = (torch.exp(z[0, 1]) / torch.exp(z[0]).sum()).item()
    loss = not_to_recommend(z, torch.tensor([1]), numbers(weight))
    # The formula as published forms 1 - p, which is off by about 1e-16.
    rounding = weight * 1e-15 / (1 - p)
    assert loss.item() == pytest.approx(-weight * math.log1p(-p), rel=1e-12, abs=rounding * p)


@given(values=LOGITS)
def test_the_gradient_of_not_to_recommend_is_that_of_the_cross_entropy_times_minus_the_odds(
    values: list[float],
) -> None:
    logit, label = as_row(values), torch.tensor([0])
    p = logit.detach().softmax(1)[0, 0]
    odds = (logit[0, 0] - logit[0, 1:].logsumexp(0)).exp().item()
    expected = -odds * gradient(cross_entropy(logit, label), logit)
    actual = gradient(not_to_recommend(logit, label), logit)
    # p_y - 1 in the cross-entropy's gradient cancels as p nears 1, and the odds multiply the error.
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-15 * max(odds, p.item()))


@given(values=LOGITS)
def test_pairwise_is_either_of_the_two_losses_over_two_candidates(values: list[float]) -> None:
    logit = as_row(values)
    first, second = torch.tensor([0]), torch.tensor([1])
    loss = pairwise(logit, first, second)
    torch.testing.assert_close(loss, not_to_recommend(logit[:, :2], second), rtol=1e-13, atol=0)
    torch.testing.assert_close(loss, cross_entropy(logit[:, :2], first), rtol=1e-13, atol=1e-14)


@given(values=LOGITS, copies=st.integers(1, 5))
def test_a_raised_negative_counts_as_many_times_as_its_weight(values: list[float], copies: int) -> None:
    logit, label, disliked = as_row(values), torch.tensor([0]), torch.tensor([1])
    copied = torch.cat([logit, logit[:, 1:2].expand(1, copies - 1)], 1)
    raised = raised_negative(logit, label, disliked, math.log(copies))
    torch.testing.assert_close(raised, cross_entropy(copied, label), rtol=1e-13, atol=1e-13)


@given(values=LOGITS, weight=st.floats(0.1, 100))
def test_a_raised_negative_adds_what_not_to_recommend_would_until_its_weight_saturates(
    values: list[float], weight: float
) -> None:
    logit, label, disliked = as_row(values), torch.tensor([0]), torch.tensor([1])
    absent = logit.scatter(1, disliked.unsqueeze(1), -math.inf)
    added = raised_negative(logit, label, disliked, math.log(weight)) - cross_entropy(absent, label)
    odds = (logit[:, 1] - absent.logsumexp(1)).exp()
    torch.testing.assert_close(added, torch.log1p(weight * odds), rtol=1e-9, atol=1e-12)
    plain = raised_negative(logit, label, disliked, 0.0) - cross_entropy(absent, label)
    torch.testing.assert_close(plain, not_to_recommend(logit, disliked), rtol=1e-9, atol=1e-12)


def test_rows_without_a_disliked_item_have_the_plain_cross_entropy_and_no_pair() -> None:
    logit = as_row([1.0, 2.0, 3.0])
    label, none = torch.tensor([1]), torch.tensor([-1])
    plain = cross_entropy(logit, label)
    raised, pair = raised_negative(logit, label, none, numbers(7.0)), pairwise(logit, label, none)
    assert torch.equal(raised, plain)
    assert torch.equal(gradient(raised, logit), gradient(plain, logit))
    assert pair.item() == 0
    assert torch.equal(gradient(pair, logit), torch.zeros(1, 3, dtype=torch.float64))


def descend(negative_term: Callable[[Tensor, Tensor, Tensor], Tensor], steps: int) -> tuple[float, Tensor]:
    """Loss and logits after gradient descent on the positive labels 0 and 2 and the disliked item 1 of three items."""
    logit = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        likes = cross_entropy(logit.expand(2, 3), torch.tensor([0, 2])).sum()
        return likes + negative_term(logit, torch.tensor([1]), numbers(4.0)).sum()

    for _ in range(steps):
        slope = gradient(loss(), logit)
        with torch.no_grad():
            logit -= 0.5 * slope
    return loss().item(), logit.detach()[0]


def test_a_negative_label_weight_diverges_where_not_to_recommend_converges() -> None:
    best = 2 * math.log(2)  # the likes have even chances and the disliked item none
    (early, _), (late, logit) = descend(not_to_recommend, 500), descend(not_to_recommend, 1000)
    assert best < late < early < best + 1e-2
    assert logit.abs().max() < 10

    # A step moves the disliked item's logit by 0.5 * 4 for ever, so the loss passes any bound, in proportion to time.
    (early, _), (late, logit) = descend(negative_label_weight, 500), descend(negative_label_weight, 1000)
    assert late < -4000
    assert logit[1] < -1000
    assert late / early == pytest.approx(2, rel=0.01)


def rows(seed: int = 0, n: int = 40, n_items: int = 30, m: int = 12, scale: float = 1.0) -> tuple[Tensor, ...]:
    """Arguments of the sampled loss in float64: labels in and out of the sample, positive and disliked."""
    rng = torch.Generator().manual_seed(seed)
    state, embedding = (torch.randn(k, 6, dtype=torch.float64, generator=rng) * scale for k in (n, n_items))
    bias = torch.randn(n_items, dtype=torch.float64, generator=rng)
    label = torch.randint(n_items, (n,), generator=rng)
    negatives = uniform_negatives(torch.arange(n_items), m, rng)
    disliked = torch.rand(n, generator=rng) < 0.4
    weight = torch.rand(n, dtype=torch.float64, generator=rng) * 3
    model = [t.requires_grad_() for t in (state, embedding, bias)]
    return (*model, label, negatives.item, disliked, weight, negatives.log_q)


def composed(
    state: Tensor,
    embedding: Tensor,
    bias: Tensor,
    label: Tensor,
    negative: Tensor,
    disliked: Tensor,
    weight: Tensor,
    log_q: Tensor | None = None,
) -> Tensor:
    """The sampled loss as a training loop would put it together without the kernel."""
    loss = torch.empty_like(weight)
    for loss_of, chosen in ((cross_entropy, ~disliked), (not_to_recommend, disliked)):
        at = chosen.nonzero().squeeze(1)
        logit = sampled_logits(state.index_select(0, at), embedding, bias, label[at], negative, log_q=log_q)
        loss = loss.index_put((at,), loss_of(logit, torch.zeros_like(at), weight[at]))
    return loss


@pytest.mark.parametrize("scale", [0.01, 1.0, 5.0])
@pytest.mark.parametrize("corrected", [False, True])
def test_the_kernel_equals_the_composed_losses(scale: float, corrected: bool) -> None:
    for seed in range(5):
        *arguments, log_q = rows(seed, scale=scale)
        correction = log_q if corrected else None
        upstream = torch.randn(40, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        expected, actual = composed(*arguments, correction), sampled_softmax_loss(*arguments, correction)
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
        for mine, theirs in zip(
            torch.autograd.grad(actual, arguments[:3], upstream),
            torch.autograd.grad(expected, arguments[:3], upstream),
            strict=True,
        ):
            torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_the_kernel_with_all_items_as_negatives_is_the_full_softmax() -> None:
    state, embedding, bias, label, _, disliked, weight, _ = rows()
    actual = sampled_softmax_loss(state, embedding, bias, label, torch.arange(30), disliked, weight)
    logit = state @ embedding.T + bias
    expected = torch.where(disliked, not_to_recommend(logit, label, weight), cross_entropy(logit, label, weight))
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("corrected", [False, True])
def test_the_gradient_of_the_kernel_agrees_with_finite_differences(corrected: bool) -> None:
    state, embedding, bias, *rest, log_q = rows(n=6, n_items=9, m=4)
    assert torch.autograd.gradcheck(
        lambda s, e, b: sampled_softmax_loss(s, e, b, *rest, log_q if corrected else None), (state, embedding, bias)
    )


@pytest.mark.parametrize(("margin", "value", "slope"), [*ENDS, (900.0, 900.0, 1.0)])
@pytest.mark.parametrize("disliked", [False, True])
def test_the_kernel_keeps_its_digits_at_both_ends(margin: float, value: float, slope: float, disliked: bool) -> None:
    sign = 1.0 if disliked else -1.0
    # Item 1 is the label; items 0 and 2 are its alternatives, the latter at no chance.
    bias = numbers(0.0, sign * margin, -2000.0).requires_grad_()
    zero = torch.zeros(1, 2, dtype=torch.float64)
    loss = sampled_softmax_loss(
        zero,
        torch.zeros(3, 2, dtype=torch.float64),
        bias,
        torch.tensor([1]),
        torch.tensor([0, 2]),
        torch.tensor([disliked]),
        numbers(1.0),
    )
    assert loss.item() == pytest.approx(value, rel=1e-12, abs=0)
    assert gradient(loss, bias).tolist() == pytest.approx([-sign * slope, sign * slope, 0], rel=1e-12, abs=0)


def test_a_huge_weight_at_certainty_gives_a_finite_gradient_in_float32() -> None:
    bias = torch.tensor([0.0, 200.0, -1.0], requires_grad=True)  # 1 - p is 0 in float32, and p / (1 - p) infinite
    row = (torch.zeros(1, 2), torch.zeros(3, 2), bias, torch.tensor([1]), torch.tensor([0, 2]), torch.tensor([True]))
    loss = sampled_softmax_loss(*row, torch.tensor([1e6]))
    others = torch.tensor([0.0, -1.0]).softmax(0)
    slope = gradient(loss, bias)
    torch.testing.assert_close(slope, 1e6 * torch.tensor([-others[0], 1.0, -others[1]]))
    assert loss.item() == pytest.approx(1e6 * (200 - math.log(1 + math.exp(-1))), rel=1e-6)


def test_the_kernel_in_float32_is_that_in_float64_up_to_rounding() -> None:
    *arguments, log_q = rows(n=200)
    exact = sampled_softmax_loss(*arguments, log_q)
    single = [t.detach().float().requires_grad_() for t in arguments[:3]]
    rounded = sampled_softmax_loss(*single, *arguments[3:6], arguments[6].float(), log_q)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded.double(), exact, rtol=1e-5, atol=1e-5)
    for low, high in zip(
        torch.autograd.grad(rounded.sum(), single), torch.autograd.grad(exact.sum(), arguments[:3]), strict=True
    ):
        torch.testing.assert_close(low.double(), high, rtol=1e-5, atol=1e-4)


def test_the_kernel_takes_steps_without_labels() -> None:
    state, embedding, bias, label, negative, disliked, weight, _ = rows(n=0)
    loss = sampled_softmax_loss(state, embedding, bias, label, negative, disliked, weight)
    assert loss.shape == (0,)
    assert all(not g.any() for g in torch.autograd.grad(loss.sum(), (state, embedding, bias)))


def test_the_kernel_refuses_what_it_cannot_do() -> None:
    state, embedding, bias, label, negative, disliked, weight, _ = rows(n=3)
    with pytest.raises(ValueError, match="negative: got 1 items, expected at least 2"):
        sampled_softmax_loss(state, embedding, bias, label, negative[:1], disliked, weight)
    loss = sampled_softmax_loss(state, embedding, bias, label, negative, disliked, weight).sum()
    (slope,) = torch.autograd.grad(loss, bias, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        torch.autograd.grad(slope.sum(), bias)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("m", [2, 16, 300])
@pytest.mark.parametrize("n_negative", [1, 12])
def test_the_weight_for_a_share_gives_the_disliked_labels_that_share_of_the_gradient(
    share: float, m: int, n_negative: int
) -> None:
    n_positive = 30
    weight = weight_for_share(share, n_positive, n_negative, m)
    logit = torch.zeros(n_positive + n_negative, 1 + m, dtype=torch.float64, requires_grad=True)
    first = torch.zeros(n_positive + n_negative, dtype=torch.int64)
    positive = gradient(cross_entropy(logit[:n_positive], first[:n_positive]), logit).abs().sum()
    negative = weight * gradient(not_to_recommend(logit[n_positive:], first[n_positive:]), logit).abs().sum()
    assert (negative / positive).item() == pytest.approx(share)
    assert weight_for_share(share, n_positive, 0, m) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-0.1, 1, 1, 1), "share: got -0.1, expected a finite number >= 0"),
        ((math.nan, 1, 1, 1), "share: got nan"),
        ((1.0, -1, 1, 1), "n_positive: got -1, expected a finite number >= 0"),
        ((1.0, 1, math.inf, 1), "n_negative: got inf"),
        ((1.0, 1, 1, 0), "n_negatives_sampled: got 0, expected at least 1"),
    ],
)
def test_a_share_out_of_range_is_refused(arguments: tuple[float, float, float, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        weight_for_share(*arguments)


def test_the_charts_in_the_documentation_are_current() -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.svg")}
    assert committed == charts(), "run: python docs/plot_losses.py"


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_the_kernel_takes_about_half_the_time_of_the_composed_losses(threads: int) -> None:
    rng = torch.Generator().manual_seed(0)
    n, n_items, m = 6400, 10_000, 256
    model = [torch.randn(s, generator=rng).requires_grad_() for s in ((n, 64), (n_items, 64), (n_items,))]
    label = torch.randint(n_items, (n,), generator=rng)
    negative = uniform_negatives(torch.arange(n_items), m, rng).item
    disliked = torch.rand(n, generator=rng) < 0.08
    seconds: dict[Callable[..., Tensor], list[float]] = {composed: [], sampled_softmax_loss: []}
    with torch_threads(threads):
        for _ in range(30):
            for loss_of, measured in seconds.items():
                start = perf_counter()
                torch.autograd.grad(loss_of(*model, label, negative, disliked, torch.ones(n)).sum(), model)
                measured.append(perf_counter() - start)
    slow, fast = (median(measured) for measured in seconds.values())
    print(f"{threads} threads: composed {1e3 * slow:.1f} ms, kernel {1e3 * fast:.1f} ms, ratio {fast / slow:.2f}")
    assert fast < 0.7 * slow


@given(seed=st.integers(0, 2**32), n_groups=st.integers(1, 4), n_rows=st.integers(1, 6), corrected=st.booleans())
def test_groups_of_rows_equal_the_loss_of_each_group(seed: int, n_groups: int, n_rows: int, corrected: bool) -> None:
    generator = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64)

    state, embedding, bias = normal(n_groups, n_rows, 3), normal(9, 3), normal(9)
    # Few items, so that labels are often among their group's negatives.
    label = torch.randint(9, (n_groups, n_rows), generator=generator)
    negative = torch.stack([torch.randperm(9, generator=generator)[:4] for _ in range(n_groups)])
    disliked = torch.rand((n_groups, n_rows), generator=generator) < 0.4
    weight = normal(n_groups, n_rows).abs()
    weight[torch.rand((n_groups, n_rows), generator=generator) < 0.2] = 0
    log_q = normal(n_groups, 4) if corrected else None
    inputs = [x.requires_grad_() for x in (state, embedding, bias)]
    together = grouped_softmax_loss(*inputs, label, negative, disliked, weight, log_q)
    apart = torch.stack(
        [
            sampled_softmax_loss(
                state[g], embedding, bias, label[g], negative[g], disliked[g], weight[g],
                None if log_q is None else log_q[g],
            )
            for g in range(n_groups)
        ]
    )  # fmt: skip
    torch.testing.assert_close(together, apart, rtol=1e-12, atol=1e-12)
    direction = normal(n_groups, n_rows)
    for a, b in zip(*(torch.autograd.grad((x * direction).sum(), inputs) for x in (together, apart)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_a_group_needs_two_negatives() -> None:
    one = torch.zeros((1, 1))
    with pytest.raises(ValueError, match="negative: got 1 items a group, expected at least 2"):
        grouped_softmax_loss(
            one.unsqueeze(2), torch.zeros((3, 1)), torch.zeros(3), one.long(), one.long(), one > 0, one, None
        )
