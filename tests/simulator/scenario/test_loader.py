from __future__ import annotations

import os
from pathlib import Path

import pytest

from simulator.scenario.ab_tests import PairedABTest, SplitABTest
from simulator.scenario.durations import parse_duration
from simulator.scenario.faults import ScenarioErrors
from simulator.scenario.loader import load_scenario, resolved_yaml
from simulator.scenario.presets import merge_beneath, preset_names, preset_summary, read_preset
from simulator.scenario.schema import Scenario, World
from simulator.scenario.yaml_nodes import MAX_BYTES
from tests.simulator.scenario.samples import FULL, MINIMAL, PARTS, load_text


def faults(folder: Path, text: str | bytes, **options: object) -> list[str]:
    with pytest.raises(ScenarioErrors) as raised:
        load_text(folder, text, **options)
    return [str(fault).removeprefix(f"{folder}{os.sep}") for fault in raised.value.faults]


def test_minimal_scenario_takes_all_defaults(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, MINIMAL)
    assert loaded.scenario.world == World()
    assert (loaded.name, loaded.path, loaded.text) == ("scenario", tmp_path / "scenario.yaml", MINIMAL)


def test_full_scenario_says_what_was_written(tmp_path: Path) -> None:
    scenario = load_text(tmp_path, FULL).scenario
    assert scenario.expected == "Yes, by a third."
    assert scenario.world.catalogue.lifetime is None
    assert scenario.world.population.drift_time == parse_duration("9d")
    assert scenario.world.population.expressiveness.silent_share == 1e-3
    assert scenario.warm_up == parse_duration("60h")
    assert scenario.arms[1].config == {"dislike_input": True, "not_to_recommend_weight": 4, "layers": [16, 16]}
    assert scenario.counterfactual is not None
    assert scenario.counterfactual.action == ("long_dwell", "dislike")


@pytest.mark.parametrize("text", [MINIMAL, FULL], ids=["minimal", "full"])
def test_resolved_scenario_reads_back_equal(tmp_path: Path, text: str) -> None:
    scenario = load_text(tmp_path, text).scenario
    resolved = resolved_yaml(scenario)
    assert load_text(tmp_path, resolved).scenario == scenario
    assert "drift_time: 9d" in resolved or text == MINIMAL


@pytest.mark.parametrize(
    "word", ["no", "1e-3", "010", "12:30", "null", "~", "", "3", ".inf", "<<", "=", "a: b", "a\u2028b", "# x"]
)
def test_text_that_looks_like_something_else_survives_the_round_trip(tmp_path: Path, word: str) -> None:
    scenario = load_text(tmp_path, MINIMAL).scenario.model_copy(update={"expected": word or "x"})
    assert load_text(tmp_path, resolved_yaml(scenario)).scenario == scenario


def test_an_override_of_the_next_free_index_adds_an_entry(tmp_path: Path) -> None:
    overrides = ["arms[1]={name: more, recommender: popularity}", "arms[1].name=other"]
    assert [arm.name for arm in load_text(tmp_path, MINIMAL, overrides=overrides).scenario.arms] == ["base", "other"]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("2022-04-09", "2022-04-09"),
    ],
)
def test_yaml_1_1_traps_are_text(tmp_path: Path, written: str, read: str) -> None:
    assert load_text(tmp_path, MINIMAL.replace("It does.", written)).scenario.expected == read


def test_exponents_without_a_point_are_numbers(tmp_path: Path) -> None:
    text = MINIMAL + "world: {behaviour: {mood_sd: 1e-3, noise_sd: +2E1}}\n"
    behaviour = load_text(tmp_path, text).scenario.world.behaviour
    assert (behaviour.mood_sd, behaviour.noise_sd) == (0.001, 20.0)


def test_line_endings_and_byte_order_mark_do_not_move_positions(tmp_path: Path) -> None:
    text = "\ufeff" + MINIMAL.replace("\n", "\r\n") + "seed: x\r\n"
    assert faults(tmp_path, text) == ["scenario.yaml:9:7: seed: got 'x', expected a whole number"]


