"""The environments against Gymnasium's own checks, against each other, and against the engine."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import SyncVectorEnv
from hypothesis import given
from hypothesis import strategies as st

import simulator
import simulator.gym
from recommenders.base import Feedback
from simulator.draws import Draws
from simulator.engine.collector import Served
from simulator.engine.serving import EngineError
from simulator.gym.envs import FeedEnv, FeedVectorEnv
from simulator.gym.rewards import check_reward, reward_of
from simulator.gym.slates import Offer
from simulator.scenario import schema
from simulator.world.catalogue import Catalogue, build_catalogue

NTR = {"dim": 4, "window": 8, "epochs": 1, "dislike_input": True, "negative_weight": {"dislike": 16}}
SCENARIO: dict[str, Any] = {
    "question": "Can a policy act here?",
    "expected": "It can.",
    "run_time": "a second",
    "seed": 3,
    "world": {
        "preset": "lively",
        "catalogue": {"items": 60, "creators": 12, "topics": 4, "released_share": 0.6, "lifetime": "2d"},
        "population": {"users": 24},
    },
    "platform": {"slate_size": 5, "ingestion_delay": "20m", "release_every": "6h"},
    "warm_up": "1d",
    "arms": [
        {"name": "ntr", "recommender": "linear_recurrent", "config": NTR},
        {"name": "chance", "recommender": "random"},
        {"name": "oracle", "recommender": "oracle"},
    ],
    "control": "chance",
    "ab_test": {"duration": "2d"},
    "metrics": ["dislike_rate"],
}
EVENTS = ("tick", "session", "step", "item", "feedback", "dwell_seconds", "feedback_tick")


def make(**options: Any) -> Any:
    return gymnasium.make("pushback/Feed-v0", **{"scenario": SCENARIO, "history_length": 6, **options})


@pytest.mark.parametrize("horizon", [None, "1d", "session"])
def test_gymnasiums_own_checker_has_nothing_to_say(horizon: str | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make(horizon=horizon).unwrapped)


@pytest.mark.parametrize("arm", ["ntr", "chance", "oracle"])
def test_an_episode_has_the_events_that_the_engine_logs_for_the_arm(arm: str) -> None:
    """Every user's episode, driven by an arm, against that user's rows of the run's event log."""
    log = simulator.run(SCENARIO).events(arm)
    env = make(horizon="2d").unwrapped
    policy = env.arm(arm)
    played = set()
    over = True
    for _ in range(100_000):
        if over:
            _, info = env.reset()
            if info["user"] in played:
                break
            played.add(info["user"])
            rows: dict[str, list[Any]] = {name: [] for name in EVENTS}
        _, _, over, truncated, info = env.step(env.slate_of(policy))
        assert not truncated
        for name in EVENTS:
            rows[name].extend(np.broadcast_to(info[name], 5))
        if over:
            ours = log.where(user=int(info["user"]))
            for name in EVENTS:
                np.testing.assert_array_equal(np.array(rows[name], ours[name].dtype), ours[name], name)
    assert played == set(log["user"].tolist())
    assert len(played) > 15


def equal(a: Any, b: Any, where: str = "") -> None:
    """Bit for bit, with the same types."""
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            equal(a[key], b[key], f"{where}.{key}")
    else:
        assert a.dtype == b.dtype, where
        np.testing.assert_array_equal(a, b, where)


