"""How negatives are drawn for a sampled softmax, how often to expect each, and the logits of label and negatives.

The same negatives serve every row of a training step. A draw gives different items and, for each, `log_q`: the log of
its expected number of draws per draw that it got. Subtracting it from the item's logit (the logQ correction) makes
the sum of exp(logit) over the sample an unbiased estimate of the sum over the proposal's items without the row's
label, so the sampled softmax estimates the full one. Its logarithm, and so the loss, is biased by about 1 / negatives.

    proposal     drawn                                   expected number of draws
    uniform      m of c candidates, no replacement       m / c
    popularity   m, with replacement                     m q_j, q_j in proportion to count_j ** alpha
    in-batch     the b positive labels of the step       (b - 1) share_j: the row's own label is given, not drawn

Random numbers are drawn on the device of the generator and then moved to that of the items, so a generator on the CPU
gives the same negatives wherever the model is trained.

Source: Bengio & Senecal 2008, IEEE Trans. Neural Networks (importance-sampled softmax); Yi et al. 2019, RecSys
(in-batch negatives with logQ). As in Khrylchenko et al. 2025, RecSys, the label is not corrected: it is in every
sample with certainty. Ours: shared negatives, and one column for an item that is drawn repeatedly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Negatives:
    """Items that stand for all others in a sampled softmax.

    Attributes:
        item: int64[m], all different.
        log_q: float64[m], log of (expected draws of the item / draws that it got). Where it is not subtracted, every
            item counts once, however often it was drawn.
    """

    item: Tensor
    log_q: Tensor


@dataclass(frozen=True)
class Proposal:
    """A distribution over items that negatives are drawn from with replacement.

    Attributes:
        item: int64[c], ids.
        probability: float64[c], sums to 1.
        cumulative: float64[c], running sum of the probabilities; the last is exactly 1.
    """

    item: Tensor
    probability: Tensor
    cumulative: Tensor


def sample_uniform(candidate: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` different items, uniformly; all of them, in the order given, if there are no more than that.

    Args:
        candidate: int64[c], item ids.
        count: at least 1.
        generator: where the randomness comes from; on any device.

    Returns:
        int64[min(count, c)], on the device of the candidates.
    """
    if count >= len(candidate):
        return candidate
    order = torch.randperm(len(candidate), generator=generator, device=generator.device)
    return candidate[order[:count].to(candidate.device)]


def uniform_negatives(candidate: Tensor, count: int, generator: torch.Generator) -> Negatives:
    """`count` different items, uniformly and without replacement; all of them if there are no more than that.

    Args:
        candidate: int64[c], item ids, all different.
        count: at least 1.
        generator: where the randomness comes from; on any device.
    """
    item = sample_uniform(candidate, count, generator)
    log_q = math.log(len(item) / len(candidate)) if len(candidate) else 0.0
    return Negatives(item, torch.full(item.shape, log_q, dtype=torch.float64, device=item.device))


def popularity_proposal(candidate: Tensor, count: Tensor, alpha: float) -> Proposal:
    """Probabilities in proportion to count ** alpha.

    Args:
        candidate: int64[c], item ids, all different.
        count: float or int [c], how often each was interacted with, finite and >= 0. With alpha > 0 an item of count 0
            is never drawn, and no correction can make up for that: add a prior count to prevent it.
        alpha: >= 0; 0 is uniform, 1 is in proportion, and 0.75 is word2vec's choice.

    Returns:
        Tensors on the device of the candidates.

    Raises:
        ValueError: alpha or a count is out of range, or fewer than two items can be drawn.

    Source: Mikolov et al. 2013, NeurIPS (the power of the count).
    """
    if not 0 <= alpha < math.inf:
        raise ValueError(f"alpha: got {alpha}, expected a finite number >= 0")
    known = count.cpu().double()
    if len(known) != len(candidate) or not bool((torch.isfinite(known) & (known >= 0)).all()):
        raise ValueError(f"count: expected {len(candidate)} finite numbers >= 0, one a candidate")
    # Relative to the largest, so that a power cannot overflow.
    weight = (known / known.max().clamp(min=1e-300)) ** alpha if len(known) else known
    if int((weight > 0).sum()) < 2:
        raise ValueError(f"count: got {int((weight > 0).sum())} items that can be drawn, expected at least 2")
    cumulative = weight.cumsum(0)
    device = candidate.device
    return Proposal(candidate, (weight / weight.sum()).to(device), (cumulative / cumulative[-1]).to(device))


