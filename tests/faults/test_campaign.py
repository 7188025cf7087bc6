"""The campaign itself, a small sample of it, and all of it where slow tests are asked for."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from tests.faults import campaign
from tests.faults.campaign import FAILURES, Reader, read_one, run, write_input
from tests.faults.readers import READERS, RefusedError

SAMPLE = 6
"""Inputs of each reader in the fast suite, behind the crafted ones, which take memory to make."""
INPUTS = 650
"""Of each reader in the slow one: 11,700 in all."""


@pytest.mark.parametrize("name", READERS)
@pytest.mark.filterwarnings("default")
def test_a_damaged_file_is_accepted_or_refused_by_name(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    for index in range(len(reader.crafted), len(reader.crafted) + SAMPLE):
        folder = tmp_path / str(index)
        folder.mkdir()
        what = write_input(reader, 3, index, folder)
        outcome = read_one(reader, folder, index)
        assert outcome.end in ("accepted", "refused"), f"{name}: {what}: {outcome.end}\n{outcome.message}"


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_no_damaged_file_does_harm(name: str) -> None:
    failed = [outcome for outcome in run(name, 1, INPUTS) if outcome.end in FAILURES]
    assert failed == []


def test_an_input_is_a_function_of_its_seed_and_number(tmp_path: Path) -> None:
    reader = READERS["catalogue, csv"]
    contents = []
    for place, (seed, index) in enumerate([(1, 20), (1, 20), (2, 20), (1, 21)]):
        folder = tmp_path / str(place)
        folder.mkdir()
        write_input(reader, seed, index, folder)
        contents.append((folder / "items.csv").read_bytes())
    assert contents[0] == contents[1]
    assert len(set(contents)) == 3


def _write(folder: Path, rng: np.random.Generator) -> None:
    (folder / "file.txt").write_text(str(rng.random()))


def _refuse(folder: Path) -> None:
    raise RefusedError(f"{folder / 'file.txt'}: got nothing good")


def _refuse_without_a_name(folder: Path) -> None:
    raise RefusedError("something is wrong")


def _raise(folder: Path) -> None:
    raise KeyError("x")


def _exit(folder: Path) -> None:
    raise SystemExit(0)


def _grow(folder: Path) -> None:
    np.ones(2**20 * int(campaign.MEGABYTES + 100), np.uint8).sum()


@pytest.mark.parametrize(
    ("read", "end"),
    [
        (lambda folder: None, "accepted"),
        (_refuse, "refused"),
        (_refuse_without_a_name, "unnamed"),
        (_raise, "traceback"),
        (_exit, "traceback"),
        (_grow, "memory"),
    ],
)
def test_each_kind_of_failure_is_told(tmp_path: Path, read, end: str) -> None:
    reader = Reader("test", _write, read)
    write_input(reader, 1, 0, tmp_path)
    assert read_one(reader, tmp_path, 0).end == end


def test_too_much_processor_time_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "SECONDS", 0.01)

    def wait(folder: Path) -> None:
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass

    assert read_one(Reader("test", _write, wait), tmp_path, 0).end == "slow"


@pytest.mark.parametrize(("body", "end"), [("os.abort()", "died"), ("os._exit(0)", "died"), ("time.sleep(99)", "hung")])
def test_a_worker_that_dies_or_hangs_is_told_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, end: str
) -> None:
    worker = tmp_path / "worker"
    worker.write_text(
        "#!/usr/bin/env python3\nimport json, os, sys, time\n"
        "start, stop = int(sys.argv[6]), int(sys.argv[7])\n"
        "for i in range(start, stop):\n"
        "    print(json.dumps({'begun': i}), flush=True)\n"
        f"    if i == 1: {body}\n"
        "    print(json.dumps(dict(index=i, end='accepted', seconds=0, megabytes=0, message='')), flush=True)\n"
    )
    worker.chmod(0o755)
    monkeypatch.setattr(campaign.sys, "executable", str(worker))
    monkeypatch.setattr(campaign, "_WALL_SECONDS", 2.0)
    assert [(o.index, o.end) for o in run("scenario", 1, 3)] == [(0, "accepted"), (1, end), (2, "accepted")]
