from __future__ import annotations

import math
from itertools import combinations, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2
from torch import Tensor

from recommenders.losses import cross_entropy, not_to_recommend
from recommenders.sampling import (
    Negatives,
    add_candidate,
    in_batch_negatives,
    label_share,
    popularity_negatives,
    popularity_proposal,
    sample_uniform,
    sampled_logits,
    uniform_negatives,
)

FALSE_ALARM = 1e-6
"""Of each test of drawn frequencies, over its seed, which is fixed."""


def generator(seed: int, device: str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def random_model(n: int, n_items: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    rng = generator(seed)
    shapes = ((n, 4), (n_items, 4), (n_items,))
    state, embedding, bias = (torch.randn(s, generator=rng, dtype=torch.float64) for s in shapes)
    return state, embedding, bias


def mass(negatives: Negatives, logit: Tensor) -> Tensor:
    """What the corrected sample says of the sum of exp(logit) over all items."""
    return (logit[negatives.item] - negatives.log_q).exp().sum()


def test_uniform_negatives_are_different_and_uniform() -> None:
    candidate, m, draws = torch.tensor([3, 5, 8, 9, 11, 12, 20]), 3, 4000
    count = torch.zeros(21, dtype=torch.float64)
    rng = generator(4)
    for _ in range(draws):
        negatives = uniform_negatives(candidate, m, rng)
        assert len(set(negatives.item.tolist())) == m
        assert negatives.log_q.tolist() == pytest.approx([math.log(3 / 7)] * m)
        count[negatives.item] += 1
    assert count.sum() == count[candidate].sum() == draws * m
    # Draws without replacement vary less than independent ones, by the factor (c - m) / (c - 1).
    expected, c = draws * m / 7, 7
    statistic = ((count[candidate] - expected) ** 2 / expected).sum() * (c - 1) / (c - m)
    assert statistic < chi2.isf(FALSE_ALARM, c - 1)


@given(c=st.integers(1, 8), extra=st.integers(0, 3))
def test_uniform_negatives_are_all_candidates_where_there_are_no_more(c: int, extra: int) -> None:
    candidate = torch.arange(c) * 2 + 1
    negatives = uniform_negatives(candidate, c + extra, generator(0))
    assert torch.equal(negatives.item, candidate)
    assert torch.equal(negatives.log_q, torch.zeros(c, dtype=torch.float64))


@pytest.mark.parametrize("alpha", [0.0, 0.75, 1.0, 2.0])
def test_popularity_negatives_follow_the_power_of_the_count(alpha: float) -> None:
    candidate, count = torch.tensor([2, 4, 6, 7, 9]), torch.tensor([1, 50, 7, 0, 3])
    proposal = popularity_proposal(candidate, count, alpha)
    # torch says 0 ** 0 = 1: with alpha 0, an item that was never interacted with is as likely as any other.
    torch.testing.assert_close(proposal.probability, count.double() ** alpha / (count.double() ** alpha).sum())
    assert proposal.cumulative[-1] == 1
    times, m, draws = torch.zeros(10, dtype=torch.float64), 20, 1000
    rng = generator(5)
    for _ in range(draws):
        negatives = popularity_negatives(proposal, m, rng)
        assert len(set(negatives.item.tolist())) == len(negatives.item)
        place = torch.searchsorted(candidate, negatives.item)
        drawn = (m * proposal.probability[place]) / negatives.log_q.exp()  # what log_q says of the number of draws
        assert drawn.sum().item() == pytest.approx(m)
        times[negatives.item] += drawn
    possible = proposal.probability > 0
    assert times[candidate[~possible]].sum() == 0
    expected = draws * m * proposal.probability[possible]
    statistic = ((times[candidate[possible]] - expected) ** 2 / expected).sum()
    assert statistic < chi2.isf(FALSE_ALARM, int(possible.sum()) - 1)


@pytest.mark.parametrize(
    ("alpha", "count", "message"),
    [
        (-1.0, [1.0, 1.0], "alpha: got -1.0, expected a finite number >= 0"),
        (math.nan, [1.0, 1.0], "alpha: got nan"),
        (1.0, [1.0, -1.0], "count: expected 2 finite numbers >= 0, one a candidate"),
        (1.0, [1.0, math.nan], "count: expected 2 finite numbers"),
        (1.0, [1.0], "count: expected 2 finite numbers"),
        (1.0, [0.0, 5.0], "count: got 1 items that can be drawn, expected at least 2"),
        (1.0, [0.0, 0.0], "count: got 0 items that can be drawn"),
    ],
)
def test_a_proposal_that_cannot_be_drawn_from_is_refused(alpha: float, count: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        popularity_proposal(torch.arange(2), torch.tensor(count), alpha)


def test_counts_of_any_size_make_a_proposal() -> None:
    proposal = popularity_proposal(torch.arange(3), torch.tensor([1e200, 1e100, 0.0], dtype=torch.float64), 1.0)
    assert proposal.probability.tolist() == pytest.approx([1, 1e-100, 0], abs=0)
    proposal = popularity_proposal(torch.arange(2), torch.tensor([1e300, 1e300], dtype=torch.float64), 3.0)
    assert proposal.probability.tolist() == [0.5, 0.5]


def test_in_batch_negatives_list_a_repeated_label_once_and_remember_how_often() -> None:
    share = torch.tensor([0.5, 0.2, 0.2, 0.1], dtype=torch.float64)
    negatives = in_batch_negatives(torch.tensor([2, 0, 0, 3, 0]), share)
    assert negatives.item.tolist() == [0, 2, 3]
    expected = torch.tensor([4 * 0.5 / 3, 4 * 0.2, 4 * 0.1], dtype=torch.float64).log()
    torch.testing.assert_close(negatives.log_q, expected)


def test_a_batch_without_in_batch_negatives_is_refused() -> None:
    share = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64)
    with pytest.raises(ValueError, match="label: got 1 different items in the batch, expected at least 2"):
        in_batch_negatives(torch.tensor([1, 1, 1]), share)
    with pytest.raises(ValueError, match="label: got 0 different items"):
        in_batch_negatives(torch.tensor([], dtype=torch.int64), share)
    with pytest.raises(ValueError, match="share: got 0 for item 2, which is a label of the batch"):
        in_batch_negatives(torch.tensor([1, 2]), share)


def test_label_share_counts_labels_and_leaves_out_padding() -> None:
    assert label_share(torch.tensor([[1, -1], [1, 3]]), 5).tolist() == [0, 2 / 3, 0, 1 / 3, 0]
    assert label_share(torch.tensor([[-1]]), 2).tolist() == [0, 0]


def test_the_sum_over_uniform_negatives_is_unbiased_over_all_samples() -> None:
    logit = torch.tensor([0.3, -2.0, 1.5, 4.0, -0.7], dtype=torch.float64)
    for m in (2, 3, 4):
        log_q = torch.full((m,), math.log(m / 5), dtype=torch.float64)
        for label in range(5):
            others = torch.arange(5) != label
            samples = [torch.tensor(s) for s in combinations(range(5), m)]
            sums = [mass(Negatives(s[others[s]], log_q[: int(others[s].sum())]), logit) for s in samples]
            torch.testing.assert_close(torch.stack(sums).mean(), logit[others].exp().sum())


def test_the_sum_over_negatives_drawn_with_replacement_is_unbiased_over_all_samples() -> None:
    logit = torch.tensor([0.3, -2.0, 1.5], dtype=torch.float64)
    proposal = popularity_proposal(torch.arange(3), torch.tensor([1, 2, 5]), 1.0)
    total = torch.zeros((), dtype=torch.float64)
    for sample in product(range(3), repeat=4):
        place, times = torch.unique(torch.tensor(sample), return_counts=True)
        chance = proposal.probability[torch.tensor(sample)].prod()
        total += chance * mass(Negatives(place, (4 * proposal.probability[place] / times).log()), logit)
    torch.testing.assert_close(total, logit.exp().sum())


def test_the_sum_over_in_batch_negatives_is_unbiased_given_the_label() -> None:
    logit, share = torch.tensor([0.3, -2.0, 1.5], dtype=torch.float64), torch.tensor([0.2, 0.5, 0.3]).double()
    for label in range(3):
        others = torch.arange(3) != label
        total = torch.zeros((), dtype=torch.float64)
        for rest in product(range(3), repeat=3):
            if set(rest) != {label}:  # such a batch is refused; its sum over the others would be 0
                negatives = in_batch_negatives(torch.tensor([label, *rest]), share)
                counts = others[negatives.item]
                kept = Negatives(negatives.item[counts], negatives.log_q[counts])
                total += share[torch.tensor(rest)].prod() * mass(kept, logit)
        torch.testing.assert_close(total, logit[others].exp().sum())


def gradients(loss: Tensor, *inputs: Tensor) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss.sum(), inputs)])


