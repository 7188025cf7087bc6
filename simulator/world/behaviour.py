"""How a user responds to a slate, and how responding changes the user. Equations, units and limits: docs/model.md.

`respond` is pure. `advance` applies a response to the user's state. Both work on whole batches; a user's row is
computed from that row alone, bit for bit, whatever else is in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from recommenders.base import TICKS_PER_SECOND, Feedback, Float32, Float64, Int32, Int64, UInt8
from simulator.draws import Purpose, to_uniform
from simulator.scenario import schema
from simulator.world.engagement import end_of_request, start_session
from simulator.world.state import UserState, new_state
from simulator.world.world import World

Rows = npt.NDArray[np.intp]
_Scalar = TypeVar("_Scalar", bound=np.generic)

_EXAMINED = np.uint8(Feedback.EXAMINED)
_LONG_DWELL = np.uint8(Feedback.LONG_DWELL)
_SKIP = np.uint8(Feedback.SKIP)
_LIKE = np.uint8(Feedback.LIKE)
_DISLIKE = np.uint8(Feedback.DISLIKE)
_DISMISS = np.uint8(Feedback.DISMISS)


@dataclass(frozen=True)
class Responses:
    """What a batch of users did with their slates.

    Attributes:
        n_examined: int32[n], how many slots were looked at; at least 1.
        feedback: uint8[n, k], `Feedback` flags; 0 where the user did not look.
        dwell_seconds: float32[n, k]; 0 where the user did not look.
        done_after: int64[n, k], ticks from being served until the user was done with the slot; non-decreasing along
            a row, at least 1.
        displeased: bool[n, k], displeased with the item, pressed or not; latent: neither log nor recommender sees it.
        dislike_probability: float32[n, k], the chance of the dislike before its draw; 0 where the user did not look.
            Latent, too, but logged: it tells of dislikes without the luck of the draw.
    """

    n_examined: Int32
    feedback: UInt8
    dwell_seconds: Float32
    done_after: Int64
    displeased: npt.NDArray[np.bool_]
    dislike_probability: Float32


class BehaviourError(Exception):
    """A user model cannot be had or broke its contract; the message names it, what was got and what was expected."""


class Behaviour(Protocol):
    """A user model, as the engine runs it.

    Its methods are functions of their arguments: it keeps nothing itself, as forks and worker processes run copies. A
    user's row follows from that row alone, whatever else is in the batch; randomness comes from `world.draws`, keyed by
    user, session and step in this order, with the purpose `Purpose.USER_MODEL`.

    A large population is cut into ranges of users that live apart. `users` are then rows of such a part, the draws know
    whose they are, and `world.first_user + users` are the users' numbers in the whole world. A user model that holds
    something for each user has a further method, `part(users: range)`, which gives the model of a range.
    """

    def begin(self, world: World) -> UserState:
        """All users before their first request, with the tick at which each first comes."""
        ...

    def respond(self, world: World, state: UserState, users: Rows, tick: Int64, item: Int32) -> Responses:
        """What the users do with their slates; pure.

        Args:
            world: the world.
            state: all users' state.
            users: intp[n], who responds; no user twice.
            tick: int64[n], when each slate was served.
            item: int32[n, k], the slates.
        """
        ...

    def advance(
        self, world: World, state: UserState, users: Rows, tick: Int64, item: Int32, responses: Responses
    ) -> None:
        """Apply the responses to the rows `users` of `state`, in place, and to no others.

        Afterwards `session` and `step` are those of the next request: the next step, or step 0 of the next session;
        `wake_tick` is when it is due, once the user is done with this slate.
        """
        ...


@runtime_checkable
class _OfUsers(Protocol):
    def part(self, users: range) -> Behaviour: ...


def part_of(behaviour: Behaviour, users: range) -> Behaviour:
    """The user model of a range of users; the same one, unless it holds something for each user."""
    return behaviour.part(users) if isinstance(behaviour, _OfUsers) else behaviour


def done_after(feedback: UInt8, dwell_seconds: Float32, overhead_seconds: float) -> Int64:
    """Ticks from being served until each slot is done with, one after the other: int64[n, k].

    Args:
        feedback: uint8[n, k].
        dwell_seconds: float32[n, k], 0 where not examined.
        overhead_seconds: time between two examined items.
    """
    seconds = dwell_seconds + overhead_seconds * (feedback > 0)
    # Column by column: NumPy's cumsum along short rows takes six times as long, and adds up in the same order.
    for slot in range(1, seconds.shape[1]):
        seconds[:, slot] += seconds[:, slot - 1]
    seconds *= TICKS_PER_SECOND
    ticks = np.rint(seconds, out=seconds).astype(np.int64)
    return np.maximum(ticks, 1, out=ticks)


@dataclass(frozen=True)
class UtilityBehaviour:
    """The simulator's user model: utility against thresholds, with keyed noise.

    Source: ours; each piece is documented, with what it was calibrated to, in docs/model.md.
    """

    def begin(self, world: World) -> UserState:
        """All users before their first session, each with the tick of the first visit."""
        state = new_state(world.population.taste)
        start_session(world, state, np.arange(state.n_users), np.zeros(state.n_users, np.int64), first=True)
        return state

    def respond(self, world: World, state: UserState, users: Rows, tick: Int64, item: Int32) -> Responses:
        """What the users do with their slates; pure."""
        n, k = item.shape
        n_examined = _examined_slots(world, state, users, k)
        cell = np.flatnonzero(np.arange(k) < n_examined[:, None])
        reactions = _react(world, state, users, n_examined, item.reshape(-1).take(cell))
        feedback = np.zeros((n, k), np.uint8)
        dwell = np.zeros((n, k), np.float32)
        unhappy = np.zeros((n, k), np.bool_)
        dislike = np.zeros((n, k), np.float32)
        feedback.reshape(-1)[cell] = reactions.flags
        dwell.reshape(-1)[cell] = reactions.dwell_seconds
        unhappy.reshape(-1)[cell] = reactions.displeased
        dislike.reshape(-1)[cell] = reactions.dislike_probability
        after = done_after(feedback, dwell, world.settings.behaviour.overhead_seconds)
        return Responses(n_examined, feedback, dwell, after, unhappy, dislike)

    def advance(
        self, world: World, state: UserState, users: Rows, tick: Int64, item: Int32, responses: Responses
    ) -> None:
        """Fade, add what was felt, and decide between the next request and the end of the session."""
        end_of_request(world, state, users, tick + responses.done_after[:, -1], item, responses)


def _examined_slots(world: World, state: UserState, users: Rows, k: int) -> Int32:
    """Slots looked at: geometric persistence, cut by the impressions left in the session.

    Source: Moffat & Zobel 2008, TOIS (rank-biased precision), per user.
    """
    words = world.draws.words(Purpose.ATTENTION, users, state.session[users], state.step[users])
    uniform = to_uniform(words[0])
    patience = world.population.patience[users].astype(np.float64)
    with np.errstate(divide="ignore"):
        # Both logs are <= 0; without abs, patience 1 would divide by a positive zero and look at one slot, not at all.
        persistent = 1.0 + np.floor(np.abs(np.log(uniform)) / np.abs(np.log(patience)))
    left = np.ceil(state.budget[users].astype(np.float64))
    n_examined: Int32 = np.clip(np.minimum(persistent, left), 1.0, k).astype(np.int32)
    return n_examined


@dataclass(frozen=True, eq=False)
class _Reactions:
    """One row an examined impression, as the attributes of `Responses`."""

    flags: UInt8
    dwell_seconds: Float32
    displeased: npt.NDArray[np.bool_]
    dislike_probability: Float32


def _react(world: World, state: UserState, users: Rows, n_examined: Int32, item: Int32) -> _Reactions:
    """What the users do with each examined impression.

    Args:
        world: the world.
        state: all users' state.
        users: intp[n].
        n_examined: int32[n], impressions of each user.
        item: int32[n_examined.sum()], the impressions of the first user, then of the second, and so on.
    """
    behaviour, population = world.settings.behaviour, world.population

    def per_impression(column: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
        return np.repeat(column, n_examined)

    user = per_impression(users)
    watch_draw, dwell_draw, press_draw, like_draw = world.draws.uniform(
        Purpose.REACTION, user, per_impression(state.session[users]), per_impression(state.step[users]), item
    )
    skip_threshold = population.skip_threshold[users].astype(np.float64)
    appeal = item_appeal(world, state, user, item)
    appeal += per_impression(behaviour.base_utility + state.mood[users] - skip_threshold)
    watch = ndtri(watch_draw)
    watch *= behaviour.noise_sd
    watch += appeal
    skips = watch < 0

    duration = world.catalogue.features.duration_seconds.take(item)
    dwell = _dwell_seconds(behaviour, watch, skips, duration, dwell_draw).astype(np.float32)
    long_dwell = dwell >= np.minimum(duration, np.float32(behaviour.long_dwell_seconds))

    displeasure = per_impression(population.dislike_threshold[users] - skip_threshold) - appeal
    displeasure = ndtr(displeasure / behaviour.displeasure_noise_sd)
    displeased = press_draw < displeasure
    press = per_impression(
        np.minimum(1.0, population.expressiveness[users] * state.press_factor[users].astype(np.float64))
    )
    dislike_probability = displeasure * press
    dislikes = press_draw < dislike_probability
    dismisses = displeased & ~dislikes
    dismisses &= press_draw < displeasure * (press + (1.0 - press) * behaviour.dismiss_probability)

    like_probability = per_impression(population.like_probability[users])
    likes = (like_draw < like_probability) & ~skips & ~dislikes
    maybe = np.flatnonzero(likes)
    meant = ndtr(watch[maybe] - behaviour.like_threshold)
    likes[maybe] = like_draw[maybe] < like_probability[maybe] * meant

    flags = np.full(len(item), _EXAMINED)
    flags += long_dwell * _LONG_DWELL
    flags += (skips & ~long_dwell) * _SKIP
    flags += likes * _LIKE
    flags += dislikes * _DISLIKE
    flags += dismisses * _DISMISS
    return _Reactions(flags, dwell, displeased, dislike_probability.astype(np.float32))


def item_appeal(world: World, state: UserState, user: Rows, item: Int32) -> Float64:
    """Mean utility of items to users, without the base: taste less satiation, creator and quality.

    Args:
        world: the world.
        state: all users' state.
        user: intp[m].
        item: int32[m], met by the user of the same row.

    Returns:
        float64[m].
    """
    features = world.catalogue.features
    cell = user * features.n_topics
    cell += features.topic.take(item)
    appeal: Float64 = state.taste.reshape(-1).take(cell).astype(np.float64)
    appeal -= state.satiation.reshape(-1).take(cell)
    appeal += world.creator_appeal(user, features.creator.take(item))
    appeal += world.catalogue.quality.take(item)
    return appeal


def _dwell_seconds(
    behaviour: schema.Behaviour, watch: Float64, skips: npt.NDArray[np.bool_], duration: Float32, uniform: Float64
) -> Float64:
    """Lognormal in both cases: around a few seconds when skipped, around a share of the duration when watched."""
    b = behaviour
    z = ndtri(uniform)
    log_watched = log(b.watch_fraction) + b.watch_gain * watch
    log_watched += b.watch_sigma * z
    np.minimum(log_watched, log(b.max_watch_fraction), out=log_watched)
    z *= b.skip_dwell_sigma
    z += log(b.skip_dwell_median_seconds)
    dwell = np.exp(np.where(skips, z, log_watched))
    longest = duration.astype(np.float64)
    return np.where(skips, np.minimum(dwell, longest), dwell * longest)
