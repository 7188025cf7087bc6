"""Asks a fitted recommender at every test event what it would have shown, and notes what the user then did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recommenders.base import (
    PADDING,
    Bool,
    Feedback,
    Float32,
    Float64,
    Int32,
    Int64,
    Interactions,
    Progress,
    Recommender,
    RecommenderError,
    Requests,
    Scorer,
)
from recommenders.offline import metrics
from recommenders.offline.faults import LogError
from recommenders.offline.splits import Split
from recommenders.sequences import POSITIVE
from recommenders.topk import top_k

BATCH = 256
"""Rows of a request, unless the recommender's traits name another number."""
_SEEN = np.float32(np.finfo(np.float32).min)
"""Score of what is no candidate: items that the user has had before."""


@dataclass(frozen=True)
class Labels:
    """Which rows count as liked and which as disliked.

    Attributes:
        positive: bool[e], a long dwell or a like, and no negative feedback.
        negative: bool[e], at least one of the kinds that count as negative.
    """

    positive: Bool
    negative: Bool


@dataclass(frozen=True)
class Evaluation:
    """What was measured of one fitted recommender.

    Attributes:
        by_user: component -> float64[n_users], each user's mean over the user's test events; NaN for users that have
            none of the kind. A component that could not be measured at all is NaN throughout.
        overall: component -> a number of the whole, which has no value per user (`coverage@k`).
    """

    by_user: Mapping[str, Float64]
    overall: Mapping[str, float]

    def means(self) -> dict[str, float]:
        """Each component's mean over the users that have a value; NaN where none has."""
        return {name: _mean(value) for name, value in self.by_user.items()} | dict(self.overall)


@dataclass(frozen=True)
class _Draws:
    """`RequestDraws` keyed by the seed and the number of the test event: batches do not matter."""

    seed: int
    key: Int64

    def uniform(self, n_columns: int) -> Float64:
        rows = [np.random.Generator(np.random.Philox(key=[self.seed, int(k)])).random(n_columns) for k in self.key]
        return np.clip(np.array(rows).reshape(len(self.key), n_columns), np.finfo(float).tiny, None)


class Timeline:
    """Every user's rows in order of time: what was known of a user before each row."""

    def __init__(self, events: Interactions) -> None:
        self._events = events
        self._order = np.argsort(events.user, kind="stable")
        self._place = np.empty(len(events), np.int64)
        self._place[self._order] = np.arange(len(events))
        n_users = int(events.user.max()) + 1 if len(events) else 0
        count = np.bincount(events.user, minlength=n_users)
        self._start = np.cumsum(count) - count

    def requests(self, row: Int64, width: int, n_items: int) -> Requests:
        """One request for each row, at its moment, with the user's `width` rows before it as history."""
        events, place = self._events, self._place[row]
        at = place[:, None] + np.arange(-width, 0)
        padded = at < self._start[events.user[row]][:, None]
        source = self._order[np.where(padded, 0, at)]
        return Requests(
            user=events.user[row],
            session=np.zeros(len(row), np.int32),
            step=np.zeros(len(row), np.int32),
            tick=events.tick[row],
            history_item=np.where(padded, PADDING, events.item[source]).astype(np.int32),
            history_feedback=np.where(padded, 0, events.feedback[source]).astype(np.uint8),
            history_dwell_seconds=np.where(padded, 0, events.dwell_seconds[source]).astype(np.float32),
            history_tick=np.where(padded, 0, events.tick[source]).astype(np.int64),
            eligible=np.ones(n_items, np.bool_),
        )

    def seen(self, row: Int64) -> tuple[npt.NDArray[np.intp], Int32]:
        """All items before each row: the index into `row`, and the item, of every pair."""
        place = self._place[row]
        n_before = place - self._start[self._events.user[row]]
        index = np.repeat(np.arange(len(row)), n_before)
        first = np.repeat(place - n_before, n_before)
        within = np.arange(len(index)) - np.repeat(np.cumsum(n_before) - n_before, n_before)
        return index, self._events.item[self._order[first + within]]


def labels_of(events: Interactions, negative_kinds: Feedback = Feedback.DISLIKE) -> Labels:
    """Liked and disliked rows.

    Args:
        events: any rows.
        negative_kinds: the kinds of feedback that count as negative; one of them is enough.
    """
    negative = (events.feedback & int(negative_kinds)) != 0
    return Labels(positive=((events.feedback & POSITIVE) != 0) & ~negative, negative=negative)