def popularity_negatives(proposal: Proposal, count: int, generator: torch.Generator) -> Negatives:
    """`count` draws with replacement from a proposal, each item listed once, in ascending order of its place there.

    Args:
        proposal: such as that of `popularity_proposal`.
        count: draws, at least 1; there are fewer items where some are drawn repeatedly.
        generator: where the randomness comes from; on any device.
    """
    uniform = torch.rand(count, dtype=torch.float64, generator=generator, device=generator.device)
    drawn = torch.searchsorted(proposal.cumulative, uniform.to(proposal.cumulative.device), right=True)
    place, times = torch.unique(drawn, return_counts=True)
    return Negatives(proposal.item[place], (count * proposal.probability[place] / times).log())


def label_share(label: Tensor, n_items: int) -> Tensor:
    """Each item's share of the labels: float64[n_items], zeros if there are no labels.

    Args:
        label: int64[any shape], item ids; negative where there is none.
        n_items: number of items.
    """
    count = label[label >= 0].bincount(minlength=n_items).double()
    return count / count.sum().clamp(min=1)


def in_batch_negatives(label: Tensor, share: Tensor) -> Negatives:
    """The positive labels of a training step as negatives of one another, each item listed once, ascending.

    Expected draws are right for any way of making batches in which each label is as likely as in the log and a row's
    own label tells nothing of the others; windows of one user's items depart from the latter a little.

    Args:
        label: int64[b], the positive labels of the step.
        share: float64[n_items], from `label_share` of all training labels.

    Raises:
        ValueError: fewer than two different labels, or a label whose share is 0.
    """
    item, times = torch.unique(label, return_counts=True)
    if len(item) < 2:
        raise ValueError(f"label: got {len(item)} different items in the batch, expected at least 2")
    expected = (len(label) - 1) * share[item]
    if not bool((expected > 0).all()):
        raise ValueError(f"share: got 0 for item {int(item[expected <= 0][0])}, which is a label of the batch")
    return Negatives(item, (expected / times).log())


def sampled_logits(
    state: Tensor,
    embedding: Tensor,
    bias: Tensor,
    label: Tensor,
    negative: Tensor,
    population: int | None = None,
    log_q: Tensor | None = None,
) -> Tensor:
    """Logits of each label beside the same sampled negatives: feed them to a loss with label column 0.

    A negative that is the row's own label (an accidental hit) is masked with -inf. Without correction the softmax is
    over the sample: p_y is about 1 / (1 + m) before training, however large the corpus.

    Args:
        state: float[n, d].
        embedding: float[n_items, d].
        bias: float[n_items].
        label: int64[n], item ids.
        negative: int64[m], item ids, all different, at least 2.
        population: the logQ correction for uniform negatives from this many items, the labels among them: the
            negatives' logits rise by the log of (other items / negatives that count). None: no such correction.
        log_q: float[m], the logQ correction for any negatives, as in `Negatives`. None: no such correction.

    Returns:
        float[n, 1 + m]; column 0 is the label.

    Raises:
        ValueError: fewer than two negatives, with which a row might be left with its label alone; or both corrections.
    """
    if len(negative) < 2:
        raise ValueError(f"negative: got {len(negative)} items, expected at least 2")
    if population is not None and log_q is not None:
        raise ValueError("log_q: got it beside population, expected one correction")
    positive_logit = (state * embedding[label]).sum(1) + bias[label]
    hit = label.unsqueeze(1) == negative
    offset = bias[negative] if log_q is None else bias[negative] - log_q.to(bias.dtype)
    negative_logit = (state @ embedding[negative].T + offset).masked_fill(hit, -math.inf)
    if population is not None:
        counting = len(negative) - hit.sum(1, keepdim=True)
        negative_logit = negative_logit + ((population - 1) / counting).log()
    return torch.cat([positive_logit.unsqueeze(1), negative_logit], 1)


def add_candidate(
    logit: Tensor, state: Tensor, embedding: Tensor, bias: Tensor, label: Tensor, negative: Tensor, item: Tensor
) -> Tensor:
    """`sampled_logits` with one more item in each row, such as the disliked item of a neighbouring position.

    It takes the last column. Like the label it is in the sample with certainty, so no correction applies to it, and
    where it is also among the negatives, that column is masked so that it counts once.

    Args:
        logit: float[n, 1 + m], from `sampled_logits` of the arguments that follow.
        state: float[n, d].
        embedding: float[n_items, d].
        bias: float[n_items].
        label: int64[n], item ids.
        negative: int64[m], item ids.
        item: int64[n], item ids; negative for none. Where it is the row's label, it counts as none.

    Returns:
        float[n, 2 + m]; -inf in the last column where there is none.
    """
    present = (item >= 0) & (item != label)
    known = item.clamp(min=0)
    added = ((state * embedding[known]).sum(1) + bias[known]).masked_fill(~present, -math.inf)
    twice = present.unsqueeze(1) & (item.unsqueeze(1) == negative)
    return torch.cat([logit[:, :1], logit[:, 1:].masked_fill(twice, -math.inf), added.unsqueeze(1)], 1)
