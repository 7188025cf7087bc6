"""The glossary names what the log and the report name."""

from __future__ import annotations

from pathlib import Path

from recommenders.base import Feedback
from simulator.engine.log import EventLog
from simulator.experiment.metrics import METRICS

GLOSSARY = (Path(__file__).parent.parent / "docs" / "glossary.md").read_text(encoding="utf-8")


def test_the_glossary_has_every_metric_log_column_and_feedback() -> None:
    feedback = {f"Feedback.{flag.name}" for flag in Feedback}
    wanted = {*METRICS, *EventLog.DTYPES, *feedback} - {"user"}
    assert len(wanted) > 20
    assert sorted(name for name in wanted if f"`{name}`" not in GLOSSARY) == []
