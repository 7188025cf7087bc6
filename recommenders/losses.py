"""Training losses over candidate items: cross-entropy, not-to-recommend, and sampled softmax for both.

All take logits z whose row i holds the scores of the candidates of label i, and return one loss a label. With
p = softmax(z), the closed forms of the gradients, checked by the tests, are

    cross-entropy       -log p_y          d/dz_y = p_y - 1,   d/dz_j = p_j
    not-to-recommend    -log(1 - p_y)     d/dz_y = p_y,       d/dz_j = -p_y p_j / (1 - p_y)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def cross_entropy(logit: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
    """Weighted softmax cross-entropy, -r log p_y.

    Args:
        logit: float[n, c], -inf where a candidate does not count.
        label: int64[n], the column of the label, in [0, c).
        weight: float[n], r; None for 1.

    Returns:
        float[n], one loss a label, not averaged.
    """
    loss = functional.cross_entropy(logit, label, reduction="none")
    return loss if weight is None else loss * weight


def not_to_recommend(logit: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
    """Weighted not-to-recommend loss, -w log(1 - p_y), without ever forming 1 - p_y.

    -log(1 - p_y) = logsumexp(z) - logsumexp(z without y) = softplus(z_y - logsumexp(z without y)). The last form is
    evaluated: the difference in the middle would lose all digits of a small p_y. Value and gradient keep full relative
    precision from p_y = 0 to p_y = 1.

    Args:
        logit: float[n, c], -inf where a candidate does not count; in each row something besides the label must count.
        label: int64[n], the column of the label, in [0, c).
        weight: float[n], w; None for 1.

    Returns:
        float[n], one loss a label, not averaged.

    Raises:
        ValueError: there is only one candidate; then p_y is 1 whatever the logits, and the loss infinite.

    Source: Wang et al. 2023, RecSys '23, arXiv 2308.12256.
    """
    if logit.shape[1] < 2:
        raise ValueError(f"logit: got {logit.shape[1]} candidate, expected at least 2: not to recommend the only one")
    column = label.unsqueeze(1)
    others = logit.scatter(1, column, -math.inf).logsumexp(1)
    margin = logit.gather(1, column).squeeze(1) - others
    # functional.softplus turns linear at 20, which is wrong by 2e-9; logsigmoid is exact everywhere.
    loss = -functional.logsigmoid(-margin)
    return loss if weight is None else loss * weight


def sampled_logits(
    state: Tensor, embedding: Tensor, bias: Tensor, label: Tensor, negative: Tensor, population: int | None = None
) -> Tensor:
    """Logits of each label beside the same uniformly sampled negatives: feed them to a loss with label column 0.

    A negative that is the row's own label (an accidental hit) is masked with -inf. Without correction the softmax is
    over the sample: p_y is about 1 / (1 + m) before training, however large the corpus.

    Args:
        state: float[n, d].
        embedding: float[n_items, d].
        bias: float[n_items].
        label: int64[n], item ids.
        negative: int64[m], item ids, all different, at least 2.
        population: apply the logQ correction for negatives drawn from this many items: the negatives' logits rise by
            the log of (other items / negatives that count), so that the sum over the sample estimates the sum over
            all other items and p_y that of the full softmax. None: no correction.

    Returns:
        float[n, 1 + m]; column 0 is the label.

    Raises:
        ValueError: fewer than two negatives, with which a row might be left with its label alone.

    Source: Bengio & Senecal 2008, IEEE Trans. Neural Networks (importance-sampled softmax); here with draws without
    replacement shared by the batch.
    """
    if len(negative) < 2:
        raise ValueError(f"negative: got {len(negative)} items, expected at least 2")
    positive_logit = (state * embedding[label]).sum(1) + bias[label]
    hit = label.unsqueeze(1) == negative
    negative_logit = (state @ embedding[negative].T + bias[negative]).masked_fill(hit, -math.inf)
    if population is not None:
        counting = len(negative) - hit.sum(1, keepdim=True)
        negative_logit = negative_logit + ((population - 1) / counting).log()
    return torch.cat([positive_logit.unsqueeze(1), negative_logit], 1)


def sample_uniform(candidate: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` different items, uniformly; all of them, in ascending order of rank, if there are no more than that.

    Args:
        candidate: int64[c], item ids.
        count: at least 1.
        generator: where the randomness comes from.

    Returns:
        int64[min(count, c)].
    """
    if count >= len(candidate):
        return candidate
    return candidate[torch.randperm(len(candidate), generator=generator)[:count]]
