"""The folder of a backtest: everything as JSON, the table in Markdown, the page in HTML."""

from __future__ import annotations

import json
import math
import os
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from recommenders.base import Feedback
from recommenders.storage import StorageError, unwritable
from simulator.commands.backtest import Backtest
from simulator.commands.backtest_report import as_html, as_markdown

_PACKAGES = ("pushback", "numpy", "scipy", "torch", "pyarrow")


def run_folder(out: Path, name: str, run: str) -> Path:
    """`out/backtest/<name>/<run>/`, not yet made; the run gets a number where another one has its name.

    Raises:
        StorageError: the name leads elsewhere, or is not one that a folder can have.
    """
    if name in ("", ".", "..") or "/" in name or "\\" in name:
        raise StorageError(f"--name: got {name!r}, expected the name of one folder, without / and \\")
    parent = out / "backtest" / name
    runs = (run if n == 1 else f"{run}-{n}" for n in range(1, 1000))
    try:
        return next(parent / r for r in runs if not (parent / r).exists() and not _is_begun(parent, r))
    except OSError as error:
        raise unwritable(parent, error) from error


def write_backtest(backtest: Backtest, folder: Path) -> None:
    """Write `results.json`, `table.md` and `report.html` into a folder that is there.

    Raises:
        StorageError: it cannot be written.
    """
    texts = {"results.json": as_json(backtest), "table.md": as_markdown(backtest), "report.html": as_html(backtest)}
    try:
        for file, text in texts.items():
            (folder / file).write_bytes(text.encode("utf-8", "xmlcharrefreplace"))
    except OSError as error:
        raise unwritable(folder, error) from error


def _is_begun(parent: Path, run: str) -> bool:
    """Whether another process has a `new_folder` of this name."""
    return any(parent.glob(f".{run}.*.partial"))


def as_json(backtest: Backtest) -> str:
    """Everything, for programs; what could not be measured is null."""
    log, settings = backtest.log, backtest.settings
    record = {
        "name": backtest.name,
        "run": backtest.run,
        "command": backtest.command,
        "started_utc": backtest.started.isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "log": {"file": backtest.log_name, "sha256": log.sha256, "notices": list(log.notices)},
        "settings": {
            **asdict(settings),
            "negative_kinds": _kind_names(settings.negative_kinds),
        },
        "split": asdict(backtest.sizes),
        "metrics": [
            {key: getattr(metric, key) for key in ("name", "label", "better", "side", "definition")}
            for metric in backtest.metrics
        ],
        "models": [
            {
                "name": m.spec.name,
                "recommender": m.spec.recommender,
                "config": dict(m.spec.config),
                "fit_seconds": [round(s, 3) for s in m.fit_seconds],
                "evaluate_seconds": [round(s, 3) for s in m.evaluate_seconds],
                "figures": {name: _without_nan(asdict(figure)) for name, figure in m.figures.items()},
            }
            for m in backtest.models
        ],
        "best": {metric: sorted(models) for metric, models in backtest.best.items()},
    }
    return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _kind_names(kinds: Feedback) -> list[str]:
    return [str(kind.name).lower() for kind in Feedback if kind in kinds]


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
