"""Training losses over candidate items: the paper's two, what they are compared with, and one fused kernel for both.

All take logits z whose row i holds the scores of the candidates of label i, and return one loss a label. Candidates
are all items (full softmax) or the label and some negatives (sampled softmax, `recommenders.sampling`). With
p = softmax(z), k the disliked item and y another label, the closed forms that the tests check are

    cross-entropy          -log p_y                 d/dz_y = p_y - 1,        d/dz_j = p_j
    not-to-recommend       -log(1 - p_k)            d/dz_k = p_k,            d/dz_j = -p_k p_j / (1 - p_k)
    negative label weight  log p_k                  d/dz_k = 1 - p_k,        d/dz_j = -p_j
    raised negative        -log q_y                 d/dz_y = q_y - 1,        d/dz_j = q_j
    pairwise               -log sigmoid(z_y - z_k)  d/dz_k = sigmoid(z_k - z_y) = -d/dz_y

where q is the softmax after log w was added to z_k. docs/losses.md compares them.

In terms of the margin t = z_y - logsumexp(z without y) and of s, the softmax without y, the first two are softplus(-t)
and softplus(t), and dt/dz = e_y - s. So a positive and a disliked label differ in a sign: `sampled_softmax_loss`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional


def cross_entropy(logit: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
    """Weighted softmax cross-entropy, -r log p_y.

    Args:
        logit: float[n, c], -inf where a candidate does not count.
        label: int64[n], the column of the label, in [0, c).
        weight: float[n], the reward r of the label; None for 1.

    Returns:
        float[n], one loss a label, not averaged; 0 where the label is the only candidate.
    """
    loss = functional.cross_entropy(logit, label, reduction="none")
    return loss if weight is None else loss * weight


def not_to_recommend(logit: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
    """Weighted not-to-recommend loss, -w log(1 - p_y), without ever forming 1 - p_y.

    -log(1 - p_y) = logsumexp(z) - logsumexp(z without y) = softplus(z_y - logsumexp(z without y)). The last form is
    evaluated: the difference in the middle would lose all digits of a small p_y. Value and gradient keep full relative
    precision from p_y = 0 to p_y = 1.

    "Unlikelihood" is the same function: of the probability of a token that a language model should not have generated.

    Args:
        logit: float[n, c], -inf where a candidate does not count; in each row something besides the label must count.
        label: int64[n], the column of the disliked item, in [0, c).
        weight: float[n], w; None for 1.

    Returns:
        float[n], one loss a label, not averaged.

    Raises:
        ValueError: there is only one candidate; then p_y is 1 whatever the logits, and the loss infinite.

    Source: Wang et al. 2023, RecSys, arXiv 2308.12256. Unlikelihood: Welleck et al. 2020, ICLR.
    """
    if logit.shape[1] < 2:
        raise ValueError(f"logit: got {logit.shape[1]} candidate, expected at least 2: not to recommend the only one")
    column = label.unsqueeze(1)
    others = logit.scatter(1, column, -math.inf).logsumexp(1)
    margin = logit.gather(1, column).squeeze(1) - others
    # functional.softplus turns linear at 20, which is wrong by 2e-9; logsigmoid is exact everywhere.
    loss = -functional.logsigmoid(-margin)
    return loss if weight is None else loss * weight


def negative_label_weight(logit: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
    """What a negative sample weight -w makes of the cross-entropy: +w log p_y. For comparison; it diverges.

    It has no lower bound, and its gradient in z_y is w (1 - p_y): full strength where the item is long unlikely.

    Args:
        logit: float[n, c], -inf where a candidate does not count.
        label: int64[n], the column of the disliked item, in [0, c).
        weight: float[n], w >= 0, the size of the negative weight; None for 1.

    Returns:
        float[n], one loss a label, at most 0, not averaged.
    """
    return -cross_entropy(logit, label, weight)


def raised_negative(
    logit: Tensor, label: Tensor, disliked: Tensor, log_weight: Tensor | float, weight: Tensor | None = None
) -> Tensor:
    """Cross-entropy of a positive label in which a disliked item counts w times among the softmax's negatives.

    The disliked item has no loss of its own: it takes part in the loss of a neighbouring positive label, with its logit
    raised by log w. That adds log(1 + (w - 1) p_k) to the cross-entropy, and log(1 + w p_k / (1 - p_k)) to one without
    the disliked item: like the not-to-recommend loss at the neighbour's state, but its gradient stays below 1.

    Args:
        logit: float[n, c], of the positive label's row, -inf where a candidate does not count. In a sampled softmax
            the disliked item must be made a candidate: `sampling.add_candidate`.
        label: int64[n], the column of the positive label, in [0, c).
        disliked: int64[n], the column of the disliked item, not that of the label; negative where there is none.
        log_weight: float or float[n], log w; 0 leaves the cross-entropy as it is.
        weight: float[n], the reward r of the positive label; None for 1.

    Returns:
        float[n], one loss a positive label, not averaged.
    """
    present = disliked >= 0
    raised = torch.where(present, torch.as_tensor(log_weight, dtype=logit.dtype, device=logit.device), 0.0)
    column = disliked.clamp(min=0).unsqueeze(1)
    return cross_entropy(logit.scatter_add(1, column, raised.unsqueeze(1)), label, weight)


def pairwise(logit: Tensor, label: Tensor, disliked: Tensor, weight: Tensor | None = None) -> Tensor:
    """Weighted pair loss of a positive and a disliked item, -w log sigmoid(z_y - z_k).

    It is the cross-entropy of the positive label with the disliked item as its only negative, and the not-to-recommend
    loss of the disliked item with the positive one as its only alternative: other candidates play no part.

    Args:
        logit: float[n, c], -inf where a candidate does not count.
        label: int64[n], the column of the positive label, in [0, c); it counts.
        disliked: int64[n], the column of the disliked item; negative where there is none.
        weight: float[n]; None for 1.

    Returns:
        float[n], one loss a pair, not averaged; 0 where there is no disliked item or it does not count.

    Source: Rendle et al. 2009, UAI (BPR); there the second item is one without feedback, here a disliked one.
    """
    positive = logit.gather(1, label.unsqueeze(1)).squeeze(1)
    negative = logit.gather(1, disliked.clamp(min=0).unsqueeze(1)).squeeze(1).masked_fill(disliked < 0, -math.inf)
    loss = -functional.logsigmoid(positive - negative)
    return loss if weight is None else loss * weight


def sampled_softmax_loss(
    state: Tensor,
    embedding: Tensor,
    bias: Tensor,
    label: Tensor,
    negative: Tensor,
    disliked: Tensor,
    weight: Tensor,
    log_q: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of positive labels and not-to-recommend loss of disliked ones, in one product over all rows.

    Equals `cross_entropy` and `not_to_recommend` of `sampled_logits` with the same arguments, and keeps its precision
    at both ends of p for both. The rows' logits are computed once, become exponentials in place, and are all that the
    gradient needs. In float32, with 6,400 rows of width 64, 256 negatives and 10,000 items, it takes a little less
    than half of the composed version's time; the slow test in tests/recommenders/test_losses.py prints the ratio.

    Args:
        state: float[n, d], one row a label.
        embedding: float[n_items, d].
        bias: float[n_items].
        label: int64[n], item ids.
        negative: int64[m], item ids shared by all rows, all different, at least 2; all items for the full softmax. A
            row's own label among them does not count.
        disliked: bool[n], whether the label is disliked.
        weight: float[n], r or w; no gradient flows to it.
        log_q: float[m], the logQ correction of the negatives, as in `sampling.Negatives`; None for none.

    Returns:
        float[n], one loss a label, not averaged. It can be differentiated once, in state, embedding and bias.

    Raises:
        ValueError: fewer than two negatives, with which a row might be left with its label alone.

    Source: ours.
    """
    if len(negative) < 2:
        raise ValueError(f"negative: got {len(negative)} items, expected at least 2")
    offset = bias.new_zeros(()) if log_q is None else -log_q.to(bias.dtype)
    inputs = (state, embedding, bias, label, negative, disliked, weight, offset)
    loss: Tensor = _SampledSoftmax.apply(*inputs)  # type: ignore[no-untyped-call]
    return loss