def test_columns_count_characters_not_bytes(tmp_path: Path) -> None:
    assert faults(tmp_path, MINIMAL + "world: {'ä€😀': 1}\n")[0].startswith("scenario.yaml:9:9: world.'ä€😀': got an")


def test_preset_lies_beneath_what_is_written(tmp_path: Path) -> None:
    preset = read_preset("lively")
    key, value = next(iter(preset["population"]["expressiveness"].items()))
    scenario = load_text(tmp_path, MINIMAL + "world:\n  preset: lively\n").scenario
    assert getattr(scenario.world.population.expressiveness, key) == value
    text = MINIMAL + f"world:\n  preset: lively\n  population: {{users: 9, expressiveness: {{{key}: 0.25}}}}\n"
    population = load_text(tmp_path, text).scenario.world.population
    assert (population.users, getattr(population.expressiveness, key)) == (9, 0.25)
    others = {k: v for k, v in preset["population"]["expressiveness"].items() if k != key}
    assert {k: getattr(population.expressiveness, k) for k in others} == others


def test_merge_replaces_lists_and_explicit_nulls() -> None:
    lower = {"a": {"x": [1, 2], "y": {"z": 1}}, "b": 1}
    upper = {"a": {"x": [3], "y": None}, "c": 2}
    assert merge_beneath(lower, upper) == {"a": {"x": [3], "y": None}, "b": 1, "c": 2}
    assert lower == {"a": {"x": [1, 2], "y": {"z": 1}}, "b": 1}


@pytest.mark.parametrize("name", preset_names())
def test_shipped_preset_is_a_valid_world_and_says_what_it_is(name: str) -> None:
    assert {"lively", "short_video", "music"} <= set(preset_names())
    preset = read_preset(name)
    assert preset.keys() <= {"population", "behaviour", "engagement"}
    assert World.model_validate(preset)
    assert len(preset_summary(name)) > 20


def test_overrides_replace_add_and_win_over_preset(tmp_path: Path) -> None:
    settings = [
        "seed=5",
        "seed=6",
        "world.preset=music",
        "world.behaviour.long_dwell_seconds=7.5",
        "platform.retrain_every=12h",
        "arms[0].config={}",
        "arms[0].name=only",
        "control=only",
        "counterfactual.base=[like]",
        "metrics=[skip_rate]",
    ]
    scenario = load_text(tmp_path, MINIMAL, overrides=settings).scenario
    assert scenario.seed == 6
    assert scenario.world.behaviour.long_dwell_seconds == 7.5
    assert scenario.world.behaviour.max_watch_fraction == read_preset("music")["behaviour"]["max_watch_fraction"]
    assert scenario.platform.retrain_every == parse_duration("12h")
    assert scenario.control == scenario.arms[0].name == "only"
    assert scenario.counterfactual is not None
    assert scenario.counterfactual.base == ("like",)


def test_seed_option_wins_over_file_and_overrides(tmp_path: Path) -> None:
    assert load_text(tmp_path, MINIMAL + "seed: 3\n", overrides=["seed=4"], seed=9).scenario.seed == 9


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=-1", "--set seed=-1: seed: got -1, expected 0 or more"),
        ("seed", "--set seed: --set: got 'seed', expected path=value, such as"),
        ("=3", "--set =3: --set: got '=3', expected path=value"),
        ("a..b=3", "--set a..b=3: --set: got 'a..b=3', expected path=value"),
        ("seed=", "--set seed=: --set: got nothing after =, expected a value"),
        ("seed=[1", "--set seed=[1: --set: got broken YAML"),
        ("seed=007", "--set seed=007: --set: got 007, expected a number without leading zeros"),
        (
            "platform.slate_sise=3",
            "--set platform.slate_sise=3: --set: got the unknown key slate_sise, expected one of",
        ),
        (
            "world.populaton.users=3",
            "--set world.populaton.users=3: --set: got the unknown key populaton, expected one",
        ),
        ("seed.deep=3", "--set seed.deep=3: --set: got seed.deep, expected a setting: seed has no parts"),
        ("question.deep=3", "--set question.deep=3: --set: got question.deep, expected a setting: question is 'Does"),
        ("arms[7].name=x", "--set arms[7].name=x: --set: got arms[7], expected an entry of arms, which has 1"),
        ("arms.name=x", "--set arms.name=x: --set: got arms.name, expected a setting: arms is a list"),
        ("control=other", "--set control=other: control: got 'other', expected base"),
        ("arms[0].recommender=gru", "--set arms[0].recommender=gru: arms[0].recommender: got 'gru', expected one of"),
        (
            "arms[0].config.epochs=1",
            "--set arms[0].config.epochs=1: arms[0].config.epochs: got an unknown key, expected",
        ),
        ("platform={slate_size: 0}", "--set platform={slate_size: 0}: platform.slate_size: got 0, expected 1 or more"),
    ],
)
def test_fault_of_an_override_names_it(tmp_path: Path, override: str, message: str) -> None:
    found = faults(tmp_path, MINIMAL, overrides=[override])
    assert len(found) == 1
    assert found[0].startswith(message)


