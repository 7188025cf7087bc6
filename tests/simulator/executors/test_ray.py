"""Cells in actors of Ray live the same lives, on whatever nodes, and when an actor dies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from simulator.engine.cells import cut_population
from simulator.engine.clock import Service, Trajectory, Workplace
from simulator.engine.log import EventLog
from simulator.engine.log_files import log_hash
from simulator.engine.log_parts import StreamedLog, read_cells
from simulator.workers.process import WorkerDiedError
from simulator.world.behaviour import UtilityBehaviour
from tests.simulator.engine.test_cells import BEHAVIOURS, assert_same, lived
from tests.simulator.engine.worlds import DAY, HOUR, Responsive, service, small_world
from tests.simulator.executors.test_processes import mortal

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
]

from simulator.executors import ray_actors  # noqa: E402
from simulator.executors.ray_actors import RayWorkers, in_ray  # noqa: E402

NODE = {"num_cpus": 2, "node_ip_address": "127.0.0.1", "object_store_memory": 100 * 2**20}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of two CPUs each."""
    from ray.cluster_utils import Cluster

    made: Any = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[3])
    made.add_node(**NODE)
    made.wait_for_nodes()
    yield made
    made.shutdown()


@pytest.fixture
def address(cluster: Any) -> str:
    return cluster.address


@pytest.mark.parametrize("n_workers", [1, 2, 4])
@pytest.mark.parametrize("behaviour", sorted(BEHAVIOURS))
def test_any_number_of_actors_gives_the_same_log(address, n_workers, behaviour):
    world, built = small_world(users=11), service("growing", retrain_every="6h", ingestion_delay="1h")
    whole = lived(world, BEHAVIOURS[behaviour], built, DAY)
    with in_ray(address, n_workers) as executor:
        spread = lived(world, BEHAVIOURS[behaviour], replace(built, workplace=Workplace(executor, 3)), DAY)
        nodes = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    assert len(nodes) == 2
    assert log_hash(spread.log) == log_hash(whole.log)
    assert_same(spread, whole, HOUR)


def test_an_actor_that_dies_is_replaced_and_its_cells_live_on(address, tmp_path):
    world = small_world(users=6)
    whole = lived(world, UtilityBehaviour(), mortal(tmp_path / "never", 0), DAY)
    with in_ray(address, 2) as executor:
        built = replace(mortal(tmp_path / "twice", 2), workplace=Workplace(executor, 2))
        assert_same(lived(world, UtilityBehaviour(), built, DAY), whole, HOUR)
    assert not list((tmp_path / "twice").iterdir())


class Lingering(Responsive):
    """Takes its time, so that a simulation lasts while a node goes."""

    def recommend(self, requests, k, draws):
        sleep(0.02)
        return super().recommend(requests, k, draws)


def lived_while_a_node_goes(
    cluster: Any, n_workers: int, built: Service, monkeypatch: pytest.MonkeyPatch
) -> Trajectory:
    """A day in a cluster of three nodes, of which the third goes when the users have come half-way."""
    node = cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    replaced: list[int] = []
    replace_worker = RayWorkers.replace

    def counted(self: RayWorkers, worker: int) -> None:
        replaced.append(worker)
        replace_worker(self, worker)

    def beat(tick: float, n_requests: int) -> None:
        if tick > DAY / 2 and node in cluster.worker_nodes:
            cluster.remove_node(node, allow_graceful=False)

    monkeypatch.setattr(RayWorkers, "replace", counted)
    with in_ray(cluster.address, n_workers) as executor:
        there = replace(built, workplace=Workplace(executor, 2))
        found = lived(small_world(users=12), UtilityBehaviour(), there, DAY, heartbeat=beat)
    assert replaced
    return found


def test_a_node_that_goes_takes_nothing_with_it(cluster, monkeypatch):
    built = service(retrain_every="6h", ingestion_delay="1h")
    whole = lived(small_world(users=12), UtilityBehaviour(), built, DAY)
    assert_same(lived_while_a_node_goes(cluster, 4, replace(built, build=Lingering), monkeypatch), whole, HOUR)


def test_a_node_that_goes_and_leaves_too_few_cpus_ends_the_run_with_an_error(cluster, monkeypatch):
    monkeypatch.setattr(ray_actors, "PLACE_SECONDS", 20.0)
    built = replace(service(retrain_every="6h", ingestion_delay="1h"), build=Lingering)
    message = r"--ray: got no CPU for worker \d of 6 within 20 s, expected a free one for each of them"
    with pytest.raises(WorkerDiedError, match=message):
        lived_while_a_node_goes(cluster, 6, built, monkeypatch)


def test_more_workers_than_cpus_are_an_error(address, monkeypatch):
    monkeypatch.setattr(ray_actors, "PLACE_SECONDS", 10.0)
    with in_ray(address, 5) as executor, pytest.raises(WorkerDiedError, match=r"got no CPU for worker \d of 5 within"):
        lived(small_world(), UtilityBehaviour(), replace(service(), workplace=Workplace(executor, 1)), DAY)


def test_actors_stream_the_same_log(address, tmp_path):
    world, built = small_world(users=11), service("growing", retrain_every="6h", ingestion_delay="1h")
    whole = lived(world, UtilityBehaviour(), built, DAY)
    sinks = StreamedLog(tmp_path / "events", built.arm, cut_population(11, 3))
    with in_ray(address, 3) as executor:
        spread = lived(world, UtilityBehaviour(), replace(built, workplace=Workplace(executor)), DAY, sinks=sinks)
    assert log_hash(EventLog.merge([log for _, log in read_cells(sinks.folder)])) == log_hash(whole.log)
    assert not len(spread.log)
