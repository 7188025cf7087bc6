"""What a person sees of a run: the HTML report, the JSON beside it and the terminal."""

from simulator.report.compare import RunDifferences, compare_runs, differences
from simulator.report.frame import Frame
from simulator.report.html import render_html
from simulator.report.registry import write_reports
from simulator.report.runs import Run, load_run, write_report
from simulator.report.serialize import (
    ReportError,
    manifest_from_json,
    manifest_to_json,
    results_from_json,
    results_to_json,
)
from simulator.report.statements import answer_line, answer_sentence
from simulator.report.terminal import print_results

__all__ = [
    "Frame",
    "ReportError",
    "Run",
    "RunDifferences",
    "answer_line",
    "answer_sentence",
    "compare_runs",
    "differences",
    "load_run",
    "manifest_from_json",
    "manifest_to_json",
    "print_results",
    "render_html",
    "results_from_json",
    "results_to_json",
    "write_report",
    "write_reports",
]
