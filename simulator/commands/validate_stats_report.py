"""What `pushback validate-stats` shows and writes: tables in the terminal, JSON, and an HTML page."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from rich.console import Console
from rich.text import Text

from recommenders.storage import unwritable
from simulator.commands.validate_stats import Validation
from simulator.commands.validate_stats_calibration import tell_calibration
from simulator.commands.validate_stats_interference import tell_interference
from simulator.commands.validate_stats_views import Cell, Telling
from simulator.experiment.calibration import LEVEL, Calibration
from simulator.report import manifest_to_json
from simulator.report.terminal import add_row, new_table, show


def tell(validation: Validation) -> Telling:
    """In words and tables."""
    metrics = [metric.name for metric in validation.metrics]
    if isinstance(validation.found, Calibration):
        return tell_calibration(validation.found, metrics)
    return tell_interference(validation.found, metrics)


def print_validation(validation: Validation, console: Console) -> None:
    """Print a table for each question; a failed check is marked with !."""
    headers = ["", *(metric.name for metric in validation.metrics)]
    for view in tell(validation).views:
        table = new_table(view.title, headers)
        for name, cells in view.rows:
            add_row(table, [name, *(_marked(cell, with_limits=not view.error) for cell in cells)])
        console.print(table)
        show(console, f"{view.remark} {view.error}".strip() + "\n", "dim")


def write_validation(validation: Validation, folder: Path) -> None:
    """Write `validity.json`, `validity.html` and `manifest.json` into a folder that is there.

    Raises:
        StorageError: it cannot be written.
    """
    texts = {
        "validity.json": as_json(validation),
        "validity.html": as_html(validation),
        "manifest.json": manifest_to_json(validation.manifest),
    }
    try:
        for file, text in texts.items():
            (folder / file).write_bytes(text.encode("utf-8", "xmlcharrefreplace"))
    except OSError as error:
        raise unwritable(folder, error) from error


def as_json(validation: Validation) -> str:
    """Everything counted, for programs; what could not be is null."""
    found, telling = validation.found, tell(validation)
    record = {
        "answer": telling.answer,
        **{name: getattr(found, name) for name in ("replicates", "users", "confidence", "checks", "failures")},
        "level": LEVEL,
        "impressions": found.impressions,
        **telling.counted,
    }
    return json.dumps(_without_nan(record), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_html(validation: Validation) -> str:
    """A page that works offline: no script, no external reference, every string escaped."""
    page = _environment().get_template("validate_stats.html.j2")
    return page.render(
        validation=validation, found=validation.found, manifest=validation.manifest, telling=tell(validation)
    )


def _marked(cell: Cell, *, with_limits: bool) -> Text:
    text = f"{cell.value} {cell.limits}".strip() if with_limits else cell.value
    return Text(f"! {text}", style="bold red") if cell.failed else Text(text)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@lru_cache(maxsize=1)
def _environment() -> Environment:
    templates = [PackageLoader("simulator.commands", "templates"), PackageLoader("simulator.report", "templates")]
    return Environment(
        loader=ChoiceLoader(templates),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
