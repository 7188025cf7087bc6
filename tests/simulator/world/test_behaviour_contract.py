"""User models that are wrong in one way each: the contract's check of that rule must catch them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pytest

from simulator.engine.clock import simulate
from simulator.engine.log import EventLog
from simulator.engine.snapshot import genesis
from simulator.world.behaviour import Behaviour, BehaviourError, Responses, UtilityBehaviour
from simulator.world.behaviour_contract import CheckedBehaviour
from simulator.world.state import UserState
from tests.simulator.engine.worlds import DAY, first_model, service, small_world

WORLD = small_world()
SERVICE = service("uniform")


@dataclass(frozen=True, eq=False)
class Bent:
    """The standard user model, each answer of which may be bent."""

    bend_begin: Callable[[UserState], Any] = lambda state: state
    bend_respond: Callable[[Responses, UserState], Any] = lambda responses, state: responses
    bend_advance: Callable[[UserState, Any], Any] = lambda state, users: None

    def begin(self, world: Any) -> Any:
        return self.bend_begin(UtilityBehaviour().begin(world))

    def respond(self, world: Any, state: UserState, users: Any, tick: Any, item: Any) -> Any:
        return self.bend_respond(UtilityBehaviour().respond(world, state, users, tick, item), state)

    def advance(self, world: Any, state: UserState, users: Any, tick: Any, item: Any, responses: Responses) -> None:
        UtilityBehaviour().advance(world, state, users, tick, item, responses)
        self.bend_advance(state, users)


def lived(behaviour: Behaviour) -> EventLog:
    start = genesis(WORLD, behaviour, 0, first_model(SERVICE, WORLD))
    return simulate(WORLD, behaviour, SERVICE, start, DAY).log


def with_value(name: str, value: Any, slot: int = 0) -> Callable[[Responses, UserState], Responses]:
    def bend(responses: Responses, _: UserState) -> Responses:
        column = getattr(responses, name).copy()
        column[(0,) if column.ndim == 1 else (0, slot)] = value
        return replace(responses, **{name: column})

    return bend


def only_first_slot(responses: Responses, _: UserState) -> Responses:
    """Nobody looks further than the first slot, but somebody dwells on the last one."""
    rest = np.arange(responses.feedback.shape[1]) > 0
    first = {name: np.where(rest, 0, getattr(responses, name)) for name in ("feedback", "dislike_probability")}
    kept = {name: column.astype(getattr(responses, name).dtype) for name, column in first.items()}
    return replace(responses, **kept, n_examined=np.ones_like(responses.n_examined))


def set_rows(name: str, value: Any) -> Callable[[UserState, Any], None]:
    def bend(state: UserState, users: Any) -> None:
        getattr(state, name)[users] = value

    return bend


def test_the_checks_change_nothing_and_pass_the_standard_model() -> None:
    bare, checked = lived(UtilityBehaviour()), lived(CheckedBehaviour("mine", UtilityBehaviour()))
    assert len(bare) > 0
    for name in EventLog.DTYPES:
        np.testing.assert_array_equal(getattr(bare, name), getattr(checked, name))


@pytest.mark.parametrize(
    ("bend", "message"),
    [
        (lambda r, _: None, "respond: got NoneType, expected Responses"),
        (lambda r, s: s.mood.__setitem__(0, 1), r"respond failed at test_.*\.py:\d+: ValueError: .*read-only"),
        (lambda r, _: replace(r, feedback=r.feedback.astype(int)), r"feedback: got int64\[\d, 4\], expected uint8"),
        (lambda r, _: replace(r, n_examined=r.n_examined[:3]), r"n_examined: got int32\[3\], expected int32\[\d\]"),
        (lambda r, _: replace(r, displeased=[]), r"displeased: got list, expected bool\[\d, 4\]"),
        (with_value("n_examined", 0), "n_examined: user 0, session 0, step 0: got 0, expected 1 to 4 slots"),
        (with_value("n_examined", 5), "n_examined: user 0, session 0, step 0: got 5, expected 1 to 4 slots"),
        (with_value("feedback", 65), "feedback: user 0, .* slot 0: got 65, expected a combination of Feedback flags"),
        (with_value("feedback", 7), "feedback: user 0, .* slot 0: got 7, expected not both LONG_DWELL and SKIP"),
        (with_value("feedback", 2), "n_examined: user 0, .* as many slots as have the flag EXAMINED"),
        (only_first_slot, "dwell_seconds: user .* slot .*expected 0 where the user did not look"),
        (with_value("dwell_seconds", np.nan), "dwell_seconds: user 0, .*: got nan, expected a finite number"),
        (with_value("dwell_seconds", -1), "dwell_seconds: user 0, .*: got -1.0, expected a finite number"),
        (with_value("done_after", 0), "done_after: user 0, .* slot 0: got 0, expected at least 1 tick"),
        (with_value("done_after", 1, slot=3), "done_after: user 0, .* slot 3: got 1, expected .* slot before"),
        (with_value("dislike_probability", 1.5), "dislike_probability: .* slot 0: got 1.5, expected a chance in"),
        (with_value("dislike_probability", np.nan), "dislike_probability: .* slot 0: got nan, expected a chance in"),
    ],
)  # fmt: skip
def test_wrong_responses_are_refused(bend: Callable[[Responses, UserState], Any], message: str) -> None:
    with pytest.raises(BehaviourError, match=f"^behaviour 'mine': (respond: )?{message}"):
        lived(CheckedBehaviour("mine", Bent(bend_respond=bend)))


@pytest.mark.parametrize("column", ["displeased", "dislike_probability"])
def test_what_is_felt_about_an_unseen_item_is_refused(column: str) -> None:
    def bend(responses: Responses, _: UserState) -> Responses:
        values = getattr(responses, column).copy()
        values[responses.feedback == 0] = 1
        return replace(responses, **{column: values})

    with pytest.raises(BehaviourError, match=f"{column}: user .*expected (0|False) where the user did not look"):
        lived(CheckedBehaviour("mine", Bent(bend_respond=bend)))


@pytest.mark.parametrize(
    ("bend", "message"),
    [
        (set_rows("step", 9), "advance: step: user 0, session 0, step 0: got 9, expected the next step"),
        (set_rows("session", 9), "advance: step: user 0, session 0, step 0: got .*, expected the next step"),
        (set_rows("wake_tick", 0), "advance: wake_tick: user 0, .*: got 0, expected no request before"),
        (set_rows("satisfaction", np.nan), "advance: satisfaction: user 0, .*: got nan, expected a finite number"),
        (lambda s, _: setattr(s, "mood", s.mood.astype(float)), r"advance: mood: got float64\[6\], expected float32"),
        (lambda s, _: {}["x"], r"advance failed at test_behaviour_contract.py:\d+: KeyError: 'x'"),
    ],
)  # fmt: skip
def test_a_wrong_state_after_a_request_is_refused(bend: Callable[[UserState, Any], Any], message: str) -> None:
    with pytest.raises(BehaviourError, match=f"^behaviour 'mine': {message}"):
        lived(CheckedBehaviour("mine", Bent(bend_advance=bend)))


@pytest.mark.parametrize(
    ("bend", "message"),
    [
        (lambda s: 3, "begin: got int, expected UserState"),
        (lambda s: replace(s, wake_tick=s.wake_tick - 10**12), "begin: wake_tick: user 0, .*expected 0 or more"),
        (lambda s: replace(s, taste=s.taste[:, :2]), r"begin: taste: got float32\[6, 2\], expected float32\[6, 5\]"),
        (lambda s: replace(s, session=s.session[:2]), r"begin: session: got int32\[2\], expected int32\[6\]"),
    ],
)
def test_a_wrong_beginning_is_refused(bend: Callable[[UserState], Any], message: str) -> None:
    with pytest.raises(BehaviourError, match=f"^behaviour 'mine': {message}"):
        lived(CheckedBehaviour("mine", Bent(bend_begin=bend)))


@dataclass
class RememberingState(UserState):
    """Counts requests: a column of the user model's own."""

    requests: np.ndarray


def test_a_user_model_may_keep_columns_of_its_own() -> None:
    def remember(state: UserState) -> RememberingState:
        columns = {field.name: getattr(state, field.name) for field in fields(state)}
        return RememberingState(**columns, requests=np.zeros(state.n_users, np.int64))

    def count(state: Any, users: Any) -> None:
        state.requests[users] += 1

    behaviour = CheckedBehaviour("mine", Bent(bend_begin=remember, bend_advance=count))
    start = genesis(WORLD, behaviour, 0, first_model(SERVICE, WORLD))
    end = simulate(WORLD, behaviour, SERVICE, start, DAY)
    requests = np.bincount(end.log.user[end.log.slot == 0], minlength=6)
    np.testing.assert_array_equal(end.end.users.requests, requests)  # type: ignore[attr-defined]
    assert start.users.requests.sum() == 0  # type: ignore[attr-defined]
