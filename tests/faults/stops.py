"""Runs that are killed, starved and damaged at random moments, and resumed; prints a table of what became of them.

    python -m tests.faults.stops --seed 1 --kills 200

Every run is of one of four small scenarios, of which two stream their logs. However it was stopped, and however often,
in the end its event logs and its `results.json` must be those of a run in one go, in one process; or a command must
have said what is wrong, and a later one go on.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from simulator.cli.shell import user_errors
from simulator.commands import components
from simulator.engine.log import EventLog
from simulator.engine.log_files import LogFileError, log_hash, read_log
from simulator.engine.log_parts import read_cells
from simulator.running import Labour, RunInterruptedError, resume_run, run_scenario

_WORLD = """
question: Does it go on?
expected: It does.
run_time: seconds
seed: 5
world:
  preset: lively
  catalogue: {items: 100, creators: 20, topics: 5}
  population: {users: 40}
platform: {slate_size: 6, retrain_every: 1d, training_delay: 2h}
warm_up: 1d
arms:
  - {name: blind, recommender: popularity}
  - name: ntr
    recommender: linear_recurrent
    config: {dim: 8, window: 12, epochs: 1, dislike_input: true, negative_weight: {dislike: 16}}
control: blind
metrics: [dislike_rate, dwell_per_user_day]
"""
_STREAMED = """
question: Does it go on?
expected: It does.
run_time: seconds
seed: 5
world:
  preset: lively
  catalogue: {items: 100, creators: 20, topics: 5}
  population: {users: 9000}
platform: {slate_size: 4, retrain_every: 3h, training_delay: 1h}
warm_up: 4h
arms:
  - {name: popular, recommender: popularity}
  - {name: warm, recommender: popularity, config: {temperature: 0.5}}
control: popular
metrics: [dislike_rate, dwell_per_user_day]
counterfactual: {runs: 20, prefix: lived, trigger_within: 4h, follow: 4h}
log: {stream: always}
execution: {cell_users: 2000}
"""
SCENARIOS = {
    "paired": _WORLD + "ab_test: {duration: 3d}\ncounterfactual: {runs: 30, k: 6, slate_size: 6}\n"
    "execution: {cell_users: 9}\n",
    "one world": _WORLD + "ab_test: {design: split, duration: 2d, training: pooled}\n"
    "counterfactual: {runs: 20, prefix: lived, follow: 1d}\n",
    "streamed": _STREAMED + "ab_test: {duration: 8h}\n",
    "one streamed world": _STREAMED + "ab_test: {design: split, duration: 8h, training: pooled}\n",
}
IN_MEMORY, STREAMED = ("paired", "one world"), ("streamed", "one streamed world")
_CHECKPOINT_SECONDS = 0.05
_DAMAGED_AT = 0.75
"""Of a run in one go: about when a run is stopped whose files are then damaged."""
_HANGS_SECONDS = 120.0
REFUSED, FAILED, STOPPED = 2, 70, 130
ALONE, TWO_JOBS, TWO_WORKERS = Labour(), Labour(jobs=2), Labour(workers=2)


@dataclass(frozen=True)
class Reference:
    """A run in one go, in one process: what it found, and the wall clock it took.

    Attributes:
        hashes: of the rows of each event log on the disk, however they are cut into files.
        told: of the event logs, by the manifest.
        results: the file.
        seconds: in one process.
        seconds_of_workers: another such run, with two workers.
    """

    hashes: dict[str, str]
    told: dict[str, str]
    results: bytes
    seconds: float
    seconds_of_workers: float


@dataclass
class Place:
    """Where one run is made.

    Attributes:
        scenario: one of `SCENARIOS`.
        folder: of the runs.
        said: file for what the last process says.
    """

    scenario: str
    folder: Path
    said: Path

    @property
    def run(self) -> Path:
        """The run's folder: the finished one, or else the unfinished one."""
        found = sorted(p for p in (self.folder / "small").glob("*") if not p.name.startswith("."))
        assert len(found) == 1, found
        return found[0]

    @property
    def is_begun(self) -> bool:
        return any(not p.name.startswith(".") for p in (self.folder / "small").glob("*"))

    @property
    def is_whole(self) -> bool:
        return self.is_begun and self.run.suffix != ".partial"

    def go(self, labour: Labour = ALONE) -> int:
        """Begin the run, or go on with it, in a process of its own; returns its id."""
        child = os.fork()
        if child:
            return child
        code = FAILED
        try:
            self.said.write_text("")
            with self.said.open("a") as said:  # what an earlier process still says stands beside it, not over it
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
                code = self._work(labour)
                sys.stderr.flush()
        finally:
            os._exit(code)

    def _work(self, labour: Labour) -> int:
        console = Console(file=sys.stderr)
        try:
            if self.is_begun:
                resume_run(self.run, labour=labour, console=console, checkpoint_seconds=_CHECKPOINT_SECONDS)
            else:
                loaded = components.load(str(self.folder / "small.yaml"))
                run_scenario(
                    loaded, out=self.folder, labour=labour, console=console, command="campaign",
                    checkpoint_seconds=_CHECKPOINT_SECONDS,
                )  # fmt: skip
        except RunInterruptedError as interruption:
            print(interruption, file=sys.stderr)
            return interruption.exit_code
        except Exception as error:
            if not isinstance(error, user_errors()):
                traceback.print_exc()
                return FAILED
            print(error, file=sys.stderr)
            return REFUSED
        return 0

    def output(self) -> str:
        """What the last process said."""
        return self.said.read_text(errors="replace")

    def finish(self, labour: Labour = ALONE) -> str:
        """Go on until the run is whole: `identical`, or what went wrong."""
        for _ in range(3):
            if self.is_whole:
                break
            code = wait(self.go(labour))
            if code == REFUSED:
                return f"refused: {self.output().strip()}"
            if code:
                return f"failed with {code}: {self.output().strip()}"
        return self.compare()

    def compare(self) -> str:
        """Whether the run that is whole equals the one in one go."""
        reference = REFERENCES[self.scenario]
        try:
            hashes = hashes_of(self.run)
        except LogFileError as error:
            return f"unreadable: {error}"
        if hashes != reference.hashes or (self.run / "results.json").read_bytes() != reference.results:
            return "different"
        return "identical" if told_by(self.run) == reference.told else "different manifest"

    def finish_after_workers(self, labour: Labour = ALONE) -> str:
        """As `finish`, while workers of a command that was killed may still hold the run for a moment."""
        outcome = self.finish(labour)
        for _ in range(100):
            if "still being written" not in outcome:
                break
            time.sleep(0.1)
            outcome = self.finish(labour)
        return outcome


