"""Cells in actors of Ray, on this machine or on a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from time import monotonic
from typing import Any

from simulator.engine.cells import Memory
from simulator.engine.serving import EngineError
from simulator.executors.remote import Answer, Died, Elsewhere, Order, Seat
from simulator.workers.process import WorkerDiedError

LOCAL = "local"
"""In place of a cluster's address: start Ray on this machine, for this run alone."""
PLACE_SECONDS = 300.0
"""How long an actor may wait for a CPU, which a cluster may be about to start; Ray itself would wait for ever."""


class RayWorkers:
    """Actors of the cluster that this process is connected to; see `Workers`."""

    least_shared: int | None = None

    def __init__(self, n: int) -> None:
        """Start them, spread over the nodes; each takes one CPU."""
        import ray

        self.n = n
        self._ray = ray
        # A model's products may differ in their last bits with the number of threads, which Ray would set to one.
        threads = os.environ.get("OMP_NUM_THREADS", str(_n_cores()))
        self._actor_class = ray.remote(_Actor).options(
            num_cpus=1, scheduling_strategy="SPREAD", runtime_env={"env_vars": {"OMP_NUM_THREADS": threads}}
        )
        self._placing: dict[int, tuple[Any, float]] = {}
        self._actors = [self._start(worker) for worker in range(n)]
        self._asked: dict[int, Any] = {}

    def share(self, value: Any) -> Any:
        """A reference to the value in the object store: nodes fetch it once."""
        return self._ray.put(value)

    def memory(self, size: int) -> Memory:
        """There is none: actors may be on other machines."""
        raise NotImplementedError

    def tell(self, worker: int, order: Order) -> None:
        """As `Workers` says."""
        self._asked[worker] = self._actors[worker].carry_out.remote(order.name, *order.args)

    def answers(self, busy: Sequence[int], seconds: float) -> Mapping[int, Answer]:
        """As `Workers` says.

        Raises:
            WorkerDiedError: the cluster has no CPU for one of them.
        """
        self._check_placed(busy)
        worker_of = {self._asked[worker]: worker for worker in busy}
        ready, _ = self._ray.wait(list(worker_of), num_returns=len(busy), timeout=0)
        if not ready:
            ready, _ = self._ray.wait(list(worker_of), num_returns=1, timeout=seconds)
        found: dict[int, Answer] = {}
        for reference in ready:
            try:
                found[worker_of[reference]] = self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                found[worker_of[reference]] = Died(f"with {type(error).__name__}: {error}")
        return found

    def replace(self, worker: int) -> None:
        """As `Workers` says."""
        self._ray.kill(self._actors[worker])
        self._actors[worker] = self._start(worker)

    def last_call(self, worker: int) -> str:
        """As `Workers` says."""
        return "; its actor was ended"

    def _start(self, worker: int) -> Any:
        actor = self._actor_class.remote()
        self._placing[worker] = actor.__ray_ready__.remote(), monotonic()
        return actor

    def _check_placed(self, busy: Sequence[int]) -> None:
        for worker in [worker for worker in busy if worker in self._placing]:
            placed, since = self._placing[worker]
            if self._ray.wait([placed], timeout=0)[0]:
                del self._placing[worker]
            elif monotonic() - since > PLACE_SECONDS:
                raise WorkerDiedError(
                    f"--ray: got no CPU for worker {worker} of {self.n} within {PLACE_SECONDS:.0f} s, expected a free "
                    "one for each of them: see `ray status`"
                )


class _Actor:
    def __init__(self) -> None:
        self._seat = Seat()

    def carry_out(self, name: str, *args: Any) -> Answer:
        # What comes from the object store cannot be written to; models and users are to be as in any process.
        return self._seat.carry_out(Order(name, deepcopy(args)))


def imported_ray(address: str) -> Any:
    """The module, told what it reads when it is imported: it would listen on all interfaces, and tell its makers.

    Args:
        address: as for `in_ray`.

    Raises:
        EngineError: Ray is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address == LOCAL:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray

        _ = ray.init
    except (ImportError, AttributeError) as error:  # a folder `ray` in the working folder is a package without anything
        raise EngineError(f"--ray: got {error}, expected Ray: pip install 'pushback[ray]'") from error
    return ray


@contextmanager
def in_ray(address: str, n: int) -> Iterator[Elsewhere]:
    """Cells in actors of Ray, which end with the block.

    Args:
        address: of a cluster, such as `10.0.0.1:6379` or `auto`, whose nodes have the same packages as this process;
            or `LOCAL`.
        n: actors; a cluster needs as many free CPUs.

    Raises:
        EngineError: Ray is not installed, or there is no such cluster.
    """
    ray = imported_ray(address)
    alone = {"num_cpus": n, "include_dashboard": False, "_node_ip_address": "127.0.0.1"} if address == LOCAL else {}
    try:
        ray.init(address=address, log_to_driver=False, **alone)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise EngineError(f"--ray: got {address!r}: {error}, expected the address of a Ray cluster") from error
    try:
        yield Elsewhere(RayWorkers(n))
    finally:
        ray.shutdown()


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
