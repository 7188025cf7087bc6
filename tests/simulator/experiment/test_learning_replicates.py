"""Replicates whose arms learn: their worlds are those of `pushback run`, and equal arms have no bias at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.commands.components import load
from simulator.commands.validate_stats import plan_of
from simulator.engine.log import EventLog
from simulator.engine.log_files import log_hash
from simulator.experiment.interference import count_interference
from simulator.experiment.learning_replicates import (
    APART,
    OWN,
    PAIRED,
    POOLED,
    LearningReplicate,
    Lives,
    live,
    run_learning_replicate,
)
from simulator.experiment.replicate_worlds import Plan, learns, world_of

SCENARIO = Path(__file__).parents[3] / "scenarios" / "interference_replicates.yaml"
SMALL = (
    "world.population.users=24", "world.catalogue={items: 60, creators: 12, topics: 4}", "warm_up=8h",
    "ab_test.duration=16h", "ab_test.exclude_first=2h", "platform.retrain_every=5h", "metrics=[long_view_rate]",
)  # fmt: skip
EQUAL_ARMS = "arms=[{name: no_signal, recommender: ease}, {name: signed, recommender: ease}]"
WITHOUT_RETRAINING = "platform.retrain_every=null"


def plan(*overrides: str) -> Plan:
    return plan_of(load(SCENARIO, (*SMALL, *overrides), None))


def lives_of(small: Plan, number: int = 0) -> Lives:
    return live(small, world_of(small, number, 1))


def values(replicate: LearningReplicate) -> dict[tuple[str, str], float]:
    return {(r.design, r.estimand): r.value for r in replicate.readings}


def served(log: EventLog, users: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> str:
    return log_hash(log.take(users[log.user]))


def test_the_scenario_learns_and_its_worlds_differ() -> None:
    small = plan()
    assert learns(small)
    lives = lives_of(small)
    logs = (lives.control, lives.treatment, lives.pooled, lives.own)
    assert len({log_hash(log) for log in logs}) == 4
    warm_up = small.scenario.warm_up
    assert len({log_hash(log.take(log.tick < warm_up)) for log in logs}) == 1
    n_warm_up = int((lives.control.tick < warm_up).sum())
    assert lives.impressions == sum(map(len, logs)) - 3 * n_warm_up


def test_before_anything_retrains_a_mixed_world_is_both_arms_worlds() -> None:
    """Whose feedback the arms will train on cannot matter yet, nor who else is served."""
    lives = lives_of(plan(WITHOUT_RETRAINING))
    assert log_hash(lives.pooled) == log_hash(lives.own)
    for log, users in ((lives.treatment, lives.treated), (lives.control, ~lives.treated)):
        assert users.any()
        assert served(log, users) == served(lives.pooled, users)


@settings(max_examples=8)
@given(
    st.integers(0, 10**6),
    st.sampled_from(["3h", "5h", "1d"]),
    st.sampled_from(["0s", "1h"]),
    st.sampled_from(["ease", "item_knn", "popularity"]),
)
def test_equal_arms_with_pooled_training_have_no_bias(number: int, every: str, delay: str, recommender: str) -> None:
    """Both arms of the mixed world learn from all users, as an arm does that is alone: the same lives, user by user."""
    small = plan(
        EQUAL_ARMS.replace("ease", recommender), f"platform.retrain_every={every}", f"platform.training_delay={delay}"
    )
    replicates = [run_learning_replicate(small, n) for n in (number, number + 1)]
    found = count_interference(replicates, users=small.n_users, confidence=0.95)
    by_key = {(b.design, b.estimand): b for b in found.biases}
    for estimand in ("difference", "lift"):
        paired, pooled = by_key[PAIRED, estimand], by_key[POOLED, estimand]
        assert (paired.truth, paired.bias, paired.bias_error) == (0, 0, 0)
        assert (pooled.training, pooled.training_error) == (0, 0)
        assert pooled.mean == by_key[APART, estimand].mean


def test_training_on_own_users_is_another_model_even_between_equal_arms() -> None:
    found = values(run_learning_replicate(plan(EQUAL_ARMS), 0))
    assert found[POOLED, "lift"] == found[APART, "lift"] != found[OWN, "lift"]


@pytest.mark.parametrize("design", [POOLED, OWN, APART])
def test_without_retraining_all_splits_say_the_same(design: str) -> None:
    found = values(run_learning_replicate(plan(WITHOUT_RETRAINING), 3))
    for estimand in ("difference", "lift"):
        assert found[design, estimand] == found[APART, estimand]


def test_a_replicate_has_users_and_draws_of_its_own_and_is_the_same_each_time() -> None:
    small = plan()
    first, again, other = (run_learning_replicate(small, number) for number in (4, 4, 5))
    assert repr(first) == repr(again)
    assert values(first) != values(other)
