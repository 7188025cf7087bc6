"""Users a second from histories of 50 to the top 10, for each encoder: read anew, or carried and advanced by one.

    python benchmarks/serving.py                     # 1,024 users; 10,000 and 100,000 items
    python benchmarks/serving.py --items 10000 --threads 2 --json serving.json

The floor is what no model of this kind can avoid: the product of ready states with the item table and an exact top 10,
here the fastest of three ways to find it, in pieces that stay in the cache. All rounds are interleaved, so the ratios
carry over to other machines, the absolute figures do not. The models are hardly trained, which does not change the
work. Viewed items are hidden, as in any service.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from recommenders.base import Feedback, Float64, Interactions, ItemFeatures, RequestDraws, Requests
from recommenders.registry import build
from recommenders.sequence_model import SequenceRecommender
from recommenders.topk import top_k
from simulator.allocator import keep_freed_memory

USERS, WINDOW, DIM, K, PIECE = 1_024, 50, 64, 10, 64
MODELS: Mapping[str, Mapping[str, Any]] = {
    "linear_recurrent": {},
    "gru4rec": {},
    "sasrec": {"blocks": 2, "heads": 1},
}


class NoDraws:
    """Deterministic models draw nothing."""

    def uniform(self, n_columns: int) -> Float64:
        raise AssertionError(f"asked for {n_columns} random numbers")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=7, help="the median is reported (default 7)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default 1)")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    found = {n_items: measure(n_items, args.rounds) for n_items in args.items}
    for n_items, figures in found.items():
        report(n_items, figures)
    if args.json:
        args.json.write_text(json.dumps({"threads": args.threads, "users_per_second": found}, indent=1))


def measure(n_items: int, rounds: int) -> dict[str, float]:
    """Users a second of every way to serve, the median over interleaved rounds."""
    items = catalogue(n_items)
    requests = make_requests(n_items)
    ways: dict[str, Callable[[], object]] = {**floors(n_items, requests)}
    for name, settings in MODELS.items():
        model = build(name, {"dim": DIM, "window": WINDOW, "epochs": 1, "dislike_input": True, **settings})
        assert isinstance(model, SequenceRecommender)
        model.fit(short_log(n_items), items, seed=1)
        ways[f"{name}, read anew"] = lambda model=model: model.recommend(requests, K, draws())  # type: ignore[misc]
        if name != "sasrec":
            ways[f"{name}, carried"] = advancing(model, requests)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, serve in ways.items():
            clock = perf_counter()
            serve()
            if turn:  # the first round warms up
                seconds[name].append(perf_counter() - clock)
    return {name: USERS / median(taken) for name, taken in seconds.items()}


def floors(n_items: int, requests: Requests) -> dict[str, Callable[[], object]]:
    """The bare product with each way of finding the top k."""
    generator = torch.Generator().manual_seed(1)
    state = torch.randn(USERS, DIM, generator=generator)
    table = torch.randn(DIM, n_items, generator=generator)
    bias = torch.randn(n_items, generator=generator)
    eligible = requests.eligible

    def product_and(find: Callable[[torch.Tensor], object]) -> Callable[[], object]:
        return lambda: [find(torch.addmm(bias, piece, table)) for piece in torch.split(state, PIECE)]

    return {
        "floor, ours": product_and(lambda score: top_k(score.numpy(), eligible, K)),
        "floor, torch.topk": product_and(lambda score: torch.topk(score, K)),
        "floor, np.argpartition": product_and(lambda score: np.argpartition(score.numpy(), -K, axis=1)[:, -K:]),
        "floor, product alone": product_and(lambda score: score),
    }


def advancing(model: SequenceRecommender, requests: Requests) -> Callable[[], object]:
    """Each user's newest interaction is taken in, then the slate is made."""
    carried = model.initial_states(USERS)
    for column in range(WINDOW - 1):
        carried = model.advance(carried, requests.history_item[:, column], requests.history_feedback[:, column])

    def serve() -> object:
        now = model.advance(carried, requests.history_item[:, -1], requests.history_feedback[:, -1])
        return model.recommend_carried(now, requests, K)

    return serve


def report(n_items: int, figures: Mapping[str, float]) -> None:
    """Print users a second and the ratio of the floor to each."""
    floor = max(figures[f"floor, {way}"] for way in ("ours", "torch.topk", "np.argpartition"))
    print(f"{USERS:,} users, histories of {WINDOW}, d {DIM}, top {K} of {n_items:,} items")
    for name, users_per_second in figures.items():
        print(f"  {name:26} {users_per_second:10,.0f} users/s   {floor / users_per_second:6.2f} x the floor's time")


def catalogue(n_items: int) -> ItemFeatures:
    """Items with nothing but an id."""
    return ItemFeatures(
        creator=np.zeros(n_items, np.int32),
        topic=np.zeros(n_items, np.int32),
        duration_seconds=np.ones(n_items, np.float32),
        release_tick=np.zeros(n_items, np.int64),
        n_creators=1,
        n_topics=1,
    )


def short_log(n_items: int) -> Interactions:
    """Enough to fit on."""
    rng, n_rows = np.random.default_rng(2), 2_000
    return Interactions(
        tick=np.arange(n_rows, dtype=np.int64),
        user=rng.integers(40, size=n_rows).astype(np.int32),
        item=rng.integers(n_items, size=n_rows).astype(np.int32),
        feedback=np.full(n_rows, Feedback.EXAMINED | Feedback.LONG_DWELL, np.uint8),
        dwell_seconds=np.ones(n_rows, np.float32),
    )


def make_requests(n_items: int) -> Requests:
    """Users with full histories."""
    rng = np.random.default_rng(3)
    shape = (USERS, WINDOW)
    kinds = [Feedback.LONG_DWELL, Feedback.SKIP, Feedback.DISLIKE]
    return Requests(
        user=np.arange(USERS, dtype=np.int32),
        session=np.zeros(USERS, np.int32),
        step=np.zeros(USERS, np.int32),
        tick=np.full(USERS, 10**6, np.int64),
        history_item=rng.integers(n_items, size=shape).astype(np.int32),
        history_feedback=(Feedback.EXAMINED | rng.choice(kinds, shape)).astype(np.uint8),
        history_dwell_seconds=np.ones(shape, np.float32),
        history_tick=np.zeros(shape, np.int64),
        eligible=np.ones(n_items, np.bool_),
    )


def draws() -> RequestDraws:
    return NoDraws()


if __name__ == "__main__":
    main()
