"""Non-inferiority: the three verdicts, both directions, and the error rate that the docstring states."""

from __future__ import annotations

from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.experiment.estimators import compare, missing
from simulator.experiment.guardrails import non_inferiority
from simulator.experiment.results import Estimate
from tests.simulator.experiment.strategies import normals, plain


@pytest.mark.parametrize(
    ("low", "high", "better", "verdict"),
    [
        (-0.01, 0.01, "higher", "holds"),
        (-0.01, 0.50, "higher", "holds"),
        (-0.03, -0.01, "higher", "open"),
        (-0.05, -0.03, "higher", "broken"),
        (-0.01, 0.01, "lower", "holds"),
        (-0.50, 0.01, "lower", "holds"),
        (0.01, 0.03, "lower", "open"),
        (0.03, 0.05, "lower", "broken"),
        (-0.02, -0.02, "higher", "open"),
        (0.0, 0.0, "lower", "holds"),
    ],
)
def test_verdict_by_where_the_interval_lies(low: float, high: float, better: str, verdict: str) -> None:
    got = non_inferiority(Estimate((low + high) / 2, low, high), margin=0.02, better=better)
    assert got.verdict == verdict
    assert (got.reason != "") == (verdict == "open")


@given(limits=st.tuples(st.floats(-1, 1), st.floats(-1, 1)).map(sorted), margin=st.floats(1e-3, 1))
def test_the_directions_mirror_each_other(limits: list[float], margin: float) -> None:
    low, high = limits
    there = non_inferiority(Estimate(nan, low, high), margin=margin, better="lower")
    assert there == non_inferiority(Estimate(nan, -high, -low), margin=margin, better="higher")


@pytest.mark.parametrize(
    ("lift", "reason"), [(missing("nobody came"), "nobody came"), (Estimate(0.1, nan, nan), "no interval")]
)
def test_without_an_interval_it_stays_open_and_says_why(lift: Estimate, reason: str) -> None:
    got = non_inferiority(lift, margin=0.02, better="lower")
    assert (got.verdict, got.reason) == ("open", reason)


@pytest.mark.parametrize("margin", [0.0, -0.02, nan, inf])
def test_a_margin_that_is_no_loss_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match=r"^margin: got"):
        non_inferiority(Estimate(0.0, -0.1, 0.1), margin=margin, better="lower")


def test_a_metric_without_a_good_side_is_refused() -> None:
    with pytest.raises(ValueError, match="got 'neither', expected 'lower' or 'higher'"):
        non_inferiority(Estimate(0.0, -0.1, 0.1), margin=0.02, better="neither")


def test_a_loss_of_just_the_margin_passes_as_rarely_as_stated() -> None:
    """1,000 experiments whose true loss is the margin, intervals at 90%: 5% hold (sd 0.0069) and 5% are broken.

    Bounds of 4 sd: false alarms at 6e-5 each.
    """
    verdicts = []
    for trait, noise in zip(*normals(6, 2, 1_000, 40), strict=True):
        base = 1 + 0.2 * trait
        treated = 0.98 * base + 0.05 * noise
        lift = compare(plain(treated), plain(base), 0.9).lift
        verdicts.append(non_inferiority(lift, margin=0.02, better="higher").verdict)
    for verdict in ("holds", "broken"):
        assert abs(np.mean([v == verdict for v in verdicts]) - 0.05) < 4 * 0.0069
