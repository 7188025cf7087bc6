"""Users who are served by whoever acts: episodes of the engine's own lives, stepped from outside.

Nothing here knows of Gymnasium. The users live in the engine's `UserPool`, on the world's keyed draws, so an episode
has, row for row, the events that the engine logs for that user when an arm serves the same slates (a test holds it to
that).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from recommenders.base import Bool, Float64, Int32, Int64, Recommender
from recommenders.registry import build
from simulator.api import make_scenario
from simulator.commands.components import Source
from simulator.draws import Purpose
from simulator.engine.collector import Collector, Served
from simulator.engine.history import Windows
from simulator.engine.pool import UserPool
from simulator.engine.serving import serve
from simulator.engine.snapshot import Snapshot
from simulator.experiment.study import fit_arm, scenario_world, warm_up
from simulator.experiment.study import horizon as world_end
from simulator.gym.rewards import check_reward, reward_of
from simulator.gym.slates import Offer
from simulator.scenario.durations import format_duration, parse_duration
from simulator.scenario.faults import one_of
from simulator.scenario.schema import Scenario
from simulator.world.registry import behaviour_of
from simulator.world.world import World

Rows = npt.NDArray[np.intp]

SESSION = "session"
"""The horizon that ends with the user's session."""


@dataclass(frozen=True)
class Stage:
    """Where all episodes begin: a scenario's world at the moment in which its arms part.

    Attributes:
        scenario: the settings.
        world: built from them.
        start: the world when the logging policy has served through the warm-up.
        history_length: feedback that is seen of each user.
        end_tick: users come before it.
        by_session: whether an episode ends with the session, rather than at `end_tick`.
        reward: weights, as `check_reward` gives them.
        max_steps: requests after which an episode is cut off; None for no limit.
    """

    scenario: Scenario
    world: World
    start: Snapshot
    history_length: int
    end_tick: int
    by_session: bool
    reward: Mapping[str, float]
    max_steps: int | None

    def coming(self, users: Rows) -> Rows:
        """Those of the users who have a request within an episode."""
        return users[self.start.users.wake_tick[users] < self.end_tick]


def make_stage(
    scenario: Source,
    *,
    set: Mapping[str, Any] | None,
    seed: int | None,
    horizon: str | None,
    reward: Mapping[str, float],
    history_length: int,
    max_steps: int | None,
) -> Stage:
    """Build a scenario's world and let its logging policy serve through the warm-up.

    Args:
        scenario, set, seed: as for `simulator.make_scenario`.
        horizon: a span of time such as `7d`, `session`, or None for as long as the scenario's experiments.
        reward: as for `check_reward`.
        history_length: feedback that is seen of each user.
        max_steps: requests after which an episode is cut off; None for no limit.

    Raises:
        ValueError: horizon, reward, history_length or max_steps cannot be used.
        LookupError, ScenarioErrors, CatalogueError, EngineError: the scenario cannot be.
    """
    if history_length < 1:
        raise ValueError(f"history_length: got {history_length}, expected 1 or more")
    if max_steps is not None and max_steps < 1:
        raise ValueError(f"max_steps: got {max_steps}, expected None, or 1 or more")
    weights = check_reward(reward)
    loaded = make_scenario(scenario, set=set, seed=seed)
    settings = loaded.scenario
    end_tick = world_end(settings) if horizon in (None, SESSION) else settings.warm_up + _span(settings, horizon)
    world = scenario_world(settings, loaded.path.parent)
    policy = partial(build, settings.logging_policy.recommender, settings.logging_policy.config)
    lengths = [build(arm.recommender, arm.config).traits.history_length for arm in settings.arms]
    start = warm_up(settings, world, policy, max(history_length, *lengths), _unwatched)
    return Stage(settings, world, start, history_length, end_tick, horizon == SESSION, weights, max_steps)


def _span(scenario: Scenario, horizon: str | None) -> int:
    """A horizon in ticks, which must lie within the world: its catalogue is made for that long.

    Raises:
        ValueError: it is no span of time, or too long.
    """
    longest = world_end(scenario) - scenario.warm_up
    try:
        span = parse_duration(horizon)
    except ValueError as error:
        raise ValueError(f"horizon: got {horizon!r}, expected {SESSION!r} or a span of time such as '7d'") from error
    if not 0 < span <= longest:
        expected = (
            f"more than 0 and at most {format_duration(longest)}, the length of the scenario's longest experiment"
        )
        raise ValueError(f"horizon: got {horizon!r}, expected {expected}")
    return span


@dataclass(frozen=True)
class Outcome:
    """What a step gave: one row a user who was served.

    Attributes:
        served: the requests and what came of them.
        reward: float64[n].
        terminated: bool[n], the episode is over: the horizon or the end of the session.
        truncated: bool[n], the episode is cut off by the limit of steps.
    """

    served: Served
    reward: Float64
    terminated: Bool
    truncated: Bool


