"""What `benchmarks/training.py` asks of each side, and what a side answers; imports nothing that an environment lacks.

A side is a module that is run as `python -m benchmarks.peers.NAME JOB.json` by the interpreter of its own environment.
It reads the job, trains, and prints its `Timing` as the last line of standard output.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Job:
    """One training run. Every side gets the same log, the same cut into sequences, sizes, epochs, seed and threads.

    Attributes:
        log: an .npz that `Log.save` wrote.
        scores: where to write float32[n_users, n_items], the scores of all items after each user's history; None to
            measure the time only.
        dim, blocks, heads, window, dropout, negatives, batch_size, epochs, learning_rate: of the model and training.
        shared_by: windows that share one draw of negatives, for sides that let it be chosen; 0 for the whole batch.
        seed: of all randomness.
        threads: for torch.
    """

    log: str
    scores: str | None
    epochs: int
    seed: int
    threads: int
    dim: int = 64
    blocks: int = 2
    heads: int = 1
    window: int = 50
    dropout: float = 0.2
    negatives: int = 256
    shared_by: int = 0
    batch_size: int = 128
    learning_rate: float = 0.001

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @staticmethod
    def from_command_line() -> Job:
        return Job(**json.loads(Path(sys.argv[1]).read_text()))


@dataclass(frozen=True)
class Timing:
    """What a side measured.

    Attributes:
        version: of the library and of torch.
        sequences: trained on in each epoch.
        epoch_seconds: wall time of each epoch but the first, loading of data and set-up excluded.
        processor_seconds: processor time of the same epochs, which other work on the machine changes less.
    """

    version: str
    sequences: int
    epoch_seconds: list[float]
    processor_seconds: list[float]

    def tell(self) -> None:
        """To the benchmark, which reads the last line."""
        print(json.dumps(asdict(self)), flush=True)


class Clock:
    """Notes wall and processor time at the end of each epoch."""

    def __init__(self) -> None:
        self._ends: list[tuple[float, float]] = []

    def note(self) -> None:
        self._ends.append((perf_counter(), process_time()))

    def timing(self, version: str, sequences: int) -> Timing:
        """Of the epochs from the first noted end on."""
        wall, processor = np.diff(np.array(self._ends), axis=0).T.tolist()
        return Timing(version, sequences, wall, processor)


@dataclass(frozen=True)
class Log:
    """Interactions of users with items, every one a positive, in order of (user, time).

    Attributes:
        user: int32[e], from 0 on without gaps.
        item: int32[e], in [0, n_items).
        n_items: size of the catalogue.
    """

    user: Int32
    item: Int32
    n_items: int

    @property
    def n_users(self) -> int:
        return int(self.user[-1]) + 1

    def save(self, path: Path) -> None:
        np.savez(path, user=self.user, item=self.item, n_items=self.n_items)

    @staticmethod
    def load(path: str) -> Log:
        with np.load(path) as file:
            return Log(file["user"], file["item"], int(file["n_items"]))


@dataclass(frozen=True)
class Sequences:
    """The log cut into the sequences that all sides train on.

    A user's interactions are cut from the newest backwards into sequences of `window` + 1 that overlap by one: each
    gives `window` pairs of an interaction and the next one. Only a user's oldest sequence may be shorter.

    Attributes:
        sequence: int32[m], number of the sequence, ascending.
        item: int32[m], in order of time within the sequence.
        newest: int32[n_users], the sequence that ends with the user's last interaction.
    """

    sequence: Int32
    item: Int32
    newest: Int32

    def __len__(self) -> int:
        return int(self.sequence[-1]) + 1


def cut(log: Log, window: int) -> Sequences:
    """The sequences of a log in which every user has at least two interactions."""
    start = np.flatnonzero(np.diff(log.user, prepend=-1))
    parts, newest = [], []
    for begin, end in zip(start, np.append(start[1:], len(log.user)), strict=True):
        cuts = [log.item[max(begin, stop - window - 1) : stop] for stop in range(end, begin + 1, -window)]
        parts += cuts[::-1]
        newest.append(len(parts) - 1)
    sequence = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return Sequences(sequence.astype(np.int32), np.concatenate(parts), np.array(newest, np.int32))
