"""Adjusted p-values against the brute-force procedures, and the error rates that they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from recommenders.base import Float64
from simulator.experiment.multiplicity import benjamini_hochberg, bonferroni_confidence, holm
from tests.simulator.experiment.strategies import normals

p_values = st.lists(st.one_of(st.just(np.nan), st.floats(0, 1)), max_size=12).map(lambda p: np.array(p, np.float64))
ADJUSTMENTS = [holm, benjamini_hochberg]


def rejected_by_holm(p: Float64, level: float) -> list[bool]:
    """Step down from the smallest, until one is not significant at what is left of the level."""
    rejected = [False] * len(p)
    for step, i in enumerate(np.argsort(p, kind="stable")):
        if p[i] * (len(p) - step) > level:
            break
        rejected[i] = True
    return rejected


def rejected_by_benjamini_hochberg(p: Float64, level: float) -> list[bool]:
    """All up to the largest p-value that is at most its rank's share of the level."""
    order = np.argsort(p, kind="stable")
    last = max((rank for rank, i in enumerate(order, 1) if p[i] * len(p) / rank <= level), default=0)
    return [bool(i in order[:last]) for i in range(len(p))]


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=12).map(np.array), level=st.floats(0.001, 0.999))
def test_an_adjusted_p_value_is_the_smallest_level_that_rejects(p: Float64, level: float) -> None:
    for adjust, rejected in ((holm, rejected_by_holm), (benjamini_hochberg, rejected_by_benjamini_hochberg)):
        adjusted = adjust(p)
        if np.abs(adjusted - level).min() > 1e-12:
            assert (adjusted <= level).tolist() == rejected(p, level)


@pytest.mark.parametrize("adjust", ADJUSTMENTS)
@given(p=p_values)
def test_missing_comparisons_stay_missing_and_do_not_count(adjust: type[holm], p: Float64) -> None:
    adjusted, known = adjust(p), ~np.isnan(p)
    assert (np.isnan(adjusted) == ~known).all()
    np.testing.assert_array_equal(adjusted[known], adjust(p[known]))


@given(p=p_values)
def test_adjustments_only_raise_and_holms_raises_more(p: Float64) -> None:
    known = ~np.isnan(p)
    p = p[known]
    assert (holm(p) >= benjamini_hochberg(p) - 1e-12).all()
    assert (benjamini_hochberg(p) >= p - 1e-12).all()
    assert (holm(p) <= 1).all()


@pytest.mark.parametrize("adjust", ADJUSTMENTS)
@pytest.mark.parametrize("wrong", [-0.1, 1.1, np.inf])
def test_what_is_no_p_value_is_refused(adjust: type[holm], wrong: float) -> None:
    with pytest.raises(ValueError, match=f"got {wrong}, expected numbers in"):
        adjust(np.array([0.5, wrong]))


def test_error_rates_are_kept_among_true_and_false_hypotheses() -> None:
    """2,000 families of 10 tests, 5 of them of true hypotheses, at 10%.

    Holm's chance of any false finding is at most 0.1 (sd 0.0067), and the expected share of false findings by Benjamini
    and Hochberg at most 0.05, half of it for half being true (sd of the mean below 0.0034); 4 sd: false alarms at 3e-5.
    """
    z = normals(3, 2_000, 10) + np.repeat([0.0, 2.5], 5)
    p = 2 * stats.norm.sf(np.abs(z))
    any_false = [bool((holm(row)[:5] <= 0.1).any()) for row in p]
    found = [benjamini_hochberg(row) <= 0.1 for row in p]
    false_share = [row[:5].sum() / max(1, row.sum()) for row in found]
    assert 0.02 < np.mean(any_false) < 0.1 + 4 * 0.0067
    assert abs(np.mean(false_share) - 0.05) < 4 * 0.0034
    assert np.mean([row[5:].mean() for row in found]) > 0.5  # and what is there is found


def test_simultaneous_intervals_cover_all_truths_at_once() -> None:
    """1,000 families of 8 normal means at 90%; the chance that all are covered is 0.9039, sd 0.0093, bounds at 4 sd."""
    quantile = stats.norm.ppf((1 + bonferroni_confidence(0.9, 8)) / 2)
    together = (np.abs(normals(4, 1_000, 8)) <= quantile).all(axis=1).mean()
    assert abs(together - 0.9039) < 4 * 0.0093


@pytest.mark.parametrize(("confidence", "n", "where"), [(0.0, 3, "confidence"), (1.0, 3, "confidence"), (0.9, 0, "n")])
def test_a_level_or_number_outside_its_range_is_refused(confidence: float, n: int, where: str) -> None:
    with pytest.raises(ValueError, match=f"^{where}: got"):
        bonferroni_confidence(confidence, n)


def test_one_interval_needs_no_correction() -> None:
    assert bonferroni_confidence(0.95, 1) == pytest.approx(0.95)
