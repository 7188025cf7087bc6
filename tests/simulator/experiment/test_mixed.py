"""The mixed world against the plain one: what one shared world must have in common with a world of one arm."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders.base import Feedback
from simulator.engine.cells import cut_population
from simulator.engine.checkpoint_files import CheckpointFiles
from simulator.engine.checkpoints import Period, Stages, StoppedError
from simulator.engine.clock import Pace, Workplace, simulate
from simulator.engine.log import EventLog, FeedbackLog
from simulator.engine.log_parts import StreamedLog, read_cells
from simulator.engine.snapshot import Snapshot, deploy, genesis
from simulator.executors.remote import Elsewhere
from simulator.experiment.assignment import Stretch, assign
from simulator.experiment.mixed import MixedArm, MixedState, simulate_mixed
from simulator.scenario.ab_tests import HOLDOUT, MixedABTest, SplitABTest, SwitchbackABTest
from simulator.world.behaviour import UtilityBehaviour
from simulator.world.world import World
from tests.simulator.engine.worlds import DAY, HOUR, first_model, service, small_world
from tests.simulator.executors.mortals import deadly

BEHAVIOUR = UtilityBehaviour()
WARM_UP = 10 * HOUR
LENGTH = 24 * HOUR


def split(**keys: object) -> SplitABTest:
    return SplitABTest.model_validate({"design": "split", "duration": "1d", **keys})


def same_rows(a: EventLog, b: EventLog) -> bool:
    return all(
        np.array_equal(getattr(a, n), getattr(b, n), equal_nan=d.kind == "f") for n, d in EventLog.DTYPES.items()
    )


@dataclass(frozen=True)
class Setting:
    """A world at the end of its warm-up, and how arms are served there."""

    world: World
    start: Snapshot
    platform: dict[str, object]

    def arm(self, name: str, recommender: str, **platform: object) -> MixedArm:
        built = service(recommender, **{**self.platform, **platform})
        fitted = built.build()
        log = self.start.log.interactions(self.start.tick - built.platform.ingestion_delay + 1)
        fitted.fit(log, self.world.catalogue.features, seed=0)
        return MixedArm(replace(built, arm=name, retrain_from=self.start.tick), dict(fitted.state_dict()))

    def alone(self, arm: MixedArm) -> EventLog:
        """The arm's own world, as a paired test has it."""
        start = deploy(self.start, arm.model)
        return simulate(self.world, BEHAVIOUR, arm.service, start, start.tick + LENGTH).log

    def stretches(self, design: MixedABTest, *names: str) -> tuple[Stretch, ...]:
        n_users, start = self.world.population.n_users, self.start.tick
        return assign(design, names, names[0], draws=self.world.draws, n_users=n_users, start_tick=start).stretches

    def mixed(self, design: MixedABTest, *arms: MixedArm, pace: Pace | None = None) -> dict[str, EventLog]:
        names = [arm.service.arm for arm in arms if arm.service.arm != HOLDOUT]
        stretches = self.stretches(design, *names)
        pooled = design.training == "pooled"
        return simulate_mixed(self.world, BEHAVIOUR, arms, self.start, stretches, pooled=pooled, pace=pace)


@st.composite
def worlds(draw: st.DrawFn, retrains: bool | None = None) -> Setting:
    released_share, lifetime = draw(st.sampled_from([(1.0, None), (0.6, "30h")]))
    world = small_world(
        users=draw(st.integers(2, 10)), items=30, seed=draw(st.integers(0, 2**40)), released_share=released_share,
        lifetime=lifetime, horizon=WARM_UP + LENGTH,
    )  # fmt: skip
    every = ["5h", "1d", "7h"] if retrains else [None] if retrains is False else [None, "5h", "7h"]
    platform: dict[str, object] = {
        "ingestion_delay": draw(st.sampled_from(["0s", "45s", "2h"])),
        "retrain_every": draw(st.sampled_from(every)),
        "training_delay": draw(st.sampled_from(["0s", "90m", "6h"])),
        "release_every": draw(st.sampled_from(["6h", "1d"])),
    }
    warm = service("uniform", **{**platform, "retrain_every": None})
    begin = genesis(world, BEHAVIOUR, 12, first_model(warm, world))
    return Setting(world, simulate(world, BEHAVIOUR, warm, begin, WARM_UP).end, platform)


