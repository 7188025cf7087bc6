"""The stages of a run, kept as they are finished, and how far a long one has come: a run can go on after a stop.

A stage is a pure function of what came before it. What is kept of it therefore changes nothing but the time that a run
takes: where it is lost or damaged, the stage is done again, from an earlier checkpoint or from its beginning.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

from simulator.engine.checkpoint_files import CheckpointFiles, Kept
from simulator.engine.log import EventLog
from simulator.engine.packing import CheckpointError, ForeignCheckpointError
from simulator.engine.snapshot import Snapshot
from simulator.scenario.durations import TICKS_PER_DAY
from simulator.world.state import UserState

MOST_SHARE = 0.02
"""Of a run's time, that checkpoints may take: where one takes long, they become rarer."""
_KEPT = 2
"""Checkpoints of a stage that is under way; the older one is for the case that the newer one is damaged."""
_STRETCH_SECONDS = (2.0, 8.0)
"""Wall clock that a stretch between two chances to stop should take: less is stretched, more is cut."""

SimulationState = tuple[Snapshot, tuple[EventLog, ...]]
"""A world, with an empty log, and the parts of its log since the simulation began."""
T = TypeVar("T")
_log = logging.getLogger(__name__)


class StoppedError(KeyboardInterrupt):
    """The run was asked to stop, and did so where everything it had come to is kept."""


def never() -> bool:
    """Nobody asks to stop."""
    return False


@dataclass
class Period:
    """When the next checkpoint is due.

    Attributes:
        seconds: of wall clock between two of them; None: only where the run is asked to stop.
        asked: whether it is.
    """

    seconds: float | None = None
    asked: Callable[[], bool] = never
    _began: float = field(default_factory=monotonic)
    _last: float = field(default_factory=monotonic)
    _cost: float = 0.0
    _spent: float = 0.0

    def due(self) -> bool:
        """Whether the time has come, and another one as dear as the last would leave all of them within their share."""
        if self.seconds is None:
            return False
        now = monotonic()
        return now - self._last >= self.seconds and self._spent + self._cost <= MOST_SHARE * (now - self._began)

    def kept(self, since: float) -> None:
        """A checkpoint that was begun at a moment, before its state was brought together, is written."""
        self._last = monotonic()
        self._cost = self._last - since
        self._spent += self._cost


@dataclass
class Stages:
    """Where the finished stages of a run are kept.

    Attributes:
        files: None: nowhere.
        period: of checkpoints within a stage.
        place: folder within that of the files.
        arm: whose stages; `place` may say more.
        under_way: the stage that was begun last; empty before the first.
        took: stage -> seconds of wall clock, those before a stop included.
    """

    files: CheckpointFiles | None = None
    period: Period = field(default_factory=Period)
    place: str = ""
    arm: str = ""
    under_way: str = ""
    took: dict[str, float] = field(default_factory=dict)
    _before: dict[str, float] = field(default_factory=dict)
    _waiting: list[Callable[[], None]] = field(default_factory=list)

    def within(self, place: str, arm: str) -> Stages:
        """Those of a part of the run, such as one arm."""
        return replace(self, place=f"{self.place}{place}/", arm=arm, under_way="", took={}, _before={})

    def elsewhere(self) -> Stages:
        """The same for another process: what waits to be kept waits here."""
        return replace(self, _waiting=[])

    def once(
        self,
        name: str,
        make: Callable[[], T],
        *,
        like: Callable[[], UserState] | None = None,
        least_seconds: float = 0.0,
        at_a_stop: bool = False,
    ) -> T:
        """The result of a stage: read if it is kept, else made, and kept.

        Args:
            name: of the stage, once in a run.
            make: does it.
            like: gives users of the same model, where the result has any.
            least_seconds: what took less is not kept, as it is soon done again.
            at_a_stop: but by `keep_waiting` it is.

        Raises:
            StoppedError: the run is asked to stop.
            ForeignCheckpointError: what is kept is of another scenario, version, or user model.
            OSError: the result cannot be kept.
        """
        self.stop_if_asked()
        self.under_way = name
        kept = self._read(self.place + name, like, "the stage is done again")
        if kept is not None:
            self.took[name] = kept.seconds
            result: T = kept.value
            return result
        clock = monotonic()
        result = make()
        self.took[name] = monotonic() - clock + self._before.pop(name, 0.0)
        if self.took[name] >= least_seconds:
            self._keep(name, result)
        elif at_a_stop:
            self._waiting.append(lambda: self._keep(name, result))
        return result

    def keep_waiting(self) -> None:
        """Keep what was not worth it while the run went on, now that it stops.

        Raises:
            OSError: it cannot be kept.
        """
        while self._waiting:
            self._waiting.pop()()

    def _keep(self, name: str, result: object) -> None:
        if self.files is not None:
            self.files.write(self.place + name, result, arm=self.arm, seconds=self.took[name])
            shutil.rmtree(self.files.folder / (self.place + name), ignore_errors=True)

    def checkpoint(self, name: str) -> Checkpoint:
        """Of a stage that may take long."""
        return Checkpoint(self, name)

    def stop_if_asked(self) -> None:
        """Stop between two stages.

        Raises:
            StoppedError: the run is asked to.
        """
        if self.period.asked():
            raise StoppedError

    @property
    def worth_seconds(self) -> float:
        """What a small step of a stage must have taken to be worth keeping."""
        return float("inf") if self.period.seconds is None else self.period.seconds / 10

    def _read(self, name: str, like: Callable[[], UserState] | None, instead: str) -> Kept | None:
        if self.files is None or not self.files.has(name):
            return None
        try:
            return self.files.read(name, None if like is None else like())
        except ForeignCheckpointError:
            raise
        except CheckpointError as error:
            _log.warning("%s; %s", error, instead)
            return None


