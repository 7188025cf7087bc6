from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from simulator.experiment.metrics import METRICS, Metric, MetricError, MetricInfo, PerUser, registry, select_metrics

HERE = "metric_plug_ins_for_tests"


def metric(name: str, unit: str = "count") -> Metric:
    info = MetricInfo(name, "Boredom", "Yawns per user", unit, "lower")
    return Metric(info, lambda view: PerUser(np.zeros(view.n_users), view.every_user(1.0)))


@pytest.fixture(autouse=True)
def plug_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(HERE)
    vars(module).update(
        boredom=metric("boredom"), same=metric("boredom"), taken=metric("skip_rate"), odd=metric("Odd"), number=3,
        units=metric("units", "percent"), function=metric, other=metric("other"), own=METRICS["skip_rate"],
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, HERE, module)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        metadata.EntryPoint(name, target, registry.KIND.group)
        for name, target in (
            ("zeal", f"{HERE}:other"),
            ("boredom", f"{HERE}:boredom"),
            ("broken", "no_such_module:thing"),
            ("skip_rate", f"{HERE}:boredom"),
        )
    ]
    monkeypatch.setattr(metadata, "entry_points", lambda group: points)


@pytest.fixture
def broken_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "metric_that_raises.py").write_text("raise RuntimeError('no')")
    (tmp_path / "metric_that_exits.py").write_text("import sys; sys.exit(3)")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    return


def test_a_metric_is_found_by_module_and_object() -> None:
    names = [m.info.name for m in select_metrics([f"{HERE}:boredom", "dislike_rate", f"{HERE}:other"])]
    assert names == ["boredom", "dislike_rate", "other"]


@pytest.mark.usefixtures("broken_modules")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("skip_rat", r"^metric: got 'skip_rat', expected one of dislike_rate, .*; did you mean 'skip_rate'\?$"),
        ("zzz", r"^metric: got 'zzz', expected one of dislike_rate, .*, or module:object$"),
        ("no_such_module:thing", "metric 'no_such_module:thing': cannot import .*: No module named"),
        (f"{HERE}:absent", "cannot import .* has no attribute 'absent'"),
        (":thing", "cannot import ':thing': ValueError"),
        ("metric_that_raises:thing", "cannot import .*: RuntimeError: no"),
        ("metric_that_exits:thing", "cannot import .*: SystemExit: 3"),
        (f"{HERE}:number", "got 3, expected a Metric or a WorldMetric"),
        (f"{HERE}:function", "got <function metric at .*>, expected a Metric or a WorldMetric"),
        (f"{HERE}:odd", "info.name: got 'Odd', expected"),
        (f"{HERE}:units", "info.unit: got 'percent', expected one of share, seconds, count, score"),
        (f"{HERE}:taken", "info.name: got 'skip_rate', expected a name that no built-in metric has"),
    ],
)
def test_a_name_that_leads_to_no_metric_is_an_error(name: str, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        select_metrics([name])


def test_two_ways_to_one_name_are_an_error() -> None:
    for other in ("boredom", "same"):
        with pytest.raises(
            MetricError, match=f"got 'boredom' a second time, from '{HERE}:{other}', expected each once"
        ):
            select_metrics([f"{HERE}:boredom", f"{HERE}:{other}"])
    with pytest.raises(MetricError, match="got 'skip_rate' a second time"):
        select_metrics(["skip_rate", f"{HERE}:own"])


@pytest.mark.usefixtures("installed")
def test_another_package_offers_a_metric_by_entry_point() -> None:
    assert registry.find_metric("boredom") is sys.modules[HERE].boredom
    assert registry.KIND.names() == (*METRICS, "boredom", "broken", "zeal")
    assert select_metrics([]) == tuple(METRICS.values())
    with pytest.raises(MetricError, match="did you mean 'boredom'"):
        registry.find_metric("bordom")
    with pytest.raises(
        MetricError, match=r"metric 'zeal': info\.name: got 'other', expected 'zeal' as in its entry point"
    ):
        registry.find_metric("zeal")


@pytest.mark.usefixtures("installed")
def test_a_listing_survives_broken_plug_ins_and_protects_built_in_names() -> None:
    listed = {loaded.entry.name: loaded for loaded in registry.describe_all()}
    assert list(listed) == list(registry.KIND.names())
    assert listed["boredom"].part is sys.modules[HERE].boredom
    assert listed["broken"].part is None
    assert "cannot import 'no_such_module:thing'" in listed["broken"].problem
    assert listed["skip_rate"].entry.provider == "pushback"
    assert listed["skip_rate"].part is METRICS["skip_rate"]


def test_known_names_need_no_scan_of_installed_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def scan(group: str) -> None:
        raise AssertionError("installed packages were looked through")

    monkeypatch.setattr(metadata, "entry_points", scan)
    assert len(select_metrics(["skip_rate", f"{HERE}:boredom"])) == 2
    assert len(select_metrics([])) == len(METRICS)
    with pytest.raises(AssertionError):
        select_metrics(["skip_rates"])


def test_metrics_do_not_import_torch_or_the_engines_clock() -> None:
    code = "import sys, simulator.experiment.metrics; sys.exit(bool({'torch', 'simpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