trainings = st.sampled_from(["own", "pooled"])


@st.composite
def designs(draw: st.DrawFn, *names: str) -> MixedABTest:
    """Any design over a day; names are those of the arms."""
    if draw(st.booleans()):
        period = draw(st.sampled_from(["2h", "3h", "6h"]))
        return SwitchbackABTest.model_validate(
            {"design": "switchback", "period": period, "duration": "1d", "training": draw(trainings)}
        )
    share = draw(st.integers(1, 9)) / 10
    ramp = draw(st.sampled_from([[], [{"after": "3h", "treated_share": 0.4}, {"after": "9h", "treated_share": 1}]]))
    return split(shares={names[0]: share, names[1]: 1 - share}, ramp=ramp, training=draw(trainings))


@settings(max_examples=20)
@given(worlds(), st.sampled_from(["responsive", "growing"]), trainings)
def test_an_arm_with_all_users_lives_as_in_its_own_world(setting: Setting, recommender: str, training: str) -> None:
    arm, other = setting.arm("a", recommender), setting.arm("b", "uniform")
    design = split(shares={"a": 1.0}, training=training)
    logs = setting.mixed(design, arm, other)
    assert len(logs["b"]) == 0
    assert same_rows(logs["a"], setting.alone(arm))


@settings(max_examples=20)
@given(worlds(retrains=False), designs("a", "b"))
def test_equal_arms_without_retraining_serve_one_plain_world_between_them(
    setting: Setting, design: MixedABTest
) -> None:
    logs = setting.mixed(design, setting.arm("a", "responsive"), setting.arm("b", "responsive"))
    assert same_rows(EventLog.merge(list(logs.values())), setting.alone(setting.arm("a", "responsive")))


@settings(max_examples=20)
@given(worlds(retrains=True), designs("a", "b"))
def test_equal_arms_that_train_on_everybodys_feedback_serve_one_plain_world(
    setting: Setting, design: MixedABTest
) -> None:
    design = design.model_copy(update={"training": "pooled"})
    logs = setting.mixed(design, setting.arm("a", "growing"), setting.arm("b", "growing"))
    assert same_rows(EventLog.merge(list(logs.values())), setting.alone(setting.arm("a", "growing")))


@settings(max_examples=12)
@given(worlds(retrains=True), designs("a", "b"))
def test_each_arm_retrains_at_its_own_times(setting: Setting, design: MixedABTest) -> None:
    arm = setting.arm("a", "growing")
    never, often = (setting.arm("b", "growing", retrain_every=every) for every in (None, "3h"))
    one, other = (setting.mixed(design.model_copy(update={"training": "own"}), arm, b) for b in (never, often))
    first = WARM_UP + 3 * HOUR
    assert same_rows(one["b"].between(0, first), other["b"].between(0, first))
    everybody = split(shares={"a": 1.0})
    assert same_rows(setting.mixed(everybody, arm, often)["a"], setting.alone(arm))


@settings(max_examples=20)
@given(worlds(retrains=True), st.integers(1, 9))
def test_an_arm_that_trains_on_its_own_users_does_not_depend_on_the_other(setting: Setting, share: int) -> None:
    design = split(shares={"a": share / 10, "b": 1 - share / 10})
    arm = setting.arm("a", "growing")
    found = [setting.mixed(design, arm, setting.arm("b", other))["a"] for other in ("uniform", "greedy", "responsive")]
    assert same_rows(found[0], found[1])
    assert same_rows(found[0], found[2])


@settings(max_examples=12)
@given(worlds(), designs("a", "b"), st.sampled_from([None, 1_000_000, 3 * HOUR]))
def test_pace_changes_no_row_and_logs_are_in_order(
    setting: Setting, design: MixedABTest, look_ahead: int | None
) -> None:
    arms = setting.arm("a", "growing"), setting.arm("b", "uniform")
    logs = setting.mixed(design, *arms)
    paced = setting.mixed(design, *arms, pace=Pace(3, look_ahead))
    for name, log in logs.items():
        assert same_rows(log, paced[name])
        assert (np.lexsort((log.slot, log.user, log.tick)) == np.arange(len(log))).all()


