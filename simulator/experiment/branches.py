"""The branches of a counterfactual, and what is measured of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from recommenders.base import Int32, Int64
from simulator.engine.log import EventLog
from simulator.experiment.triggers import impressions_by_user
from simulator.world.forced_action import ANY_SLOT, Moments


@dataclass(frozen=True, eq=False)
class Branch:
    """What followed one action; row i is the run of user `Branches.run[i]`.

    Attributes:
        log: from the request of item k on.
        slates: int32[n_runs, requests, slate_size], the slates after item k; -1 for a request that was not made.
        tick: int64[n_runs, requests], when each was asked for; -1 likewise.
        done_tick: int64[n_runs], when the user was done with item k.
    """

    log: EventLog
    slates: Int32
    tick: Int64
    done_tick: Int64

    @property
    def next_slates(self) -> Int32:
        """int32[n_runs, slate_size], the slate after item k."""
        return self.slates[:, 0]


@dataclass(frozen=True, eq=False)
class Dose:
    """The slates after several actions in a row.

    Attributes:
        alike: `creator` or `topic`: what the items have in common.
        count: how many actions, item k included.
        base_slates, action_slates: int32[n_runs, slate_size], the next slate in each branch.
    """

    alike: str
    count: int
    base_slates: Int32
    action_slates: Int32


@dataclass(frozen=True, eq=False)
class Branches:
    """One arm's runs.

    Attributes:
        prefix: what came before item k; a lived one without the warm-up.
        run: int32[n_runs], the user of each run whose moment came, ascending.
        moment_tick: int64[n_runs], when the slate with item k was asked for.
        moments: of all users.
        focus_item: int32[n_runs], item k, the same in all branches.
        base: the branch to compare with.
        others: label -> branch; the main action first.
        doses: responses to more than one action.
        end_tick: a lived branch ends before it.
    """

    prefix: EventLog
    run: Int32
    moment_tick: Int64
    moments: Moments
    focus_item: Int32
    base: Branch
    others: Mapping[str, Branch]
    doses: tuple[Dose, ...] = field(default=())
    end_tick: int = 0

    @property
    def action(self) -> Branch:
        """The branch of the main action."""
        return next(iter(self.others.values()))


@dataclass(frozen=True, eq=False)
class Focus:
    """The impressions at which runs part: user, item, tick of the slate, tick at which the user was done; [n] each."""

    run: Int32
    item: Int32
    tick: Int64
    done_tick: Int64


def focus_of(log: EventLog, moments: Moments) -> Focus:
    """Item k of every run whose moment is in a log."""
    seen = impressions_by_user(log)
    here = (seen.session == moments.session[seen.user]) & (seen.step == moments.step[seen.user])
    slot = moments.slot[seen.user]
    here &= (slot == ANY_SLOT) | (seen.slot == slot)
    run, first = np.unique(seen.user[here], return_index=True)
    row = np.flatnonzero(here)[first]
    return Focus(run, seen.item[row], seen.tick[row], seen.done_tick[row])


def slates_after(log: EventLog, run: Int32, after: Int64, n_requests: int, size: int) -> tuple[Int32, Int64]:
    """The first requests of each run after a tick.

    Args:
        log: of one slate size.
        run: int32[n], whose.
        after: int64[n], later than this.
        n_requests, size: how many requests, and slots of each.

    Returns:
        int32[n, n_requests, size] and int64[n, n_requests]; -1 where there was no such request.
    """
    slates = np.full((len(run), n_requests, size), -1, np.int32)
    tick = np.full((len(run), n_requests), -1, np.int64)
    opens = np.flatnonzero(log.slot == 0)
    row = np.searchsorted(run, log.user[opens])
    known = row < len(run)
    known[known] = run[row[known]] == log.user[opens][known]
    opens, row = opens[known], row[known]
    later = log.tick[opens] > after[row]
    opens, row = opens[later], row[later]
    order = np.argsort(row, kind="stable")
    opens, row = opens[order], row[order]
    nth = np.arange(len(row)) - np.searchsorted(row, row, side="left")
    opens, row, nth = opens[nth < n_requests], row[nth < n_requests], nth[nth < n_requests]
    tick[row, nth] = log.tick[opens]
    slates[row, nth] = log.item[opens[:, None] + np.arange(size)]
    return slates, tick
