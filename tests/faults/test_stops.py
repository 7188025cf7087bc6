"""Some of the campaign of stops, for slow tests; all of it is `python -m tests.faults.stops`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults import stops
from tests.faults.stops import FAULTS, GOOD, Fault, make_references, trials

KILLS = 20


@pytest.fixture(scope="module")
def references() -> Iterator[None]:
    make_references()
    yield
    for folder in stops._STOPPED.values():
        stops.shutil.rmtree(folder)
    stops._STOPPED.clear()


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.words)
def test_a_run_that_is_stopped_ends_as_one_in_one_go(references: None, fault: Fault) -> None:
    outcomes = trials(fault, 7, max(2, round(KILLS * fault.share)))
    assert set(outcomes) <= set(GOOD)
