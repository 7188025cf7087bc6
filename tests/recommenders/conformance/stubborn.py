"""A recommender that keeps the contract but for what its settings say."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np

from recommenders.base import (
    Config,
    Interactions,
    ItemFeatures,
    Progress,
    RecommenderError,
    RequestDraws,
    Requests,
    Slates,
    State,
    Traits,
)
from recommenders.topk import top_k


class StubbornConfig(Config):
    fault: Literal["none", "dtype", "raises", "exits", "quits", "hangs", "deaf", "prints", "no_fit", "quits_fit"] = (
        "none"
    )


class Quit(BaseException):
    """Nothing that `except Exception` would catch."""


class Stubborn:
    """Shows the first items; at fault where an item of 7 or more was seen and three or more are asked for."""

    config_class = StubbornConfig
    traits = Traits(history_length=4)
    fits: ClassVar[list[str]] = []

    def __init__(self, config: StubbornConfig) -> None:
        self.fault = config.fault
        self.items: ItemFeatures | None = None

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        if self.fault == "no_fit":
            raise ValueError("nothing to learn")
        if self.fault == "quits_fit":
            raise Quit("enough")
        self.fits.append(self.fault)
        self.items = items

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        if self.items is None:
            raise RecommenderError("not fitted")
        score = np.tile(-np.arange(self.items.n_items, dtype=np.float32), (len(requests), 1))
        slates = top_k(score, requests.eligible, k)
        return self._at_fault(slates) if (requests.history_item >= 7).any() and k >= 3 else slates

    def _at_fault(self, slates: Slates) -> Slates:
        match self.fault:
            case "dtype":
                return replace(slates, score=slates.score.astype(np.float64))
            case "raises":
                raise ZeroDivisionError("three")
            case "exits":
                sys.exit(3)
            case "quits":
                raise Quit("enough")
            case "hangs":
                time.sleep(60)
            case "deaf":
                wait_whatever_happens(60)
            case "prints":
                print("a word on the standard output")
        return slates

    def state_dict(self) -> State:
        return {}

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        self.items = items


def wait_whatever_happens(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            time.sleep(seconds)
        except BaseException:
            continue


class Listed(Stubborn):
    """Says itself what it fails."""

    known_failures: ClassVar[Mapping[str, str]] = {"check_slates_are_valid": "scores are float64, see issue 12"}