def grouped_softmax_loss(
    state: Tensor,
    embedding: Tensor,
    bias: Tensor,
    label: Tensor,
    negative: Tensor,
    disliked: Tensor,
    weight: Tensor,
    log_q: Tensor | None = None,
) -> Tensor:
    """`sampled_softmax_loss` of several groups of rows, each with negatives of its own, in batched products.

    Args:
        state: float[g, n, d].
        embedding: float[n_items, d].
        bias: float[n_items].
        label: int64[g, n].
        negative: int64[g, m], all different within a group, at least 2.
        disliked: bool[g, n].
        weight: float[g, n]; 0 for a row without a label, which costs its time and adds nothing.
        log_q: float[g, m] or None.

    Returns:
        float[g, n]. It can be differentiated once, in state, embedding and bias.

    Raises:
        ValueError: fewer than two negatives a group.

    Source: ours.
    """
    if negative.shape[1] < 2:
        raise ValueError(f"negative: got {negative.shape[1]} items a group, expected at least 2")
    offset = bias.new_zeros(()) if log_q is None else -log_q.to(bias.dtype)
    inputs = (state, embedding, bias, label, negative, disliked, weight, offset)
    loss: Tensor = _GroupedSoftmax.apply(*inputs)  # type: ignore[no-untyped-call]
    return loss