@settings(max_examples=12)
@given(worlds(), designs("a", "b"))
def test_every_row_is_served_by_the_arm_that_the_plan_says(setting: Setting, design: MixedABTest) -> None:
    logs = setting.mixed(design, setting.arm("a", "responsive"), setting.arm("b", "uniform"))
    for stretch in setting.stretches(design, "a", "b"):
        for i, name in enumerate(("a", "b")):
            assert (stretch.arm[logs[name].between(stretch.start_tick, stretch.end_tick).user] == i).all()


def test_training_on_everybodys_feedback_reaches_the_other_arm() -> None:
    """The interference that a pooled split has: one arm's model depends on what the other shows."""
    world = small_world(users=20, horizon=WARM_UP + LENGTH)
    warm = service("uniform")
    start = simulate(world, BEHAVIOUR, warm, genesis(world, BEHAVIOUR, 12, first_model(warm, world)), WARM_UP).end
    setting = Setting(world, start, {"retrain_every": "5h"})
    design = split(training="pooled")
    arm = setting.arm("a", "responsive")
    one, other = (setting.mixed(design, arm, setting.arm("b", name))["a"] for name in ("uniform", "greedy"))
    assert same_rows(one.between(0, WARM_UP + 5 * HOUR), other.between(0, WARM_UP + 5 * HOUR))
    assert not same_rows(one, other)


def test_a_holdout_keeps_its_model_while_the_control_retrains() -> None:
    world = small_world(users=30, horizon=WARM_UP + 2 * DAY)
    warm = service("uniform")
    start = simulate(world, BEHAVIOUR, warm, genesis(world, BEHAVIOUR, 12, first_model(warm, world)), WARM_UP).end
    setting = Setting(world, start, {"retrain_every": "5h"})
    control, holdout = setting.arm("a", "responsive"), setting.arm("holdout", "responsive", retrain_every=None)
    design = split(shares={"a": 1.0}, holdout=0.5)
    logs = setting.mixed(design, control, holdout)
    users = np.unique(logs["holdout"].user)
    assert len(users) > 5
    frozen = setting.alone(setting.arm("a", "responsive", retrain_every=None))
    assert same_rows(logs["holdout"], frozen.take(np.isin(frozen.user, users)))


def as_streamed(start: Snapshot) -> Snapshot:
    """The same moment where a sink has taken the log before it."""
    log = start.log.take((start.log.feedback & np.uint8(Feedback.EXAMINED)) != 0)
    kept = FeedbackLog(log.feedback_tick, log.user, log.slot, log.item, log.feedback, log.dwell_seconds)
    return replace(start, log=EventLog.empty(), feedback=kept)


@settings(max_examples=20, deadline=None)
@given(
    worlds(), designs("a", "b"), st.integers(1, 4), st.integers(1, 3), st.integers(1, 60), st.integers(0, 2**32),
    st.integers(0, 40),
)  # fmt: skip
def test_streamed_logs_are_those_in_memory_whoever_dies_and_wherever_it_stops(
    setting: Setting, design: MixedABTest, cell_users: int, n_workers: int, part_rows: int, seed: int, stop_after: int
) -> None:
    arms = setting.arm("a", "growing"), setting.arm("b", "responsive")
    whole = setting.mixed(design, *arms)
    stretches, cells = setting.stretches(design, "a", "b"), cut_population(setting.world.population.n_users, cell_users)
    asked = iter([False] * stop_after + [True])
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulator.engine.log_parts._LEAST_ROWS", 1)
        for n, stop in ((n_workers, lambda: next(asked, False)), (2, lambda: False)):
            spread = [
                replace(
                    arm,
                    service=replace(arm.service, workplace=Workplace(Elsewhere(deadly(seed + n, n)))),
                    sinks=StreamedLog(Path(name, arm.service.arm), arm.service.arm, cells, part_rows),
                )
                for arm in arms
            ]
            files = CheckpointFiles(Path(name, "checkpoints"), "0" * 64, (MixedState,))
            try:
                found = simulate_mixed(
                    setting.world, BEHAVIOUR, spread, as_streamed(setting.start), stretches,
                    pooled=design.training == "pooled",
                    checkpoint=Stages(files, Period(0.0, stop)).checkpoint("ab_test"),
                )  # fmt: skip
                break
            except StoppedError:
                continue
        read = {
            arm: [log for _, log in read_cells(Path(name, arm))] if Path(name, arm).is_dir() else [] for arm in whole
        }
    assert not any(map(len, found.values()))
    for arm, log in whole.items():
        assert same_rows(EventLog.merge(read[arm]), log)
