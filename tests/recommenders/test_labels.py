from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommenders.base import Feedback
from recommenders.labels import NegativeWeights, Rewards, label_weights, scaled_to_share, weight_table
from recommenders.sequences import training_windows
from tests.recommenders.cases import make_log

WEIGHT = st.sampled_from([0.0, 0.5, 1.0, 8.0])
REWARDS = st.builds(Rewards, long_dwell=WEIGHT, like=WEIGHT)
NEGATIVES = st.builds(NegativeWeights, dislike=WEIGHT, dismiss=WEIGHT, skip=WEIGHT)


def weight_slowly(feedback: Feedback, reward: Rewards, negative: NegativeWeights) -> float:
    rewards = {Feedback.LONG_DWELL: reward.long_dwell, Feedback.LIKE: reward.like}
    explicit = {Feedback.DISLIKE: negative.dislike, Feedback.DISMISS: negative.dismiss}
    r = max((weight for flag, weight in rewards.items() if flag & feedback), default=0.0)
    w = max((weight for flag, weight in explicit.items() if flag & feedback), default=0.0)
    if w == 0 and r > 0:
        return r
    return -max(w, negative.skip if Feedback.SKIP & feedback else 0.0)


@given(reward=REWARDS, negative=NEGATIVES, feedback=st.integers(0, 255))
def test_the_table_equals_its_rules(reward: Rewards, negative: NegativeWeights, feedback: int) -> None:
    table = weight_table(reward, negative)
    assert table.dtype == np.float32
    assert table[feedback] == pytest.approx(weight_slowly(Feedback(feedback & 63), reward, negative))


def test_without_negative_weights_dislikes_are_not_looked_at() -> None:
    table = weight_table(Rewards(), NegativeWeights())
    for flag in (Feedback.DISLIKE, Feedback.DISMISS, Feedback.SKIP):
        np.testing.assert_array_equal(table, table[np.arange(256) ^ flag])


@given(seed=st.integers(0, 100), exponent=st.sampled_from([0.5, 1.0, 2.0]))
def test_rewards_grow_with_dwell(seed: int, exponent: float) -> None:
    windows = training_windows(make_log(seed), 7)
    plain = label_weights(windows, Rewards(like=2.0), NegativeWeights(dislike=3.0))
    grown = label_weights(windows, Rewards(like=2.0, dwell_exponent=exponent), NegativeWeights(dislike=3.0))
    positive = plain > 0
    dwell = windows.next_dwell_seconds
    factor = (dwell[positive] / dwell[positive].mean()) ** exponent
    np.testing.assert_allclose(grown[positive], plain[positive] * factor, rtol=1e-5)
    np.testing.assert_array_equal(grown[~positive], plain[~positive])
    assert (plain[windows.next_item < 0] == 0).all()


@given(share=st.floats(0.01, 10), n_negatives=st.integers(2, 5000))
def test_scaled_weights_have_the_share_of_the_first_gradient(share: float, n_negatives: int) -> None:
    weight = label_weights(training_windows(make_log(), 7), Rewards(), NegativeWeights(dislike=1, skip=0.25))
    scaled = scaled_to_share(weight, share, n_negatives)
    p = 1 / (1 + n_negatives)
    positive, negative = scaled[scaled > 0].sum() * (1 - p), -scaled[scaled < 0].sum() * p
    assert negative / positive == pytest.approx(share, rel=1e-4)
    np.testing.assert_array_equal(scaled[weight > 0], weight[weight > 0])
    ratio = scaled[weight < 0] / weight[weight < 0]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)


def test_labels_of_one_sign_are_left_alone() -> None:
    for weight in (np.array([1, 0, 2], np.float32), np.array([-1, 0], np.float32), np.zeros(3, np.float32)):
        np.testing.assert_array_equal(scaled_to_share(weight, 0.5, 10), weight)
