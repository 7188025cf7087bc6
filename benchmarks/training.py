"""How fast SASRec trains, and how well, beside RecTools' and RePlay's: one thread unless told otherwise.

    python benchmarks/training.py                            # a synthetic log of 10,000 items; the peers that are there
    python benchmarks/training.py --movielens DIR            # and DIR/ratings.csv or DIR/ratings.csv.gz
    python benchmarks/training.py --movielens DIR --quality  # and HR@10 and NDCG@10 over seeds: hours
    benchmarks/peers/make_env.sh rectools                    # makes a peer's environment under .peers/

All sides train the same model (dimension 64, 2 blocks, 1 head, dropout 0.2) on the same sequences (a user's history cut
into windows of 50 pairs, every interaction a positive) in batches of 128 with a softmax over the label and 256 uniform
negatives, for the same number of epochs, on the same threads, under the same settings of the allocator. Each side runs
in a process of its own, in turns: ours first in one round and last in the next. A rate is sequences of an epoch over
its time, the first epoch, set-up and the reading of data left out; the median over all epochs of all rounds. On a
machine with other work the ratio of the processor times, printed beside that of the wall times, is the steadier one.

What is not the same: RecTools draws the negatives anew for each position, RePlay shares them over the batch, we and the
bare step over four windows (`--shared-by`); the peers' blocks take the normalised query as the residual, ours the
input; both peers train with Adam at a constant rate, we with AdamW at one that falls to a tenth; the peers go through
Lightning's loop. The bare step (`peers/bare_sasrec.py`) is a plain forward, backward and update of our network and loss
on one ready batch.

Quality: leave-last-out, all items ranked but those of the user's history, one evaluator for all sides.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, median, stdev
from time import perf_counter

import numpy as np
import pyarrow as pa
import pyarrow.csv

from benchmarks.peers.job import Float32, Int32, Job, Log, Timing

ROOT = Path(__file__).resolve().parents[1]
OURS, BARE = "pushback", "bare"
PEERS = ("rectools", "replay")
TOP = 10
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
"""Freed memory is kept for the next step: without it, large logits go back to the kernel at every step."""


def main() -> None:
    """Measure and print."""
    args = arguments()
    environments = {peer: ROOT / ".peers" / peer / "bin" / "python" for peer in args.peers}
    missing = [peer for peer, python in environments.items() if not python.exists()]
    for peer in missing:
        print(f"{peer}: not measured, it has no environment; make it with benchmarks/peers/make_env.sh {peer}")
    own = Path(sys.executable)
    sides = {OURS: own} | {peer: python for peer, python in environments.items() if peer not in missing} | {BARE: own}
    logs = {"synthetic, 10,000 items": synthetic_log()}
    if args.movielens is not None:
        split = leave_last_out(read_movielens(args.movielens))
        logs["MovieLens"] = split.log
    found: dict[str, object] = {"threads": args.threads, "epochs": args.epochs, "rounds": args.rounds}
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        for name, log in logs.items():
            job = Job(str(work / "log.npz"), None, args.epochs, seed=1, threads=args.threads, shared_by=args.shared_by)
            log.save(Path(job.log))
            rates = measure(job, sides, args.rounds, work)
            print(f"\n{name}: {log.n_users:,} users, {log.n_items:,} items, {len(log.user):,} interactions")
            print(speed_table(rates), flush=True)
            found[name] = {side: asdict(rate) for side, rate in rates.items()}
        if args.quality:
            job = replace(
                job, scores=str(work / "scores.npy"), epochs=args.quality_epochs, learning_rate=args.learning_rate
            )
            split.log.save(Path(job.log))
            contenders = {side: python for side, python in sides.items() if side != BARE}
            quality = rank_over_seeds(job, contenders, split, args.seeds, args.minutes * 60, work)
            print(quality_table(quality, split, args.quality_epochs))
            found["quality"] = {"epochs": args.quality_epochs, "by_seed": quality}
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--movielens", type=Path, metavar="DIR", help="holds ratings.csv or ratings.csv.gz")
    parser.add_argument(
        "--peers", type=peer_names, default=PEERS, help="of rectools,replay; none for '' (default both)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of the speed, the sides taking turns (default 3)")
    parser.add_argument("--epochs", type=at_least_two, default=3, help="of a round; the first is not timed (default 3)")
    parser.add_argument("--threads", type=int, default=1, help="of every side (default 1)")
    parser.add_argument(
        "--shared-by", type=int, default=4, choices=(0, 1, 2, 4, 8, 16, 32, 64), metavar="N",
        help="windows of our batches that share a draw of negatives; 0 for all 128 (default 4)",
    )  # fmt: skip
    parser.add_argument("--quality", action="store_true", help="HR@10 and NDCG@10 on MovieLens, too")
    parser.add_argument("--quality-epochs", type=at_least_two, default=40, help="of every side (default 40)")
    parser.add_argument("--learning-rate", type=float, default=0.003, help="of every side's quality (default 0.003)")
    parser.add_argument("--seeds", type=int, default=5, help="of the quality (default 5)")
    parser.add_argument("--minutes", type=float, default=60, help="no new seed of a side after this (default 60)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write what was found")
    args = parser.parse_args()
    if args.quality and args.movielens is None:
        parser.error("--quality: got no --movielens DIR to measure on")
    return args


def peer_names(text: str) -> tuple[str, ...]:
    """`rectools,replay` -> a tuple of peers."""
    names = tuple(name for name in text.split(",") if name)
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise argparse.ArgumentTypeError(f"got {', '.join(unknown)}, expected some of {', '.join(PEERS)}")
    return names


def at_least_two(text: str) -> int:
    """A number of epochs, the first of which is not timed."""
    if int(text) < 2:
        raise argparse.ArgumentTypeError(f"got {text}, expected at least 2: the first epoch is not timed")
    return int(text)


def synthetic_log(users: int = 2_000, length: int = 51, items: int = 10_000, groups: int = 200, seed: int = 0) -> Log:
    """Users who stay in a group of items, go on to the next one, or jump; within a group some items are more popular.

    Args:
        users, length: of the log; 51 interactions are 50 pairs, a full sequence.
        items, groups: of the catalogue; groups are of equal size.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    size = items // groups
    group = rng.integers(groups, size=users)
    popularity = 1 / np.arange(1, size + 1)
    chosen = np.empty((users, length), np.int32)
    for step in range(length):
        move = rng.random(users)
        group = np.where(move < 0.7, group, np.where(move < 0.95, group + 1, rng.integers(groups, size=users))) % groups
        chosen[:, step] = group * size + rng.choice(size, users, p=popularity / popularity.sum())
    return Log(np.repeat(np.arange(users, dtype=np.int32), length), chosen.ravel(), items)


