"""Answers that depend on other rows of the batch, or on what lies outside the declared history."""

from __future__ import annotations

import numpy as np

from recommenders.base import Float32, RequestDraws, Requests, Slates
from tests.broken.counted import WINDOW, Counted, Drawn


class TrendingInTheBatch(Counted):
    """ "What the other users online just watched is trending": a row sees its batch-mates."""

    def scores(self, requests: Requests) -> Float32:
        score = super().scores(requests)
        seen = requests.history_item[requests.history_item >= 0]
        return score + np.bincount(seen, minlength=score.shape[1]).astype(np.float32)


class StandardisedOverTheBatch(Counted):
    """ "Scores should have mean 0": over the whole array instead of over each row."""

    def scores(self, requests: Requests) -> Float32:
        score = super().scores(requests)
        return (score - score.mean()).astype(np.float32)


class LatestHistoryOfTheUser(Counted):
    """ "A user has one history, the latest": an earlier request of the batch reads what came after it."""

    def scores(self, requests: Requests) -> Float32:
        latest = {user: row for row, user in enumerate(requests.user.tolist())}
        return super().scores(requests.take(np.array([latest[user] for user in requests.user.tolist()])))


class OneDrawForAll(Drawn):
    """ "Random is random": every request of the batch gets the first one's draws."""

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        class First:
            def uniform(self, n_columns: int) -> np.ndarray:
                return np.repeat(draws.uniform(n_columns)[:1], len(requests), 0)

        return super().recommend(requests, k, First())


class ReadsTheWholeHistory(Counted):
    """Off by one: a liked item just before the declared window still counts."""

    def scores(self, requests: Requests) -> Float32:
        score = super().scores(requests)
        if requests.history_item.shape[1] > WINDOW:
            before = requests.history_item[:, -WINDOW - 1]
            rows = np.flatnonzero(before >= 0)
            score[rows, before[rows]] += 1
        return score


class NeedsContiguousArrays(Counted):
    """ "A faster view": reads the memory behind the array, whatever its layout."""

    def scores(self, requests: Requests) -> Float32:
        score = super().scores(requests)
        newest = requests.history_item.ravel(order="K")[WINDOW - 1 :: WINDOW][: len(score)]
        rows = np.flatnonzero(newest >= 0)
        score[rows, newest[rows]] += 1
        return score


class BestInOrderOfId(Counted):
    """Marks the best k and reads the marks: nobody sorted them, and a slate of three is no beginning of one of ten."""

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        slates = super().recommend(requests, k, draws)
        order = np.argsort(slates.item, axis=1)
        return Slates(np.take_along_axis(slates.item, order, 1), np.take_along_axis(slates.score, order, 1))
