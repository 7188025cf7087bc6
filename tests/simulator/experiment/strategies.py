"""Small random logs and per-user values for the tests of the statistics."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np
from hypothesis import strategies as st
from scipy import stats

from recommenders.base import Feedback, Float64, Int64, ItemFeatures
from simulator.draws import Draws, Purpose
from simulator.engine.log import EventLog
from simulator.experiment.estimators import PerUser
from simulator.scenario.durations import TICKS_PER_DAY

HOUR = TICKS_PER_DAY // 24
MAX_USERS = 4
N_ITEMS = 8


@dataclass(frozen=True)
class Row:
    """One impression; the columns that a test does not name take harmless values."""

    tick: int
    user: int
    item: int = 0
    feedback: int = int(Feedback.EXAMINED)
    session: int = 0
    step: int = 0
    slot: int = 0
    dwell_seconds: float = 0.0
    satisfaction: float = 0.0
    dislike_probability: float = 0.0


def log_of(rows: list[Row]) -> EventLog:
    """An event log in its order from rows in any."""
    ordered = sorted(rows, key=lambda r: (r.tick, r.user, r.slot))
    columns = {name: [getattr(r, name, nan) for r in ordered] for name in EventLog.DTYPES if name != "feedback_tick"}
    columns["feedback_tick"] = [r.tick if r.feedback else -1 for r in ordered]
    return EventLog(**{name: np.array(columns[name], dtype) for name, dtype in EventLog.DTYPES.items()})


def rows_of(log: EventLog) -> list[Row]:
    """The rows of a log, one by one."""
    names = list(Row.__dataclass_fields__)
    columns = [getattr(log, name).tolist() for name in names]
    return [Row(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]


def items(n_items: int = N_ITEMS, n_creators: int = 3, n_topics: int = 2) -> ItemFeatures:
    """A catalogue in which item i has creator i mod n_creators, and later items come half a day apart."""
    item = np.arange(n_items)
    return ItemFeatures(
        creator=(item % n_creators).astype(np.int32),
        topic=(item // n_creators % n_topics).astype(np.int32),
        duration_seconds=np.full(n_items, 60, np.float32),
        release_tick=item * np.int64(TICKS_PER_DAY // 2),
        n_creators=n_creators,
        n_topics=n_topics,
    )


@st.composite
def logs(draw: st.DrawFn, max_requests: int = 30, n_days: int = 10) -> EventLog:
    """Logs of up to `MAX_USERS` users over up to `n_days` days; sessions number on, slates have 1 to 4 items."""
    served = draw(
        st.lists(
            st.tuples(st.integers(0, MAX_USERS - 1), st.integers(0, n_days * 24 - 1), st.booleans()),
            max_size=max_requests,
            unique_by=lambda request: request[:2],
        )
    )
    session, step = [-1] * MAX_USERS, [0] * MAX_USERS
    rows = []
    for user, hour, begins in sorted(served, key=lambda request: request[1]):
        begins_session = begins or session[user] < 0
        session[user] += begins_session
        step[user] = 0 if begins_session else step[user] + 1
        answer = draw(st.integers(-4, 4)) / 4
        slate = draw(st.lists(st.integers(0, N_ITEMS - 1), min_size=1, max_size=4, unique=True))
        for slot, item in enumerate(slate):
            flags = draw(st.one_of(st.just(0), st.sampled_from(range(0, 64, 2)).map(lambda f: f | Feedback.EXAMINED)))
            dwell = draw(st.one_of(st.integers(0, 90), st.sampled_from([1800, 3599, 3600]))) if flags else 0
            chance = draw(st.integers(0, 8)) / 8 if flags else 0.0
            place = (session[user], step[user], slot)
            rows.append(Row(hour * HOUR, user, item, int(flags), *place, float(dwell), answer, chance))
    return log_of(rows)


def normals(seed: int, *shape: int) -> Float64:
    """Independent standard normals: float64 of the given shape (at most 2 axes), a function of the seed."""
    ids = np.indices(shape)
    return np.asarray(stats.norm.ppf(Draws(seed).uniform(Purpose.REACTION, *ids)[0]), np.float64)


seeds = st.integers(0, 2**32)


def count_metric(seed: int, n_users: int, rate_shift: float = 0.0, world: int = 0) -> PerUser:
    """Events per impression as in a log: skewed activity, and a rate that differs over users.

    Args:
        seed: of the users.
        n_users: how many.
        rate_shift: added to everyone's log rate; the effect of an arm.
        world: users of the same seed keep their traits in other worlds, but have noise of their own.
    """
    trait = normals(seed, 2, n_users)
    noise = normals(seed + 1 + world, 2, n_users)
    impressions = np.ceil(np.exp(3 + 0.6 * trait[0] + 0.2 * noise[0]))
    rate = np.exp(-2.5 + rate_shift + 0.5 * trait[1])
    events = np.maximum(0, np.round(impressions * rate + np.sqrt(impressions * rate) * noise[1]))
    return PerUser(events, impressions)


def plain(values: Float64) -> PerUser:
    """A metric that is a mean over users."""
    return PerUser(values, np.ones(len(values)))


def picked(arm: PerUser, row: Int64) -> PerUser:
    """The same metric of some users, or of all in another order."""
    return PerUser(arm.numerator[row], arm.denominator[row], arm.empty_note)


def scaled(arm: PerUser, factor: float) -> PerUser:
    """The same metric in another unit."""
    return PerUser(factor * arm.numerator, arm.denominator, arm.empty_note)


DEGENERATE = {
    "no users": (PerUser(np.array([]), np.array([])), "at least 2 users or runs, got 0"),
    "one user": (plain(np.array([1.0])), "at least 2 users or runs, got 1"),
    "no occasions": (PerUser(np.zeros(30), np.zeros(30), "nobody came"), "nobody came"),
    "not a number": (plain(np.array([1.0, nan])), "not finite"),
    "nothing but not a number": (plain(np.full(30, nan)), "not finite"),
    "infinite": (PerUser(np.ones(2), np.array([1.0, np.inf])), "not finite"),
}
"""Case -> a metric without a level, and a part of the note that says so."""
