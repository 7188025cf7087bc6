"""Damaged files for every reader, each within limits of time and memory; prints a table of what became of them.

    python -m tests.faults.campaign --inputs 700 --seed 1 --keep FOLDER

Input i of a reader is a function of (seed, reader, i), the first ones being those that somebody thought of. A worker
process reads one input after the other and tells of each; one that dies or is killed at the time limit has its input
counted as such, and another one goes on behind it. Inputs that fail are kept as files.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import numpy as np

from tests.faults.readers import READERS, Reader, RefusedError

SECONDS = 10.0
"""Of processor time that one input may take."""
MEGABYTES = 512
"""By which the memory of a process may grow while it reads one input."""
_WALL_SECONDS = 90.0
"""After which a process is killed: a multiple of `SECONDS`, as the machine may be busy."""
_USED_UP = 75
"""Exit code of a worker whose memory is no longer what the next input would find alone."""
_ADDRESS_SPACE = 2**31
"""Bytes of address space beyond what a process has when it begins: what needs more fails at once."""
FAILURES = ("traceback", "unnamed", "slow", "memory", "died", "hung")
"""What must not become of an input: an exception that is no message; a message that names no file; too much processor
time or memory; a process that dies, or never ends."""


@dataclass(frozen=True)
class Outcome:
    """What became of one input.

    Attributes:
        index: its number.
        end: `accepted`, `refused`, or one of `FAILURES`.
        seconds: processor time.
        megabytes: by which the memory grew.
        message: what was raised.
    """

    index: int
    end: str
    seconds: float
    megabytes: float
    message: str = ""


def write_input(reader: Reader, seed: int, index: int, folder: Path) -> str:
    """Write an input into an empty folder, and say what it is."""
    crafted = list(reader.crafted)
    if index < len(crafted):
        reader.crafted[crafted[index]](folder)
        return crafted[index]
    reader.write(folder, np.random.default_rng([seed, zlib.crc32(reader.name.encode()), index]))
    return f"seed {seed}, input {index}"


def read_one(reader: Reader, folder: Path, index: int) -> Outcome:
    """Read an input that was written, within this process."""
    from simulator.cli.shell import user_errors

    _forget_peak()
    before, clock = _resident("VmRSS"), time.process_time()
    end, message = "accepted", ""
    try:
        reader.read(folder)
    except (RefusedError, *user_errors()) as error:
        message = str(error)
        end = "refused" if _names_a_file(message, folder) else "unnamed"
    except BaseException:  # what a reader must never raise, a SystemExit included
        end, message = "traceback", traceback.format_exc()
    seconds, megabytes = time.process_time() - clock, max(_resident("VmHWM") - before, 0.0)
    if end in ("accepted", "refused"):
        end = "slow" if seconds > SECONDS else "memory" if megabytes > MEGABYTES else end
    return Outcome(index, end, seconds, megabytes, message[-4000:])


def _names_a_file(message: str, folder: Path) -> bool:
    # A terminal may have folded the message.
    flat = "".join(message.split())
    return any("".join(path.name.split()) in flat for path in [folder, *folder.rglob("*")])


def _resident(key: str) -> float:
    """Megabytes of this process, from Linux."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) / 1024
    raise LookupError(key)


def _forget_peak() -> None:
    """Make the kernel count the peak anew."""
    Path("/proc/self/clear_refs").write_text("5")


def work(name: str, seed: int, start: int, stop: int, limited: bool = True) -> None:
    """Read inputs, and print a line of JSON before and after each."""
    reader = READERS[name]
    if limited:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + _ADDRESS_SPACE,) * 2)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing that a reader prints can be taken for a report
    for index in range(start, stop):
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "made"
            made.mkdir()
            _write_apart(reader, seed, index, made)
            print(json.dumps({"begun": index}), file=out, flush=True)
            outcome = read_one(reader, made, index)
            print(json.dumps(asdict(outcome)), file=out, flush=True)
            if outcome.end == "memory" or "MemoryError" in outcome.message:
                sys.exit(_USED_UP)


def _write_apart(reader: Reader, seed: int, index: int, folder: Path) -> None:
    """Write an input in a process of its own: to make a bomb takes memory, which is not the reader's."""
    if index >= len(reader.crafted):
        write_input(reader, seed, index, folder)
        return
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_AS, (resource.getrlimit(resource.RLIMIT_AS)[1],) * 2)
        write_input(reader, seed, index, folder)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, f"{reader.name}: input {index} could not be written"


def run(name: str, seed: int, inputs: int) -> Iterator[Outcome]:
    """The outcome of each input of a reader."""
    start = 0
    while start < inputs:
        command = [sys.executable, "-m", "tests.faults.campaign", "--work", name, str(seed), str(start), str(inputs)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
        begun, told = start, start
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as worker:
            assert worker.stdout is not None
            hung = True
            for record in _records(worker.stdout):
                if not record:
                    hung = False
                elif "begun" in record:
                    begun = int(str(record["begun"]))
                else:
                    yield Outcome(**record)  # type: ignore[arg-type]
                    told = begun + 1
            if hung:
                worker.kill()
            code = worker.wait()
        if code != _USED_UP and told < inputs:
            yield Outcome(begun, "hung" if hung else "died", 0.0, 0.0, f"exit code {code}")
            told = begun + 1
        start = told


def _records(stream: IO[str]) -> Iterator[Mapping[str, object]]:
    """The records of a worker until it says nothing for too long; an empty one, the last, where it has ended."""
    descriptor, text = stream.fileno(), b""
    while select.select([descriptor], [], [], _WALL_SECONDS)[0]:
        piece = os.read(descriptor, 1 << 16)
        *lines, text = (text + piece).split(b"\n")
        yield from map(json.loads, lines)
        if not piece:
            yield {}
            return


def row(name: str, outcomes: list[Outcome]) -> str:
    """A reader's line of the table."""
    ends = [o.end for o in outcomes]
    bad = sum(end in FAILURES for end in ends)
    slowest, largest = max(o.seconds for o in outcomes), max(o.megabytes for o in outcomes)
    return (
        f"| {name} | {len(ends):,} | {ends.count('accepted'):,} | {ends.count('refused'):,} | {bad} "
        f"| {slowest:.2f} | {largest:.0f} |"
    )


HEADER = (
    "| reader | inputs | accepted | refused | failed | slowest, s | most memory, MB |\n|---|---|---|---|---|---|---|"
)


def _keep(name: str, seed: int, outcome: Outcome, folder: Path) -> None:
    place = folder / f"{name.replace(' ', '_').replace(',', '')}-{seed}-{outcome.index}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    what = write_input(READERS[name], seed, outcome.index, place)
    (place / "outcome.txt").write_text(f"{name}: {what}\n{outcome.end}\n{outcome.message}\n", errors="replace")


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=700, help="of each reader, the crafted ones included")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--reader", action="append", choices=list(READERS), help="repeatable; all otherwise")
    parser.add_argument("--keep", type=Path, default=Path("faults"), help="folder for the inputs that fail")
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        name, seed, start, stop = asked.work
        work(name, int(seed), int(start), int(stop))
        return
    print(HEADER)
    total, bad = 0, 0
    for name in asked.reader or READERS:
        outcomes = list(run(name, asked.seed, asked.inputs))
        failed = [o for o in outcomes if o.end in FAILURES]
        for outcome in failed:
            _keep(name, asked.seed, outcome, asked.keep)
        print(row(name, outcomes), flush=True)
        total, bad = total + len(outcomes), bad + len(failed)
    print(f"\n{total:,} inputs, seed {asked.seed}: {bad} failed")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
