"""The parts of the training benchmark that decide what is compared."""

import numpy as np
import pytest

from benchmarks.peers.job import Log, Timing, cut
from benchmarks.peers.pushback_sasrec import interactions
from benchmarks.training import Held, leave_last_out, metrics, peer_names, rate_of, read_movielens, synthetic_log
from recommenders.sequences import training_windows


def random_log(seed: int, n_users: int = 7, n_items: int = 60) -> Log:
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(n_users, dtype=np.int32), rng.integers(3, 30, n_users))
    item = np.concatenate([rng.permutation(n_items)[:n] for n in np.bincount(user)])
    return Log(user, item.astype(np.int32), n_items)


@pytest.mark.parametrize("window", [1, 4, 50])
def test_the_peers_sequences_hold_the_pairs_of_our_windows(window):
    log = random_log(3)
    sequences, windows = cut(log, window), training_windows(interactions(log), window)
    assert len(sequences) == len(windows)
    for number, row in enumerate(windows.item):
        item = sequences.item[sequences.sequence == number]
        np.testing.assert_array_equal(item[:-1], row[row >= 0])


def test_a_users_newest_sequence_ends_with_the_last_interaction():
    log = random_log(4)
    sequences = cut(log, 5)
    for user, newest in enumerate(sequences.newest):
        assert sequences.item[sequences.sequence == newest][-1] == log.item[log.user == user][-1]


def test_leave_last_out_takes_one_interaction_from_every_user_with_three():
    log = Log(np.array([0, 0, 0, 1, 1, 2, 2, 2, 2], np.int32), np.arange(9, dtype=np.int32), 9)
    held = leave_last_out(log)
    assert held.target.tolist() == [2, 8]
    assert held.log.user.tolist() == [0, 0, 1, 1, 1]
    assert held.log.item.tolist() == [0, 1, 5, 6, 7]


def test_metrics_equal_a_sort_of_the_unseen_items():
    held = leave_last_out(random_log(5))
    # Whole numbers, so that there are ties.
    score = np.random.default_rng(0).integers(0, 30, (len(held.target), 60)).astype(np.float32)
    hits, gains = [], []
    for user, target in enumerate(held.target):
        seen = set(held.log.item[held.log.user == user].tolist())
        order = sorted((-score[user, item], item) for item in range(60) if item not in seen)
        rank = [item for _, item in order].index(target)
        hits.append(rank < 10)
        gains.append(1 / np.log2(rank + 2) if rank < 10 else 0)
    assert metrics(score, held) == pytest.approx({"HR@10": np.mean(hits), "NDCG@10": np.mean(gains)})


def test_a_target_that_was_seen_is_a_miss():
    log = Log(np.array([0, 0], np.int32), np.array([1, 2], np.int32), 20)
    assert metrics(np.ones((1, 20), np.float32), Held(log, np.array([1], np.int32)))["HR@10"] == 0


def test_synthetic_users_have_one_full_sequence_each():
    log = synthetic_log(users=50, items=400, groups=20)
    assert len(cut(log, 50)) == log.n_users == 50
    assert log.item.min() >= 0
    assert log.item.max() < 400


def test_movielens_comes_in_order_of_user_and_time(tmp_path):
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n7,30,4,20\n7,10,4,10\n2,30,1,5\n")
    log = read_movielens(tmp_path)
    assert (log.user.tolist(), log.item.tolist(), log.n_items) == ([0, 1, 1], [1, 0, 1], 2)


def test_movielens_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SystemExit, match=r"expected a directory that holds ratings\.csv"):
        read_movielens(tmp_path)


def test_a_rate_is_the_median_over_the_epochs_of_all_rounds():
    rate = rate_of([Timing("v", 100, [1.0, 4.0], [1.0, 1.0]), Timing("v", 100, [2.0], [0.5])])
    assert (rate.per_second, rate.per_processor_second) == (50, 100)


def test_an_unknown_peer_is_named():
    with pytest.raises(Exception, match="got recbole, expected some of rectools, replay"):
        peer_names("rectools,recbole")