def test_an_override_mends_a_fault_of_the_file_and_faults_of_both_are_told(tmp_path: Path) -> None:
    assert load_text(tmp_path, MINIMAL + "seed: x\n", overrides=["seed=3"]).scenario.seed == 3
    found = faults(tmp_path, MINIMAL + "confidence: 2\n", overrides=["seed=x", "warm_up=1"])
    assert [f.partition(": ")[0] for f in found] == ["scenario.yaml:9:13", "--set seed=x", "--set warm_up=1"]


def test_a_fault_between_two_settings_is_located_where_one_was_written(tmp_path: Path) -> None:
    text = MINIMAL + "world:\n  catalogue: {items: 4}\n"
    assert faults(tmp_path, text)[0].startswith("scenario.yaml:10:22: platform.slate_size: got 10, expected at most 4")
    settings = ["world.catalogue.items=4"]
    assert faults(tmp_path, MINIMAL, overrides=settings)[0].startswith("--set world.catalogue.items=4: platform.slate_")


def test_table_is_found_relative_to_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id\n")
    text = MINIMAL + "world: {catalogue: {items: 3, table: {path: items.csv}}}\n"
    assert load_text(tmp_path, text).scenario.world.catalogue.table is not None
    for odd in ('"a\\0b"', "x" * 5000, "."):
        assert "expected an existing file" in faults(tmp_path, text.replace("items.csv", odd))[0]


def test_file_that_cannot_be_read_is_an_error_of_the_whole_file(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yaml", tmp_path, Path("a\0b.yaml"), tmp_path / ("x" * 300)):
        with pytest.raises(ScenarioErrors) as raised:
            load_scenario(path, parts=PARTS)
        assert len(raised.value.faults) == 1
        assert str(raised.value).startswith(f"{path}: file: got ")


def test_absurd_sizes_are_refused_before_work_is_done(tmp_path: Path) -> None:
    file = tmp_path / "scenario.yaml"
    with open(file, "wb") as sparse:
        sparse.truncate(100 * 1024 * 1024)
    with pytest.raises(ScenarioErrors, match=f"got more than {MAX_BYTES} bytes"):
        load_scenario(file, parts=PARTS)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10_000,
        "{" * 10_000,
        "- " * 10_000,
        "? " * 10_000,
        "a: " * 10_000,
        "[[]," * 50_000,
        "&a " * 1000,
        "!" * 5000,
    ],
)
def test_deep_and_endless_structures_are_refused(tmp_path: Path, text: str) -> None:
    assert len(faults(tmp_path, text)) == 1


def test_aliases_may_be_used_and_share_nothing(tmp_path: Path) -> None:
    text = MINIMAL.replace("recommender: popularity", "recommender: gru4rec\n    config: &c {epochs: 2}")
    text = text.replace("control:", "  - {name: other, recommender: gru4rec, config: *c}\ncontrol:")
    scenario = load_text(tmp_path, text, overrides=["arms[1].config.epochs=3"]).scenario
    assert [arm.config for arm in scenario.arms] == [{"epochs": 2}, {"epochs": 3}]