def evaluate(
    recommender: Recommender,
    split: Split,
    *,
    ks: Sequence[int],
    negative_kinds: Feedback = Feedback.DISLIKE,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Full ranking of the catalogue at every test event on a liked or a disliked item.

    The history at an event is all that the user did before it, training rows and earlier test rows alike. Items of that
    history are no candidates, except the target itself. A `Scorer` ranks by its scores. Any other recommender is asked
    for a slate long enough that `k` items remain without those of the history; what needs scores is then NaN.

    Args:
        recommender: fitted on `split.train` and `split.items`.
        split: the log.
        ks: lengths of the top list.
        negative_kinds: what counts as disliked.
        seed: of the draws of a recommender that shows slates at random.
        progress: called after each batch.

    Raises:
        LogError: no test row is liked or disliked, or the catalogue is smaller than the longest top list.
        RecommenderError: the recommender reads latent utilities, or its scores are not finite or of the wrong shape.
    """
    n_items = split.items.n_items
    if max(ks) > n_items:
        raise LogError(f"k: got {max(ks)}, expected at most the {n_items} items of the training rows")
    if recommender.traits.needs_utility:
        raise RecommenderError("recommender: got one that reads latent utilities, which no log has")
    labels = labels_of(split.events, negative_kinds)
    row = np.flatnonzero(split.is_test & (labels.positive | labels.negative))
    if len(row) == 0:
        raise LogError("split: got no test row that is liked or disliked, expected at least one")
    measured = _walk(recommender, split, row, labels, ks, seed, progress)
    user, n_users = split.events.user[row], len(split.user)
    positive, negative = labels.positive[row], labels.negative[row]
    by_user = {}
    for k in ks:
        for name, gain in (("hr", metrics.hit_gain), ("ndcg", metrics.ndcg_gain), ("mrr", metrics.reciprocal_gain)):
            by_user[f"{name}@{k}"] = _user_means(metrics.gain_at(measured.place, gain(k)), positive, user, n_users)
        by_user[f"hr_minus@{k}"] = _user_means(
            metrics.gain_at(measured.place, metrics.hit_gain(k)), negative, user, n_users
        )
    by_user["log_lift_positive"] = _user_means(measured.log_lift, positive, user, n_users)
    by_user["log_lift_negative"] = _user_means(measured.log_lift, negative, user, n_users)
    by_user["mass_negative"] = _user_means(np.exp(measured.log_lift), negative, user, n_users)
    by_user["dislike_auc"] = _dislike_auc(recommender, split, labels)
    coverage = {f"coverage@{k}": float(shown.mean()) for k, shown in measured.shown.items()}
    return Evaluation(by_user, coverage)


@dataclass
class _Measured:
    """Of each evaluated row: where the target stood and how likely it was; and which items were shown at all."""

    place: metrics.Place
    log_lift: Float64
    shown: dict[int, Bool]


def _walk(
    recommender: Recommender,
    split: Split,
    row: Int64,
    labels: Labels,
    ks: Sequence[int],
    seed: int,
    progress: Progress | None,
) -> _Measured:
    n, n_items = len(row), split.items.n_items
    timeline = Timeline(split.events)
    place = metrics.Place(np.zeros(n, np.int64), np.zeros(n, np.int64))
    measured = _Measured(place, np.full(n, np.nan), {k: np.zeros(n_items, np.bool_) for k in ks})
    everything = np.ones(n_items, np.bool_)
    for part, requests in _batches(recommender, timeline, row, n_items):
        rows = row[part]
        target = split.events.item[rows]
        index, item = timeline.seen(rows)
        if isinstance(recommender, Scorer):
            score = _checked_scores(recommender, requests, n_items)[: len(rows)]
            measured.log_lift[part] = metrics.log_lift(score, target)
        else:
            draws = _Draws(seed, np.resize(rows, len(requests)))
            longest = max(ks) + int(np.bincount(index).max(initial=0))
            score = _scores_of_slates(recommender, requests, min(longest, n_items), draws)[: len(rows)]
        is_candidate = np.ones(score.shape, np.bool_)
        is_candidate[index, item] = False
        is_candidate[np.arange(len(rows)), target] = True
        candidate = np.where(is_candidate, score, _SEEN)
        found = metrics.places(candidate, target)
        place.above[part], place.level[part] = found.above, found.level
        best = top_k(candidate, everything, max(ks)).item
        for k, shown in measured.shown.items():
            # With fewer than k candidates left, the end of the list is none.
            top = best[:, :k]
            shown[top[np.take_along_axis(is_candidate, top.astype(np.int64), 1)]] = True
        if progress is not None:
            progress(part.stop, n)
    return measured


def _batches(
    recommender: Recommender, timeline: Timeline, row: Int64, n_items: int
) -> Iterator[tuple[slice, Requests]]:
    """Slices of the rows, and their requests; padded by repeats of the first where the traits name a batch size."""
    size = recommender.traits.batch_size or BATCH
    for start in range(0, len(row), size):
        part = slice(start, min(start + size, len(row)))
        rows = row[part]
        if recommender.traits.batch_size is not None:
            rows = np.concatenate([rows, np.repeat(rows[:1], size - len(rows))])
        yield part, timeline.requests(rows, recommender.traits.history_length, n_items)


def _checked_scores(recommender: Scorer, requests: Requests, n_items: int) -> Float32:
    score = recommender.scores(requests)
    if score.shape != (len(requests), n_items):
        raise RecommenderError(f"scores: got shape {score.shape}, expected ({len(requests)}, {n_items})")
    if not np.isfinite(score).all():
        raise RecommenderError(f"scores: got NaN or infinity in a batch of {len(requests)}, expected finite numbers")
    return score


def _scores_of_slates(recommender: Recommender, requests: Requests, length: int, draws: _Draws) -> Float32:
    """Slates as scores: the higher up the higher; what a slate does not show shares a lower score than all it shows.

    A slate with `k` items more than the history has leaves `k` candidates, so what it does not show is beyond rank `k`.
    """
    item = recommender.recommend(requests, length, draws).item
    score = np.full((len(requests), len(requests.eligible)), -np.float32(length), np.float32)
    np.put_along_axis(score, item.astype(np.int64), -np.arange(length, dtype=np.float32)[None], 1)
    return score


def _dislike_auc(recommender: Recommender, split: Split, labels: Labels) -> Float64:
    """Per user: held-out liked against held-out disliked items, all scored from the state at the end of training."""
    events, n_users = split.events, len(split.user)
    found = np.full(n_users, np.nan)
    liked = _held_out(events, split.is_test & labels.positive)
    disliked = _held_out(events, split.is_test & labels.negative)
    # An item that was both liked and disliked in the test says nothing of their order.
    both = liked.keys() & disliked.keys()
    pairs = {u: (np.setdiff1d(liked[u], disliked[u]), np.setdiff1d(disliked[u], liked[u])) for u in both}
    users = np.array(sorted(u for u, (more, less) in pairs.items() if len(more) and len(less)), np.int64)
    if len(users) == 0 or not isinstance(recommender, Scorer):
        return found
    # A user's first test row has the training rows, and nothing else, before it.
    test_rows = np.flatnonzero(split.is_test)
    first = np.full(n_users, -1, np.int64)
    first[events.user[test_rows][::-1]] = test_rows[::-1]
    for part, requests in _batches(recommender, Timeline(events), first[users], split.items.n_items):
        score = _checked_scores(recommender, requests, split.items.n_items)
        for i, user in enumerate(users[part].tolist()):
            more, less = pairs[user]
            found[user] = metrics.auc(score[i, more], score[i, less])
    return found


def _held_out(events: Interactions, chosen: Bool) -> dict[int, Int32]:
    """User -> the different items of the chosen rows."""
    if not chosen.any():
        return {}
    row = np.flatnonzero(chosen)
    row = row[np.argsort(events.user[row], kind="stable")]
    users, start = np.unique(events.user[row], return_index=True)
    items = np.split(events.item[row], start[1:])
    return {user: np.unique(several) for user, several in zip(users.tolist(), items, strict=True)}


def _user_means(value: Float64, chosen: Bool, user: Int32, n_users: int) -> Float64:
    """Each user's mean over the chosen rows: float64[n_users]; NaN for users without one."""
    count = np.bincount(user[chosen], minlength=n_users)
    total = np.bincount(user[chosen], weights=value[chosen], minlength=n_users)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _mean(value: Float64) -> float:
    present = value[~np.isnan(value)]
    return float(present.mean()) if len(present) else float("nan")
