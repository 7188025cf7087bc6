"""Sessions, returns, satiation, satisfaction and annoyance: how what was felt changes when and how long users come.

This is the way from responsiveness to engagement; `engagement.feedback: false` cuts it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from recommenders.base import Feedback, Float64, Int32, Int64, UInt8
from simulator.draws import Purpose
from simulator.scenario import schema
from simulator.world.state import PUSH_BACK_MEMORY, UserState
from simulator.world.world import World

if TYPE_CHECKING:
    from simulator.world.behaviour import Responses

Rows = npt.NDArray[np.intp]

_LONGEST_GAP = 10 * 365 * 86_400_000


def start_session(world: World, state: UserState, users: Rows, tick: Int64, *, first: bool = False) -> None:
    """Send users home and set up their next session: when it begins, how long it is meant to be, the mood, the drift.

    `state.session` holds the session to come, `state.step` becomes 0.

    Args:
        world: the world.
        state: changed in place at `users`.
        users: intp[n].
        tick: int64[n], when each user left.
        first: the users have never come: their first visit falls at a uniform point of a gap.
    """
    session = state.session[users]
    # One call for all: the first two blocks of draws are the session's, the others move the tastes.
    n_blocks = 2 + (state.taste.shape[1] + 3) // 4
    draws = world.draws.uniform(Purpose.SESSION, users, session, np.arange(n_blocks)[:, None])
    (length, mood, burst, kind), (gap_z, arrival, _, _) = draws[:, 0], draws[:, 1]
    gap = _gap_ticks(world, state, users, kind, ndtri(gap_z))
    if first:
        gap *= arrival
    wake_tick = tick + np.clip(np.rint(gap), 1, _LONGEST_GAP).astype(np.int64)
    _drift(world, state, users, wake_tick - state.updated_tick[users], draws[:, 2:])
    _fade(world, state, users, wake_tick)
    sigma = world.settings.population.expressiveness.session_sigma
    engagement = world.settings.engagement
    state.wake_tick[users] = wake_tick
    state.step[users] = 0
    state.mood[users] = world.settings.behaviour.mood_sd * ndtri(mood)
    state.press_factor[users] = np.exp(sigma * ndtri(burst) - sigma * sigma / 2)
    state.budget[users] = engagement.session_impressions_median * np.exp(engagement.session_sigma * ndtri(length))


def end_of_request(
    world: World, state: UserState, users: Rows, done_tick: Int64, item: Int32, responses: Responses
) -> None:
    """Apply what a request did to its users, and set their next request or their next session.

    Args:
        world: the world.
        state: changed in place at `users`.
        users: intp[n], no user twice.
        done_tick: int64[n], when each user was done with the slate.
        item: int32[n, k], the slates.
        responses: what the users did.
    """
    engagement = world.settings.engagement
    cost = _impression_cost(engagement, state, users)
    _fade(world, state, users, done_tick)
    _satiate(world, state, users, item, responses)
    _please(engagement, state, users, responses)
    _annoy(world, state, users, done_tick, item, responses)
    _remember_push_back(world, state, users, done_tick, item, responses)
    state.budget[users] = state.budget[users] - cost * responses.n_examined
    state.step[users] += 1
    state.wake_tick[users] = done_tick
    leaves = state.budget[users] <= 0.5
    if leaves.any():
        leaving = users[leaves]
        state.session[leaving] += 1
        start_session(world, state, leaving, done_tick[leaves])


def _pull(engagement: schema.Engagement, state: UserState, users: Rows, gain: float, annoyance_cost: float) -> Float64:
    """What satisfaction and annoyance add to a log session length or take from a log gap; zero when cut off."""
    if not engagement.feedback:
        return np.zeros(len(users))
    satisfaction = state.satisfaction[users].astype(np.float64) - engagement.neutral_satisfaction
    return gain * satisfaction - annoyance_cost * state.annoyance[users].astype(np.float64)


def _impression_cost(engagement: schema.Engagement, state: UserState, users: Rows) -> Float64:
    """How much of the session's budget an impression takes: more when annoyed, less when satisfied."""
    return np.exp(-_pull(engagement, state, users, engagement.session_gain, engagement.annoyance_session_cost))


def _gap_ticks(world: World, state: UserState, users: Rows, kind: Float64, z: Float64) -> Float64:
    engagement = world.settings.engagement
    median = np.where(
        kind < engagement.same_day_probability, float(engagement.short_gap_median), float(engagement.long_gap_median)
    )
    pull = _pull(engagement, state, users, engagement.return_gain, engagement.annoyance_return_cost)
    activity = world.population.log_activity[users].astype(np.float64)
    return median * np.exp(engagement.gap_sigma * z - activity - pull)


