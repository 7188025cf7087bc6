"""How a user responds to a slate, and how responding changes the user. Equations, units and limits: docs/model.md.

`respond` is pure. `advance` applies a response to the user's state. Both work on whole batches; a user's row is
computed from that row alone, bit for bit, whatever else is in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from recommenders.base import TICKS_PER_SECOND, Feedback, Float32, Float64, Int32, Int64, UInt8
from simulator.draws import Purpose
from simulator.world.appeal import creator_appeal
from simulator.world.engagement import end_of_request, start_session
from simulator.world.state import UserState, new_state
from simulator.world.world import World

Rows = npt.NDArray[np.intp]

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
        n_examined: int32[n], slots looked at, from the top; at least 1.
        feedback: uint8[n, k], `Feedback` flags; 0 behind `n_examined`.
        dwell_seconds: float32[n, k]; 0 behind `n_examined`.
        displeased: bool[n, k], displeased with the item, pressed or not; latent, so neither log nor recommender sees it.
    """

    n_examined: Int32
    feedback: UInt8
    dwell_seconds: Float32
    displeased: npt.NDArray[np.bool_]


class Behaviour(Protocol):
    """A user model, as the engine runs it."""

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
        """Apply the responses to the rows `users` of `state`: they end with session, step and tick of the next request."""
        ...


def request_seconds(responses: Responses, overhead_seconds: float) -> Float64:
    """How long after being served each slot was done with: float64[n, k], cumulative, overhead included."""
    examined = (responses.feedback & _EXAMINED) > 0
    return np.cumsum(responses.dwell_seconds.astype(np.float64) + overhead_seconds * examined, axis=1)


def to_ticks(seconds: Float64) -> Int64:
    """Whole ticks of a span of at least one tick."""
    return np.maximum(np.rint(seconds * TICKS_PER_SECOND), 1.0).astype(np.int64)


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
        looked = np.arange(k) < n_examined[:, None]
        row = np.repeat(np.arange(n), n_examined)
        flags, dwell_seconds, displeased = _react(world, state, users, row, item[looked], n_examined)
        feedback = np.zeros((n, k), np.uint8)
        dwell = np.zeros((n, k), np.float32)
        unhappy = np.zeros((n, k), np.bool_)
        feedback[looked], dwell[looked], unhappy[looked] = flags, dwell_seconds, displeased
        return Responses(n_examined, feedback, dwell, unhappy)

    def advance(
        self, world: World, state: UserState, users: Rows, tick: Int64, item: Int32, responses: Responses
    ) -> None:
        """Fade, add what was felt, and decide between the next request and the end of the session."""
        seconds = request_seconds(responses, world.settings.behaviour.overhead_seconds)
        done_tick = tick + to_ticks(seconds[:, -1])
        end_of_request(world, state, users, done_tick, item, responses)


def _examined_slots(world: World, state: UserState, users: Rows, k: int) -> Int32:
    """Slots looked at: geometric persistence, cut by the impressions left in the session.

    Source: Moffat & Zobel 2008, TOIS (rank-biased precision), per user.
    """
    uniform = world.draws.uniform(Purpose.ATTENTION, users, state.session[users], state.step[users])[0]
    patience = world.population.patience[users].astype(np.float64)
    with np.errstate(divide="ignore"):
        persistent = 1.0 + np.floor(np.log(uniform) / np.log(patience))
    left = np.ceil(state.budget[users].astype(np.float64))
    n_examined: Int32 = np.clip(np.minimum(persistent, left), 1.0, k).astype(np.int32)
    return n_examined


def _react(
    world: World, state: UserState, users: Rows, row: Rows, item: Int32, n_examined: Int32
) -> tuple[UInt8, Float32, npt.NDArray[np.bool_]]:
    """Flags, dwell and displeasure of each examined impression; all arguments but `users` are flat over impressions."""
    behaviour, population, features = world.settings.behaviour, world.population, world.catalogue.features
    user = users[row]

    def per_impression(trait: Float32) -> Float64:
        return np.repeat(trait[users].astype(np.float64), n_examined)

    watch_draw, dwell_draw, press_draw, like_draw = world.draws.uniform(
        Purpose.REACTION,
        user,
        np.repeat(state.session[users], n_examined),
        np.repeat(state.step[users], n_examined),
        item,
    )
    appeal = (
        behaviour.base_utility
        + item_appeal(world, state, user, item)
        + np.repeat(state.mood[users].astype(np.float64), n_examined)
    )
    over_threshold = appeal + behaviour.noise_sd * ndtri(watch_draw) - per_impression(population.skip_threshold)
    skips = over_threshold < 0
    duration = features.duration_seconds[item].astype(np.float64)
    dwell = _dwell_seconds(world, over_threshold, skips, duration, dwell_draw)
    long_dwell = dwell >= np.minimum(duration, behaviour.long_dwell_seconds)

    displeasure_z = (per_impression(population.dislike_threshold) - appeal) / behaviour.displeasure_noise_sd
    displeasure = ndtr(displeasure_z)
    press = np.repeat(
        np.minimum(1.0, population.expressiveness[users].astype(np.float64) * state.press_factor[users]), n_examined
    )
    displeased = press_draw < displeasure
    dislikes = press_draw < displeasure * press
    dismisses = (
        displeased & ~dislikes & (press_draw < displeasure * (press + (1.0 - press) * behaviour.dismiss_probability))
    )
    like_chance = per_impression(population.like_probability) * ndtr(over_threshold - behaviour.like_threshold)
    likes = ~skips & ~dislikes & (like_draw < like_chance)
    flags = (
        _EXAMINED
        + long_dwell * _LONG_DWELL
        + (skips & ~long_dwell) * _SKIP
        + likes * _LIKE
        + dislikes * _DISLIKE
        + dismisses * _DISMISS
    )
    return flags.astype(np.uint8), dwell.astype(np.float32), displeased


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
    topic = features.topic[item]
    cell = user * features.n_topics + topic
    taste: Float64 = state.taste.reshape(-1)[cell].astype(np.float64) - state.satiation.reshape(-1)[cell]
    return taste + creator_appeal(world, user, features.creator[item]) + world.catalogue.quality[item]


def _dwell_seconds(
    world: World, over_threshold: Float64, skips: npt.NDArray[np.bool_], duration: Float64, uniform: Float64
) -> Float64:
    """Lognormal in both cases: around a few seconds when skipped, around a share of the duration when watched."""
    b = world.settings.behaviour
    z = ndtri(uniform)
    watched = np.log(b.watch_fraction) + b.watch_gain * over_threshold + b.watch_sigma * z
    log_share = np.minimum(watched, np.log(b.max_watch_fraction))
    log_dwell = np.where(
        skips, np.log(b.skip_dwell_median_seconds) + b.skip_dwell_sigma * z, np.log(duration) + log_share
    )
    dwell: Float64 = np.exp(log_dwell)
    return np.where(skips, np.minimum(dwell, duration), dwell)
