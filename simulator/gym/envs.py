"""The Gymnasium environments: a feed that serves slates to one user, and one that serves many users at once.

Both step the same arrays (`feed.py`); a row of the vector environment equals, bit for bit, a single one that plays the
same users (a test holds it to that).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from recommenders.base import Int32, Int64, Recommender
from simulator.commands.components import Source
from simulator.gym.feed import Feed, Outcome, Rows, Stage, arm_of, make_stage
from simulator.gym.rewards import DEFAULT

Array = npt.NDArray[Any]
Observation = dict[str, Any]
Info = dict[str, Any]

_LATEST_TICK = 2**53
"""No tick comes near it, and float64 still tells its neighbours apart."""


class FeedEnv(gymnasium.Env[Observation, Int64]):
    """One user at a time is served slates; `gymnasium.make("pushback/Feed-v0", scenario=...)`.

    **Observation**, a dict: what a platform has been told of the user by the time of the request, and no more.
    `history_item` int32[h] (-1 where there is none), `history_feedback` uint8[h] (`Feedback` flags),
    `history_dwell_seconds` float32[h] and `history_tick` int64[h] hold the latest feedback, the newest last; `tick`
    int64[1], `session` and `step` int32[1] tell when the request comes. Ticks are milliseconds since the world began.

    **Action**: a slate, best first, `MultiDiscrete([n_items] * k)`. `info["action_mask"]`, int8[n_items], is 1 for
    items that may be shown now: `env.action_space.sample(mask=(mask,) * k)`. Every action of the space is answered:
    from the top down, an item that may not be shown, or stands higher up already, gives way to the next eligible id
    that does not stand higher up, counted on from 0 past the last. `info["item"]` says what was shown.

    **Reward**: weights times what the user did with the slate; see `reward`.

    **Episode**: the life of one user from the moment in which a run's arms part (after the warm-up), up to `horizon`.
    `terminated`: the next request would come after it, or, where it is `session`, the session is over. `truncated`:
    `max_steps` requests were served. The next `reset` plays the next user of `users`, who is again as the warm-up left
    them; `reset(seed=...)` chooses with whom to begin, by a keyed draw. All randomness is the world's: the same user,
    met with the same slates, does the same in every episode, in every policy's. New lives are more users, or a new
    `seed` of the world.

    **Info**: `user` and `action_mask`; after a step also `tick`, `session`, `step`, `item`, `feedback`,
    `dwell_seconds` and `feedback_tick` of the request that was served, as in the event log.

    Args:
        scenario, set, seed: as for `simulator.make_scenario`; the seed is the world's.
        horizon: a span of time such as `3d`, or `session` for the user's next session, or what is left of this one;
            None for as long as the scenario's longest experiment.
        reward: weights by name: `examined`, `long_dwell`, `skip`, `like`, `dislike`, `dismiss` for each impression with
            that feedback, `dwell_seconds` for each second, `session_end` for a request after which the user leaves.
        history_length: h.
        max_steps: requests after which an episode is truncated; None for no limit.
        users: whom to play, in order; all users by default. Those who do not come within the horizon are left out.

    Raises:
        ValueError: a setting cannot be used, or nobody comes within the horizon.
        LookupError, ScenarioErrors, CatalogueError, EngineError: the scenario cannot be.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}  # type: ignore[misc]

    def __init__(
        self,
        scenario: Source = "quickstart",
        *,
        set: Mapping[str, Any] | None = None,
        seed: int | None = None,
        horizon: str | None = None,
        reward: Mapping[str, float] = DEFAULT,
        history_length: int = 50,
        max_steps: int | None = None,
        users: Sequence[int] | None = None,
    ) -> None:
        self._stage = make_stage(
            scenario, set=set, seed=seed, horizon=horizon, reward=reward, history_length=history_length,
            max_steps=max_steps,
        )  # fmt: skip
        self._feed = Feed(self._stage, [_coming(self._stage, users)])
        self.observation_space = observation_space(self._stage)
        self.action_space = action_space(self._stage)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, Info]:
        """Begin an episode with the next user, or with the one that a seed chooses."""
        super().reset(seed=seed)
        self._feed.seed([seed])
        self._feed.begin(np.zeros(1, np.intp))
        return _first(observe(self._feed)), _first(_always(self._feed))

    def step(self, action: Int64) -> tuple[Observation, float, bool, bool, Info]:
        """Serve a slate, and let the user live on to the next request.

        Raises:
            ValueError: the action is not in the action space.
        """
        outcome = self._feed.serve(np.zeros(1, np.intp), np.asarray(action)[None])
        return (
            _first(observe(self._feed)),
            float(outcome.reward[0]),
            bool(outcome.terminated[0]),
            bool(outcome.truncated[0]),
            _first(_always(self._feed) | _events(outcome)),
        )

    def arm(self, name: str) -> Recommender:
        """An arm of the scenario as a baseline, trained on the warm-up as at the beginning of a run."""
        return arm_of(self._stage, name)

    def slate_of(self, recommender: Recommender) -> Int32:
        """The action that a fitted recommender would take now: int32[k]."""
        slate: Int32 = self._feed.slates_of(recommender)[0]
        return slate