def weight_for_share(share: float, n_positive: float, n_negative: float, n_negatives_sampled: int) -> float:
    """The not-to-recommend weight with which disliked labels have a chosen share of the gradient at the start.

    An untrained model gives every candidate about the same probability, p = 1 / (1 + m). The gradients in the logits
    of a positive row then add up to 2 (1 - p) in absolute value, those of a disliked row to 2 w p, and

        share = w n_negative p / (n_positive (1 - p)), so w = share m n_positive / n_negative.

    Args:
        share: total gradient of the disliked labels as a multiple of that of the positive labels, >= 0; 1 is a balance.
        n_positive: positive labels of the training data, or the sum of their weights r.
        n_negative: disliked labels of the training data, or the sum of their relative weights.
        n_negatives_sampled: m, negatives of the sampled softmax; with logQ correction or a full softmax the number of
            candidates less one, since p then is that of the full softmax.

    Returns:
        w, >= 0; 0 if there are no disliked labels, since nothing is there to be weighted.

    Raises:
        ValueError: an argument is out of range.

    Source: ours; Wang et al. 2023 name density and magnitude beside the positive term as what decides w.

    >>> weight_for_share(0.5, n_positive=9_000, n_negative=1_000, n_negatives_sampled=128)
    576.0
    """
    if not 0 <= share < math.inf:
        raise ValueError(f"share: got {share}, expected a finite number >= 0")
    for name, count in (("n_positive", n_positive), ("n_negative", n_negative)):
        if not 0 <= count < math.inf:
            raise ValueError(f"{name}: got {count}, expected a finite number >= 0")
    if n_negatives_sampled < 1:
        raise ValueError(f"n_negatives_sampled: got {n_negatives_sampled}, expected at least 1")
    return share * n_negatives_sampled * n_positive / n_negative if n_negative else 0.0


class _SampledSoftmax(torch.autograd.Function):
    """softplus(t) or softplus(-t) of each row's margin t, and its gradient a (e_y - s), with a = dL/dt."""

    @staticmethod
    def forward(
        ctx: Any,
        state: Tensor,
        embedding: Tensor,
        bias: Tensor,
        label: Tensor,
        negative: Tensor,
        disliked: Tensor,
        weight: Tensor,
        offset: Tensor,
    ) -> Tensor:
        own, others = embedding.index_select(0, label), embedding.index_select(0, negative)  # [n, d], [m, d]
        logit = (state @ others.T).add_(bias[negative] + offset)  # [n, m]
        column = torch.full((len(embedding),), -1, device=label.device)
        column[negative] = torch.arange(len(negative), device=label.device)
        hit = column[label]
        row = (hit >= 0).nonzero().squeeze(1)
        logit[row, hit[row]] = -math.inf
        highest = logit.amax(1)
        # From here on the matrix holds exp(logit - highest): the softmax without y, but for the division by its sum.
        exponential = logit.sub_(highest.unsqueeze(1)).exp_()
        total = exponential.sum(1)
        margin = (state * own).sum(1).add_(bias[label]).sub_(highest).sub_(total.log())
        sign = torch.where(disliked, 1.0, -1.0).to(state.dtype)
        slope = weight * sign * torch.sigmoid(sign * margin)
        ctx.save_for_backward(state, embedding, bias, label, negative, exponential, total, slope)
        return -weight * functional.logsigmoid(-sign * margin)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        state, embedding, bias, label, negative, exponential, total, slope = ctx.saved_tensors
        to_label = (gradient * slope).unsqueeze(1)  # dL/dz_y: [n, 1]
        to_others = -to_label / total.unsqueeze(1)  # times `exponential`: dL/dz_j
        to_state = (exponential @ embedding.index_select(0, negative)).mul_(to_others)
        to_state.addcmul_(to_label, embedding.index_select(0, label))
        to_embedding = torch.zeros_like(embedding)
        to_embedding.index_add_(0, label, state * to_label)
        to_embedding.index_add_(0, negative, exponential.T @ (state * to_others))
        to_bias = torch.zeros_like(bias)
        to_bias.index_add_(0, label, to_label.squeeze(1))
        to_bias.index_add_(0, negative, exponential.T @ to_others.squeeze(1))
        return to_state, to_embedding, to_bias, None, None, None, None, None