def _drift(world: World, state: UserState, users: Rows, elapsed: Int64, uniform: Float64) -> None:
    """Ornstein-Uhlenbeck around the user's own mean taste, exact for any elapsed time.

    Args:
        world: the world.
        state: changed in place at `users`.
        users: intp[n].
        elapsed: int64[n], ticks since tastes last moved.
        uniform: float64[4, blocks, n], four topics a block.

    Source: Uhlenbeck & Ornstein 1930; the transition density of the process.
    """
    settings = world.settings.population
    if settings.drift_time is None or settings.drift_sd == 0.0:
        return
    n_topics = state.taste.shape[1]
    z = ndtri(uniform.transpose(2, 1, 0).reshape(len(users), -1)[:, :n_topics])
    keep = np.exp(-elapsed / settings.drift_time)[:, None]
    mean = world.population.taste[users]
    state.taste[users] = mean + keep * (state.taste[users] - mean) + settings.drift_sd * np.sqrt(1.0 - keep * keep) * z


def _fade(world: World, state: UserState, users: Rows, tick: Int64) -> None:
    """Let annoyance and satiation fade up to `tick`."""
    engagement = world.settings.engagement
    elapsed = (tick - state.updated_tick[users]).astype(np.float64)
    state.annoyance[users] *= np.exp(-elapsed / engagement.annoyance_time)
    if engagement.satiation_gain > 0:
        state.satiation[users] *= np.exp(-elapsed / engagement.satiation_time).astype(np.float32)[:, None]
    state.updated_tick[users] = tick


def _satiate(world: World, state: UserState, users: Rows, item: Int32, responses: Responses) -> None:
    gain = world.settings.engagement.satiation_gain
    if gain == 0:
        return
    row, long_dwelt = _having(responses.feedback, Feedback.LONG_DWELL, item)
    cell = users.take(row) * state.satiation.shape[1]
    cell += world.catalogue.features.topic.take(long_dwelt)
    np.add.at(state.satiation.reshape(-1), cell, np.float32(gain))


def _please(engagement: schema.Engagement, state: UserState, users: Rows, responses: Responses) -> None:
    """Moving average over impressions: a long dwell pleases, displeasure counts several times against it."""
    pleased = _count_by_row((responses.feedback & np.uint8(Feedback.LONG_DWELL)) > 0)
    displeased = _count_by_row(responses.displeased)
    n = responses.n_examined.astype(np.float64)
    gained = (pleased - engagement.displeasure_weight * displeased) / n
    keep = (1.0 - engagement.satisfaction_memory) ** n
    state.satisfaction[users] = keep * state.satisfaction[users] + (1.0 - keep) * gained


def _annoy(world: World, state: UserState, users: Rows, tick: Int64, item: Int32, responses: Responses) -> None:
    """Add annoyance for each examined item of a creator or topic that the user remembers having pushed back on."""
    engagement, features = world.settings.engagement, world.catalogue.features
    remembering = np.flatnonzero(state.n_pushed[users] > 0)
    if len(remembering) == 0:
        return
    who = users[remembering]
    fresh = state.pushed_tick.take(who, axis=0) > (tick[remembering] - engagement.push_back_memory)[:, None]
    creator = np.where(fresh, state.pushed_creator.take(who, axis=0), -1)
    topic = np.where(fresh, state.pushed_topic.take(who, axis=0), -1)
    shown = np.ascontiguousarray(item.take(remembering, axis=0).T)
    looked = np.arange(len(shown))[:, None] < responses.n_examined[remembering]
    again_creator = (_any_of(features.creator.take(shown), creator) & looked).sum(axis=0)
    again_topic = (_any_of(features.topic.take(shown), topic) & looked).sum(axis=0)
    state.annoyance[who] += engagement.annoyance_creator * again_creator + engagement.annoyance_topic * again_topic


def _any_of(shown: Int32, remembered: Int32) -> npt.NDArray[np.bool_]:
    """Which of the shown ids are remembered by the user of the column: [k, n] against [n, m] -> bool[k, n]."""
    first, *others = np.ascontiguousarray(remembered.T)
    found: npt.NDArray[np.bool_] = shown == first
    for other in others:
        found |= shown == other
    return found


def _remember_push_back(
    world: World, state: UserState, users: Rows, tick: Int64, item: Int32, responses: Responses
) -> None:
    row, pushed = _having(responses.feedback, Feedback.DISLIKE | Feedback.DISMISS, item)
    if len(row) == 0:
        return
    who = users[row]
    first_of_row = np.searchsorted(row, row, side="left")
    column = (state.n_pushed[who] + np.arange(len(row)) - first_of_row) % PUSH_BACK_MEMORY
    features = world.catalogue.features
    state.pushed_creator[who, column] = features.creator[pushed]
    state.pushed_topic[who, column] = features.topic[pushed]
    state.pushed_tick[who, column] = tick[row]
    np.add.at(state.n_pushed, who, 1)


def _having(feedback: UInt8, flags: Feedback, item: Int32) -> tuple[Rows, Int32]:
    """Row and item of the impressions that have any of the flags, in order of (row, slot)."""
    # On the flat array: np.nonzero of a matrix with short rows takes ten times as long.
    cell = np.flatnonzero((feedback & np.uint8(flags)) > 0)
    return cell // item.shape[1], item.reshape(-1).take(cell)


def _count_by_row(flags: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """How many flags of each row are set: bool[n, k] -> intp[n]; twice as fast as a sum along short rows."""
    return np.bincount(np.flatnonzero(flags) // flags.shape[1], minlength=len(flags))