REFERENCES: dict[str, Reference] = {}


def hashes_of(run: Path) -> dict[str, str]:
    """Hashes of the rows of all event logs of a run.

    Raises:
        LogFileError: one is damaged, or a part of it is missing.
    """
    logs = sorted((run / "events").iterdir())
    return {path.name.removesuffix(".parquet"): log_hash(read_rows(path)) for path in logs}


def read_rows(path: Path) -> EventLog:
    """An event log in one file, or a streamed one."""
    return EventLog.merge([rows for _, rows in read_cells(path)]) if path.is_dir() else read_log(path)


def told_by(run: Path) -> dict[str, str]:
    """Hashes of the event logs, as the manifest has them."""
    told: dict[str, str] = json.loads((run / "manifest.json").read_text())["log_sha256"]
    return told


def wait(child: int, seconds: float = _HANGS_SECONDS) -> int:
    """The exit code of a process; minus the signal that ended it; a process that hangs is killed."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -signal.SIGKILL


def ended_before(child: int, seconds: float) -> int | None:
    """The exit code of a process, if it ends before the time is over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    return None


@contextmanager
def new_place(scenario: str, folder: Path | None = None) -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="stops-", dir=folder) as made, tempfile.NamedTemporaryFile() as said:
        place = Path(made)
        (place / "small.yaml").write_text(SCENARIOS[scenario])
        yield Place(scenario, place, Path(said.name))


def make_references() -> None:
    importlib.import_module("torch._dynamo")  # an optimizer imports it when it is made, which takes each run seconds
    for scenario in SCENARIOS:
        with new_place(scenario) as place:
            clock = time.monotonic()
            code = wait(place.go())
            assert code == 0, place.output()
            seconds = time.monotonic() - clock
            results = (place.run / "results.json").read_bytes()
            reference = Reference(hashes_of(place.run), told_by(place.run), results, seconds, 0.0)
            REFERENCES[scenario] = reference
        with new_place(scenario) as place:
            clock = time.monotonic()
            outcome = place.finish(TWO_WORKERS)
            assert outcome == "identical", outcome
            REFERENCES[scenario] = replace(reference, seconds_of_workers=time.monotonic() - clock)


