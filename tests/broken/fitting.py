"""Fits that depend on more than log, catalogue and seed, take numbers for more than names, or change their log."""

from __future__ import annotations

import numpy as np

from recommenders.base import Float32, Interactions, ItemFeatures, Progress, Requests
from tests.broken.counted import Counted


class AddsUp(Counted):
    """A refit goes on counting where the last one stopped, without declaring `warm_start`."""

    def counted(self, log: Interactions, items: ItemFeatures) -> Float32:
        counted = super().counted(log, items)
        return counted if self.count is None else self.count + counted


class ShufflesTheLog(Counted):
    """Shuffles the training rows, in the platform's own log."""

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        super().fit(log, items, seed=seed, progress=progress)
        np.random.default_rng(seed).shuffle(log.item)


class ZeroIsPadding(Counted):
    """ "0 is padding, as in every deep-learning library": so item 0 is never counted."""

    def counted(self, log: Interactions, items: ItemFeatures) -> Float32:
        return super().counted(log.take(log.item > 0), items)


class PaddingIsTheLastItem(Counted):
    """Looks -1 up, and numpy answers with the last item."""

    def scores(self, requests: Requests) -> Float32:
        score = super().scores(requests)
        score[np.arange(len(score))[:, None], requests.history_item[:, -6:]] -= 5
        return score


class BucketsByUserNumber(Counted):
    """An experiment by odd and even user numbers, inside the model."""

    def scores(self, requests: Requests) -> Float32:
        return super().scores(requests) * np.where(requests.user % 2, -1, 1).astype(np.float32)[:, None]


class TimeInSinglePrecision(Counted):
    """ "float32 is enough for time": ages are differences of large numbers."""

    def scores(self, requests: Requests) -> Float32:
        age = requests.tick.astype(np.float32)[:, None] - requests.history_tick[:, -6:].astype(np.float32)
        newest = np.where(requests.history_item[:, -6:] >= 0, age, 0)[:, -1:]
        return super().scores(requests) - newest


class OneItemIsTooFew(Counted):
    """Divides by n - 1 items."""

    def start(self) -> Float32:
        count = super().start()
        return (count / np.float32(len(count) - 1 or "none")).astype(np.float32)


class ReadsTheFirstRow(Counted):
    """Takes the beginning of time from the first row of the log: the first fit of a world has none."""

    def counted(self, log: Interactions, items: ItemFeatures) -> Float32:
        after = log.tick >= log.tick[0]
        return super().counted(log.take(after), items)


class CountsFromOne(Counted):
    """Tells its progress one step too far."""

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        super().fit(log, items, seed=seed, progress=progress)
        for epoch in range(3):
            if progress is not None:
                progress(epoch + 2, 3)


class ShortSeeds(Counted):
    """Hands its seed to a generator of 32 bits."""

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        np.random.RandomState(seed)
        super().fit(log, items, seed=seed, progress=progress)
