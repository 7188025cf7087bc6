"""Recommenders that answer push-back wrongly, each by a fault that a reviewer could miss; and a sound one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from recommenders.base import (
    PADDING,
    DislikeResponse,
    Feedback,
    Float32,
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
from recommenders.topk import hide_viewed, top_k

WINDOW = 30


class CreatorTaste:
    """Sound: creators of what was watched or liked come first, in no order; those of what was disliked come last."""

    ceiling = 1.0

    def __init__(self) -> None:
        self.traits = Traits(history_length=WINDOW, nested=True, dislike_response=DislikeResponse())
        self.items: ItemFeatures | None = None

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        watched = np.bincount(log.item[log.feedback & Feedback.LONG_DWELL > 0], minlength=items.n_items)
        self.load_state_dict({"quality": (0.1 * np.log1p(watched)).astype(np.float32)}, items)

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        if self.items is None:
            raise RecommenderError("CreatorTaste: got no fitted state, expected `fit` first")
        requests = requests.newest(WINDOW)
        score = self.quality + self.taste(requests, self.items)
        hide_viewed(score, requests.history_item)
        return top_k(score, requests.eligible, k)

    def state_dict(self) -> State:
        if self.items is None:
            raise RecommenderError("CreatorTaste: got no fitted state, expected `fit` first")
        return {"quality": self.quality.copy()}

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        quality = state.get("quality")
        if quality is None or quality.shape != (items.n_items,):
            raise RecommenderError(f"state: quality: expected float32[{items.n_items}]")
        self.quality, self.items = quality.astype(np.float32), items

    def taste(self, requests: Requests, items: ItemFeatures) -> Float32:
        """float32[n, n_items]."""
        return np.minimum(by_group(requests, self.weight(requests), items.creator), np.float32(self.ceiling))

    def weight(self, requests: Requests) -> Float32:
        """What each interaction says for its creator: float32[n, h]."""
        return np.where(disliked(requests), -50, watched(requests)).astype(np.float32)


def watched(requests: Requests) -> np.ndarray:
    return requests.history_feedback & (Feedback.LONG_DWELL | Feedback.LIKE) > 0


def disliked(requests: Requests) -> np.ndarray:
    return requests.history_feedback & Feedback.DISLIKE > 0


def by_group(requests: Requests, weight: np.ndarray, group: np.ndarray) -> Float32:
    """The weights of a history, added up by group and given to all items of it: float32[n, n_items]."""
    total = np.zeros((len(requests), int(group.max()) + 1), np.float32)
    row, column = np.nonzero(requests.history_item != PADDING)
    np.add.at(total, (row, group[requests.history_item[row, column]]), weight[row, column])
    return total[:, group]


class AnyPressIsInterest(CreatorTaste):
    """A dislike read as a like: who presses a button cares, the author thought, and counted all presses."""

    ceiling = np.inf

    def weight(self, requests: Requests) -> Float32:
        pressed = requests.history_feedback & (Feedback.LIKE | Feedback.DISLIKE | Feedback.DISMISS) > 0
        return watched(requests).astype(np.float32) + pressed


class UnsignedNet(CreatorTaste):
    """Likes less dislikes in the unsigned type of the log: one dislike more than likes makes 255."""

    ceiling = np.inf

    def weight(self, requests: Requests) -> Float32:
        one = np.uint8(1)
        net = watched(requests).astype(np.uint8) - disliked(requests) * (one + one)
        return np.where(requests.history_item == PADDING, 0, net).astype(np.float32)


class SimilarByMagnitude(CreatorTaste):
    """Strong feelings mark a topic as relevant, of either sign: a dislike raises what is similar."""

    def taste(self, requests: Requests, items: ItemFeatures) -> Float32:
        return by_group(requests, np.abs(self.weight(requests)), items.topic)


class SmallCounter(CreatorTaste):
    """Dislikes counted in eight bits, in steps of 50: the third makes the penalty a reward."""

    def taste(self, requests: Requests, items: ItemFeatures) -> Float32:
        count = by_group(requests, disliked(requests), items.creator)
        penalty = (50 * count.astype(np.int64)).astype(np.int8)
        return np.minimum(by_group(requests, watched(requests), items.creator), 1) - penalty


class SignOfAll(CreatorTaste):
    """The sign of a dislike is broadcast over all that came before it: other interests go with it."""

    def weight(self, requests: Requests) -> Float32:
        weight = super().weight(requests)
        row, column = np.nonzero(disliked(requests))
        latest = np.full(len(requests), -1)
        np.maximum.at(latest, row, column)
        return np.where(np.arange(weight.shape[1]) < latest[:, None], -np.abs(weight), weight)


class WholeTopic(CreatorTaste):
    """The penalty of the creator is taken from its whole topic."""

    def taste(self, requests: Requests, items: ItemFeatures) -> Float32:
        liked = np.minimum(by_group(requests, watched(requests), items.creator), 1)
        return liked - 8 * by_group(requests, disliked(requests), items.topic)


class NegativeButton(CreatorTaste):
    """Flags compared by size: everything from LIKE upwards is taken for push-back."""

    def weight(self, requests: Requests) -> Float32:
        return np.where(requests.history_feedback >= Feedback.LIKE, -50, watched(requests)).astype(np.float32)


class AllButTheNewest(CreatorTaste):
    """Off by one: the newest interaction is cut off as if it were the label to predict."""

    def weight(self, requests: Requests) -> Float32:
        weight = super().weight(requests)
        weight[:, -1:] = 0
        return weight


class OtherLayout(CreatorTaste):
    """The creator looked up by the row of an older table: someone else's items go."""

    def taste(self, requests: Requests, items: ItemFeatures) -> Float32:
        liked = np.minimum(by_group(requests, watched(requests), items.creator), 1)
        return liked - 50 * by_group(requests, disliked(requests), items.creator[::-1])[:, ::-1]


