"""Penalise what resembles push-back, less and less as it is forgotten."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from recommenders.base import Config, DislikeResponse, Float32, ItemFeatures, Requests
from recommenders.heuristics.heuristic import Heuristic, HeuristicConfig
from recommenders.heuristics.negatives import Negatives, same_kind, weight_by_group
from recommenders.heuristics.ranking import penalised

AgeUnit = Literal["interactions", "days"]


class ForgettingCurveConfig(HeuristicConfig):
    """Settings of the forgetting curve."""

    penalty: Annotated[float, Field(ge=0, le=1e6)] = 2.0
    """Penalty for a fresh push-back of the same creator, in standard deviations of the request's scores."""
    memory: Annotated[float, Field(gt=0)] = 20.0
    """Strength S of the memory: after S, exp(-1) of the penalty is left."""
    unit: AgeUnit = "interactions"
    """What age and `memory` are counted in: later interactions, or days of simulated time."""
    creator_share: Annotated[float, Field(ge=0, le=1)] = 0.75
    """How much an item resembles another of its creator; the rest is for the same topic."""


class ForgettingCurve(Heuristic):
    """Lowers an item by sum over recent push-back of resemblance times exp(-age / memory).

    Resemblance is `creator_share` for the same creator plus the rest for the same topic; several push-backs add up.

    Source: Ebbinghaus 1885, Ueber das Gedaechtnis (retention falls with age; the exponential form is the usual
    simplification), used as a penalty on negative feedback by Jin et al. 2023, CIKM, arXiv 2312.16868. Resemblance by
    creator and topic, the sum, and the unit of the penalty are ours.
    """

    config_class: ClassVar[type[Config]] = ForgettingCurveConfig

    def __init__(self, config: ForgettingCurveConfig) -> None:
        super().__init__(config)
        self.config = config
        self.traits = dataclasses.replace(self.traits, dislike_response=_declared(config, self.traits.history_length))

    def rescored(self, score: Float32, requests: Requests, negatives: Negatives, items: ItemFeatures) -> Float32:
        """The scores less the penalties."""
        config = self.config
        amount = remembered(negatives, items, len(score), config.memory, config.unit, config.creator_share)
        return penalised(score, requests.eligible, config.penalty, amount)


def _declared(config: ForgettingCurveConfig, history_length: int) -> DislikeResponse | None:
    """What holds whatever the wrapped model, by the penalties in spreads of its scores; None where that is too little.

    Over five models, the creator's share fell by 70 to 99% under a penalty of 1, and by 16 to 64% under one of 0.2.
    """
    if "dislike" not in config.feedback or config.days is not None or config.unit == "days":
        return None
    of_topic = config.penalty * (1 - config.creator_share)
    if config.penalty - of_topic < 1 or of_topic > 0.5:
        return None
    seen = config.interactions >= history_length
    oldest = config.penalty * np.exp(-(history_length - 1) / config.memory) if seen else 0.0
    if oldest >= 1:
        return DislikeResponse(course="lasts")
    return DislikeResponse(course="fades") if oldest <= 0.2 else None


def remembered(
    negatives: Negatives, items: ItemFeatures, n_requests: int, memory: float, unit: AgeUnit, creator_share: float
) -> Float32:
    """How much of the push-back that an item resembles is remembered: float32[n_requests, n_items], >= 0.

    The sum over the push-back of resemblance times exp(-age / memory), where resemblance is `creator_share` for the
    same creator plus the rest for the same topic.
    """
    age = negatives.age_interactions if unit == "interactions" else negatives.age_days
    retention = np.exp(-age / memory)
    amount = np.zeros((n_requests, items.n_items), np.float32)
    shares: tuple[tuple[Literal["creator", "topic"], float], ...]
    shares = (("creator", creator_share), ("topic", 1 - creator_share))
    for by, share in shares:
        group, n_groups = same_kind(items, by)
        by_group = weight_by_group(negatives, share * retention, group, n_requests, n_groups)
        amount += by_group.astype(np.float32)[:, group]
    return amount
