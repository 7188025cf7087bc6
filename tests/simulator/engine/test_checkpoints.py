"""What is kept of a simulation, and that going on from there changes no row."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pytest

from simulator.engine import checkpoints
from simulator.engine.checkpoint_files import CheckpointFiles
from simulator.engine.checkpoints import MOST_SHARE, Period, Stages, StoppedError
from simulator.engine.log import EventLog
from simulator.engine.packing import CheckpointError, ForeignCheckpointError
from simulator.engine.snapshot import equal, genesis
from simulator.world.behaviour import UtilityBehaviour
from simulator.world.state import UserState
from tests.simulator.engine.test_engine import run, same_rows
from tests.simulator.engine.worlds import DAY, first_model, service, small_world

BEHAVIOUR = UtilityBehaviour()
SHA = "0" * 64


@dataclass
class Grudging(UserState):
    """Users of a model that remembers more."""

    grudge: np.ndarray
    since: np.ndarray


def grudging() -> Grudging:
    plain = BEHAVIOUR.begin(small_world())
    columns = {f.name: getattr(plain, f.name) for f in fields(plain)}
    n = plain.n_users
    return Grudging(**columns, grudge=np.linspace(0, 1, n), since=np.full(n, np.datetime64("2026-01-01", "s")))


def stages(folder: Path, period: Period | None = None) -> Stages:
    return Stages(CheckpointFiles(folder, SHA), period or Period(), arm="arm")


class Asking:
    """Asks a run to stop when it has been looked at so many times."""

    def __init__(self, times: int) -> None:
        self.times = times

    def __call__(self) -> bool:
        self.times -= 1
        return self.times < 0


@pytest.mark.parametrize("name", ["responsive", "growing"])
def test_a_simulation_stopped_again_and_again_gives_the_log_of_one_go(tmp_path: Path, name: str) -> None:
    world, built = small_world(users=20), service(name, retrain_every="7h", training_delay="2h", ingestion_delay="1h")
    whole = run(world, built, 3 * DAY)
    for goes in range(100):
        try:
            found = run(world, built, 3 * DAY, checkpoint=stages(tmp_path, Period(asked=Asking(2))).checkpoint("stage"))
        except StoppedError:
            assert goes < 99
            continue
        assert goes > 3
        break
    assert same_rows(found.log, whole.log)
    assert same_rows(found.end.log, whole.end.log)
    assert equal(found.end, whole.end)
    assert [d.tick for d in found.end.deployments] == [d.tick for d in whole.end.deployments]


def test_checkpoints_on_the_way_change_no_row_and_two_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.engine.checkpoints.MOST_SHARE", 1e9)
    world, built = small_world(users=20), service(retrain_every="7h")
    found = run(world, built, 3 * DAY, checkpoint=stages(tmp_path, Period(1e-9)).checkpoint("stage"))
    assert same_rows(found.log, run(world, built, 3 * DAY).log)
    assert len(list(tmp_path.glob("stage/*.json"))) == 2


def test_a_checkpoint_writes_the_rows_since_the_last_one_alone(tmp_path: Path) -> None:
    world, built = small_world(users=20), service()
    parts = []
    start = genesis(world, BEHAVIOUR, 12, first_model(built, world))
    for _ in range(3):
        with pytest.raises(StoppedError):
            run(world, built, 9 * DAY, start, checkpoint=stages(tmp_path, Period(asked=Asking(0))).checkpoint("stage"))
        parts.append({p.name: p.stat().st_mtime_ns for p in tmp_path.glob("stage/*.parquet")})
    assert [len(p) for p in parts] == [1, 2, 3]
    assert parts[0].items() <= parts[1].items() <= parts[2].items()


def test_users_of_any_model_come_back_bit_for_bit(tmp_path: Path) -> None:
    files, users = CheckpointFiles(tmp_path, SHA), grudging()
    files.write("a", {"users": users, "weight": np.asfortranarray(np.eye(3)), "none": None}, arm="arm", seconds=1.5)
    kept = files.read("a", users)
    assert kept is not None
    assert kept.seconds == 1.5
    for f in fields(users):
        assert getattr(kept.value["users"], f.name).dtype == getattr(users, f.name).dtype
        assert getattr(kept.value["users"], f.name).tobytes() == getattr(users, f.name).tobytes()
    assert kept.value["weight"].flags.f_contiguous
    assert kept.value["weight"].flags.writeable


def test_what_is_of_another_scenario_or_user_model_is_refused(tmp_path: Path) -> None:
    CheckpointFiles(tmp_path, SHA).write("a", grudging(), arm="arm", seconds=0)
    with pytest.raises(ForeignCheckpointError, match=r"a\.json: .*another scenario"):
        CheckpointFiles(tmp_path, "1" * 64).read("a", grudging())
    with pytest.raises(ForeignCheckpointError, match=r"a\.json: users: got those of .*Grudging"):
        CheckpointFiles(tmp_path, SHA).read("a", BEHAVIOUR.begin(small_world()))
    more = BEHAVIOUR.begin(small_world(users=7))
    columns = {f.name: getattr(more, f.name) for f in fields(more)}
    seven = Grudging(**columns, grudge=np.zeros(7), since=np.zeros(7))
    with pytest.raises(ForeignCheckpointError, match=r"users\.wake_tick: got int64\[6\], expected int64\[7\]"):
        CheckpointFiles(tmp_path, SHA).read("a", seven)


@pytest.mark.parametrize("value", [np.array([object()]), object(), {1: 2}])
def test_what_no_file_can_hold_is_refused_when_it_is_kept(tmp_path: Path, value: object) -> None:
    with pytest.raises(CheckpointError, match=r"a\.json: /x: got "):
        CheckpointFiles(tmp_path, SHA).write("a", {"x": value}, arm="arm", seconds=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ["json", "safetensors", "parquet"])
def test_a_damaged_newest_checkpoint_is_told_and_the_one_before_it_used(
    tmp_path: Path, ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    world, built = small_world(users=20), service(retrain_every="7h")
    for _ in range(3):
        with pytest.raises(StoppedError):
            run(world, built, 9 * DAY, checkpoint=stages(tmp_path, Period(asked=Asking(0))).checkpoint("stage"))
    newest = max((tmp_path / "stage").glob(f"*.{ending}"), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:-7])
    with caplog.at_level(logging.WARNING):
        found = run(world, built, 9 * DAY, checkpoint=stages(tmp_path).checkpoint("stage"))
    assert str(newest) in caplog.text
    assert "going on from the one before, stage/000002" in caplog.text
    assert same_rows(found.log, run(world, built, 9 * DAY).log)


def test_a_finished_stage_is_done_once(tmp_path: Path) -> None:
    log, calls = EventLog.empty(), []

    def make() -> dict[str, object]:
        calls.append(1)
        return {"log": log, "number": 3}

    first = stages(tmp_path).once("a", make)
    again = stages(tmp_path).once("a", make)
    assert (len(calls), again["number"], first["number"]) == (1, 3, 3)
    (tmp_path / "a.json").write_text("{}")
    stages(tmp_path).once("a", make)
    assert len(calls) == 2


def test_all_checkpoints_together_take_no_more_than_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(checkpoints, "monotonic", lambda: now)
    period, spent, kept_at = Period(10.0, _began=0.0, _last=0.0), 0.0, []
    for _ in range(3_000):
        now += 1
        if period.due():
            began, cost = now, 0.1 if now < 100 else 1.5
            now += cost
            spent += cost
            period.kept(began)
            kept_at.append(began)
            assert spent <= MOST_SHARE * now or kept_at[-1] < 110  # how dear the next one is cannot be known
    assert kept_at[:2] == [10.0, pytest.approx(20.1)]
    assert len(kept_at) > 30


def test_a_stage_that_is_soon_done_again_is_not_kept(tmp_path: Path) -> None:
    calls: list[int] = []
    for least_seconds in (60.0, 0.0, 60.0):
        stages(tmp_path).once("a", lambda: calls.append(1), least_seconds=least_seconds)
    assert len(calls) == 2


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = CheckpointFiles(tmp_path, SHA)
    files.write("a", {"x": np.arange(3)}, arm="arm", seconds=0)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("simulator.engine.checkpoint_files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write("a", {"x": np.arange(4)}, arm="arm", seconds=0)
    kept = files.read("a")
    assert kept is not None
    assert kept.value["x"].tolist() == [0, 1, 2]
    assert not list(tmp_path.glob(".*"))
