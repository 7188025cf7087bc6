"""Requests a second of an arm that is served over HTTP, on this machine's loopback.

    python benchmarks/http_serving.py                          # batches of 256, histories of 50, 10,000 items
    python benchmarks/http_serving.py --batch 1 64 256 1024 --json http_serving.json

The server is examples/popularity_server.py, in a process of its own. `nothing but talk` is a server that does no work:
it answers the same slates to every batch, so that what remains is JSON, HTTP and the checks of the answer.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from recommenders.adapters.http import HttpRecommender
from recommenders.adapters.http_config import HttpConfig
from recommenders.adapters.http_messages import write_requests
from recommenders.base import Feedback, Float64, Interactions, ItemFeatures, Requests
from recommenders.popularity import Popularity, PopularityConfig

ITEMS, WINDOW, K = 10_000, 50, 10
EXAMPLE = Path(__file__).parent.parent / "examples" / "popularity_server.py"


class NoDraws:
    """Deterministic models draw nothing."""

    def uniform(self, n_columns: int) -> Float64:
        raise AssertionError(f"asked for {n_columns} random numbers")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[256], help="users in a request (default 256)")
    parser.add_argument("--rounds", type=int, default=20, help="the median is reported (default 20)")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    args = parser.parse_args()
    found = {n: measure(n, args.rounds) for n in args.batch}
    for n, figures in found.items():
        sent = len(json.dumps(write_requests(make_requests(n), WINDOW, K, "model", None), separators=(",", ":")))
        print(f"batches of {n:,}: histories of {WINDOW}, top {K} of {ITEMS:,} items, {sent / 1000:,.0f} kB sent")
        for name, seconds in figures.items():
            print(f"  {name:28} {n / seconds:10,.0f} requests/s   {1000 * seconds:8.2f} ms a batch")
    if args.json:
        args.json.write_text(json.dumps({"seconds_a_batch": found}, indent=1))


def measure(n: int, rounds: int) -> dict[str, float]:
    """Seconds a batch of each way to serve, the median over interleaved rounds."""
    requests = make_requests(n)
    local = Popularity(PopularityConfig())
    local.fit(short_log(), catalogue(), seed=1)
    with example() as url, talker(n) as talk_url:
        served, talk = (HttpRecommender(HttpConfig(url=at, batch_size=n)) for at in (url, talk_url))
        served.fit(short_log(), catalogue(), seed=1)
        talk.fit(short_log(), catalogue(), seed=1)
        assert np.array_equal(
            served.recommend(requests, K, NoDraws()).item, local.recommend(requests, K, NoDraws()).item
        )
        ways: dict[str, Callable[[], object]] = {
            "example server": lambda: served.recommend(requests, K, NoDraws()),
            "nothing but talk": lambda: talk.recommend(requests, K, NoDraws()),
            "popularity in process": lambda: local.recommend(requests, K, NoDraws()),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(rounds + 1):
            for name, serve in ways.items():
                clock = perf_counter()
                serve()
                if turn:  # the first round warms up
                    seconds[name].append(perf_counter() - clock)
    return {name: median(taken) for name, taken in seconds.items()}


@contextmanager
def example() -> Iterator[str]:
    """The url of a running example server."""
    with (
        TemporaryDirectory() as folder,
        subprocess.Popen(
            [sys.executable, str(EXAMPLE), "0", folder], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process,
    ):
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@contextmanager
def talker(n: int) -> Iterator[str]:
    """The url of a server that answers the same to every batch of `n`."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=talk, args=(theirs, n), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()


def talk(port: Connection, n: int) -> None:
    """Serve; tells its port first."""
    slates = {
        "model_version": "same",
        "item": [list(range(K))] * n,
        "score": [[1 / (3 + slot) for slot in range(K)]] * n,
    }
    traits = {
        "protocol": 1,
        "name": "talk",
        "version": "1",
        "fit": False,
        "model_version": "same",
        "history_length": 50,
    }

    class Handler(BaseHTTPRequestHandler):
        protocol_version, disable_nagle_algorithm, wbufsize = "HTTP/1.1", True, -1

        def do_GET(self) -> None:
            self.answer(traits)

        def do_POST(self) -> None:
            json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(slates)

        def answer(self, content: object) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.send(server.server_port)
    server.serve_forever()


def catalogue() -> ItemFeatures:
    """Items with nothing but an id."""
    return ItemFeatures(
        creator=np.zeros(ITEMS, np.int32),
        topic=np.zeros(ITEMS, np.int32),
        duration_seconds=np.ones(ITEMS, np.float32),
        release_tick=np.zeros(ITEMS, np.int64),
        n_creators=1,
        n_topics=1,
    )


def short_log() -> Interactions:
    """Enough to fit on."""
    rng, n_rows = np.random.default_rng(2), 20_000
    return Interactions(
        tick=np.arange(n_rows, dtype=np.int64),
        user=rng.integers(400, size=n_rows).astype(np.int32),
        item=rng.integers(ITEMS, size=n_rows).astype(np.int32),
        feedback=np.full(n_rows, Feedback.EXAMINED | Feedback.LONG_DWELL, np.uint8),
        dwell_seconds=rng.gamma(2.0, 6.0, n_rows).astype(np.float32),
    )


def make_requests(n: int) -> Requests:
    """Users with full histories; half of the items are eligible."""
    rng = np.random.default_rng(3)
    shape = (n, WINDOW)
    kinds = [Feedback.LONG_DWELL, Feedback.SKIP, Feedback.DISLIKE]
    return Requests(
        user=np.arange(n, dtype=np.int32),
        session=np.full(n, 12, np.int32),
        step=np.full(n, 3, np.int32),
        tick=rng.integers(10**9, size=n),
        history_item=rng.integers(ITEMS, size=shape).astype(np.int32),
        history_feedback=(Feedback.EXAMINED | rng.choice(kinds, shape)).astype(np.uint8),
        history_dwell_seconds=rng.gamma(2.0, 6.0, shape).astype(np.float32),
        history_tick=rng.integers(10**9, size=shape),
        eligible=rng.random(ITEMS) < 0.5,
    )


if __name__ == "__main__":
    main()