@pytest.mark.parametrize("loss", [cross_entropy, not_to_recommend])
@pytest.mark.parametrize("kind", ["uniform", "popularity", "in-batch"])
def test_the_corrected_loss_and_gradient_approach_those_of_the_full_softmax(kind: str, loss: object) -> None:
    n_items, rng = 60, generator(6)
    state, embedding, bias = (t.requires_grad_() for t in random_model(3, n_items, seed=7))
    label, first = torch.tensor([17, 17, 17]), torch.zeros(3, dtype=torch.int64)
    count = torch.arange(1, n_items + 1, dtype=torch.float64)
    proposal = popularity_proposal(torch.arange(n_items), count, 0.75)
    share = count / count.sum()

    def draw(m: int) -> Negatives:
        if kind == "uniform":
            return uniform_negatives(torch.arange(n_items), m, rng)
        if kind == "popularity":
            return popularity_negatives(proposal, m, rng)
        others = torch.multinomial(share, m, replacement=True, generator=rng)
        return in_batch_negatives(torch.cat([label[:1], others]), share)

    def error(m: int, draws: int, corrected: bool) -> float:
        """Distance of the mean loss and gradient from those of the full softmax, relative."""
        mean = torch.zeros(3 + 3 * 4 + n_items * 4 + n_items, dtype=torch.float64)
        for _ in range(draws):
            negatives = draw(m)
            log_q = negatives.log_q if corrected else None
            value = loss(sampled_logits(state, embedding, bias, label, negatives.item, log_q=log_q), first)  # type: ignore[operator]
            mean += torch.cat([value.detach(), gradients(value, state, embedding, bias)]) / draws
        value = loss(state @ embedding.T + bias, label)  # type: ignore[operator]
        full = torch.cat([value.detach(), gradients(value, state, embedding, bias)])
        return ((mean - full).norm() / full.norm()).item()

    # The bias falls with the number of negatives; of 60 items, 192 draws with replacement say about as much as 48
    # without. The seed is fixed; at four others the figures varied by up to a third of themselves.
    few, many = error(6, 200, True), error(48 if kind == "uniform" else 192, 100, True)
    assert many < 0.25 * few
    assert many < 0.1
    assert error(6, 100, False) > 1.5 * few