class _GroupedSoftmax(torch.autograd.Function):
    """`_SampledSoftmax` with a leading axis of groups."""

    @staticmethod
    def forward(
        ctx: Any,
        state: Tensor,
        embedding: Tensor,
        bias: Tensor,
        label: Tensor,
        negative: Tensor,
        disliked: Tensor,
        weight: Tensor,
        offset: Tensor,
    ) -> Tensor:
        own = embedding.index_select(0, label.flatten()).view_as(state)  # [g, n, d]
        others = embedding.index_select(0, negative.flatten()).view(*negative.shape, -1)  # [g, m, d]
        logit = torch.baddbmm((bias[negative] + offset).unsqueeze(1), state, others.transpose(1, 2))  # [g, n, m]
        group, row, column = _own_among(label, negative, len(embedding))
        logit[group, row, column] = -math.inf
        highest = logit.amax(2)
        exponential = logit.sub_(highest.unsqueeze(2)).exp_()
        total = exponential.sum(2)
        margin = (state * own).sum(2).add_(bias[label]).sub_(highest).sub_(total.log())
        sign = torch.where(disliked, 1.0, -1.0).to(state.dtype)
        slope = weight * sign * torch.sigmoid(sign * margin)
        ctx.save_for_backward(state, embedding, bias, label, negative, exponential, total, slope, own, others)
        return -weight * functional.logsigmoid(-sign * margin)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        state, embedding, bias, label, negative, exponential, total, slope, own, others = ctx.saved_tensors
        to_label = (gradient * slope).unsqueeze(2)  # dL/dz_y: [g, n, 1]
        to_others = -to_label / total.unsqueeze(2)  # times `exponential`: dL/dz_j
        to_state = torch.bmm(exponential, others).mul_(to_others).addcmul_(to_label, own)
        turned = exponential.transpose(1, 2)
        to_embedding = torch.zeros_like(embedding)
        to_embedding.index_add_(0, label.flatten(), (state * to_label).flatten(0, 1))
        to_embedding.index_add_(0, negative.flatten(), torch.bmm(turned, state * to_others).flatten(0, 1))
        to_bias = torch.zeros_like(bias)
        to_bias.index_add_(0, label.flatten(), to_label.flatten())
        to_bias.index_add_(0, negative.flatten(), torch.bmm(turned, to_others).flatten())
        return to_state, to_embedding, to_bias, None, None, None, None, None


def _own_among(label: Tensor, negative: Tensor, n_items: int) -> tuple[Tensor, Tensor, Tensor]:
    """Group, row and column of the labels that are among their group's negatives."""
    n_groups, n_negatives = negative.shape
    first = torch.arange(n_groups, device=label.device).unsqueeze(1) * n_items
    column = torch.full((n_groups * n_items,), -1, device=label.device)
    column[(negative + first).flatten()] = torch.arange(n_negatives, device=label.device).repeat(n_groups)
    hit = column[label + first]
    group, row = (hit >= 0).nonzero(as_tuple=True)
    return group, row, hit[group, row]