class FeedVectorEnv(VectorEnv[Observation, Int64, Array]):
    """Many users are served at once; `gymnasium.make_vec("pushback/Feed-v0", num_envs=..., scenario=...)`.

    Row i is a `FeedEnv` that plays the users i, i + num_envs, i + 2 num_envs and so on, bit for bit. An episode that is
    over begins anew at the next step, whose action is then ignored for that row (`AutoresetMode.NEXT_STEP`).
    `reset(seed=s)` seeds row i with s + i; a list has a seed, or None, for each row.

    Args:
        num_envs: rows; at most the number of users.
        scenario, set, seed, horizon, reward, history_length, max_steps: as for `FeedEnv`.

    Raises:
        ValueError: a setting cannot be used, or a row has nobody who comes within the horizon.
        LookupError, ScenarioErrors, CatalogueError, EngineError: the scenario cannot be.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": [],
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        scenario: Source = "quickstart",
        *,
        set: Mapping[str, Any] | None = None,
        seed: int | None = None,
        horizon: str | None = None,
        reward: Mapping[str, float] = DEFAULT,
        history_length: int = 50,
        max_steps: int | None = None,
    ) -> None:
        self._stage = make_stage(
            scenario, set=set, seed=seed, horizon=horizon, reward=reward, history_length=history_length,
            max_steps=max_steps,
        )  # fmt: skip
        n_users = self._stage.world.population.n_users
        if not 1 <= num_envs <= n_users:
            raise ValueError(f"num_envs: got {num_envs}, expected 1 to {n_users}, the number of users")
        self._feed = Feed(self._stage, [_coming(self._stage, range(i, n_users, num_envs)) for i in range(num_envs)])
        self.num_envs = num_envs
        self.single_observation_space = observation_space(self._stage)
        self.single_action_space = action_space(self._stage)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._over = np.zeros(num_envs, np.bool_)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, Info]:
        """Begin an episode in every row.

        Raises:
            ValueError: a list of seeds has another length than there are rows.
        """
        if seed is None or isinstance(seed, int):
            super().reset(seed=seed)
            seeds = [None if seed is None else seed + i for i in range(self.num_envs)]
        else:
            seeds = list(seed)
            if len(seeds) != self.num_envs:
                raise ValueError(f"seed: got {len(seeds)} seeds, expected one for each of {self.num_envs} rows")
        everybody = np.arange(self.num_envs)
        self._feed.seed(seeds)
        self._feed.begin(everybody)
        self._over[:] = False
        return observe(self._feed), self._spread(everybody, _always(self._feed))

    def step(self, actions: Int64) -> tuple[Observation, Array, Array, Array, Info]:
        """Serve a slate to each user; rows whose episode was over begin the next one instead.

        Raises:
            ValueError: the actions are not in the action space.
        """
        beginning, going_on = np.flatnonzero(self._over), np.flatnonzero(~self._over)
        self._feed.begin(beginning)
        reward = np.zeros(self.num_envs)
        terminated, truncated = np.zeros(self.num_envs, np.bool_), np.zeros(self.num_envs, np.bool_)
        events: Info = {}
        if len(going_on):
            outcome = self._feed.serve(going_on, np.asarray(actions)[going_on])
            reward[going_on] = outcome.reward
            terminated[going_on], truncated[going_on] = outcome.terminated, outcome.truncated
            events = self._spread(going_on, _events(outcome))
        self._over = terminated | truncated
        infos = self._spread(np.arange(self.num_envs), _always(self._feed)) | events
        return observe(self._feed), reward, terminated, truncated, infos

    def arm(self, name: str) -> Recommender:
        """An arm of the scenario as a baseline, trained on the warm-up as at the beginning of a run."""
        return arm_of(self._stage, name)

    def slate_of(self, recommender: Recommender) -> Int32:
        """The actions that a fitted recommender would take now: int32[num_envs, k]."""
        return self._feed.slates_of(recommender)

    def _spread(self, rows: Rows, columns: Mapping[str, Array]) -> Info:
        """Columns of some rows as Gymnasium's vector infos: all rows, and under `_name` which of them have a value."""
        infos: Info = {}
        for name, column in columns.items():
            has = np.zeros(self.num_envs, np.bool_)
            has[rows] = True
            whole = column
            if len(rows) < self.num_envs:
                whole = np.zeros((self.num_envs, *column.shape[1:]), column.dtype)
                whole[rows] = column
            infos[name], infos[f"_{name}"] = whole, has
        return infos