def test_population_and_log_q_correct_alike_but_for_the_accidental_hit() -> None:
    state, embedding, bias = random_model(2, 9, seed=8)
    negative, label = torch.tensor([1, 2, 5]), torch.tensor([2, 8])
    by_population = sampled_logits(state, embedding, bias, label, negative, population=9)
    log_q = torch.full((3,), math.log(3 / 9), dtype=torch.float64)
    by_log_q = sampled_logits(state, embedding, bias, label, negative, log_q=log_q)
    # Given a hit, 2 of 8 others are in the sample; given none, 3 of 8; the label left open, 3 of 9.
    offset = (by_population - by_log_q)[:, [1, 3]]
    expected = torch.tensor([[8 / 2], [8 / 3]], dtype=torch.float64).log() - math.log(9 / 3)
    torch.testing.assert_close(offset, expected.expand(2, 2))
    with pytest.raises(ValueError, match="log_q: got it beside population, expected one correction"):
        sampled_logits(state, embedding, bias, label, negative, 9, log_q)


def test_an_accidental_hit_does_not_count() -> None:
    logit = sampled_logits(torch.ones(1, 2), torch.ones(3, 2), torch.zeros(3), torch.tensor([0]), torch.tensor([0, 2]))
    assert logit.tolist() == [[2.0, -math.inf, 2.0]]


