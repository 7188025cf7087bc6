"""Real histories as a prefix: what is read against a loop, what the arm is shown, and the whole way from files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from recommenders.base import Feedback, Interactions
from simulator.cli import main
from simulator.engine.snapshot import genesis
from simulator.experiment.counterfactual import run_counterfactual
from simulator.experiment.replay import Histories, ReplayError, read_histories
from simulator.scenario.counterfactuals import Counterfactual
from simulator.world.behaviour import UtilityBehaviour
from tests.simulator.engine.worlds import DAY, first_model, service, small_world

ROWS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 7), st.integers(0, 20)), min_size=1, max_size=40)


def log_of(rows: list[tuple[int, int, int]]) -> Interactions:
    ordered = sorted(rows, key=lambda r: (r[2], r[0]))
    user, item, tick = (np.array(column) for column in zip(*ordered, strict=True))
    flags = np.where(item % 3 == 0, int(Feedback.DISLIKE), int(Feedback.LONG_DWELL)).astype(np.uint8)
    return Interactions(
        tick.astype(np.int64), user.astype(np.int32), item.astype(np.int32), flags, item.astype(np.float32)
    )


@given(rows=ROWS, m=st.integers(1, 5))
def test_histories_are_the_last_interactions_with_items_of_the_catalogue(rows, m) -> None:
    log = log_of(rows)
    names = [f"v{i}" for i in range(8)]
    catalogue = [f"v{i}" for i in (6, 2, 0, 4)]
    known = [e for e in range(len(log)) if names[log.item[e]] in catalogue]
    if not known:
        with pytest.raises(ReplayError, match=r"expected items of world\.catalogue\.table"):
            read_histories(log, names, catalogue, m, "log.csv")
        return
    found = read_histories(log, names, catalogue, m, "log.csv")
    users = sorted({int(log.user[e]) for e in known})
    assert len(found) == len(users)
    for row, user in enumerate(users):
        mine = [e for e in known if log.user[e] == user][-m:]
        expected = [-1] * (m - len(mine)) + [catalogue.index(names[log.item[e]]) for e in mine]
        assert found.item[row].tolist() == expected
        assert found.before[row, m - len(mine) :].tolist() == [int(log.tick[mine[-1]] - log.tick[e]) for e in mine]
        flags = [int(log.feedback[e] | Feedback.EXAMINED) for e in mine]
        assert found.feedback[row, m - len(mine) :].tolist() == flags


def test_the_arm_is_asked_with_the_history_that_is_replayed() -> None:
    world, built = small_world(users=5, items=40), service(ingestion_delay="45s")
    rng = np.random.default_rng(1)
    item = rng.integers(0, 40, (4, 9)).astype(np.int32)
    item[1, :4] = -1
    feedback = np.where(item >= 0, rng.choice([3, 5, 17], (4, 9)), 0).astype(np.uint8)
    before = (np.arange(8, -1, -1) * 60_000 * np.ones((4, 1))).astype(np.int64)
    histories = Histories(item, feedback, np.ones((4, 9), np.float32), before)
    seen = []
    build = built.build

    def recording():
        recommender = build()
        inner = recommender.recommend

        def recommend(requests, k, draws):
            seen.append(requests)
            return inner(requests, k, draws)

        recommender.recommend = recommend
        return recommender

    start = replace(genesis(world, UtilityBehaviour(), 12), tick=DAY)
    settings = Counterfactual.model_validate(
        {"runs": 4, "k": 10, "slate_size": 6, "prefix": "replayed", "replay": {"log": "x.csv", "every": "long_dwell"}}
    )
    found = run_counterfactual(
        world, replace(built, build=recording), first_model(built, world), settings, start=start, histories=histories
    )
    first = seen[0]
    np.testing.assert_array_equal(first.history_item[:, -9:], item)
    np.testing.assert_array_equal(first.history_feedback[:, -9:], feedback)
    assert (first.history_tick + 45_000 <= first.tick[:, None]).all()
    np.testing.assert_array_equal(found.run, np.arange(4))
    np.testing.assert_array_equal(seen[-1].history_item[:, -1], found.focus_item)
    np.testing.assert_array_equal(seen[-1].history_item[:, -10:-1], item)
    assert len(found.prefix) == int((item >= 0).sum())


def test_a_scenario_replays_a_log_of_its_items(tmp_path: Path) -> None:
    items = ["item_id,creator_id,topics,duration_seconds", *(f"v{i},c{i % 9},t{i % 4},{20 + i}" for i in range(60))]
    events = ["user_id,item_id,timestamp,action"]
    events += [
        f"u{u},v{(7 * u + 3 * j) % 70},2024-01-01 0{j}:0{u}:00,{('play', 'ban')[j % 2]}"
        for u in range(9) for j in range(8)
    ]  # fmt: skip
    (tmp_path / "items.csv").write_text("\n".join(items))
    (tmp_path / "events.csv").write_text("\n".join(events))
    scenario = tmp_path / "replay.yaml"
    scenario.write_text("""
question: Does it respond to real histories?
expected: It does not, being popularity.
run_time: 1 s
world: {preset: lively, catalogue: {table: {path: items.csv}}, population: {users: 20}}
warm_up: 1d
arms: [{name: popular, recommender: popularity}]
control: popular
counterfactual:
  prefix: replayed
  replay: {log: events.csv, event: action, map: {play: long_dwell, ban: dislike}}
  k: 6
  runs: 9
  slate_size: 10
""")
    done = CliRunner().invoke(main, ["run", str(scenario), "--out", str(tmp_path / "out"), "--jobs", "1"])
    assert done.exit_code == 0, done.output
    assert "no arm changes the next slate after a dislike (exactly 0 in all)" in done.output
    too_many = ["run", str(scenario), "--out", str(tmp_path / "out"), "--jobs", "1", "--set", "counterfactual.runs=10"]
    refused = CliRunner().invoke(main, too_many)
    assert refused.exit_code == 2
    assert "counterfactual.runs: got 10, expected at most 9, the users of" in refused.stderr