def read_movielens(directory: Path) -> Log:
    """All ratings as positives, in order of (user, time, place in the file), ids made dense.

    Raises:
        SystemExit: neither file is there.
    """
    found = [path for path in (directory / "ratings.csv", directory / "ratings.csv.gz") if path.exists()]
    if not found:
        sys.exit(f"--movielens: got {directory}, expected a directory that holds ratings.csv or ratings.csv.gz")
    with pa.input_stream(str(found[0]), compression="detect") as stream:
        table = pa.csv.read_csv(stream)
    user, item, timestamp = (table.column(name).to_numpy() for name in ("userId", "movieId", "timestamp"))
    order = np.lexsort((timestamp, user))
    _, dense_user = np.unique(user[order], return_inverse=True)
    items, dense_item = np.unique(item[order], return_inverse=True)
    return Log(dense_user.astype(np.int32), dense_item.astype(np.int32), len(items))


@dataclass(frozen=True)
class Held:
    """A log without each user's last interaction, and those.

    Attributes:
        log: what is trained on.
        target: int32[n_users], the item that each user came to next.
    """

    log: Log
    target: Int32


def leave_last_out(log: Log) -> Held:
    """Hold out each user's last interaction; users with fewer than 3 are left out altogether."""
    count = np.bincount(log.user)
    kept = count[log.user] >= 3
    user = np.unique(log.user[kept], return_inverse=True)[1].astype(np.int32)
    item = log.item[kept]
    last = np.flatnonzero(np.diff(user, append=-1))
    return Held(Log(np.delete(user, last), np.delete(item, last), log.n_items), item[last])


@dataclass(frozen=True)
class Rate:
    """How fast a side trains.

    Attributes:
        version: of what was measured.
        sequences: of an epoch.
        per_second: sequences, by the clock on the wall; median over epochs and rounds.
        per_processor_second: the same by processor time.
        epoch_seconds, processor_seconds: what the medians are of.
    """

    version: str
    sequences: int
    per_second: float
    per_processor_second: float
    epoch_seconds: list[float]
    processor_seconds: list[float]