def pick(rng: np.random.Generator, among: tuple[str, ...] = IN_MEMORY) -> str:
    """One of some scenarios, with logs in memory where nothing else is said."""
    return among[int(rng.integers(len(among)))]


Trial = Callable[[np.random.Generator], Iterator[str]]
"""One run and what is done to it; yields an outcome for each fault, of which those that are `whole` are none."""


def killed(rng: np.random.Generator) -> Iterator[str]:
    """SIGKILL to a run, and to half of the goes that follow; the outcome of all is that of the run in the end."""
    yield from killed_in(pick(rng), rng)


def killed_streaming(rng: np.random.Generator) -> Iterator[str]:
    """The same, of a run that streams its logs."""
    yield from killed_in(pick(rng, STREAMED), rng)


def killed_in(scenario: str, rng: np.random.Generator) -> Iterator[str]:
    kills = 0
    with new_place(scenario) as place:
        while not place.is_whole:
            child = place.go()
            code = ended_before(child, float(rng.uniform(0, REFERENCES[place.scenario].seconds)))
            if code is None:
                os.kill(child, signal.SIGKILL)
                wait(child)
                kills += 1
            elif code:
                yield from [f"failed with {code}: {place.output().strip()}"] * max(kills, 1)
                return
            if kills and rng.random() < 0.5:
                break
        outcome = place.finish()
        yield from [outcome] * kills


def signalled(rng: np.random.Generator) -> Iterator[str]:
    """SIGINT or SIGTERM once or twice; the exit code says which, and the command says how to go on."""
    with new_place(pick(rng)) as place:
        number = (signal.SIGINT, signal.SIGTERM)[int(rng.integers(2))]
        child = place.go()
        code = ended_before(child, float(rng.uniform(0.05, REFERENCES[place.scenario].seconds)))
        if code is None:
            os.kill(child, number)
            code = ended_before(child, float(rng.uniform(0, 0.1))) if rng.random() < 0.3 else wait(child)
            if code is None:
                os.kill(child, number)
                code = wait(child)
            if code == 128 + number and "pushback resume" not in place.output():
                yield f"no command to go on: {place.output().strip()}"
                return
            if code not in (0, 128 + number, -number):  # before the run takes signals, they end the process
                yield f"exit code {code}: {place.output().strip()}"
                return
            yield place.finish()


def job_killed(rng: np.random.Generator) -> Iterator[str]:
    """SIGKILL to a worker of two that do arms."""
    with new_place("paired") as place:
        child = place.go(TWO_JOBS)
        if not kill_a_worker(child, float(rng.uniform(0, 2 * REFERENCES["paired"].seconds)), rng):
            wait(child)
            return
        code = wait(child)
        if code == REFUSED and "pushback resume" not in place.output():
            yield f"no command to go on: {place.output().strip()}"
        elif code in (0, REFUSED):
            yield place.finish()
        else:
            yield f"failed with {code}: {place.output().strip()}"


def command_of_jobs_killed(rng: np.random.Generator) -> Iterator[str]:
    """SIGKILL to the command while its two workers work: they end with it, and the lock with the last of them."""
    with new_place("paired") as place:
        child = place.go(TWO_JOBS)
        if ended_before(child, float(rng.uniform(1, 4 * REFERENCES["paired"].seconds))) is not None:
            return
        os.kill(child, signal.SIGKILL)
        wait(child)
        yield place.finish_after_workers()


def worker_killed(rng: np.random.Generator) -> Iterator[str]:
    """SIGKILL to a worker in which users live: another takes its place, and nobody has to go on with the run.

    Of a streamed run it may be one that computes metrics; then somebody has.
    """
    yield from worker_killed_in(pick(rng), rng)


def worker_killed_streaming(rng: np.random.Generator) -> Iterator[str]:
    """The same, of a run that streams its logs."""
    yield from worker_killed_in(pick(rng, STREAMED), rng)


def worker_killed_in(scenario: str, rng: np.random.Generator) -> Iterator[str]:
    with new_place(scenario) as place:
        child = place.go(TWO_WORKERS)
        if not kill_a_worker(child, float(rng.uniform(0, REFERENCES[scenario].seconds_of_workers)), rng):
            wait(child)
            return
        yield after_a_death(place, wait(child))


