"""Slates that break the rules: wrong items, numbers and types, or arguments that were written to."""

from __future__ import annotations

import numpy as np

from recommenders.base import Float32, RequestDraws, Requests, Slates
from recommenders.topk import top_k
from tests.broken.counted import Counted


class RepeatsAtTheTail(Counted):
    """Draws the last slot from the best ten, forgetting what is on the slate already."""

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        slates = super().recommend(requests, k, draws)
        if k > 8:
            slates.item[:, -1] = slates.item[:, 0]
        return slates


class IneligibleWhenFewAreLeft(Counted):
    """ "There are always enough": where there are not, items that may not be shown fill up."""

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        candidates = requests.eligible
        if candidates.sum() < 10:
            candidates = np.ones_like(candidates)
        return top_k(self.scores(requests), candidates, k)


class PadsTheSlate(Counted):
    """ "Better a repeated item than an error": a slate longer than the catalogue is filled up silently."""

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        slates = super().recommend(requests, min(k, int(requests.eligible.sum())), draws)
        column = np.minimum(np.arange(k), slates.item.shape[1] - 1)
        return Slates(slates.item[:, column], slates.score[:, column])


class DoublePrecision(Counted):
    """Scores in float64, numpy's own choice."""

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        slates = super().recommend(requests, k, draws)
        return Slates(slates.item, slates.score / np.float64(2))


class LongIntegers(Counted):
    """Items in int64, as argsort gives them."""

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        slates = super().recommend(requests, k, draws)
        return Slates(slates.item.astype(np.int64), slates.score)


class MeanOfNothing(Counted):
    """Divides by the length of the history, and a new user has none."""

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        slates = super().recommend(requests, k, draws)
        length = (requests.history_item >= 0).sum(1).astype(np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            return Slates(slates.item, slates.score / length[:, None])


class HalfPrecision(Counted):
    """ "float16 is enough to rank": until an exponential overflows."""

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        slates = super().recommend(requests, k, draws)
        with np.errstate(over="ignore"):
            return Slates(slates.item, np.exp(slates.score.astype(np.float16)).astype(np.float32))


class HidesInPlace(Counted):
    """Marks viewed items as not eligible, in the caller's array."""

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        seen = requests.history_item[requests.history_item >= 0]
        if requests.eligible.sum() - len(seen) >= k:
            requests.eligible[seen] = False
        return super().recommend(requests, k, draws)


class ClipsItsPadding(Counted):
    """Replaces the padding of the histories by item 0, in the caller's array."""

    def scores(self, requests: Requests) -> Float32:
        score = super().scores(requests)
        np.maximum(requests.history_item, 0, out=requests.history_item)
        return score


class ServesUnfitted(Counted):
    """Fails on None instead of saying that it was not fitted."""

    def start(self) -> Float32:
        return self.count + 0
