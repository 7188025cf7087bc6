"""Whether what is shown to some users changes how others respond: ten of 100 users get other slates from step 3 on.

    python benchmarks/leaks.py                 # ours and the peers whose environments are there

Paired comparisons of two worlds are worth what this gives: where the other 90 change, the difference between the worlds
is theirs, too. Each run is a process of its own. RecSim NG takes no given slates, so there two runs from one seed are
compared, no more.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.simulators import OURS, PEERS, PLACE, is_installed, names_of, python_of

USERS, ITEMS, STEPS, SLATE = 100, 200, 20, 10
TREATED, FIRST = 10, 3
FIXED = ("recsim_ng",)
"""Simulators whose slates cannot be given."""

Responses = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Leak:
    """What came of two runs that differ in the slates of the treated users.

    Attributes:
        repeats: the same run twice gave the same responses.
        treated: share of the treated users' later responses that changed.
        others: share of the other users whose responses changed; None where slates cannot be given.
        responses: share of the other users' later responses that changed.
    """

    repeats: bool
    treated: float
    others: float | None
    responses: float


def main() -> None:
    """Measure and print; exit with 1 if ours leaks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=names_of(PEERS), default=PEERS, help="separated by commas (default all)")
    args = parser.parse_args()
    found = {side: measure(side) for side in (OURS, *(peer for peer in args.peers if is_installed(peer)))}
    print(table(found))
    if found[OURS].others or not found[OURS].repeats or not found[OURS].treated:
        raise SystemExit("pushback: expected the treated users to change, and nobody else")


def slates(treat: bool) -> npt.NDArray[np.int64]:
    """Different items in each slate: int64[STEPS, USERS, SLATE]; the treated users' moved on by 17 items if asked."""
    shown = np.random.default_rng(7).random((STEPS, USERS, ITEMS)).argsort(axis=2)[:, :, :SLATE].copy()
    if treat:
        shown[FIRST:, :TREATED] = (shown[FIRST:, :TREATED] + 17) % ITEMS
    return shown


def measure(side: str) -> Leak:
    """Two equal runs and a third with the treatment."""
    with tempfile.TemporaryDirectory() as folder:
        plain, again = (responses(side, slates(False), Path(folder)) for _ in range(2))
        other = responses(side, slates(True), Path(folder))
    return compare(plain, again, other, given=side not in FIXED)


def responses(side: str, shown: npt.NDArray[np.int64], folder: Path) -> Responses:
    """How the users of a side respond to slates: [STEPS, USERS, ...]."""
    np.save(folder / "slates.npy", shown)
    subprocess.run(
        [str(python_of(side)), "-m", f"benchmarks.peers.{side}_simulator", "leaks",
         str(folder / "slates.npy"), str(folder / "answers.npy")],
        check=True, **PLACE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    answers: Responses = np.load(folder / "answers.npy")
    return answers


def compare(plain: Responses, again: Responses, other: Responses, given: bool) -> Leak:
    """What changed between runs of [STEPS, USERS, ...] responses."""
    changed = (plain != other).reshape(*plain.shape[:2], -1).any(axis=2)
    later = changed[FIRST:, TREATED:]
    return Leak(
        repeats=bool(np.array_equal(plain, again)),
        treated=float(changed[FIRST:, :TREATED].mean()),
        others=float(later.any(axis=0).mean()) if given else None,
        responses=float(later.mean()),
    )


def table(found: dict[str, Leak]) -> str:
    """For people, and for docs/benchmarks.md."""
    lines = [
        "| simulator | the same run twice is equal | treated responses changed | other users changed "
        "| their later responses |",
        "|---|---|---|---|---|",
    ]
    lines += [row(side, leak) for side, leak in found.items()]
    return "\n".join(lines)


def row(side: str, leak: Leak) -> str:
    repeats = "yes" if leak.repeats else "no"
    if leak.others is None:
        return f"| {side} | {repeats} | slates cannot be given | | |"
    others = round(leak.others * (USERS - TREATED))
    return f"| {side} | {repeats} | {leak.treated:.0%} | {others} of {USERS - TREATED} | {leak.responses:.1%} |"


if __name__ == "__main__":
    main()
