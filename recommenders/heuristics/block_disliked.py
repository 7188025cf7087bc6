"""Block what was disliked for a while: the creator, the topic, or both."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from recommenders.base import Config, DislikeResponse, Float32, ItemFeatures, Requests
from recommenders.heuristics.heuristic import Heuristic, HeuristicConfig
from recommenders.heuristics.negatives import Negatives, same_kind, weight_by_group
from recommenders.heuristics.ranking import put_behind


class BlockDislikedConfig(HeuristicConfig):
    """Settings of blocking."""

    by: Annotated[tuple[Literal["creator", "topic"], ...], Field(min_length=1)] = ("creator",)
    """What is blocked: all items of the disliked item's creator, of its topic, or of either."""


class BlockDisliked(Heuristic):
    """Puts items of a creator or topic that the user pushed back lately behind all others.

    Where too few others remain, blocked items come back in the order of their scores. A wrapper around this one may
    move others behind the blocked ones: block last for the block to hold.
    """

    config_class: ClassVar[type[Config]] = BlockDislikedConfig

    def __init__(self, config: BlockDislikedConfig) -> None:
        super().__init__(config)
        self.config = config
        if "dislike" in config.feedback and config.days is None:
            self.traits = dataclasses.replace(
                self.traits,
                dislike_response=DislikeResponse(
                    scope="topic" if "topic" in config.by else "creator",
                    course="lasts" if config.interactions >= self.traits.history_length else "fades",
                ),
            )

    def rescored(self, score: Float32, requests: Requests, negatives: Negatives, items: ItemFeatures) -> Float32:
        """The scores of blocked items moved below the lowest other one."""
        blocked = np.zeros(score.shape, np.bool_)
        for by in self.config.by:
            group, n_groups = same_kind(items, by)
            disliked = weight_by_group(negatives, np.ones(len(negatives)), group, len(score), n_groups) > 0
            blocked |= disliked[:, group]
        return put_behind(score, blocked)
