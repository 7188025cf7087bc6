"""PNFRec: one attention encoder over what a user liked, one over what the user rejected, on the same item vectors.

A window is split into its positive and its negative interactions. Each encoder learns to continue its own sequence, so
what is rejected together gets vectors that are near to each other, and a contrast keeps the positive states s away from
the negatives N of the window:

    L = CE_p + alpha CE_n + beta L_c,    L_c = mean of log(exp z_y + sum over N of exp z_k) - z_y

where y is the next positive item and z are the scores that s gives. Only the positive encoder serves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from recommenders.base import PADDING, Config, Float32, Int64, ItemFeatures, Requests
from recommenders.labels import NegativeWeights, label_weights, weight_table
from recommenders.losses import sampled_softmax_loss
from recommenders.network import Network, combination_of
from recommenders.objective import Objective, Sampler, TrainingData
from recommenders.sasrec import SasRecConfig, SasRecEncoder
from recommenders.sequence_config import SequenceConfig
from recommenders.sequence_model import SequenceRecommender
from recommenders.sequences import Windows, kept_alone


class PnfRecConfig(SasRecConfig):
    """Settings of PNFRec."""

    dwell_input: bool = False
    like_input: bool = False
    negatives_shared_by: Literal[0] = 0
    """All windows of a batch share one draw of negatives here."""
    negative_weight: NegativeWeights = NegativeWeights(dislike=1.0, dismiss=1.0, skip=1.0)
    """Which kinds of feedback make the negative sequence, and how heavy their labels are in it; 0 leaves one out."""
    negative_sequence_weight: Annotated[float, Field(ge=0)] = 0.45
    """alpha: weight of the negative encoder's cross-entropy."""
    contrast_weight: Annotated[float, Field(ge=0)] = 0.25
    """beta: weight of the contrast between the next positive item and the window's negatives."""

    @model_validator(mode="after")
    def _no_other_negative_loss(self) -> Self:
        for name in ("negative_loss", "negative_share"):
            if getattr(self, name) != SequenceConfig.model_fields[name].default:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, expected the default: PNFRec has its own loss")
        return self


class PnfRec(SequenceRecommender):
    """Two attention encoders, over positive and negative interactions; the positive one serves.

    Source: Ivanova, Frolov & Vasilev 2025, RecSys, arXiv 2508.14786; alpha and beta are theirs for MovieLens-1M. Ours:
    interactions of neither kind are in neither sequence, both sequences come from the same window, the softmax is
    sampled, `SasRecEncoder` in place of their SASRec, and item biases: the served scores have one, also in L_c, the
    negative encoder's have none, or it would raise rejected items for everybody.
    """

    config_class: ClassVar[type[Config]] = PnfRecConfig

    def __init__(self, config: PnfRecConfig) -> None:
        def make_network(_: SequenceConfig, items: ItemFeatures, generator: torch.Generator) -> TwoEncoders:
            return TwoEncoders(config, items, generator)

        def make_objective(
            network: Network, windows: Windows, candidate: Tensor, generator: torch.Generator
        ) -> OpposingSequences:
            assert isinstance(network, TwoEncoders)
            return OpposingSequences(network, config, windows, candidate, generator)

        super().__init__(
            config,
            lambda _, generator: SasRecEncoder(config, generator),
            make_network=make_network,
            make_objective=make_objective,
        )
        self._is_positive = weight_table(config.reward, config.negative_weight) > 0

    def _states(self, requests: Requests) -> Float32:
        """The positive encoder's states; it reads the positive interactions among the newest `window`."""
        window = self.config.window
        item, feedback = requests.history_item[:, -window:], requests.history_feedback[:, -window:]
        item, feedback = kept_alone(item, feedback, self._is_positive[feedback])
        return super()._states(replace(requests, history_item=item, history_feedback=feedback))


class TwoEncoders(Network):
    """The plain network, and where it is trained a second encoder that reads the same item table."""

    def __init__(self, config: PnfRecConfig, items: ItemFeatures, generator: torch.Generator) -> None:
        super().__init__(config, items, lambda _, generator: SasRecEncoder(config, generator), generator)
        self.negative_encoder = SasRecEncoder(config, generator) if config.negative_sequence_weight > 0 else None