class NewestOnly(CreatorTaste):
    """Reacts to a dislike while it is the newest interaction, and has forgotten it at the next; declared to last."""

    def weight(self, requests: Requests) -> Float32:
        weight = watched(requests).astype(np.float32)
        weight[:, -1:] = super().weight(requests)[:, -1:]
        return weight


class Unforgiving(CreatorTaste):
    """Declared to fade, but the decay was never switched on."""

    def __init__(self) -> None:
        super().__init__()
        self.traits = Traits(history_length=WINDOW, dislike_response=DislikeResponse(course="fades"))


class DecayFromTheWrongEnd(CreatorTaste):
    """Declared to fade, but the window is read from the left: the older, the heavier."""

    def __init__(self) -> None:
        super().__init__()
        self.traits = Traits(history_length=WINDOW, dislike_response=DislikeResponse(course="fades"))

    def weight(self, requests: Requests) -> Float32:
        weight = super().weight(requests)
        age = np.arange(weight.shape[1])
        return np.where(disliked(requests), np.float32(-50) * np.exp2(-age / 2), weight).astype(np.float32)


class EverybodysDislikes(CreatorTaste):
    """Blocked creators kept on the recommender, for all users: one user's dislike reaches the others."""

    def taste(self, requests: Requests, items: ItemFeatures) -> Float32:
        if not hasattr(self, "blocked"):
            self.blocked = np.zeros(items.n_items, np.float32)
        self.blocked += (by_group(requests, disliked(requests), items.creator) > 0).any(0)
        return super().taste(requests, items) - 8 * (self.blocked > 0)


BROKEN: Mapping[str, Sequence[type[CreatorTaste]]] = {
    "check_a_dislike_never_raises_its_creator_or_topic": (AnyPressIsInterest, UnsignedNet, SimilarByMagnitude),
    "check_more_dislikes_never_weaken_the_response": (SmallCounter,),
    "check_unrelated_interests_keep_their_share": (SignOfAll,),
    "check_other_creators_of_the_topic_keep_their_share": (WholeTopic,),
    "check_a_like_does_not_act_as_a_dislike": (NegativeButton,),
    "check_the_response_arrives_as_declared": (AllButTheNewest, OtherLayout),
    "check_the_response_lasts_or_fades_as_declared": (NewestOnly, Unforgiving, DecayFromTheWrongEnd),
    "check_earlier_calls_change_nothing": (EverybodysDislikes,),
}
"""Name of a check -> the recommenders that it must catch."""
