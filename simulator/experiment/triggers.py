"""Where a counterfactual run parts: the first impression, from item k on, that its trigger waits for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recommenders.base import Bool, Feedback, Int32, Int64
from simulator.engine.log import EventLog
from simulator.scenario.counterfactuals import Counterfactual
from simulator.world.appeal import creator_aversion
from simulator.world.forced_action import ANY_SLOT, Moments
from simulator.world.world import World

_AVERSE_SHARE = 0.5
"""A creator is one of aversion if it costs the user at least this share of the mean aversion."""


@dataclass(frozen=True, eq=False)
class Impressions:
    """The impressions that users looked at, user by user in the order of time.

    Attributes:
        user, session, step, slot, item: int32[m].
        dislike: bool[m].
        tick, done_tick: int64[m], when the slate was served, and when the user was done with the item.
        place: int64[m], how many the user looked at before.
    """

    user: Int32
    session: Int32
    step: Int32
    slot: Int32
    item: Int32
    dislike: Bool
    tick: Int64
    done_tick: Int64
    place: Int64


def impressions_by_user(log: EventLog) -> Impressions:
    """The examined rows of a log, user by user; the log is in order of (tick, user, slot)."""
    rows = np.flatnonzero(log.feedback & np.uint8(Feedback.EXAMINED))
    rows = rows[np.argsort(log.user[rows], kind="stable")]
    user = log.user[rows]
    return Impressions(
        user, log.session[rows], log.step[rows], log.slot[rows], log.item[rows],
        (log.feedback[rows] & np.uint8(Feedback.DISLIKE)) > 0, log.tick[rows], log.feedback_tick[rows],
        np.arange(len(rows)) - np.searchsorted(user, user, side="left"),
    )  # fmt: skip


def random_item_k(n_users: int, k: int) -> Moments:
    """Item k of a random prefix, one item a request: known before anything is simulated."""
    return Moments(np.zeros(n_users, np.int32), np.full(n_users, k - 1, np.int32), np.full(n_users, ANY_SLOT, np.int32))


def find_moments(world: World, settings: Counterfactual, before: EventLog, log: EventLog) -> Moments:
    """The first impression of each user, from item k on, that the trigger waits for.

    Args:
        world: knows the users' aversions; the log does not.
        settings: k and the trigger.
        before: what users did earlier; dislikes in it count.
        log: what they do if nobody interferes.

    Returns:
        The moments of all users of the world; step -1 for those for whom it does not come.
    """
    seen = impressions_by_user(log)
    wanted = (seen.place >= settings.k - 1) & _qualifies(world, settings, before, seen)
    user, first = np.unique(seen.user[wanted], return_index=True)
    row = np.flatnonzero(wanted)[first]
    columns = []
    for column, missing in ((seen.session, -1), (seen.step, -1), (seen.slot, ANY_SLOT)):
        found = np.full(world.population.n_users, missing, np.int32)
        found[user] = column[row]
        columns.append(found)
    return Moments(*columns)


def _qualifies(world: World, settings: Counterfactual, before: EventLog, seen: Impressions) -> Bool:
    if settings.trigger == "averse_creator":
        creator = world.catalogue.features.creator[seen.item]
        population = world.settings.population
        cost = creator_aversion(population, world.draws, seen.user, creator)
        averse: Bool = cost >= _AVERSE_SHARE * population.creator_aversion
        return averse
    if settings.trigger == "repeated_topic":
        topic = world.catalogue.features.topic
        earlier = impressions_by_user(before)
        count = _dislikes_before(_cell(world, earlier, topic), earlier.dislike, _cell(world, seen, topic), seen.dislike)
        again: Bool = count == settings.trigger_dislikes - 1
        return again
    return np.ones(len(seen.user), np.bool_)


def _cell(world: World, seen: Impressions, topic: Int32) -> Int64:
    return seen.user.astype(np.int64) * world.catalogue.features.n_topics + topic[seen.item]


def _dislikes_before(earlier_cell: Int64, earlier_dislike: Bool, cell: Int64, dislike: Bool) -> Int64:
    """Dislikes in the same cell (user and topic) before each impression: int64[m], in the order given.

    Args:
        earlier_cell, earlier_dislike: int64[e], bool[e], all before the others.
        cell, dislike: int64[m], bool[m], in the order of time within each cell.
    """
    cells = np.concatenate([earlier_cell[earlier_dislike], cell])
    pressed = np.concatenate([np.ones(int(earlier_dislike.sum()), np.int64), dislike.astype(np.int64)])
    order = np.argsort(cells, kind="stable")
    in_order = cells[order]
    before = np.cumsum(pressed[order]) - pressed[order]
    before -= before[np.searchsorted(in_order, in_order, side="left")]
    count = np.empty_like(before)
    count[order] = before
    return np.asarray(count[len(cells) - len(cell) :], np.int64)