class OpposingSequences(Objective):
    """Cross-entropy of both encoders, each averaged over its labels, and the contrast averaged over the positive."""

    def __init__(
        self,
        network: TwoEncoders,
        config: PnfRecConfig,
        windows: Windows,
        candidate: Tensor,
        generator: torch.Generator,
    ) -> None:
        super().__init__(network, config, signed_sequence(windows, config, candidate, 1).labels, generator)
        self.encoders = network
        self.settings = config
        self.negative = signed_sequence(windows, config, candidate, -1)
        self.negative_sampler = Sampler(config, self.negative.labels, generator)

    def __call__(self, rows: Tensor) -> Tensor:
        """The loss of the windows with these numbers, int64[b]: a scalar."""
        data, opposing, network = self.data, self.negative.labels, self.encoders
        rows = rows.to(data.item.device)
        embedding, bias = network.embedding(), network.bias().squeeze(1)
        state = network.states(embedding, data.item[rows], data.combination[rows], data.length[rows])
        loss = self._cross_entropy(self.sampler, state, embedding, bias, data, rows)
        if network.negative_encoder is not None:
            item = opposing.item[rows].flatten()
            x = network.inputs(embedding.index_select(0, item), opposing.combination[rows].flatten())
            x = network.dropout(x.view(len(rows), -1, x.shape[1]))
            negative_state = network.negative_encoder.states(x, opposing.length[rows])
            no_bias = torch.zeros_like(bias)
            negative_loss = self._cross_entropy(
                self.negative_sampler, negative_state, embedding, no_bias, opposing, rows
            )
            loss = loss + self.settings.negative_sequence_weight * negative_loss
        if self.settings.contrast_weight > 0:
            loss = loss + self.settings.contrast_weight * self._contrast(state, embedding, bias, rows)
        return loss

    def _cross_entropy(
        self, sampler: Sampler, state: Tensor, embedding: Tensor, bias: Tensor, data: TrainingData, rows: Tensor
    ) -> Tensor:
        weight, label = data.weight[rows].flatten(), data.label[rows].flatten()
        at = (weight > 0).nonzero().squeeze(1)
        negative = sampler(label[at])
        log_q = negative.log_q if self.config.logq_correction else None
        chosen = state.flatten(0, 1).index_select(0, at)
        attracted = torch.zeros_like(at, dtype=torch.bool)
        loss = sampled_softmax_loss(chosen, embedding, bias, label[at], negative.item, attracted, weight[at], log_q)
        return loss.sum() / max(len(at), 1)

    def _contrast(self, state: Tensor, embedding: Tensor, bias: Tensor, rows: Tensor) -> Tensor:
        """L_c: a label of a window without negatives counts with 0, as in the authors' code."""
        label, is_label = self.data.label[rows], self.data.weight[rows] > 0
        rejected, count = self.negative.item[rows], self.negative.count[rows]
        vector = embedding.index_select(0, rejected.flatten()).view(*rejected.shape, -1)
        logit = state @ vector.transpose(1, 2) + bias[rejected].unsqueeze(1)  # [b, w, m]
        beyond = torch.arange(rejected.shape[1], device=rejected.device) >= count.unsqueeze(1)
        at = is_label & (count > 0).unsqueeze(1)
        rejected_logit = logit.masked_fill(beyond.unsqueeze(1), -torch.inf)[at].logsumexp(1)
        label_logit = (state[at] * embedding.index_select(0, label[at])).sum(1) + bias[label[at]]
        return -functional.logsigmoid(label_logit - rejected_logit).sum() / is_label.sum().clamp(min=1)


@dataclass(frozen=True)
class SignedSequence:
    """What the windows hold of one sign, positive or negative.

    Attributes:
        item: int64[n, m], the items in order, real ones first; any item where padded.
        count: int64[n], how many are real.
        labels: all of them but each row's last as inputs, the next of the same sign as labels, with weights > 0.
    """

    item: Tensor
    count: Tensor
    labels: TrainingData


def signed_sequence(windows: Windows, config: PnfRecConfig, candidate: Tensor, sign: int) -> SignedSequence:
    """The interactions of one sign in each window.

    Args:
        windows: of all interactions.
        config: what is positive and what negative, and how heavy it is.
        candidate: int64[c], items that may be negatives of the softmax.
        sign: 1 for what the label weights call positive, -1 for negative.
    """
    table = weight_table(config.reward, config.negative_weight)
    # The windows' interactions: the first, then all that came next, [n, window + 1].
    item = np.hstack([windows.item[:, :1], windows.next_item])
    feedback = np.hstack([windows.feedback[:, :1], windows.next_feedback])
    weight = np.hstack([table[feedback[:, :1]], label_weights(windows, config.reward, config.negative_weight)])
    ours = (sign * table[feedback] > 0) & (item != PADDING)
    # Ours first, in order, and no wider than need be; what follows them in a row is never looked at.
    count = ours.sum(1)
    order = np.argsort(~ours, axis=1, kind="stable")[:, : max(count.max(initial=0), 2)]
    item, feedback, weight = (np.take_along_axis(column, order, 1) for column in (item, feedback, weight))
    is_label = np.arange(1, item.shape[1]) < count[:, None]

    def tensor(values: Int64 | Float32) -> Tensor:
        return torch.from_numpy(values).to(config.device)

    known = np.maximum(item, 0).astype(np.int64)
    labels = TrainingData(
        item=tensor(known[:, :-1]),
        length=tensor(np.maximum(count - 1, 0)),
        combination=tensor(combination_of(config.input_flags())[feedback[:, :-1]]),
        label=tensor(known[:, 1:]),
        weight=tensor(np.where(is_label, sign * weight[:, 1:], 0).astype(np.float32)),
        partner=tensor(np.full(is_label.shape, PADDING, np.int64)),
        candidate=candidate.to(config.device),
    )
    return SignedSequence(tensor(known), tensor(count), labels)