@dataclass
class Checkpoint:
    """How far a stage that is under way has come; of a stage that is kept nowhere, it does nothing.

    A simulation gives `reached` its state after each stretch, which `cut` may have shortened: look-ahead never changes
    a row of the log.

    Attributes:
        stages: where it is kept.
        name: of the stage.
    """

    stages: Stages
    name: str
    _count: int = 0
    _began: float = field(default_factory=monotonic)
    _look_ahead: int = TICKS_PER_DAY
    _stretch_began: float | None = None

    def resume(self, start: Snapshot) -> tuple[Snapshot, tuple[EventLog, ...]]:
        """Where a simulation goes on, and the parts of its log up to there; the start, where nothing is kept.

        Raises:
            ForeignCheckpointError: what is kept is of another scenario, version, or user model.
        """
        return _going_on(start, self.load(start.users))

    def load(self, like: UserState) -> Any:
        """The newest state that is whole; None without one.

        Args:
            like: users of the same model.

        Raises:
            ForeignCheckpointError: what is kept is of another scenario, version, or user model.
        """
        if self.stages.files is None:
            return None
        names = self.stages.files.names(self._place)
        for left, name in reversed(list(enumerate(names))):
            instead = f"going on from the one before, {names[left - 1]}" if left else "the stage begins anew"
            kept = self.stages._read(name, lambda: like, instead)
            if kept is not None:
                self._count = _number(name)
                self.stages._before[self.name] = kept.seconds
                return kept.value
        return None

    def cut(self, now: int, horizon: int) -> int:
        """Where the stretch that begins now ends, a global event or before: so that there is a chance to stop."""
        if self.stages.files is None:
            return horizon
        took = None if self._stretch_began is None else monotonic() - self._stretch_began
        if took is not None and took < _STRETCH_SECONDS[0]:
            self._look_ahead *= 2
        elif took is not None and took > _STRETCH_SECONDS[1]:
            self._look_ahead = max(1, self._look_ahead // 2)
        self._stretch_began = monotonic()
        return min(horizon, now + self._look_ahead)

    def reached(self, state: Callable[[], object]) -> None:
        """Keep a state if it is time; `state` is asked for it only then.

        Raises:
            StoppedError: the run is asked to stop; the state is kept.
            OSError: the state cannot be kept.
        """
        stopping = self.stages.period.asked()
        if stopping or self.stages.period.due():
            self._keep(state)
        if stopping:
            raise StoppedError

    def stop_if_asked(self, state: Callable[[], object]) -> None:
        """As `reached`, but a state is kept only if the run is asked to stop.

        Raises:
            StoppedError: it is.
            OSError: the state cannot be kept.
        """
        if self.stages.period.asked():
            self.reached(state)

    def _keep(self, state: Callable[[], object]) -> None:
        files = self.stages.files
        if files is None:
            return
        clock = monotonic()
        self._count += 1
        seconds = clock - self._began + self.stages._before.get(self.name, 0.0)
        name = f"{self._place}/{self._count:06d}"
        files.write(name, state(), arm=self.stages.arm, seconds=seconds)
        names = files.names(self._place)[-_KEPT:]
        files.remove_others(self._place, frozenset().union(*(files.files_of(each) for each in names)))
        self.stages.period.kept(clock)

    @property
    def _place(self) -> str:
        return self.stages.place + self.name


@dataclass
class PartCheckpoint:
    """How far a simulation has come that is a part of a stage.

    Attributes:
        whole: of the stage.
        kept: what was kept of the simulation; None where it begins.
        around: makes the stage's state from the simulation's.
    """

    whole: Checkpoint
    kept: SimulationState | None
    around: Callable[[SimulationState], object]

    def resume(self, start: Snapshot) -> tuple[Snapshot, tuple[EventLog, ...]]:
        """As of a stage."""
        return _going_on(start, self.kept)

    def cut(self, now: int, horizon: int) -> int:
        """As of a stage."""
        return self.whole.cut(now, horizon)

    def reached(self, state: Callable[[], SimulationState]) -> None:
        """As of a stage."""
        self.whole.reached(lambda: self.around(state()))

    def stop_if_asked(self, state: Callable[[], SimulationState]) -> None:
        """As of a stage."""
        self.whole.stop_if_asked(lambda: self.around(state()))


def _going_on(start: Snapshot, kept: SimulationState | None) -> SimulationState:
    if kept is None:
        return start, ()
    snapshot, parts = kept
    return replace(snapshot, log=EventLog.concatenate([start.log, *parts])), parts


def _number(name: str) -> int:
    text = Path(name).name
    return int(text) if text.isdecimal() else 0