def measure(job: Job, sides: Mapping[str, Path], rounds: int, work: Path) -> dict[str, Rate]:
    """The rate of each side, the sides taking turns, in the opposite order in every other round."""
    timings: dict[str, list[Timing]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in list(sides)[:: 1 if number % 2 == 0 else -1]:
            timings[side].append(run(side, sides[side], replace(job, seed=number + 1), work))
    return {side: rate_of(found) for side, found in timings.items()}


def rate_of(timings: Sequence[Timing]) -> Rate:
    """Medians over the epochs of all rounds."""
    version, sequences = timings[0].version, timings[0].sequences
    wall = [seconds for timing in timings for seconds in timing.epoch_seconds]
    processor = [seconds for timing in timings for seconds in timing.processor_seconds]
    return Rate(version, sequences, sequences / median(wall), sequences / median(processor), wall, processor)


def run(side: str, python: Path, job: Job, work: Path) -> Timing:
    """One side's training in a process of its own.

    Raises:
        SystemExit: it failed; tells what it said.
    """
    path = work / "job.json"
    job.save(path)
    environment = os.environ | ALLOCATOR | {"OMP_NUM_THREADS": str(job.threads)}
    command = [str(python), "-m", f"benchmarks.peers.{side}_sasrec", str(path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{side}: {' '.join(command)} failed with status {done.returncode}:\n{done.stderr[-4000:]}")
    return Timing(**json.loads(done.stdout.splitlines()[-1]))


def speed_table(rates: Mapping[str, Rate]) -> str:
    """For people."""
    ours, bare = rates[OURS], rates[BARE]
    lines = [f"{'sequences a second':>20} {'of processor time':>20}"]
    lines += [
        f"{r.per_second:20,.0f} {r.per_processor_second:20,.0f}  {side} ({r.version})" for side, r in rates.items()
    ]
    peers = {side: rate for side, rate in rates.items() if side not in (OURS, BARE)}
    for side, rate in peers.items():
        wall, processor = ours.per_second / rate.per_second, ours.per_processor_second / rate.per_processor_second
        needed = "; needed: 10" if side == "rectools" else ""
        lines.append(f"{wall:20.2f} {processor:20.2f}  times as fast as {side}{needed}")
    if peers:
        wall = ours.per_second / max(rate.per_second for rate in peers.values())
        processor = ours.per_processor_second / max(rate.per_processor_second for rate in peers.values())
        lines.append(f"{wall:20.2f} {processor:20.2f}  times as fast as the faster of the peers; needed: 1.5")
    wall, processor = bare.per_second / ours.per_second, bare.per_processor_second / ours.per_processor_second
    lines.append(f"{wall:20.2f} {processor:20.2f}  time of our step as a multiple of the bare step's; at most 1.3")
    return "\n".join(lines)


Quality = dict[str, list[dict[str, float]]]
"""Side -> for each seed its metrics."""


def rank_over_seeds(
    job: Job, sides: Mapping[str, Path], held: Held, seeds: int, cap_seconds: float, work: Path
) -> Quality:
    """HR@10 and NDCG@10 of each side for each seed; a side that has used up its time starts no further seed."""
    found: Quality = {side: [] for side in sides}
    used = dict.fromkeys(sides, 0.0)
    for seed in range(seeds):
        for side, python in sides.items():
            if used[side] > cap_seconds:
                continue
            start = perf_counter()
            run(side, python, replace(job, seed=seed), work)
            used[side] += perf_counter() - start
            found[side].append(metrics(np.load(work / "scores.npy"), held))
    return found


def metrics(score: Float32, held: Held) -> dict[str, float]:
    """HR@10 and NDCG@10 of each user's held-out item among all items that the user has not had; ties by item id.

    Args:
        score: float32[n_users, n_items], higher is better.
        held: what was trained on, and the targets.
    """
    score = score.copy()
    score[held.log.user, held.log.item] = -np.inf
    row, target = np.arange(len(score)), held.target
    # A target that the user has had before is out of reach for every side: a miss.
    at_target = score[row, target][:, None]
    ahead = (score > at_target) | ((score == at_target) & (np.arange(score.shape[1]) < target[:, None]))
    rank = np.where(np.isneginf(at_target[:, 0]), score.shape[1], ahead.sum(1))
    hit = rank < TOP
    return {"HR@10": float(hit.mean()), "NDCG@10": float(np.where(hit, 1 / np.log2(rank + 2), 0).mean())}


def quality_table(quality: Quality, held: Held, epochs: int) -> str:
    """For people: mean and standard deviation over seeds, and how ours compares."""
    lines = [f"\nMovieLens, {len(held.target):,} users, last interaction held out, {epochs} epochs; mean +- deviation"]
    for side, by_seed in quality.items():
        cells = [f"{name} {mean(v):.4f} +- {spread(v):.4f}" for name, v in columns(by_seed).items()]
        lines.append(f"  {side:10} {'   '.join(cells)}   ({len(by_seed)} seeds)")
    for side in quality:
        if side != OURS:
            for name, theirs in columns(quality[side]).items():
                ours = columns(quality[OURS])[name]
                behind, allowed = mean(theirs) - mean(ours), max(spread(theirs), spread(ours))
                verdict = "is not" if behind <= allowed else "IS"
                lines.append(
                    f"  {name}: ours {verdict} worse than {side}'s by more than the seeds' spread "
                    f"({-behind:+.4f}, spread {allowed:.4f})"
                )
    return "\n".join(lines)


def columns(by_seed: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Metric -> its value for each seed."""
    return {name: [row[name] for row in by_seed] for name in by_seed[0]}


def spread(values: Sequence[float]) -> float:
    """Standard deviation over seeds; NaN for one seed."""
    return stdev(values) if len(values) > 1 else float("nan")


if __name__ == "__main__":
    main()