def test_a_lone_negative_is_refused() -> None:
    with pytest.raises(ValueError, match="got 1 items, expected at least 2"):
        sampled_logits(torch.zeros(1, 2), torch.zeros(3, 2), torch.zeros(3), torch.tensor([0]), torch.tensor([1]))


def test_all_items_as_negatives_with_correction_give_the_full_softmax() -> None:
    state, embedding, bias = random_model(4, 7, seed=3)
    label, first = torch.tensor([0, 3, 6, 6]), torch.zeros(4, dtype=torch.int64)
    everything = uniform_negatives(torch.arange(7), 7, generator(0))
    for loss in (cross_entropy, not_to_recommend):
        full = loss(state @ embedding.T + bias, label)
        by_population = sampled_logits(state, embedding, bias, label, everything.item, population=7)
        by_log_q = sampled_logits(state, embedding, bias, label, everything.item, log_q=everything.log_q)
        torch.testing.assert_close(loss(by_population, first), full)
        torch.testing.assert_close(loss(by_log_q, first), full)


def test_a_correction_in_float64_leaves_float32_logits_alone() -> None:
    state, embedding, bias = (t.float() for t in random_model(2, 5, seed=1))
    negatives = uniform_negatives(torch.arange(5), 3, generator(0))
    logit = sampled_logits(state, embedding, bias, torch.tensor([0, 1]), negatives.item, log_q=negatives.log_q)
    assert logit.dtype == torch.float32


def test_an_added_candidate_counts_once_in_or_out_of_the_sample() -> None:
    state, embedding, bias = random_model(4, 6, seed=2)
    label, negative = torch.tensor([0, 0, 0, 0]), torch.tensor([2, 3])
    item = torch.tensor([5, 3, 0, -1])  # out of the sample, in it, the label itself, none
    full = state @ embedding.T + bias
    logit = sampled_logits(state, embedding, bias, label, negative)
    added = add_candidate(logit, state, embedding, bias, label, negative, item)
    inf = -math.inf
    expected = torch.stack(
        [
            torch.stack([full[0, 0], full[0, 2], full[0, 3], full[0, 5]]),
            torch.stack([full[1, 0], full[1, 2], torch.tensor(inf, dtype=torch.float64), full[1, 3]]),
            torch.cat([full[2, [0, 2, 3]], torch.tensor([inf], dtype=torch.float64)]),
            torch.cat([full[3, [0, 2, 3]], torch.tensor([inf], dtype=torch.float64)]),
        ]
    )
    torch.testing.assert_close(added, expected)


def test_the_same_seed_draws_the_same_negatives_and_moves_the_generator_on() -> None:
    candidate, proposal = torch.arange(50), popularity_proposal(torch.arange(50), torch.ones(50), 1.0)
    first, second = generator(9), generator(9)
    for _ in range(2):
        assert torch.equal(sample_uniform(candidate, 5, first), sample_uniform(candidate, 5, second))
        one, other = popularity_negatives(proposal, 5, first), popularity_negatives(proposal, 5, second)
        assert torch.equal(one.item, other.item)
        assert torch.equal(one.log_q, other.log_q)
    assert not torch.equal(sample_uniform(candidate, 5, first), sample_uniform(candidate, 5, first))


@pytest.mark.gpu
def test_a_generator_on_the_cpu_draws_the_same_negatives_for_an_accelerator() -> None:
    candidate, count = torch.arange(1000), torch.arange(1000)
    on_cpu = popularity_proposal(candidate, count, 0.75)
    on_device = popularity_proposal(candidate.cuda(), count.cuda(), 0.75)
    for seed in range(20):
        uniform, uniform_there = (uniform_negatives(c, 64, generator(seed)) for c in (candidate, candidate.cuda()))
        popular, popular_there = (popularity_negatives(p, 64, generator(seed)) for p in (on_cpu, on_device))
        for here, there in ((uniform, uniform_there), (popular, popular_there)):
            assert there.item.is_cuda
            assert there.log_q.is_cuda
            assert torch.equal(here.item, there.item.cpu())
            torch.testing.assert_close(here.log_q, there.log_q.cpu())
    assert uniform_negatives(candidate, 64, generator(0, "cuda")).item.device.type == "cpu"
    assert popularity_negatives(on_cpu, 64, generator(0, "cuda")).item.device.type == "cpu"
