"""Hard negatives from explicit and implicit feedback, mixed with random ones.

The method is that of `typed_negatives`, by the same authors, at another mixing rate: skipped items reject, too, and the
mix of explicit, implicit and random negatives is what is tuned. So this file is settings alone.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from recommenders.base import Config
from recommenders.labels import NegativeWeights
from recommenders.neighbours.typed_negatives import TypedNegatives, TypedNegativesConfig


class HardNegativeMixingConfig(TypedNegativesConfig):
    """Settings of the mix: random, disliked and skipped items."""

    negative_weight: NegativeWeights = NegativeWeights(dislike=4.0, skip=1.0)
    """Relative chance of a rejected item to be a negative, by kind of feedback; skips say less, but are many."""
    rejected_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of a label's negatives that are items which the same user rejected, where there are any."""


class HardNegativeMixing(TypedNegatives):
    """Attention model whose negatives are a mix of random, disliked and skipped items.

    Source: Mei, Bembom & Ehmann 2024, MuRS workshop at RecSys, "Hard Negative Sampling for Music Recommendation:
    Real-World Impacts on Accuracy and Diversity" (CEUR-WS 3787). Ours: the rates, and all that `TypedNegatives` lists.
    """

    config_class: ClassVar[type[Config]] = HardNegativeMixingConfig
