"""Settings that all sequence models share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from recommenders.base import Config, Feedback
from recommenders.labels import NegativeLoss, NegativeWeights, Rewards

ItemPart = Literal["id", "creator", "topic"]
Sampling = Literal["uniform", "popularity", "in_batch"]


class SequenceConfig(Config):
    """Settings that all sequence models share.

    The paper's arms differ by these alone: nothing but the defaults (dislikes unknown), `dislike_input` (as input
    only), `negative_weight` (as label only), both, or `drop_disliked`.
    """

    dim: Annotated[int, Field(ge=1, le=1024)] = 32
    """Dimension of embeddings and states."""
    window: Annotated[int, Field(ge=1, le=1000)] = 50
    """How many past interactions the model reads."""
    item_parts: Annotated[tuple[ItemPart, ...], Field(min_length=1)] = ("id", "creator", "topic")
    """What an item's vector is the sum of: its own, its creator's, its topic's."""

    dwell_input: bool = True
    """Whether the model sees which items of the history were dwelt on long or skipped."""
    like_input: bool = True
    """Whether the model sees which items of the history were liked."""
    dislike_input: bool = False
    """Whether the model sees which items of the history were disliked."""
    dismiss_input: bool = False
    """Whether the model sees which items of the history were dismissed."""
    drop_disliked: bool = False
    """Leave disliked items out of histories, in training and in serving, and out of the labels."""

    reward: Rewards = Rewards()
    """Weights of the positive labels."""
    negative_weight: NegativeWeights = NegativeWeights()
    """Weights of the negative labels, beside 1 for a positive one; all 0 by default: no negative labels.

    Under not-to-recommend the gradient is in proportion to the item's probability among label and negatives, about
    1 / (1 + negatives) at first, so weights of 16 to 256 for dislikes go with 128 negatives.
    """
    negative_share: Annotated[float, Field(gt=0)] | None = None
    """Scale `negative_weight` so that the negative labels' share of the gradient starts at this ratio to the positive
    labels'; the same value then does about the same for any number of uniform negatives (docs/losses.md)."""
    negative_loss: NegativeLoss = "not_to_recommend"
    """What trains on the negative labels; all but the default are there to be compared with it."""

    negatives: Annotated[int, Field(ge=0)] = 128
    """Negatives of each positive label, at least 2; 0 for the full softmax over released items."""
    negatives_shared_by: Annotated[int, Field(ge=0)] = 0
    """How many windows of a batch share one draw of negatives; 0: all of them, which is fastest. With fewer, a step
    sees more of a large catalogue, and an epoch teaches more, for a little more time."""
    sampling: Sampling = "uniform"
    """How negatives are drawn: uniformly, by popularity in the log, or from the batch's own positive labels."""
    logq_correction: bool = False
    """Weight sampled negatives so that the loss estimates the full softmax; a dislike label then has little effect."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 4
    """Passes over the log, at most."""
    patience: Annotated[int, Field(ge=0)] = 0
    """Stop after this many epochs without a better loss on held-out windows, and keep the best; 0 never stops."""
    validation_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the windows held out while `patience` is on, at least one window."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.003
    """Of AdamW, at the start; it falls linearly to a tenth."""
    batch_size: Annotated[int, Field(ge=1)] = 64
    """Windows per training step."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Of AdamW."""
    dropout: Annotated[float, Field(ge=0, le=0.95)] = 0.0
    """Share of the inputs dropped in training, in steps of 1/256; the attention model drops inside its blocks, too."""
    warm_start: bool = False
    """Whether a retraining goes on from the model before it, rather than from scratch."""
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")] = "cpu"
    """Where to train and serve: `cpu`, `cuda` or `cuda:1`. Only the CPU repeats results bit for bit."""

    filter_viewed: bool = True
    """Whether items of the window are kept from being shown again."""

    @field_validator("negatives")
    @classmethod
    def _enough_negatives(cls, negatives: int) -> int:
        if negatives == 1:
            raise ValueError("expected 0 or at least 2: a lone negative may be the label itself")
        return negatives

    def input_flags(self) -> tuple[Feedback, ...]:
        """The kinds of feedback that the model reads, in the order of its maps."""
        flags: tuple[Feedback, ...] = ()
        if self.dwell_input:
            flags += (Feedback.LONG_DWELL, Feedback.SKIP)
        if self.like_input:
            flags += (Feedback.LIKE,)
        if self.dislike_input:
            flags += (Feedback.DISLIKE,)
        if self.dismiss_input:
            flags += (Feedback.DISMISS,)
        return flags
