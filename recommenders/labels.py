"""Which interactions become training labels, and how heavy they are."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from recommenders.base import PADDING, Config, Feedback, Float32, Float64
from recommenders.losses import weight_for_share
from recommenders.sequences import Windows

Weight = Annotated[float, Field(ge=0)]

NegativeLoss = Literal["not_to_recommend", "negative_label_weight", "raised_negative", "pairwise"]
"""What trains on a negative label; each is a function of `recommenders.losses`."""

EXPLICIT = Feedback.DISLIKE | Feedback.DISMISS


class Rewards(Config):
    """Weights r of the positive labels by kind of feedback; an item with several kinds gets the largest."""

    long_dwell: Weight = 1.0
    """Of an item dwelt on long; 0 makes it no label."""
    like: Weight = 1.0
    """Of a liked item; 0 makes it no label."""
    dwell_exponent: Weight = 0.0
    """Multiplies a reward by (dwell / mean dwell of the positive labels) to this power; 0 leaves dwell out."""


class NegativeWeights(Config):
    """Weights w of the negative labels by kind of feedback, 0 for no label; the largest counts.

    An item with a labelled dislike or dismissal is no positive label, however long the dwell; a labelled skip is
    negative only where the item is not positive.
    """

    dislike: Weight = 0.0
    """Of a disliked item."""
    dismiss: Weight = 0.0
    """Of a dismissed item."""
    skip: Weight = 0.0
    """Of a skipped item."""

    def kinds(self) -> Feedback:
        """The kinds of feedback that make a negative label."""
        return Feedback(sum(flag for flag, weight in self._by_flag() if weight > 0))

    def _by_flag(self) -> tuple[tuple[Feedback, float], ...]:
        return ((Feedback.DISLIKE, self.dislike), (Feedback.DISMISS, self.dismiss), (Feedback.SKIP, self.skip))


def weight_table(reward: Rewards, negative: NegativeWeights) -> Float32:
    """The weight of a label by its feedback byte: float32[256]; r > 0 for a positive label, -w < 0 for a negative one.

    >>> table = weight_table(Rewards(like=3), NegativeWeights(dislike=8))
    >>> table[Feedback.LONG_DWELL], table[Feedback.LIKE | Feedback.LONG_DWELL], table[Feedback.LIKE | Feedback.DISLIKE]
    (np.float32(1.0), np.float32(3.0), np.float32(-8.0))
    """
    feedback = np.arange(256)

    def largest(weights: tuple[tuple[Feedback, float], ...]) -> Float64:
        by_kind: Float64 = np.array([np.where(feedback & flag, weight, 0.0) for flag, weight in weights])
        most: Float64 = np.maximum.reduce(by_kind)
        return most

    positive = largest(((Feedback.LONG_DWELL, reward.long_dwell), (Feedback.LIKE, reward.like)))
    weight = largest(negative._by_flag())
    is_explicit = (feedback & (negative.kinds() & EXPLICIT)) != 0
    is_negative = is_explicit | ((weight > 0) & (positive == 0))
    return np.where(is_negative, -weight, positive).astype(np.float32)


def label_weights(windows: Windows, reward: Rewards, negative: NegativeWeights) -> Float32:
    """The weight of the next interaction of each position as a label.

    Returns:
        float32[n, window]; r > 0 for a positive label, -w < 0 for a negative one, 0 where there is none.
    """
    weight = weight_table(reward, negative)[windows.next_feedback]
    weight[windows.next_item == PADDING] = 0
    if reward.dwell_exponent > 0:
        positive = weight > 0
        dwell = windows.next_dwell_seconds[positive]
        if dwell.size and dwell.mean() > 0:
            weight[positive] *= (dwell / dwell.mean()) ** np.float32(reward.dwell_exponent)
    return weight


def scaled_to_share(weight: Float32, share: float, n_negatives: int) -> Float32:
    """Label weights whose negative ones are scaled to a share of the gradient at the start of training.

    Args:
        weight: as `label_weights` returns; the negative ones tell only how the kinds compare.
        share: wanted ratio of the gradients' absolute sums over the logits, negative labels to positive ones.
        n_negatives: candidates in the softmax besides the label, when all are equally probable.

    Returns:
        float32 of the same shape; unchanged where there is no label of one of the signs.
    """
    positive, negative = float(weight[weight > 0].sum()), -float(weight[weight < 0].sum())
    if positive == 0 or negative == 0:
        return weight
    factor = weight_for_share(share, positive, negative, n_negatives)
    return np.where(weight < 0, weight * np.float32(factor), weight)
