"""Items that users really rejected as negatives of the positive labels, mixed with random ones.

Each positive label y of a state s is told apart from negatives by binary cross-entropy, as in SASRec. Some are random
items, the others items that the same user rejected nearby:

    loss = -log sigma(z_y) - (1 - h) mean over random j of log sigma(-z_j) - h mean over rejected k of log sigma(-z_k)

with z the scores at s. It is what drawing each negative from the rejected ones with chance h costs on average, computed
without drawing. Where nothing was rejected nearby, h is 0. An item that was disliked next to a like is far harder to
tell from it than a random one, and says what the user, not the crowd, is averse to.

Unlike a label of the not-to-recommend loss, a rejected item is not pushed down at the state that it followed, but at
the states of the liked items around it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from recommenders.base import Config
from recommenders.labels import NegativeWeights
from recommenders.network import Network, combination_of
from recommenders.objective import Batch, Objective, training_data
from recommenders.sampling import Negatives, sampled_logits
from recommenders.sasrec import SasRecConfig, SasRecEncoder
from recommenders.sequence_model import SequenceRecommender
from recommenders.sequences import Windows

_REPLACED = ("negative_share", "negative_loss", "logq_correction")


class TypedNegativesConfig(SasRecConfig):
    """Settings of the model with real negatives.

    `negative_weight` says which kinds of feedback reject an item, and how often each is drawn relative to the others.
    """

    dislike_input: bool = True
    """Whether the model sees which items of the history were disliked."""
    negative_weight: NegativeWeights = NegativeWeights(dislike=1.0)
    """Relative chance of a rejected item to be a negative, by kind of feedback; 0 leaves the kind out."""
    rejected_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share h of a label's negatives that are items which the same user rejected, where there are any."""
    reach: Annotated[int, Field(ge=1)] = 10
    """How many interactions before or after a positive label a rejected item may lie."""
    hardest_of: Annotated[int, Field(ge=1)] = 1
    """A random negative is the one with the highest score among this many."""

    @model_validator(mode="after")
    def _only_what_counts(self) -> Self:
        for name in _REPLACED:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, expected it unset: negatives are mixed instead")
        return self


class MixedNegatives(Objective):
    """Binary cross-entropy of the positive labels against rejected and random items."""

    config: TypedNegativesConfig

    def loss(self, batch: Batch, rows: Tensor, positive: Tensor, negative: Negatives) -> Tensor:
        """The summed loss of a batch's positive labels: a scalar."""
        logit = sampled_logits(*batch.scored(positive), negative.item)
        random = self._random(logit[:, 1:])
        rejected, any_rejected = self._rejected(batch, self.data.item.shape[1])
        share = self.config.rejected_share * any_rejected[positive]
        loss = functional.softplus(-logit[:, 0]) + (1 - share) * random + share * rejected[positive]
        return (batch.weight[positive] * loss).sum()

    def _random(self, logit: Tensor) -> Tensor:
        """Mean loss of the random negatives, or of the hardest of each group: float32[p] from float32[p, m]."""
        if self.config.hardest_of > 1:
            logit = torch.stack([group.amax(1) for group in torch.split(logit, self.config.hardest_of, 1)], 1)
        counting = torch.isfinite(logit)  # not the label itself
        loss = functional.softplus(logit.masked_fill(~counting, 0)) * counting
        return loss.sum(1) / counting.sum(1).clamp(min=1)

    def _rejected(self, batch: Batch, window: int) -> tuple[Tensor, Tensor]:
        """Mean loss of the items rejected around each position, and whether there are any: float32[b] each."""
        label, weight = batch.label.view(-1, window), batch.weight.view(-1, window)
        embedding = batch.embedding.index_select(0, batch.label).view(*label.shape, -1)
        logit = batch.state.view_as(embedding) @ embedding.transpose(1, 2) + batch.bias[label].unsqueeze(1)  # [n, w, w]
        position = torch.arange(window, device=label.device)
        near = (position.unsqueeze(1) - position).abs() <= self.config.reach
        counting = near & (label.unsqueeze(2) != label.unsqueeze(1))
        chance = (-weight).clamp(min=0).unsqueeze(1) * counting
        total = chance.sum(2)
        loss = (functional.softplus(logit) * chance).sum(2) / total.clamp(min=1e-30)
        return loss.flatten(), (total > 0).float().flatten()


class TypedNegatives(SequenceRecommender):
    """Attention model whose negatives are disliked items beside random ones.

    Source: Mei, Bembom & Ehmann 2024, UMAP, arXiv 2406.04488: real negative feedback as typed inputs and as negatives
    of a SASRec-like next-song model, and the hardest of many random negatives to compare with. Ours, since it is not
    published in detail or does not carry over: the expected loss over the mix instead of draws; `reach`, which stands
    in for the songs of one radio station; negatives shared by a training step; types that are linear maps of the
    item's vector (`network`) instead of vectors added to it; a share of random negatives beside the rejected ones,
    without which nothing would rank the whole catalogue.
    """

    config_class: ClassVar[type[Config]] = TypedNegativesConfig

    def __init__(self, config: TypedNegativesConfig) -> None:
        combination = combination_of(config.input_flags())

        def objective(
            network: Network, windows: Windows, candidate: Tensor, generator: torch.Generator
        ) -> MixedNegatives:
            return MixedNegatives(network, config, training_data(windows, config, combination, candidate), generator)

        super().__init__(config, lambda _, generator: SasRecEncoder(config, generator), make_objective=objective)
