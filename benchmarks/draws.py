"""What a keyed random number costs beside one from a stream, where whoever draws first gets the first.

    python benchmarks/draws.py                 # 8,192 and 256 keys at a time

The limit is NumPy's own Philox (4x64, compiled) giving uniforms in order, which no key can ask for. In processor time,
the best of the repeats, in turns.
"""

from __future__ import annotations

import argparse
import os
from time import process_time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.history import record
from simulator.allocator import keep_freed_memory
from simulator.draws import Draws, Purpose

SIZES = (8_192, 256)
WORDS = 4


def main() -> None:
    """Measure, record and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, nargs="+", default=list(SIZES), help="at a time")
    parser.add_argument("--repeats", type=int, default=20, help="of which the best counts (default 20)")
    args = parser.parse_args()
    keep_freed_memory()
    found = {n: measure(n, args.repeats) for n in args.keys}
    record("draws", {f"{n}_keys": keyed / stream for n, (keyed, stream) in found.items()})
    for n, (keyed, stream) in found.items():
        print(
            f"{n:6,} keys at a time: {1e9 * keyed:6.1f} ns a uniform, {1e9 * stream:5.1f} ns from a stream; "
            f"{keyed / stream:.1f} times the limit"
        )


def measure(n: int, repeats: int = 20) -> tuple[float, float]:
    """Processor seconds of a keyed uniform and of one from a stream."""
    draws, stream = Draws(1), np.random.Generator(np.random.Philox(1))
    user, session, step = np.arange(n), np.ones(n, np.int32), np.ones(n, np.int32)
    turns = max(1, 200_000 // n)
    keyed, plain = [], []
    for _ in range(repeats):
        clock = process_time()
        for _ in range(turns):
            draws.uniform(Purpose.REACTION, user, session, step, user)
        keyed.append(process_time() - clock)
        clock = process_time()
        for _ in range(turns):
            stream.random((WORDS, n))
        plain.append(process_time() - clock)
    return min(keyed) / (turns * n * WORDS), min(plain) / (turns * n * WORDS)


if __name__ == "__main__":
    main()