def after_a_death(place: Place, code: int) -> str:
    if code == 0:
        return place.compare()
    if code == REFUSED and "pushback resume" in place.output():
        return place.finish()
    return f"failed with {code}: {place.output().strip()}"


def command_of_workers_killed(rng: np.random.Generator) -> Iterator[str]:
    """SIGKILL to the command while users live in its two workers; another number of workers goes on."""
    yield from command_of_workers_killed_in(pick(rng), rng, with_a_worker=False)


def both_killed_streaming(rng: np.random.Generator) -> Iterator[str]:
    """The same, of a run that streams its logs and has, mostly, lost a worker before; at once, others go on."""
    yield from command_of_workers_killed_in(pick(rng, STREAMED), rng, with_a_worker=True)


def command_of_workers_killed_in(scenario: str, rng: np.random.Generator, with_a_worker: bool) -> Iterator[str]:
    with new_place(scenario) as place:
        child = place.go(TWO_WORKERS)
        seconds = float(rng.uniform(0.1, 1)) * REFERENCES[scenario].seconds_of_workers
        at = float(rng.uniform(0, seconds)) if with_a_worker else 0.0
        deaths = with_a_worker and kill_a_worker(child, at, rng)
        code = ended_before(child, seconds - at)
        if code is not None:
            if code:
                yield after_a_death(place, code)
            return
        os.kill(child, signal.SIGKILL)
        wait(child)
        yield from [place.finish_after_workers(Labour(workers=int(rng.integers(1, 4))))] * (1 + deaths)


def kill_a_worker(command: int, seconds: float, rng: np.random.Generator) -> bool:
    """SIGKILL to one of the workers of a command, so long after it has them; whether there was one."""
    until = time.monotonic() + _HANGS_SECONDS
    while not workers_of(command) and command_of(command) and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(seconds)
    workers = workers_of(command)
    if workers:
        os.kill(workers[int(rng.integers(len(workers)))], signal.SIGKILL)
    return bool(workers)


def workers_of(command: int) -> list[int]:
    return [pid for pid in children_of(command) if "spawn_main" in command_of(pid)]