def test_a_metric_of_ones_own_is_known_by_its_own_name_in_thresholds(tmp_path: Path) -> None:
    text = MINIMAL + "metrics: [skip_rate, my_module:mine]\nthresholds: ['level.own_metric[base] > 0']\n"
    assert load_text(tmp_path, text).scenario.metrics == ("skip_rate", "my_module:mine")
    [fault] = faults(tmp_path, text.replace("own_metric", "mine"))
    assert "thresholds[0]: got 'mine', expected one of skip_rate, own_metric" in fault


def test_thresholds_without_metrics_know_the_built_in_ones_only(tmp_path: Path) -> None:
    load_text(tmp_path, MINIMAL + "thresholds: ['level.skip_rate[base] > 0']\n")
    [fault] = faults(tmp_path, MINIMAL + "thresholds: ['level.boredom[base] > 0']\n")
    assert "thresholds[0]: got 'boredom', expected one of dislike_rate, skip_rate," in fault


def test_counterfactual_alone_needs_no_ab_test(tmp_path: Path) -> None:
    scenario = load_text(tmp_path, MINIMAL.replace("ab_test", "counterfactual")).scenario
    assert isinstance(scenario, Scenario)
    assert scenario.ab_test is None


SPLIT = """\
ab_test:
  design: split
  duration: 4d
  shares: {base: 0.25, other: 0.75}
  holdout: 0.1
  ramp: [{after: 0d, treated_share: 0.1}, {after: 1d, treated_share: 1}]
  training: pooled
  exclude_first: 1d
  guardrails: [{metric: skip_rate, margin: 0.02}]
  watch: true
"""
SWITCHBACK = "ab_test: {design: switchback, duration: 4d, period: 12h, washout: 1h, training: pooled}\n"


def with_two_arms(ab_test: str) -> str:
    text = MINIMAL.replace("control:", "  - {name: other, recommender: gru4rec}\ncontrol:")
    return text.replace("ab_test: {}\n", ab_test)


@pytest.mark.parametrize("ab_test", [SPLIT, SWITCHBACK], ids=["split", "switchback"])
def test_designs_of_one_world_read_back_equal(tmp_path: Path, ab_test: str) -> None:
    scenario = load_text(tmp_path, with_two_arms(ab_test)).scenario
    assert scenario.ab_test is not None
    assert scenario.ab_test.design == ("split" if ab_test is SPLIT else "switchback")
    assert load_text(tmp_path, resolved_yaml(scenario)).scenario == scenario


def test_a_test_without_a_design_is_paired(tmp_path: Path) -> None:
    ab_test = load_text(tmp_path, MINIMAL).scenario.ab_test
    assert ab_test is not None
    assert ab_test.design == "paired"


def test_overrides_reach_the_keys_of_the_design_that_they_chose(tmp_path: Path) -> None:
    settings = ["ab_test.design=split", "ab_test.holdout=0.2", "ab_test.shares.base=0.5", "ab_test.shares.other=0.5"]
    ab_test = load_text(tmp_path, with_two_arms("ab_test: {}\n"), overrides=settings).scenario.ab_test
    assert isinstance(ab_test, SplitABTest)
    assert (ab_test.holdout, ab_test.shares) == (0.2, {"base": 0.5, "other": 0.5})
    whole = load_text(tmp_path, with_two_arms(SPLIT), overrides=["ab_test={duration: 4d}"]).scenario.ab_test
    assert isinstance(whole, PairedABTest)


def test_an_override_with_a_key_of_another_design_is_told_the_keys_of_this_one(tmp_path: Path) -> None:
    found = faults(tmp_path, MINIMAL, overrides=["ab_test.holdout=0.2"])
    assert found == [
        "--set ab_test.holdout=0.2: --set: got the unknown key holdout, "
        "expected one of design, duration, exclude_first, guardrails, watch"
    ]