@dataclass
class Feed:
    """Episodes of several users at once, each row a user at a time.

    Row i plays the users of `users[i]`, one after the other and round again; no two rows share a user.

    Attributes:
        stage: where episodes begin.
        users: intp[...] for each row: whom it plays, in order.
    """

    stage: Stage
    users: Sequence[Rows]
    offer: Offer = field(init=False)
    _pool: UserPool = field(init=False)
    _first: Int64 = field(init=False)
    _episode: Int64 = field(init=False)
    _user: Rows = field(init=False)
    _steps: Int64 = field(init=False)

    def __post_init__(self) -> None:
        stage, n = self.stage, len(self.users)
        platform = stage.scenario.platform
        self.offer = Offer(stage.world.catalogue, platform.release_every, platform.slate_size)
        self._pool = UserPool(
            stage.world, behaviour_of(stage.world), stage.start.users.copy(), stage.start.history.copy(), Collector(),
            "policy", platform.slate_size, platform.ingestion_delay,
            longest_delay=max(stage.scenario.platform_of(arm.name).ingestion_delay for arm in stage.scenario.arms),
        )  # fmt: skip
        self._first, self._episode = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self._user, self._steps = np.zeros(n, np.intp), np.zeros(n, np.int64)

    @property
    def user(self) -> Rows:
        """Whom each row plays: intp[n]."""
        return self._user.copy()

    @property
    def tick(self) -> Int64:
        """When the request of each row is due: int64[n]."""
        return self._pool.state.wake_tick[self._user]

    @property
    def session(self) -> Int32:
        """Sessions of each row's user before this one: int32[n]."""
        return self._pool.state.session[self._user]

    @property
    def step(self) -> Int32:
        """Requests before this one in the session: int32[n]."""
        return self._pool.state.step[self._user]

    def seed(self, seeds: Sequence[int | None]) -> None:
        """Choose with whom each row begins: a keyed draw of its seed; a row without one goes on as it was."""
        for row, seed in enumerate(seeds):
            if seed is not None:
                low, high = seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF
                draw = self.stage.world.draws.uniform(Purpose.EPISODE, np.array([low]), np.array([high]))[0, 0]
                self._first[row], self._episode[row] = int(draw * len(self.users[row])), 0

    def begin(self, rows: Rows) -> None:
        """Let rows, intp[m], begin an episode with their next user, as the warm-up has left them."""
        for row in rows:
            own = self.users[row]
            self._user[row] = own[(self._first[row] + self._episode[row]) % len(own)]
        self._episode[rows] += 1
        self._steps[rows] = 0
        self._pool.state.restore(self._user[rows], self.stage.start.users)
        self._pool.history.restore(self._user[rows], self.stage.start.history)

    def windows(self) -> Windows:
        """The feedback of each row's user that has been delivered by the time of the request."""
        pool = self._pool
        return pool.history.windows(self._user, self.tick, pool.ingestion_delay, self.stage.history_length)

    def serve(self, rows: Rows, item: npt.NDArray[np.integer]) -> Outcome:
        """Serve slates to the users of some rows, and let them live on to their next requests.

        Args:
            rows: intp[m], no row twice.
            item: int[m, k], completed by `Offer.completed` where they break a rule.

        Raises:
            ValueError: slates of another shape, or ids that the catalogue does not have.
        """
        n_items = self.stage.world.catalogue.features.n_items
        shape = (len(rows), self.offer.slate_size)
        if item.shape != shape or not np.issubdtype(item.dtype, np.integer):
            got = f"{item.dtype}{list(item.shape)}"
            raise ValueError(f"action: got {got}, expected whole numbers{list(shape)}")
        if item.size and not (item.min() >= 0 and item.max() < n_items):
            raise ValueError(f"action: got ids in [{item.min()}, {item.max()}], expected them in [0, {n_items})")
        users = self._user[rows]
        served = self._pool.respond(users, self.offer.completed(item, self.tick[rows]))
        self._steps[rows] += 1
        ends_session = self._pool.state.session[users] > served.session
        leaves = self._pool.state.wake_tick[users] >= self.stage.end_tick
        terminated = ends_session if self.stage.by_session else leaves
        limit = self.stage.max_steps
        truncated = np.zeros(len(rows), np.bool_) if limit is None else (self._steps[rows] >= limit) & ~terminated
        return Outcome(served, reward_of(self.stage.reward, served, ends_session), terminated, truncated)

    def slates_of(self, recommender: Recommender) -> Int32:
        """What a fitted recommender would serve to each row: int32[n, k], under the draws that an arm has.

        Raises:
            ValueError: it reads more feedback than is kept.
            EngineError: it failed, or a slate breaks a rule.
        """
        kept, needed = self._pool.history.length, recommender.traits.history_length
        if needed > kept:
            raise ValueError(f"history_length: got {kept}, expected at least the {needed} that the recommender reads")
        number = self.offer.epoch_of(self.tick)
        item = np.empty((len(self._user), self.offer.slate_size), np.int32)
        for present in np.unique(number):
            rows = np.flatnonzero(number == present)
            requests = self._pool.requests(self._user[rows], recommender, self.offer.epoch(int(present)).eligible)
            item[rows] = serve("policy", recommender, requests, self.offer.slate_size, self.stage.world.draws).item
        return item


def arm_of(stage: Stage, name: str) -> Recommender:
    """An arm of the scenario, trained on the warm-up's log as at the beginning of a run.

    Raises:
        LookupError: the scenario has no such arm; the message names those that there are.
        EngineError: it could not be trained.
    """
    arms = {arm.name: arm for arm in stage.scenario.arms}
    if name not in arms:
        raise LookupError(f"arm: got {name!r}, expected {one_of(list(arms), name)}")
    make = partial(build, arms[name].recommender, arms[name].config)
    delay = stage.scenario.platform_of(name).ingestion_delay
    model = fit_arm(name, make, stage.start.log, stage.world, delay, stage.start.tick, _unwatched)
    recommender = make()
    recommender.load_state_dict(model, stage.world.catalogue.features)
    return recommender


def _unwatched(stage: str, done: float, total: float, impressions: int) -> None:
    """Nobody is told of progress."""