def children_of(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def full_disk(rng: np.random.Generator) -> Iterator[str]:
    """A file system of a size that does not do; then it is made larger."""
    with tempfile.TemporaryDirectory(prefix="full-") as made:
        size = int(rng.integers(8, 160)) * 4096
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", made], check=False).returncode:
            return  # not allowed here
        try:
            with new_place(pick(rng), Path(made)) as place:
                code = wait(place.go())
                told = "No space left" in place.output()
                if code == 0:
                    return
                subprocess.run(["mount", "-o", "remount,size=256m", made], check=True)
                if code != REFUSED or not told:
                    yield f"exit code {code}: {place.output().strip()}"
                elif not place.is_begun:
                    yield "refused before it began"
                else:
                    yield place.finish() if "pushback resume" in place.output() else "no command to go on"
        finally:
            subprocess.run(["umount", made], check=True)


def truncated(rng: np.random.Generator) -> Iterator[str]:
    """A file of an unfinished run cut anywhere."""

    def cut(data: bytes) -> bytes:
        return data[: int(rng.integers(len(data)))]

    yield from damaged(rng, cut)


def flipped(rng: np.random.Generator) -> Iterator[str]:
    """A bit of a file of an unfinished run flipped."""

    def flip(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        return bytes(changed)

    yield from damaged(rng, flip)


_STOPPED: dict[str, Path] = {}


def stopped_run(scenario: str) -> Path:
    """A run that was stopped late, made once."""
    if scenario not in _STOPPED:
        with new_place(scenario) as place:
            seconds = REFERENCES[scenario].seconds * _DAMAGED_AT
            child = place.go()
            while ended_before(child, seconds) is not None:
                shutil.rmtree(place.run)
                seconds *= 0.9
                child = place.go()
            os.kill(child, signal.SIGKILL)
            wait(child)
            kept = Path(tempfile.mkdtemp(prefix="stopped-"))
            shutil.copytree(place.folder, kept, dirs_exist_ok=True)
            _STOPPED[scenario] = kept
    return _STOPPED[scenario]


def damaged(rng: np.random.Generator, damage: Callable[[bytes], bytes]) -> Iterator[str]:
    with new_place(pick(rng)) as place:
        shutil.copytree(stopped_run(place.scenario), place.folder, dirs_exist_ok=True)
        files = sorted(p for p in place.run.rglob("*") if p.is_file() and p.stat().st_size and p.name != "lock")
        victim = files[int(rng.integers(len(files)))]
        victim.write_bytes(damage(victim.read_bytes()))
        outcome = place.finish()
        if outcome == "identical" and "checkpoints" in victim.parts and victim.name not in place.output():
            outcome = "identical, not needed"
        if outcome.startswith("refused"):
            outcome = "refused, and named" if victim.name in outcome else f"unnamed: {victim.name}: {outcome}"
        yield outcome


def stale_lock(rng: np.random.Generator) -> Iterator[str]:
    """A second command while the first one lives is refused; once that is killed, its lock is no hindrance."""
    with new_place(pick(rng)) as place:
        child = place.go()
        while not place.is_begun or not (place.run / "lock").exists() or not (place.run / "lock").read_text():
            time.sleep(0.002)
        second = place.go()
        code = ended_before(second, REFERENCES[place.scenario].seconds * 20)
        told = place.output()
        os.kill(child, signal.SIGKILL)
        wait(child)
        if code != REFUSED or f"process {child}" not in told:
            yield f"exit code {code}: {told.strip()}"
            return
        assert (place.run / "lock").read_text() == f"{child}\n"
        yield place.finish()


@dataclass(frozen=True)
class Fault:
    """What is done to runs."""

    words: str
    trial: Trial
    share: float


FAULTS = (
    Fault("SIGKILL at random moments", killed, 1.0),
    Fault("SIGINT or SIGTERM, once or twice", signalled, 0.2),
    Fault("SIGKILL to one of `--jobs 2`", job_killed, 0.1),
    Fault("SIGKILL to the command of `--jobs 2`", command_of_jobs_killed, 0.1),
    Fault("disk full at random sizes", full_disk, 0.2),
    Fault("a file truncated at a random place", truncated, 0.5),
    Fault("a random bit of a file flipped", flipped, 0.5),
    Fault("a second command; a stale lock", stale_lock, 0.05),
    Fault("SIGKILL to one of `--workers 2`", worker_killed, 0.1),
    Fault("SIGKILL to one of `--workers 2`, streamed log", worker_killed_streaming, 0.1),
    Fault("SIGKILL to the command of `--workers 2`", command_of_workers_killed, 0.1),
    Fault("SIGKILL at random moments, streamed log", killed_streaming, 0.1),
    Fault("SIGKILL to one of `--workers 2` and to the command, streamed log", both_killed_streaming, 0.1),
)
GOOD = ("identical", "identical, not needed", "refused, and named", "refused before it began")
"""What may become of a run. Never: another result, a traceback, a message that names no file or no command to go on."""


def trials(fault: Fault, seed: int, count: int) -> Counter[str]:
    """Outcomes of so many faults."""
    outcomes: Counter[str] = Counter()
    for index in range(20 * count):
        if outcomes.total() >= count:
            break
        for outcome in fault.trial(np.random.default_rng([seed, FAULTS.index(fault), index])):
            outcomes[outcome] += 1
            if outcome not in GOOD:
                print(f"{fault.words}: seed {seed}, trial {index}: {outcome}", file=sys.stderr, flush=True)
    return outcomes


HEADER = "| fault | faults | identical in the end | refused, and named | failed |\n|---|---|---|---|---|"


def row(fault: Fault, outcomes: Counter[str]) -> str:
    """A fault's line of the table."""
    refused = outcomes["refused, and named"] + outcomes["refused before it began"]
    same = outcomes["identical"] + outcomes["identical, not needed"]
    return f"| {fault.words} | {outcomes.total()} | {same} | {refused} | {outcomes.total() - same - refused} |"


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=200, help="of the first row; the others have shares of it")
    parser.add_argument("--only", default="", help="part of the words of a fault, such as `disk`; none: all")
    asked = parser.parse_args()
    make_references()
    print(HEADER)
    bad = 0
    for fault in (fault for fault in FAULTS if asked.only in fault.words):
        outcomes = trials(fault, asked.seed, max(1, round(asked.kills * fault.share)))
        print(row(fault, outcomes), flush=True)
        bad += sum(count for outcome, count in outcomes.items() if outcome not in GOOD)
    for folder in _STOPPED.values():
        shutil.rmtree(folder)
    print(f"\nSeed {asked.seed}; a run in one go: {min(r.seconds for r in REFERENCES.values()):.1f} s or more.")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
