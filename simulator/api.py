"""The interface for notebooks and scripts: what `import simulator` offers, on the same path as the command line.

`simulator.run`, `load`, `compare` and `make_scenario` are found here; docs/python.md shows them at work. Whatever the
command line tells as an error is here an exception with the same message.
"""

from __future__ import annotations

import inspect
import json
import shutil
import sys
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from recommenders.base import RecommenderError
from simulator.commands.components import Source
from simulator.commands.components import load as load_source
from simulator.finished import FinishedRun
from simulator.report.compare import RunDifferences, differences
from simulator.report.frame import Frame
from simulator.report.runs import load_run
from simulator.report.serialize import ReportError
from simulator.running import Labour, RunInterruptedError, run_scenario
from simulator.scenario.faults import Sources
from simulator.scenario.loader import LoadedScenario
from simulator.scenario.plain_data import plain_data

__all__ = ["FinishedRun", "Frame", "RunDifferences", "compare", "load", "make_scenario", "run"]

Arm = str | type | Mapping[str, Any]
"""A recommender's class or name, or an arm as a scenario writes it, in which a class may stand for a name."""


def run(
    scenario: Source,
    *,
    set: Mapping[str, Any] | None = None,
    arms: Mapping[str, Arm] | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    jobs: int = 1,
) -> FinishedRun:
    """Run a scenario; progress is shown where the standard error is a terminal.

    Args:
        scenario, set, arms, seed: as for `make_scenario`.
        out: folder of results; the run gets `out/<scenario>/<run>/` beneath it. None: a temporary folder, which lives
            as long as the object that is returned (`save` keeps it).
        jobs: arms that run at the same time, each in a process of its own. Never changes a result. Above 1, a script
            must keep what it does under `if __name__ == "__main__":`, since each process imports it.

    Raises:
        LookupError: a bare name that no shipped scenario has.
        ScenarioErrors: with all that is wrong with the scenario.
        EngineError, RecommenderError, BehaviourError, MetricError, CatalogueError, ReplayError, LogError: it
            cannot be run.
        ReportError: a report that the scenario names failed; the run is whole, in the folder that the message names.
        WorkerDiedError: a process of `jobs` died.
        RunInterruptedError: Ctrl-C, or the notebook's stop button.
        OSError: the folder cannot be written.
    """
    loaded = make_scenario(scenario, set=set, arms=arms, seed=seed)
    if jobs > 1:
        _check_workers_can_import(loaded)
    given = {"set": set, "arms": arms, "seed": seed, "jobs": jobs if jobs > 1 else None}
    options = "".join(f", {name}={value!r}" for name, value in given.items() if value is not None)
    command = f"simulator.run({loaded.name!r}{options})"
    console = Console(stderr=True)
    if out is not None:
        return run_scenario(loaded, out=Path(out), labour=Labour(jobs), console=console, command=command)
    folder = tempfile.mkdtemp(prefix="pushback-")
    try:
        found = run_scenario(loaded, out=Path(folder), labour=Labour(jobs), console=console, command=command)
    except RunInterruptedError:
        shutil.rmtree(folder, ignore_errors=True)
        raise RunInterruptedError("interrupted; nothing is left of the unfinished run") from None
    except ReportError:  # a report of the scenario's own failed; the run is whole, and the message says where
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(found, shutil.rmtree, folder, ignore_errors=True)
    return found


def make_scenario(
    source: Source,
    *,
    set: Mapping[str, Any] | None = None,
    arms: Mapping[str, Arm] | None = None,
    seed: int | None = None,
) -> LoadedScenario:
    """A scenario that is checked and ready to run.

    Args:
        source: a file, the bare name of a shipped scenario, a dict of what a file says, or what this function gave.
        set: path -> value, such as `{"world.population.users": 200, "arms[1].config.epochs": 3}`, after the arms.
        arms: name -> recommender, added to the arms of the source; an arm of that name is replaced. A class must stand
            at the top of a module, a script or a notebook, since each training and each process makes its own object.
        seed: replaces the scenario's.

    Raises:
        LookupError: a bare name that no shipped scenario has.
        ScenarioErrors: with all that is wrong, each with its place in the file, or the setting that brought it.
        RecommenderError: an arm's class cannot be found again by its name.
    """
    overrides: list[str] = []
    if arms:
        base = load_source(source)
        index = {arm.name: i for i, arm in enumerate(base.scenario.arms)}
        for name, arm in arms.items():
            place = index.setdefault(name, len(index))
            overrides.append(_override(f"arms[{place}]", {"name": name, **_written_arm(name, arm)}))
    overrides += [_override(path, value) for path, value in (set or {}).items()]
    return load_source(source, overrides, seed)


def load(folder: str | Path) -> FinishedRun:
    """A finished run from its folder, such as `results/quickstart/20261126-220113-seed1`.

    Raises:
        ReportError: no such folder, a file is missing or corrupt, or the run was interrupted.
    """
    found = load_run(folder)
    return FinishedRun(Path(folder), found.results, found.manifest)


def compare(a: FinishedRun | str | Path, b: FinishedRun | str | Path) -> RunDifferences:
    """Two runs side by side: the settings and the estimates in which they differ.

    Raises:
        ReportError: a run is missing, incomplete or corrupt.
    """
    folders = [found.folder if isinstance(found, FinishedRun) else Path(found) for found in (a, b)]
    return differences(*folders)


def _override(path: str, value: object) -> str:
    """`path=value` as the command line has it; the value as JSON, which is YAML.

    Raises:
        ScenarioErrors: the value is an object that no scenario can hold.
    """
    sources = Sources("set", has_text=False)
    plain = plain_data(value, sources, (path,))
    sources.raise_if_any()
    return f"{path}={json.dumps(plain, ensure_ascii=False)}"


def _written_arm(name: str, arm: Arm) -> dict[str, Any]:
    settings = dict(arm) if isinstance(arm, Mapping) else {"recommender": arm}
    recommender = settings.get("recommender")
    if inspect.isclass(recommender):
        settings["recommender"] = _importable_name(name, recommender)
    elif recommender is not None and not isinstance(recommender, str):
        got = f"an object of type {type(recommender).__name__}"
        expected = "its class or a name, since each training and each process makes an object of its own"
        raise RecommenderError(f"arms[{name!r}]: got {got}, expected {expected}")
    return settings


def _importable_name(arm: str, recommender: type) -> str:
    module, name = recommender.__module__, recommender.__qualname__
    if getattr(sys.modules.get(module), name, None) is not recommender:
        expected = "a class at the top of a module, a script or a notebook, which can be found again by its name"
        raise RecommenderError(f"arms[{arm!r}]: got {module}:{name}, expected {expected}")
    return f"{module}:{name}"


def _check_workers_can_import(loaded: LoadedScenario) -> None:
    """Refuse classes of a notebook where other processes would have to import them."""
    if hasattr(sys.modules["__main__"], "__file__"):
        return
    scenario = loaded.scenario
    names = [scenario.logging_policy.recommender, *(arm.recommender for arm in scenario.arms), *scenario.metrics]
    local = [name for name in names if name.startswith("__main__:")]
    if local:
        expected = f"jobs=1, or {local[0].partition(':')[2]} in a module, since other processes do not see this session"
        raise RecommenderError(f"{local[0]}: got jobs of several processes, expected {expected}")