@pytest.mark.parametrize(
    "options", [{"horizon": "1d", "max_steps": 9}, {"horizon": "session"}], ids=["days", "session"]
)
def test_rows_of_the_vector_environment_equal_single_ones_bit_for_bit(options: dict[str, Any]) -> None:
    n = 5
    reward = {"like": 2.0, "long_dwell": 0.1, "dislike": -3.0, "dwell_seconds": 0.013, "session_end": -1.0}
    kwargs = {"scenario": SCENARIO, "history_length": 6, "reward": reward, **options}
    single = SyncVectorEnv([lambda i=i: FeedEnv(users=range(i, 24, n), **kwargs) for i in range(n)])  # type: ignore[misc]
    vector = gymnasium.make_vec("pushback/Feed-v0", num_envs=n, **kwargs)
    assert isinstance(vector, FeedVectorEnv)
    assert vector.observation_space == single.observation_space
    assert vector.action_space == single.action_space
    assert vector.metadata["autoreset_mode"] == single.metadata["autoreset_mode"]
    vector.action_space.seed(0)
    equal(vector.reset(seed=7)[0], single.reset(seed=7)[0])
    episodes = 0
    for _ in range(120):
        actions = vector.action_space.sample()
        ours, theirs = vector.step(actions), single.step(actions)
        for part, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            equal(a, b, str(part))
        assert ours[0] in vector.observation_space
        episodes += int((ours[2] | ours[3]).sum())
    assert episodes > 5
    equal(vector.reset()[1], single.reset()[1])
    equal(vector.reset(seed=[1, None, 2, None, 3])[0], single.reset(seed=[1, None, 2, None, 3])[0])


def test_a_seed_chooses_the_user_and_resets_go_on_through_all() -> None:
    env = make(horizon="session")
    first = env.reset(seed=11)[1]["user"]
    following = [first]
    while (user := env.reset()[1]["user"]) != first:
        following.append(user)
    assert len(following) == len(set(following)) > 15
    assert first == env.reset(seed=11)[1]["user"]
    assert len({env.reset(seed=seed)[1]["user"] for seed in range(40)}) > 12
    assert env.reset(seed=2**70)[0] in env.observation_space


def test_the_same_slates_bring_the_same_life_again() -> None:
    env = make(horizon="2d", users=[3])

    def life() -> list[Any]:
        env.action_space.seed(4)
        found, over = [env.reset()], False
        while not over:
            found.append(env.step(env.action_space.sample()))
            over = found[-1][2]
        return found

    before, after = life(), life()
    assert len(before) == len(after) > 3
    assert repr(before) == repr(after)


def test_an_observation_holds_only_what_has_been_delivered() -> None:
    env = make(horizon="2d", users=[2])
    _, info = env.reset()
    told = 0
    for _ in range(30):
        action = np.flatnonzero(info["action_mask"])[:5]
        seen, _, over, _, info = env.step(action)
        assert info["item"].tolist() == action.tolist()
        delivered = seen["history_tick"][seen["history_item"] >= 0]
        assert (delivered + 20 * 60_000 <= seen["tick"][0]).all()
        told += len(delivered)
        if over:
            _, info = env.reset()
    assert told > 0


def test_truncation_and_the_end_of_a_session() -> None:
    env = make(horizon="2d", max_steps=2, users=[0])
    _, info = env.reset()
    ends = []
    for _ in range(2):
        _, _, terminated, truncated, info = env.step(np.flatnonzero(info["action_mask"])[:5])
        ends.append((terminated, truncated))
    assert ends == [(False, False), (False, True)]
    env = make(horizon="session", reward={"session_end": 1.0})
    env.reset()
    reward, over, session = 0.0, False, None
    while not over:
        assert reward == 0.0
        seen, reward, over, _, info = env.step(env.action_space.sample())
        session = info["session"]
    assert reward == 1.0
    assert seen["session"][0] == session + 1


def test_the_mask_of_the_action_space_samples_eligible_items() -> None:
    env = make()
    _, info = env.reset()
    mask = info["action_mask"]
    assert 0 < mask.sum() < 60
    for _ in range(5):
        assert mask[env.action_space.sample(mask=(mask,) * 5)].all()


