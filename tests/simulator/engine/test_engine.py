"""The engine against its oracle, and the laws that make counterfactuals exact."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders.base import Feedback, Slates
from simulator.engine.clock import Pace, Workplace, simulate
from simulator.engine.log import EventLog
from simulator.engine.serving import EngineError
from simulator.engine.snapshot import equal, genesis
from simulator.world.behaviour import UtilityBehaviour
from tests.reference import simulate_slowly
from tests.simulator.engine.worlds import DAY, HOUR, Uniform, first_model, service, small_experiments, small_world

BEHAVIOUR = UtilityBehaviour()


def same_rows(a: EventLog, b: EventLog) -> bool:
    return all(
        np.array_equal(getattr(a, n), getattr(b, n), equal_nan=d.kind == "f") for n, d in EventLog.DTYPES.items()
    )


def run(world, built, until, start=None, **options):
    start = start or genesis(world, BEHAVIOUR, 12, first_model(built, world))
    return simulate(world, BEHAVIOUR, built, start, until, **options)


@settings(max_examples=50)
@given(small_experiments())
def test_log_equals_the_reference_engines_row_for_row(experiment):
    world, built, until = experiment
    slow = simulate_slowly(world, BEHAVIOUR, built, first_model(built, world), until)
    fast = run(world, built, until).log
    assert len(fast) == len(slow)
    for name, dtype in EventLog.DTYPES.items():
        np.testing.assert_array_equal(getattr(fast, name), getattr(slow, name), err_msg=name)
        assert getattr(fast, name).dtype == dtype


@settings(max_examples=25)
@given(small_experiments(), st.integers(1, 5), st.sampled_from([None, 1_000, 10 * 60_000, 3 * HOUR]))
def test_neither_batch_size_nor_look_ahead_changes_a_row(experiment, batch_users, look_ahead):
    world, built, until = experiment
    assert same_rows(run(world, built, until).log, run(world, built, until, pace=Pace(batch_users, look_ahead)).log)


@settings(max_examples=25)
@given(small_experiments(), st.floats(0, 1))
def test_a_fork_at_any_tick_equals_a_replay_from_the_start(experiment, share):
    world, built, until = experiment
    whole = run(world, built, until)
    first = run(world, built, round(share * until))
    second = run(world, built, until, start=first.end)
    assert same_rows(EventLog.concatenate([first.log, second.log]), whole.log)
    assert same_rows(second.end.log, whole.log)
    assert equal(second.end, whole.end)


def test_a_fork_leaves_its_snapshot_alone():
    world, built = small_world(), service(retrain_every="6h")
    middle = run(world, built, DAY).end
    once = run(world, built, 2 * DAY, start=middle)
    again = run(world, built, 2 * DAY, start=middle)
    assert len(once.log) > 0
    assert same_rows(once.log, again.log)


def test_order_of_users_changes_no_row(monkeypatch):
    world, built = small_world(users=40), service()
    expected = run(world, built, DAY).log
    of_all_users, plain = (world.population.n_users,), np.flatnonzero
    monkeypatch.setattr(np, "flatnonzero", lambda a: plain(a)[::-1] if np.shape(a) == of_all_users else plain(a))
    assert same_rows(run(world, built, DAY, pace=Pace(batch_users=7)).log, expected)


def test_users_of_a_larger_population_live_the_same_lives():
    built = service("uniform")
    few, many = (run(small_world(users=n), built, DAY).log for n in (10, 50))
    assert same_rows(few, many.take(many.user < 10))


def test_other_slates_for_ten_users_change_no_row_of_the_others():
    """The leak test that the rival simulators were put to: ten of a hundred users get other slates from a tick on."""

    class Swapped(Uniform):
        def recommend(self, requests, k, draws):
            slates = super().recommend(requests, k, draws)
            treated = (requests.user < 10) & (requests.tick >= DAY)
            item = np.where(treated[:, None], (slates.item + 17) % 200, slates.item)
            return Slates(item.astype(np.int32), slates.score)

    world, built = small_world(users=100, items=200), service("uniform", slate_size=10)
    plain = run(world, built, 3 * DAY).log
    swapped = run(world, replace(built, build=Swapped), 3 * DAY).log
    mine, theirs = plain.take(plain.user >= 10), swapped.take(swapped.user >= 10)
    assert same_rows(mine, theirs)
    assert same_rows(plain.between(0, DAY), swapped.between(0, DAY))
    treated = [log.take(log.user < 10).between(DAY, 3 * DAY) for log in (plain, swapped)]
    assert not same_rows(*treated)


def test_feedback_is_invisible_until_the_ingestion_delay_has_passed():
    seen = []

    class Watching(Uniform):
        traits = replace(Uniform.traits, history_length=12)

        def recommend(self, requests, k, draws):
            newest = np.where(requests.history_item[:, -1] >= 0, requests.tick - requests.history_tick[:, -1], 10**12)
            seen.append(newest.min())
            return super().recommend(requests, k, draws)

    world, built = small_world(users=20), service("uniform", ingestion_delay="1h")
    run(world, replace(built, build=Watching), 2 * DAY)
    assert HOUR <= min(seen) < 3 * HOUR


def test_an_arm_with_a_longer_delay_than_the_warm_up_sees_nothing_too_early():
    """A ring that had forgotten what lies behind the delay would show what is not delivered yet in its place."""
    early = []

    class Watching(Uniform):
        traits = replace(Uniform.traits, history_length=12)

        def recommend(self, requests, k, draws):
            given = np.where(requests.history_item >= 0, requests.history_tick, requests.tick[:, None] - 2 * DAY)
            early.append((given > requests.tick[:, None] - DAY).any())
            return super().recommend(requests, k, draws)

    world, warm = small_world(users=10), service("uniform")
    middle = run(world, warm, 2 * DAY, longest_delay=DAY).end
    assert (middle.history.count > 2 * middle.history.length).any()
    patient = service("uniform", ingestion_delay="1d")
    run(world, replace(patient, build=Watching), 3 * DAY, start=middle)
    assert not any(early)
    early.clear()
    run(world, replace(patient, build=Watching), 3 * DAY, start=run(world, warm, 2 * DAY).end)
    assert any(early), "the test's users are too quiet to see the difference"


def test_a_long_ingestion_delay_makes_the_history_grow_and_loses_nothing():
    world, built = small_world(users=3), service(ingestion_delay="3d")
    end = run(world, built, 3 * DAY).end
    log = end.log
    assert end.history.item.shape[1] > end.history.length
    for user in range(3):
        mine = log.take((log.user == user) & ((log.feedback & Feedback.EXAMINED) > 0))
        capacity = end.history.item.shape[1]
        kept = end.history.item[user, np.arange(len(mine))[-capacity:] % capacity]
        np.testing.assert_array_equal(kept, mine.item[-capacity:])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: Slates(s.item[:, :-1], s.score), r"slates.item: got int32\[\d+, 3\], expected int32\[\d+, 4\]"),
        (lambda s: Slates(s.item.astype(np.int64), s.score), "got int64"),
        (
            lambda s: Slates(np.where(s.item == s.item[2, 1], 99, s.item).astype(np.int32), s.score),
            "got 99, expected an item in",
        ),
        (lambda s: Slates(np.repeat(s.item[:, :1], 4, axis=1), s.score), "slot 1: got .* in the slate already"),
        (lambda s: Slates(s.item, np.full_like(s.score, np.nan)), "got nan, expected a finite score"),
        (lambda s: Slates(s.item, s.score, np.zeros(s.item.shape)), r"got 0.0, expected a propensity in \(0, 1\]"),
        (lambda s: s.item, "recommend returned ndarray, expected Slates"),
    ],
)
def test_a_slate_that_breaks_a_rule_is_refused_by_name(spoil, message):
    class Spoilt(Uniform):
        def recommend(self, requests, k, draws):
            return spoil(super().recommend(requests, k, draws))

    world, built = small_world(), service("uniform")
    with pytest.raises(EngineError, match="^arm uniform: .*" + message):
        run(world, replace(built, build=Spoilt), 4 * DAY)


def test_an_ineligible_item_is_refused_with_user_and_request():
    class Stale(Uniform):
        def recommend(self, requests, k, draws):
            requests = replace(requests, eligible=~requests.eligible)
            return super().recommend(requests, k, draws)

    world, built = small_world(released_share=0.5), service("uniform")
    with pytest.raises(
        EngineError, match=r"^arm uniform: user \d+, session \d+, step \d+, slot 0: got \d+, expected an eligible"
    ):
        run(world, replace(built, build=Stale), DAY)


def test_a_recommender_that_raises_is_named():
    class Failing(Uniform):
        def recommend(self, requests, k, draws):
            raise KeyError("weights")

    world, built = small_world(), service("uniform")
    with pytest.raises(EngineError, match=r"arm uniform: recommend on a batch of \d+ .* failed: KeyError: 'weights'"):
        run(world, replace(built, build=Failing), DAY)


def test_the_blame_for_an_error_outlives_the_clock_and_other_processes():
    class Failing(Uniform):
        def recommend(self, requests, k, draws):
            raise KeyError("weights")

    with pytest.raises(EngineError) as caught:
        run(small_world(), replace(service("uniform"), build=Failing), DAY)
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert (error.blame.doing, error.blame.error, error.blame.message) == ("recommend", "KeyError", "'weights'")
        assert f"recommend {error.blame.where} failed: KeyError: 'weights'" in str(error)


def test_no_recommender_is_to_blame_for_a_user_model_that_hangs():
    class Hanging(UtilityBehaviour):
        def respond(self, *_):
            while True:
                pass

    world, built = small_world(), replace(service("uniform"), workplace=Workplace(call_seconds=0.3))
    with pytest.raises(EngineError, match="arm uniform: respond of the user model on a batch") as caught:
        simulate(world, Hanging(), built, genesis(world, BEHAVIOUR, 0, {}), DAY)
    assert caught.value.blame is None


def test_too_few_eligible_items_are_refused():
    world, built = small_world(lifetime="6h"), service("uniform", release_every="6h")
    with pytest.raises(EngineError, match="0 items are eligible at tick 21600000, expected at least the slate size 4"):
        run(world, built, 3 * DAY)


@pytest.mark.parametrize(
    ("method", "stage"),
    [("__init__", "building the recommender"), ("load_state_dict", "load_state_dict"), ("fit", "retraining")],
)
def test_whatever_a_recommender_raises_names_its_arm(method, stage):
    class Failing(Uniform):
        pass

    def fail(*_, **__):
        raise KeyError("weights")

    setattr(Failing, method, fail)
    world, built = small_world(), service("uniform", retrain_every="6h")
    start = genesis(world, BEHAVIOUR, 0, {})
    with pytest.raises(EngineError, match=f"arm uniform: {stage} failed: KeyError: 'weights'"):
        run(world, replace(built, build=Failing), DAY, start=start)


def test_traits_that_cannot_be_are_refused():
    class Odd(Uniform):
        traits = replace(Uniform.traits, batch_size=0)

    world, built = small_world(), service("uniform")
    with pytest.raises(EngineError, match=r"traits.batch_size: got 0, expected None or 1 or more"):
        run(world, replace(built, build=Odd), DAY, start=genesis(world, BEHAVIOUR, 0, {}))


def test_a_recommender_cannot_change_what_is_eligible():
    class Cheating(Uniform):
        def recommend(self, requests, k, draws):
            requests.eligible[:] = True
            return super().recommend(requests, k, draws)

    world, built = small_world(released_share=0.5), service("uniform")
    with pytest.raises(EngineError, match="read-only"):
        run(world, replace(built, build=Cheating), DAY)
