"""Settings of the counterfactual trajectories."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from simulator.scenario.durations import parse_duration
from simulator.scenario.settings import PositiveDuration, Probability, Section

Action = Literal["long_dwell", "skip", "like", "dislike", "dismiss"]


class Counterfactual(Section):
    """Paired trajectories that differ in one action (Wang et al. 2023, section 4)."""

    runs: Annotated[int, Field(ge=1, le=10_000_000)] = 2_000
    """Number of simulated users, each with one trajectory."""
    k: Annotated[int, Field(ge=1, le=10_000)] = 50
    """The item at which the branches part."""
    base: Annotated[tuple[Action, ...], Field(min_length=1)] = ("long_dwell",)
    """What the user does at item k in the base branch."""
    action: Annotated[tuple[Action, ...], Field(min_length=1)] = ("long_dwell", "dislike")
    """What the user does at item k in the other branch."""
    slate_size: Annotated[int, Field(ge=1, le=1000)] = 50
    """Size of the slates on which similarity is measured."""
    request_every: PositiveDuration = parse_duration("5m")
    """Simulated time between two requests of a trajectory; long enough for an item's feedback to be delivered."""
    long_dwell_probability: Probability = 0.5
    """Random behaviour of the prefix: chance of a long dwell."""
    skip_probability: Probability = 0.3
    """Random behaviour of the prefix: chance of a skip; neither is a short dwell."""
    like_probability: Probability = 0.05
    """Random behaviour of the prefix: chance of a like."""
    dislike_probability: Probability = 0.05
    """Random behaviour of the prefix: chance of a dislike."""