@given(st.data())
def test_a_slate_is_completed_as_the_words_say(data: st.DataObject) -> None:
    """Against the rule written out as a loop."""
    n_items, k = 12, data.draw(st.integers(1, 4))
    release = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n_items, max_size=n_items)))
    release[:k] = 0
    offer = Offer(shelf(release), 1, k)
    tick = np.array(data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=6)))
    item = np.array([data.draw(st.lists(st.integers(0, n_items - 1), min_size=k, max_size=k)) for _ in tick])
    found = offer.completed(item, tick)
    assert found.dtype == np.int32
    for row, now in enumerate(tick):
        slate: list[int] = []
        for wanted in item[row]:
            shown = wanted
            while release[shown] > now or shown in slate:
                shown = (shown + 1) % n_items
            slate.append(shown)
        assert found[row].tolist() == slate
    np.testing.assert_array_equal(offer.masks(tick), release <= tick[:, None])


def shelf(release: np.ndarray) -> Catalogue:
    """A catalogue with given releases."""
    from dataclasses import replace

    whole = build_catalogue(schema.Catalogue(items=len(release), creators=2, topics=2), Draws(1), 10, Path())
    features = replace(whole.features, release_tick=release.astype(np.int64))
    return replace(whole, features=features, expiry_tick=np.full(len(release), np.iinfo(np.int64).max))


def test_too_few_eligible_items_are_refused() -> None:
    with pytest.raises(EngineError, match="1 items are eligible at tick 0, expected at least the slate size 2"):
        Offer(shelf(np.array([0, 9, 9])), 1, 2).completed(np.array([[0, 1]]), np.array([0]))


def test_the_reward_is_what_its_weights_say() -> None:
    feedback = np.array([[Feedback.EXAMINED | Feedback.LIKE, Feedback.EXAMINED | Feedback.SKIP, 0]], np.uint8)
    one = np.zeros(1, np.int32)
    served = Served(
        np.zeros(1, np.int64), one, one, one, np.zeros(1, np.float32), np.zeros((1, 3), np.int32), feedback,
        np.array([[4.0, 1.0, 0.0]], np.float32), np.ones((1, 3), np.int64), np.zeros((1, 3), np.float32), None,
    )  # fmt: skip
    weights = check_reward({"examined": 1, "like": 10, "skip": -100, "dwell_seconds": 1000, "session_end": 0.5})
    assert reward_of(weights, served, np.array([True])).tolist() == [2 + 10 - 100 + 5000 + 0.5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reward": {"likes": 1}}, "reward: got 'likes', expected .*did you mean 'like'"),
        ({"reward": {"like": float("nan")}}, r"reward\['like'\]: got nan, expected a finite number"),
        ({"horizon": "soon"}, "horizon: got 'soon', expected 'session' or a span of time such as '7d'"),
        ({"horizon": "9d"}, "horizon: got '9d', expected more than 0 and at most 2d, the length of the scenario's"),
        ({"history_length": 0}, "history_length: got 0, expected 1 or more"),
        ({"max_steps": 0}, "max_steps: got 0, expected None, or 1 or more"),
        ({"users": [24]}, r"users: got ids in \[24, 24\], expected them in \[0, 24\)"),
        ({"horizon": "1ms"}, "users: got 24 of whom nobody comes within the horizon"),
    ],
)
def test_settings_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeedEnv(SCENARIO, **options)


def test_actions_outside_the_space_and_unknown_arms_are_refused() -> None:
    env = make().unwrapped
    env.reset()
    for action, message in (
        (np.zeros(4, np.int64), r"action: got int64\[1, 4\], expected whole numbers\[1, 5\]"),
        (np.zeros(5), r"action: got float64\[1, 5\], expected whole numbers"),
        (np.array([0, 1, 2, 3, 60]), r"action: got ids in \[0, 60\], expected them in \[0, 60\)"),
    ):
        with pytest.raises(ValueError, match=message):
            env.step(action)
    with pytest.raises(LookupError, match=r"arm: got 'nrt', expected .*did you mean 'ntr'"):
        env.arm("nrt")
    with pytest.raises(ValueError, match="num_envs: got 25, expected 1 to 24"):
        FeedVectorEnv(25, SCENARIO)
    with pytest.raises(ValueError, match="seed: got 1 seeds, expected one for each of 2 rows"):
        FeedVectorEnv(2, SCENARIO).reset(seed=[1])