def observation_space(stage: Stage) -> spaces.Dict:
    """What is seen of one user; all bounds are finite."""
    features, behaviour = stage.world.catalogue.features, stage.world.settings.behaviour
    h = (stage.history_length,)
    # Rounding may take a dwell a little past the share of the duration that limits it.
    longest = 1.001 * float(features.duration_seconds.max()) * max(1.0, behaviour.max_watch_fraction)
    most = np.iinfo(np.int32).max
    return spaces.Dict(
        {
            "history_item": spaces.Box(-1, features.n_items - 1, h, np.int32),
            "history_feedback": spaces.Box(0, 63, h, np.uint8),
            "history_dwell_seconds": spaces.Box(0, longest, h, np.float32),
            "history_tick": spaces.Box(0, _LATEST_TICK, h, np.int64),
            "tick": spaces.Box(0, _LATEST_TICK, (1,), np.int64),
            "session": spaces.Box(0, most, (1,), np.int32),
            "step": spaces.Box(0, most, (1,), np.int32),
        }
    )


def action_space(stage: Stage) -> spaces.MultiDiscrete:
    """A slate for one user."""
    return spaces.MultiDiscrete([stage.world.catalogue.features.n_items] * stage.scenario.platform.slate_size)


def observe(feed: Feed) -> Observation:
    """What is seen of all rows, one row each."""
    windows = feed.windows()
    return {
        "history_item": windows.item,
        "history_feedback": windows.feedback,
        "history_dwell_seconds": windows.dwell_seconds,
        "history_tick": windows.tick,
        "tick": feed.tick[:, None],
        "session": feed.session[:, None],
        "step": feed.step[:, None],
    }


def _always(feed: Feed) -> dict[str, Array]:
    return {"user": feed.user, "action_mask": feed.offer.masks(feed.tick)}


def _events(outcome: Outcome) -> dict[str, Array]:
    s = outcome.served
    feedback_tick = np.where(s.feedback > 0, s.tick[:, None] + s.done_after, -1)
    return {
        "tick": s.tick,
        "session": s.session,
        "step": s.step,
        "item": s.item,
        "feedback": s.feedback,
        "dwell_seconds": s.dwell_seconds,
        "feedback_tick": feedback_tick,
    }


def _first(columns: Mapping[str, Array]) -> dict[str, Any]:
    return {name: column[0] for name, column in columns.items()}


def _coming(stage: Stage, users: Sequence[int] | None) -> Rows:
    """Whom a row plays.

    Raises:
        ValueError: a user is none of the world's, or nobody comes within the horizon.
    """
    n_users = stage.world.population.n_users
    asked = np.arange(n_users) if users is None else np.asarray(users, np.intp)
    if len(asked) and not (asked.min() >= 0 and asked.max() < n_users):
        raise ValueError(f"users: got ids in [{asked.min()}, {asked.max()}], expected them in [0, {n_users})")
    coming = stage.coming(asked)
    if len(coming) == 0:
        raise ValueError(f"users: got {len(asked)} of whom nobody comes within the horizon, expected somebody who does")
    return coming
