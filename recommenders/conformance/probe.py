"""Slates after paired histories, and how two arms of them compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recommenders.base import Bool, Float64, Int32
from recommenders.conformance.evidence import FALSE_ALARM, exceeds
from recommenders.conformance.laws import Effect
from recommenders.conformance.planted import CATALOGUE
from recommenders.conformance.subject import Fitted
from recommenders.conformance.worlds import Ask

K = 10
N_DRAWS = 8
"""Slates of a policy that draws are averaged over as many."""
GRID = np.linspace(0.0, 1.0, 41)
"""Falls that are tried as bounds."""


def share(fitted: Fitted, asks: Sequence[Ask], inside: Bool) -> Float64:
    """Expected share of each slate that is of the items asked for: float64[n].

    Both arms of a pair draw the same numbers, so that a policy that does not look at the difference has none.

    Args:
        fitted: on the planted catalogue.
        asks: n of them.
        inside: bool[n, n_items].

    Raises:
        Violation: the recommender raised.
    """
    asked = fitted.requests(asks)
    slates = fitted.slates(asked, K)
    found = [np.take_along_axis(inside, slates.item, 1).mean(1)]
    if slates.propensity is not None:
        for draws_seed in range(1, N_DRAWS):
            found.append(np.take_along_axis(inside, fitted.slates(asked, K, draws_seed).item, 1).mean(1))
    return np.asarray(np.mean(found, 0), np.float64)


@dataclass(frozen=True, eq=False)
class Pair:
    """The same share of the same users' slates in two arms: float64[n] each, in [0, 1]."""

    base: Float64
    action: Float64

    def change(self, of: str) -> Effect:
        """The relative change of the mean share, its interval by the delta method over users.

        Args:
            of: what it is a share of.
        """
        base, action = float(self.base.mean()), float(self.action.mean())
        words = f"relative change of {of} ({base:.3f} of the slate without the press)"
        if base == 0:
            return Effect(0.0, 0.0, 0.0, words)
        value = action / base - 1
        residual = self.action - (1 + value) * self.base
        margin = 1.96 * float(residual.std(ddof=1)) / np.sqrt(len(residual)) / base
        return Effect(value, float(value - margin), float(value + margin), words)

    def rises(self, tolerance: float) -> bool:
        """Whether the share is found to rise by more than the tolerance."""
        return exceeds(self.action - self.base, -1.0, tolerance)

    def falls(self, tolerance: float) -> bool:
        """Whether the share is found to fall by more than the tolerance."""
        return Pair(self.action, self.base).rises(tolerance)

    def keeps_less_than(self, kept: float, false_alarm: float = FALSE_ALARM) -> bool:
        """Whether less than a part of the share is found to be left."""
        return exceeds(kept * self.base - self.action, -1.0, 0.0, false_alarm)

    def keeps_more_than(self, kept: float, false_alarm: float = FALSE_ALARM) -> bool:
        """Whether more than a part of the share is found to be left."""
        return exceeds(self.action - kept * self.base, -max(kept, 1e-9), 0.0, false_alarm)

    def proven_fall(self, false_alarm: float) -> tuple[float, float]:
        """Bounds that the relative fall lies between; each is wrong with chance `false_alarm` at most."""
        low = max((fall for fall in GRID if self.keeps_less_than(1 - fall, false_alarm)), default=0.0)
        high = min((fall for fall in GRID if self.keeps_more_than(1 - fall, false_alarm)), default=1.0)
        return float(low), float(high)


def of_creator(creator: Sequence[int] | Int32) -> Bool:
    """Items of each row's creator: bool[n, n_items]."""
    inside: Bool = CATALOGUE.features().creator == np.asarray(creator)[:, None]
    return inside


def of_topic(topic: Sequence[int] | Int32) -> Bool:
    """Items of each row's topic: bool[n, n_items]."""
    inside: Bool = CATALOGUE.features().topic == np.asarray(topic)[:, None]
    return inside
