"""What is kept between calls and should not be, or under too small a key."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from recommenders.base import Float32, Interactions, ItemFeatures, Progress, RequestDraws, Requests, Slates
from tests.broken.counted import Counted


class StaleAfterLoad(Counted):
    """Takes the logarithms once; `fit` forgets them, which was forgotten in `load_state_dict`."""

    kept: Float32 | None = None

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        super().fit(log, items, seed=seed, progress=progress)
        self.kept = None

    def start(self) -> Float32:
        if self.kept is None:
            self.kept = np.log1p(super().start())
        return self.kept


class StaleAfterFit(Counted):
    """The same, and `fit` forgets nothing either: retrained or not, the first model is served."""

    kept: Float32 | None = None

    def start(self) -> Float32:
        if self.kept is None:
            self.kept = np.log1p(super().start())
        return self.kept


class SharedByTheClass(Counted):
    """A mutable attribute of the class: the model that was fitted last is served by all instances."""

    fitted: ClassVar[dict[str, Float32]] = {}

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        super().fit(log, items, seed=seed, progress=progress)
        self.fitted["count"] = self.count

    def start(self) -> Float32:
        super().start()
        return self.fitted["count"]


class CachedByUser(Counted):
    """ "A user's scores are the user's scores": until the history grows."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[int, Float32] = {}

    def scores(self, requests: Requests) -> Float32:
        for user, row in zip(requests.user.tolist(), super().scores(requests), strict=True):
            self.kept.setdefault(user, row)
        return np.array([self.kept[user] for user in requests.user.tolist()])


class CachedByLength(Counted):
    """Keeps the slates of empty histories by k, as if the same items were always eligible."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[int, Slates] = {}

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        slates = super().recommend(requests, k, draws)
        empty = np.flatnonzero((requests.history_item < 0).all(1))
        if len(empty):
            row = Slates(slates.item[empty[0]].copy(), slates.score[empty[0]].copy())
            kept = self.kept.setdefault(k, row)
            slates.item[empty], slates.score[empty] = kept.item, kept.score
        return slates


class NeverForgets(Counted):
    """A cache whose key is right, and which grows as long as the process lives."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[int, bytes, bytes], Float32] = {}

    def scores(self, requests: Requests) -> Float32:
        history = np.hstack([requests.history_item, requests.history_feedback]).astype(np.int32)
        key = [
            (user, row.tobytes(), self.start().tobytes())
            for user, row in zip(requests.user.tolist(), history, strict=True)
        ]
        self.kept.update(zip(key, super().scores(requests), strict=True))
        return np.array([self.kept[one] for one in key])


class ReusesItsBuffer(Counted):
    """Saves an allocation: the slates given out are overwritten by the next call."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = np.empty((1024, 64), np.int32)

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        slates = super().recommend(requests, k, draws)
        item = self.buffer[: len(requests), :k] if len(requests) <= 1024 else slates.item.copy()
        item[...] = slates.item
        return Slates(item, slates.score)
