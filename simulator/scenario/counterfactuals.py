"""Settings of the counterfactual trajectories."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from simulator.scenario.durations import TICKS_PER_DAY, format_duration, parse_duration
from simulator.scenario.settings import PositiveDuration, Probability, Section

Action = Literal["long_dwell", "skip", "like", "dislike", "dismiss", "nothing"]
Actions = Annotated[tuple[Action, ...], Field(min_length=1)]

NOTHING: Action = "nothing"
"""Looking at an item for a moment and pressing nothing; stands alone."""


def actions_label(actions: tuple[Action, ...]) -> str:
    """Actions in words, as reports and `events/` name a branch: `long_dwell + dislike`."""
    return " + ".join(actions)


class ReplayedLog(Section):
    """A log of real histories; what its columns mean is said as in `pushback backtest` (docs/backtest.md)."""

    log: Annotated[str, Field(min_length=1)]
    """CSV, CSV.gz or Parquet, relative to the scenario; or `shipped:NAME`."""
    format: Literal["movielens", "kuairand"] | None = None
    """A known layout."""
    columns: dict[Literal["user", "item", "timestamp"], str] = {}  # noqa: RUF012 - pydantic copies it
    """Names of the columns, where they are others than `user_id`, `item_id` and `timestamp`."""
    event: str | None = None
    """Column of events."""
    map: dict[str, str] = {}  # noqa: RUF012 - pydantic copies it
    """What each event is, such as `play: long_dwell`; `"*"` stands for all others."""
    every: str | None = None
    """What each row stands for, such as `long_dwell`, where no column says."""


class Counterfactual(Section):
    """Paired trajectories that differ in one action (Wang et al. 2023, section 4)."""

    runs: Annotated[int, Field(ge=1, le=10_000_000)] = 2_000
    """Number of simulated users, each with one trajectory."""
    prefix: Literal["random", "lived", "replayed"] = "random"
    """What leads up to item k: `random` behaviour, as in the paper; the user model's life after the warm-up; or real
    histories, `replayed` from a log of the items in `world.catalogue.table`."""
    replay: ReplayedLog | None = None
    """Replayed prefix: the log. Run i has the last k - 1 interactions of its i-th user; item k comes from the arm."""
    k: Annotated[int, Field(ge=1, le=10_000)] = 50
    """The item at which the branches part, counted over the items that a user consumes after the warm-up."""
    trigger: Literal["item_k", "averse_creator", "repeated_topic"] = "item_k"
    """What the branches wait for from item k on: nothing, an item by a creator whom the user is averse to, or an item
    of a topic that the user has disliked exactly `trigger_dislikes` - 1 times."""
    trigger_dislikes: Annotated[int, Field(ge=1, le=100)] = 2
    """Which dislike of the same topic the action would be, for `trigger: repeated_topic`."""
    trigger_within: PositiveDuration = parse_duration("1d")
    """How long a run may take from the warm-up's end to item k and the trigger; runs that take longer are left out.
    Not read by a random prefix that parts at item k."""
    base: Actions = ("long_dwell",)
    """What the user does at item k in the base branch."""
    action: Actions = ("long_dwell", "dislike")
    """What the user does at item k in the other branch."""
    further_actions: tuple[Actions, ...] = ()
    """More branches from the same item k, each beside the base."""
    requests: Annotated[int, Field(ge=1, le=1000)] = 1
    """How many requests after item k are measured; the first is the paper's responsiveness."""
    doses: tuple[Annotated[int, Field(ge=2, le=50)], ...] = ()
    """Responses to so many actions in a row, on items of the same creator and on items of the same topic as item k."""
    slate_size: Annotated[int, Field(ge=1, le=1000)] = 50
    """Size of the slates on which similarity is measured; a lived prefix has the platform's slates throughout."""
    request_every: PositiveDuration = parse_duration("5m")
    """Random prefix: simulated time between two requests of a trajectory."""
    follow: PositiveDuration | None = None
    """Lived prefix: how long users live on after `trigger_within`, for the effect of the action on their own future;
    none: a day, and no such effects."""
    long_dwell_probability: Probability = 0.5
    """Random behaviour of the prefix: chance of a long dwell."""
    skip_probability: Probability = 0.3
    """Random behaviour of the prefix: chance of a skip; neither is a short dwell."""
    like_probability: Probability = 0.05
    """Random behaviour of the prefix: chance of a like."""
    dislike_probability: Probability = 0.05
    """Random behaviour of the prefix: chance of a dislike."""

    @property
    def branches(self) -> tuple[tuple[Action, ...], ...]:
        """Every branch but the base, the main action first."""
        return (self.action, *self.further_actions)

    @property
    def duration(self) -> int:
        """Ticks from the end of the warm-up to the last request of any branch, at most."""
        if self.prefix == "lived":
            return self.trigger_within + (TICKS_PER_DAY if self.follow is None else self.follow)
        items = 1 if self.prefix == "replayed" else self.k
        item_k = items * self.request_every if self.trigger == "item_k" else self.trigger_within
        return item_k + (self.requests + max(self.doses, default=1) + 1) * self.request_every


def protocol_in_words(settings: Counterfactual) -> str:
    """What leads up to the branches, as a clause with the users as its subject.

    >>> protocol_in_words(Counterfactual(k=50))
    'each consume items at random up to item 50'
    """
    lived = settings.prefix == "lived"
    if settings.prefix == "replayed":
        return f"each have the last {settings.k - 1} interactions of a real user, and consume an item at random"
    text = f"each {'live on after the warm-up' if lived else 'consume items at random'} up to item {settings.k}"
    if settings.trigger == "averse_creator":
        text += ", and from there to the first item by a creator to whom they are averse"
    elif settings.trigger == "repeated_topic":
        text += f", and from there to the first item of a topic disliked {settings.trigger_dislikes - 1} times before"
    if lived or settings.trigger != "item_k":
        text += f" (left out: who did not come so far within {format_duration(settings.trigger_within)})"
    return text
