"""Numbers that come from somewhere else than the seed and the request's draws, and chances that are not so."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from recommenders.base import Float32, Float64, Interactions, ItemFeatures, Progress, Requests
from tests.broken.counted import Counted, Drawn


class NoiseBetweenTies(Counted):
    """ "A little noise breaks ties fairly": from numpy's global generator, while serving."""

    def scores(self, requests: Requests) -> Float32:
        score = super().scores(requests)
        return score + np.random.random(score.shape).astype(np.float32) / 10  # noqa: NPY002


class GlobalInitialisation(Counted):
    """ "np.random.seed(seed) makes it reproducible": and everything else that runs in this process."""

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        np.random.seed(seed % 2**32)  # noqa: NPY002
        super().fit(log, items, seed=seed, progress=progress)
        self.count = self.count + np.random.random(items.n_items).astype(np.float32)  # noqa: NPY002


class IgnoresItsSeed(Counted):
    """ "A fresh generator is surely reproducible": without a seed it is not."""

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        super().fit(log, items, seed=seed, progress=progress)
        self.count = self.count + np.random.default_rng().random(items.n_items).astype(np.float32)


class DropoutLeftOn(Counted):
    """Forgot to switch to evaluation: every call drops a tenth of the units that add up to a score."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(0)

    def scores(self, requests: Requests) -> Float32:
        score = super().scores(requests)
        kept = self.rng.random((*score.shape, 64)) > 0.1
        return ((score + 1) * kept.mean(2)).astype(np.float32)


class HashedCreators(Counted):
    """ "hash() gives every name a bucket": another one in every process."""

    def scores(self, requests: Requests) -> Float32:
        bucket = np.array([hash(f"creator {creator}") % 97 for creator in self.creator.tolist()], np.float32)
        return super().scores(requests) + bucket


class EveningItems(Counted):
    """ "People like other things in the evening": by the clock on the wall, not the request's."""

    def scores(self, requests: Requests) -> Float32:
        hour = time.localtime().tm_hour
        return np.roll(super().scores(requests), hour, axis=1)


class SharperThanStated(Drawn):
    """States the propensities of another temperature than it draws with."""

    def stated(self, propensity: Any, logit: Float32) -> Float64:
        return np.sqrt(propensity)


class StatesWeights(Drawn):
    """ "The weight is the propensity": nobody divided by the sum."""

    def stated(self, propensity: Any, logit: Float32) -> Float64:
        return np.clip(propensity * 5, 0, 1)
