"""What the sequence models minimise: reward-weighted cross-entropy, and a loss on the negative labels beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from recommenders.base import PADDING, Float32, Int64
from recommenders.labels import label_weights, scaled_to_share
from recommenders.losses import (
    cross_entropy,
    grouped_softmax_loss,
    negative_label_weight,
    pairwise,
    raised_negative,
    sampled_softmax_loss,
)
from recommenders.network import Network
from recommenders.sampling import (
    Negatives,
    add_candidate,
    in_batch_negatives,
    label_share,
    popularity_negatives,
    popularity_proposal,
    sampled_logits,
    uniform_negatives,
)
from recommenders.sequence_config import SequenceConfig
from recommenders.sequences import Windows

POPULARITY_EXPONENT = 0.75
"""Of the counts that popular negatives are drawn by (Mikolov et al. 2013, NeurIPS)."""


class WindowsObjective(Protocol):
    """What training minimises over the windows of a log; all it draws comes from the generator it was made with."""

    def __len__(self) -> int:
        """Number of rows, usually the windows."""
        ...

    def __call__(self, rows: Tensor) -> Tensor:
        """The loss of the rows with these numbers, int64[b]: a scalar."""
        ...

    def mean(self, batch_size: int) -> float:
        """The loss over all rows, for early stopping."""
        ...


MakeObjective = Callable[[Network, Windows, Tensor, torch.Generator], WindowsObjective]
"""From the network, the windows, the items that may be negatives (int64[c]) and the generator to the objective."""


@dataclass(frozen=True)
class TrainingData:
    """Windows and their labels as tensors, made once.

    Attributes:
        item: int64[n, window], any item where padded.
        length: int64[n], real positions of each row.
        combination: int64[n, window], which combination of flags the item got.
        label: int64[n, window], the next item; any where the weight is 0.
        weight: float32[n, window], r > 0 of a positive label, -w < 0 of a negative one, 0 for none.
        partner: int64[n, window], for the losses that set a negative label against a positive one: the column of the
            nearest positive label of the row, before or else after; -1 where there is none.
        candidate: int64[c], the items that may be negatives.
    """

    item: Tensor
    length: Tensor
    combination: Tensor
    label: Tensor
    weight: Tensor
    partner: Tensor
    candidate: Tensor

    def __len__(self) -> int:
        return len(self.item)


def training_data(windows: Windows, config: SequenceConfig, combination: Int64, candidate: Tensor) -> TrainingData:
    """Windows with their labels weighted as the settings say.

    Args:
        windows: the log's.
        config: what the labels weigh.
        combination: int64[256], by feedback byte.
        candidate: int64[c], items that may be negatives.
    """
    weight = label_weights(windows, config.reward, config.negative_weight)
    if config.negative_share is not None:
        sampled = config.negatives if config.negatives and not config.logq_correction else len(candidate)
        n_effective = max(1, min(sampled, len(candidate) - 1))
        weight = scaled_to_share(weight, config.negative_share, n_effective)

    def tensor(values: Int64 | Float32) -> Tensor:
        return torch.from_numpy(values).to(config.device)

    return TrainingData(
        # Padding follows the real positions, which never look at it, so any item will do there.
        item=tensor(np.maximum(windows.item, 0).astype(np.int64)),
        length=tensor((windows.item != PADDING).sum(1)),
        combination=tensor(combination[windows.feedback]),
        label=tensor(np.maximum(windows.next_item, 0).astype(np.int64)),
        weight=tensor(weight),
        partner=tensor(_nearest_positive(weight)),
        candidate=candidate.to(config.device),
    )


@dataclass(frozen=True)
class Batch:
    """The positions of some windows, flattened.

    Attributes:
        state: float32[b, dim].
        embedding: float32[n_items, dim].
        bias: float32[n_items].
        label: int64[b], the next item; any where the weight is 0.
        weight: float32[b], as in `TrainingData`.
    """

    state: Tensor
    embedding: Tensor
    bias: Tensor
    label: Tensor
    weight: Tensor

    def scored(self, at: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """State, embedding, bias and label of some positions, as the sampled losses take them."""
        return self.state.index_select(0, at), self.embedding, self.bias, self.label[at]

    def score(self, at: Tensor, item: Tensor) -> Tensor:
        """The logit of one item at each of some positions: float32[n]."""
        return (self.state.index_select(0, at) * self.embedding.index_select(0, item)).sum(1) + self.bias[item]


class Sampler:
    """Draws the negatives of a step as the settings say; all candidates for the full softmax."""

    def __init__(self, config: SequenceConfig, data: TrainingData, generator: torch.Generator) -> None:
        self.config = config
        self.candidate = data.candidate
        self.generator = generator
        positive = data.label[data.weight > 0]
        n_items = int(data.candidate.max()) + 1 if len(data.candidate) else 0
        n_items = max(n_items, int(positive.max()) + 1 if len(positive) else 0)
        self.share = label_share(positive, n_items)
        if config.sampling == "popularity" and config.negatives and len(self.candidate) > 1:
            # With a prior count of one, every candidate can be drawn.
            count = self.share[self.candidate] * len(positive) + 1
            self.proposal = popularity_proposal(self.candidate, count, POPULARITY_EXPONENT)

    def __call__(self, positive: Tensor) -> Negatives:
        """Negatives for a step with these positive labels, int64[p]."""
        wanted = self.config.negatives
        if wanted and self.config.sampling == "popularity":
            drawn = popularity_negatives(self.proposal, wanted, self.generator)
            if len(drawn.item) > 1:
                return drawn
        if wanted and self.config.sampling == "in_batch":
            chosen = torch.randperm(len(positive), generator=self.generator)[:wanted].to(positive.device)
            # A step whose labels are all alike has no negatives of its own.
            if (positive[chosen] != positive[chosen[:1]]).any():
                return in_batch_negatives(positive[chosen], self.share)
        return uniform_negatives(self.candidate, wanted or len(self.candidate), self.generator)


class Objective:
    """Loss per positive label of some windows: cross-entropy, plus the weighted negative labels' loss.

    The sum over the labels is divided by the number of positive ones in the batch, at least 1: a batch with few of them
    beside many heavy negative labels takes a large step.
    """

    def __init__(
        self, network: Network, config: SequenceConfig, data: TrainingData, generator: torch.Generator
    ) -> None:
        self.network = network
        self.config = config
        self.data = data
        self.sampler = Sampler(config, data, generator)

    def __len__(self) -> int:
        return len(self.data)

    def __call__(self, rows: Tensor) -> Tensor:
        """The loss of the windows with these numbers, int64[b]: a scalar."""
        data, network = self.data, self.network
        rows = rows.to(data.item.device)
        embedding, bias = network.embedding(), network.bias().squeeze(1)
        states = network.states(embedding, data.item[rows], data.combination[rows], data.length[rows])
        size = self.config.negatives_shared_by or max(len(rows), 1)
        total, n_positive = states.new_zeros(()), 0
        n_whole = len(rows) // size
        if n_whole > 1 and self._batches_groups():
            in_groups = rows[: n_whole * size]
            weight = data.weight[in_groups].view(n_whole, -1)
            total, n_positive = self._of_groups(states, embedding, bias, in_groups, weight), int((weight > 0).sum())
            rows, states = rows[n_whole * size :], states[n_whole * size :]
        for part, state in zip(torch.split(rows, size), torch.split(states, size), strict=True):
            if len(part) == 0:  # what a split of nothing gives
                continue
            batch = Batch(state.flatten(0, 1), embedding, bias, data.label[part].flatten(), data.weight[part].flatten())
            positive = (batch.weight > 0).nonzero().squeeze(1)
            negative = self.sampler(batch.label[positive])
            total = total + self.loss(batch, part, positive, negative)
            n_positive += len(positive)
        return total / max(n_positive, 1)

    def _batches_groups(self) -> bool:
        """Whether groups that share negatives go through one product; a method with a loss of its own has its own."""
        config = self.config
        plain = config.negative_loss == "not_to_recommend" and config.sampling == "uniform" and config.negatives > 0
        return plain and type(self) is Objective

    def _of_groups(self, states: Tensor, embedding: Tensor, bias: Tensor, rows: Tensor, weight: Tensor) -> Tensor:
        """The summed loss of windows in groups that share negatives; `weight` is float32[groups, positions]."""
        groups = weight.shape[0]
        drawn = [self.sampler(rows[:0]) for _ in range(groups)]
        log_q = torch.stack([d.log_q for d in drawn]) if self.config.logq_correction else None
        return grouped_softmax_loss(
            states[: len(rows)].reshape(groups, -1, states.shape[2]),
            embedding,
            bias,
            self.data.label[rows].view(groups, -1),
            torch.stack([d.item for d in drawn]),
            weight < 0,
            weight.abs(),
            log_q,
        ).sum()

    def loss(self, batch: Batch, rows: Tensor, positive: Tensor, negative: Negatives) -> Tensor:
        """The summed loss of a batch's labels: a scalar."""
        kind = self.config.negative_loss
        log_q = negative.log_q if self.config.logq_correction else None

        def labelled(at: Tensor) -> Tensor:
            weight = batch.weight[at]
            return sampled_softmax_loss(*batch.scored(at), negative.item, weight < 0, weight.abs(), log_q).sum()

        if kind == "not_to_recommend":
            return labelled(batch.weight.nonzero().squeeze(1))
        disliked = (batch.weight < 0).nonzero().squeeze(1)
        if kind == "negative_label_weight":
            logit = sampled_logits(*batch.scored(disliked), negative.item, log_q=log_q)
            column = torch.zeros_like(disliked)
            return labelled(positive) + negative_label_weight(logit, column, -batch.weight[disliked]).sum()
        return labelled(positive) + self._coupled(batch, rows, disliked, negative.item, log_q)

    def _coupled(self, batch: Batch, rows: Tensor, disliked: Tensor, negative: Tensor, log_q: Tensor | None) -> Tensor:
        """The summed loss of disliked labels that are set against the nearest positive label of their row."""
        column = self.data.partner[rows].flatten()[disliked]
        disliked, column = disliked[column >= 0], column[column >= 0]
        window = self.data.item.shape[1]
        partner = disliked // window * window + column
        item, weight, first = batch.label[disliked], -batch.weight[disliked], torch.zeros_like(disliked)
        if self.config.negative_loss == "pairwise":
            logit = torch.stack([batch.score(disliked, batch.label[partner]), batch.score(disliked, item)], 1)
            return pairwise(logit, first, first + 1, weight).sum()
        # The partner's own cross-entropy is counted already: what is added is the rise of it.
        plain = sampled_logits(*batch.scored(partner), negative, log_q=log_q)
        logit = add_candidate(plain, *batch.scored(partner), negative, item)
        last = torch.full_like(first, logit.shape[1] - 1)
        reward = batch.weight[partner]
        return (raised_negative(logit, first, last, weight.log(), reward) - cross_entropy(plain, first, reward)).sum()

    def mean(self, batch_size: int) -> float:
        """The loss over all windows in order, each batch weighing as much as its positive labels."""
        total, count = 0.0, 0
        for rows in torch.split(torch.arange(len(self.data)), batch_size):
            n_positive = int((self.data.weight[rows.to(self.data.weight.device)] > 0).sum())
            total += float(self(rows)) * max(n_positive, 1)
            count += max(n_positive, 1)
        return total / max(count, 1)


def _nearest_positive(weight: Float32) -> Int64:
    """Column of the nearest positive label before each position, else of the first after it; -1 for none."""
    window = weight.shape[1]
    column = np.where(weight > 0, np.arange(window), -1)
    before = np.maximum.accumulate(column, axis=1)
    after = np.where(weight > 0, np.arange(window), window)
    after = np.minimum.accumulate(after[:, ::-1], axis=1)[:, ::-1]
    found = np.where(before >= 0, before, after)
    return np.where(found == window, PADDING, found).astype(np.int64)
