"""Neither how a population is cut into cells nor where these live changes anything."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders.base import Slates
from simulator.draws import BY_USER, Draws, Purpose
from simulator.engine.cells import cut_population
from simulator.engine.clock import Service, Trajectory, Workplace, simulate
from simulator.engine.history import History
from simulator.engine.snapshot import genesis
from simulator.world.behaviour import Behaviour, UtilityBehaviour, part_of
from simulator.world.behaviour_contract import CheckedBehaviour
from simulator.world.forced_action import ForcedAction, Moments
from simulator.world.world import World
from tests.simulator.engine.keen import Keen
from tests.simulator.engine.worlds import DAY, HOUR, Uniform, first_model, service, small_experiments, small_world
from tests.simulator.executors.mortals import among

BEHAVIOURS = {"utility": UtilityBehaviour(), "keen": CheckedBehaviour("keen", Keen())}


def lived(world: World, behaviour: Behaviour, built: Service, until: int, **options: object) -> Trajectory:
    return simulate(world, behaviour, built, genesis(world, behaviour, 12, first_model(built, world)), until, **options)


def in_cells(built: Service, cell_users: int) -> Service:
    """Each cell with a host of its own."""
    return replace(built, workplace=Workplace(among(99), cell_users))


def assert_same(one: Trajectory, other: Trajectory, delay: int = 0) -> None:
    """The same rows, users, models, and delivered feedback; a ring may still hold events that nobody can ask for."""
    assert_equal_columns(one.log, other.log)
    assert type(one.end.users) is type(other.end.users)
    assert_equal_columns(one.end.users, other.end.users)
    everyone, tick = np.arange(one.end.users.n_users), np.full(one.end.users.n_users, one.end.tick)
    np.testing.assert_array_equal(one.end.history.count, other.end.history.count)
    assert one.end.history.item.shape == other.end.history.item.shape
    assert_equal_columns(*(t.end.history.windows(everyone, tick, delay, t.end.history.length) for t in (one, other)))
    assert [d.tick for d in one.end.deployments] == [d.tick for d in other.end.deployments]


def assert_equal_columns(one: Any, other: Any) -> None:
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        np.testing.assert_array_equal(a, b, err_msg=field.name)
        assert a.dtype == b.dtype, field.name


@settings(max_examples=20)
@given(small_experiments(), st.integers(1, 9), st.sampled_from(sorted(BEHAVIOURS)), st.none() | st.integers(0, 2**8))
def test_how_a_population_is_cut_changes_nothing(experiment, cell_users, name, chosen):
    world, built, until = experiment
    n = world.population.n_users
    users = None if chosen is None else (chosen >> np.arange(n)) % 2 == 1
    whole = lived(world, BEHAVIOURS[name], built, until, users=users)
    assert_same(
        lived(world, BEHAVIOURS[name], in_cells(built, cell_users), until, users=users),
        whole,
        built.platform.ingestion_delay,
    )


def test_a_slate_of_many_items_widens_the_ring_as_in_the_whole():
    """One append that needs more than twice the ring: the widest cell must be as wide as the whole."""
    world = small_world(
        users=5, items=400, behaviour={"patience": 0.999}, engagement={"session_impressions_median": 1e4}
    )
    built = service(slate_size=300, ingestion_delay="1d")
    whole = lived(world, UtilityBehaviour(), built, 2 * DAY)
    assert whole.end.history.item.shape[1] > 2 * (12 + 64)
    assert_same(lived(world, UtilityBehaviour(), in_cells(built, 2), 2 * DAY), whole, DAY)


@given(st.integers(1, 40), st.integers(1, 50))
def test_cells_are_even_follow_each_other_and_hold_everybody(n_users, cell_users):
    cells = cut_population(n_users, cell_users)
    assert [user for cell in cells for user in cell] == list(range(n_users))
    sizes = {len(cell) for cell in cells}
    assert max(sizes) <= cell_users
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_part_draws_what_its_users_draw_in_the_whole(purpose):
    whole, part = Draws(7), Draws(7, first_user=100)
    rows = np.arange(5)
    shift = 100 if purpose in BY_USER else 0
    np.testing.assert_array_equal(part.words(purpose, rows, 3, 4), whole.words(purpose, rows + shift, 3, 4))


@pytest.mark.parametrize("creators", [6, 3_000_000])
def test_a_part_of_a_part_has_the_same_users(creators, monkeypatch):
    monkeypatch.setattr("simulator.world.appeal._TABLE_CELLS", 60)
    world = small_world(users=9, items=5 * 6)
    part = world.part(range(2, 8)).part(range(1, 4))
    assert (part.first_user, part.population.n_users) == (3, 3)
    np.testing.assert_array_equal(part.population.taste, world.population.taste[3:6])
    rows, creator = np.arange(3), np.array([0, 5, 2], np.int32)
    np.testing.assert_array_equal(part.creator_appeal(rows, creator), world.creator_appeal(rows + 3, creator))


def test_a_forced_action_falls_on_the_same_requests():
    world, built = small_world(users=7), service()
    moments = Moments(np.zeros(7, np.int32), np.arange(7, dtype=np.int32) % 3, np.full(7, -1, np.int32))
    forced = ForcedAction(UtilityBehaviour(), moments, ("dislike",))
    whole = lived(world, forced, built, DAY)
    assert_same(lived(world, forced, in_cells(built, 3), DAY), whole)
    assert not np.array_equal(whole.log.feedback, lived(world, UtilityBehaviour(), built, DAY).log.feedback)


def test_a_checked_user_model_is_cut_as_what_it_checks():
    moments = Moments(*np.arange(12, dtype=np.int32).reshape(3, 4))
    part = part_of(CheckedBehaviour("forced", ForcedAction(Keen(), moments, ("like",))), range(1, 3))
    assert isinstance(part, CheckedBehaviour)
    assert isinstance(part.behaviour, ForcedAction)
    np.testing.assert_array_equal(part.behaviour.moments.step, [5, 6])


def test_errors_name_users_by_their_numbers_in_the_whole_world():
    class Late(Keen):
        def advance(self, world, state, users, tick, item, responses):
            super().advance(world, state, users, tick, item, responses)
            if world.first_user:
                state.satisfaction[users] = np.nan

    world, built = small_world(users=6), in_cells(service("uniform"), 3)
    with pytest.raises(Exception, match=r"^behaviour 'late': advance: satisfaction: user [345], "):
        lived(world, CheckedBehaviour("late", Late()), built, DAY)


def test_joined_histories_are_as_wide_as_the_widest():
    narrow, wide = History.empty(2, 4), History.empty(1, 4)
    one = np.zeros((1, 1))
    narrow.append(np.array([1]), np.array([5]), 0, *(one.astype(t) for t in (np.int32, np.uint8)), one, one + 1)
    wide._widen(200)
    joined = History.joined([narrow, wide])
    assert joined.item.shape == (3, 200)
    np.testing.assert_array_equal(joined.count, [0, 0, 0])


def test_what_hangs_is_named_and_cut_off():
    class Hanging(Uniform):
        def recommend(self, requests, k, draws) -> Slates:
            while True:
                pass

    world, built = small_world(), service("uniform")
    built = replace(built, build=Hanging, workplace=Workplace(call_seconds=0.2))
    message = (
        r"^arm uniform: recommend on a batch of \d that begins with user \d, session 0, step 0: no answer within 0.2 s"
    )
    with pytest.raises(Exception, match=message):
        lived(world, UtilityBehaviour(), built, 6 * HOUR)
