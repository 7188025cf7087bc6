"""Recommenders that fail as arms of a run, each in a way of its own; random until then."""

from __future__ import annotations

import os
from typing import Any

from recommenders.random import Random

SECOND_WEEK = 14 * 86_400_000
MENDED = "PUSHBACK_TEST_MENDED"
"""A variable of the environment: where it is set, `Mendable` does not fail any more."""


class UntellableError(Exception):
    """Neither goes to another process nor says what is the matter."""

    def __init__(self, one: object, other: object) -> None:
        super().__init__(one, other, lambda: None)

    def __str__(self) -> str:
        raise RuntimeError("no words")


class InFit(Random):
    def fit(self, *_: Any, **__: Any) -> None:
        raise ValueError("<b>no</b> ideas" + 1000 * "!")


class WhenBuilt(Random):
    def __init__(self, *_: object) -> None:
        raise OSError("no such model")


class Exiting(Random):
    def fit(self, *_: Any, **__: Any) -> None:
        raise SystemExit


class WithOddState(Random):
    def state_dict(self) -> Any:
        return {"weights": {1, 2}}


class InSecondWeek(Random):
    def recommend(self, requests: Any, k: int, draws: Any) -> Any:
        if requests.tick.max() >= SECOND_WEEK:
            self.fail(requests)
        return super().recommend(requests, k, draws)

    def fail(self, requests: Any) -> None:
        raise KeyError("second week")


class Speechless(InSecondWeek):
    def fail(self, requests: Any) -> None:
        raise UntellableError("a", "b")


class Hanging(InSecondWeek):
    def fail(self, requests: Any) -> None:
        while True:
            pass


class Mendable(InSecondWeek):
    def fail(self, requests: Any) -> None:
        if MENDED not in os.environ:
            raise KeyError("second week")


class InBranches(Random):
    def recommend(self, requests: Any, k: int, draws: Any) -> Any:
        if k == 10:  # slates of the A/B test are shorter
            raise KeyError("ten")
        return super().recommend(requests, k, draws)


class Repeating(Random):
    def recommend(self, requests: Any, k: int, draws: Any) -> Any:
        slates = super().recommend(requests, k, draws)
        slates.item[:, 1:] = slates.item[:, :1]
        return slates
