"""An experiment that puts an item on top of the slate, whatever the recommender would show there."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recommenders.base import (
    Bool,
    Int32,
    Interactions,
    ItemFeatures,
    Progress,
    Recommender,
    RecommenderError,
    RequestDraws,
    Requests,
    Slates,
    State,
    Traits,
)
from simulator.draws import Draws, Purpose


@dataclass
class Exposing:
    """A recommender whose top slot holds a dictated item at some steps of a session.

    The item that it displaces takes its place if the slate held it already, else drops out.

    Attributes:
        recommender: what makes the slates.
        first_step: the step of the first dictated item.
        item: int32[n_users, m], the item of each user at the steps first_step to first_step + m - 1.
    """

    recommender: Recommender
    first_step: int
    item: Int32
    traits: Traits = field(init=False)

    def __post_init__(self) -> None:
        self.traits = self.recommender.traits

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        """As the recommender's."""
        self.recommender.fit(log, items, seed=seed, progress=progress)

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        """The recommender's slates with the dictated items on top.

        Raises:
            RecommenderError: a dictated item is not eligible.
        """
        slates = self.recommender.recommend(requests, k, draws)
        place = requests.step - self.first_step
        row = np.flatnonzero((place >= 0) & (place < self.item.shape[1]))
        shown = self.item[requests.user[row], place[row]]
        gone = np.flatnonzero(~requests.eligible[shown])
        if len(gone):
            user, item_gone = requests.user[row[gone[0]]], shown[gone[0]]
            raise RecommenderError(f"user {user}: item {item_gone} is to be on top, but is not eligible any more")
        item = slates.item.copy()
        top = item[row, 0]
        nth, slot = np.nonzero(item[row] == shown[:, None])
        item[row[nth], slot] = top[nth]
        item[row, 0] = shown
        propensity = slates.propensity
        if propensity is not None:
            propensity = propensity.copy()
            propensity[row, 0] = 1.0
        return Slates(item, slates.score, propensity)

    def state_dict(self) -> State:
        """As the recommender's."""
        return self.recommender.state_dict()

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        """As the recommender's."""
        self.recommender.load_state_dict(state, items)


def items_alike(group: Int32, focus_item: Int32, n: int, draws: Draws, eligible: Bool) -> Int32:
    """For each user, n other eligible items of the group of the focus item: int32[n_users, n].

    They follow each other in the order of ids from a place drawn for the user; in a group with too few items they come
    round again, and where the group has no other eligible item the focus item stands for itself.

    Args:
        group: int32[n_items], creator or topic of each item.
        focus_item: int32[n_users], row i for user i.
        n: how many.
        draws: the world's.
        eligible: bool[n_items].
    """
    pool = np.flatnonzero(eligible)
    if len(pool) == 0:
        return np.repeat(focus_item[:, None], n, axis=1)
    pool = pool[np.argsort(group[pool], kind="stable")]
    start = np.searchsorted(group[pool], group[focus_item], side="left")
    size = np.searchsorted(group[pool], group[focus_item], side="right") - start
    place = np.full(len(group), -1, np.int64)
    place[pool] = np.arange(len(pool))
    own = np.where(eligible[focus_item], place[focus_item] - start, -1)
    others = size - (own >= 0)
    some = np.maximum(others, 1)
    uniform = draws.uniform(Purpose.EXPOSURE, np.arange(len(focus_item)))[0]
    offset = np.floor(uniform * some).astype(np.int64)
    nth = (offset[:, None] + np.arange(n)) % some[:, None]
    chosen = start[:, None] + (own[:, None] + 1 + nth) % np.maximum(size, 1)[:, None]
    found = pool[np.minimum(chosen, len(pool) - 1)]
    return np.where(others[:, None] > 0, found, focus_item[:, None]).astype(np.int32)
