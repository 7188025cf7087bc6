"""A state in which items have other numbers."""

from __future__ import annotations

import numpy as np

from recommenders.conformance.fitting_checks import _renamed_state

NEW = np.array([0, 3, 2, 1], np.int32)


def test_places_of_items_are_swapped_and_names_of_items_are_renamed() -> None:
    everything = {
        "vector": np.zeros((4, 2)),
        "both": np.zeros((4, 4)),
        "ranking": np.array([3, 0, 1, 2], np.int32),
        "count": np.array([2, 2, 0, 9]),
        "of_known": np.zeros((5, 2)),
        "scale": np.float64(2.0),
    }
    state = {
        "vector": np.arange(8.0).reshape(4, 2),
        "both": np.arange(16.0).reshape(4, 4),
        "ranking": np.array([1, 3], np.int32),
        "count": np.array([5, 6, 7, 8]),
        "of_known": np.arange(8.0).reshape(4, 2),
        "scale": np.float64(2.0),
    }
    renamed = _renamed_state(state, everything, NEW)
    assert renamed["vector"][:, 0].tolist() == [0, 6, 4, 2]
    assert np.array_equal(renamed["both"], state["both"][NEW][:, NEW])
    assert renamed["ranking"].tolist() == [3, 1]
    assert renamed["ranking"].dtype == np.int32
    assert renamed["count"].tolist() == [5, 8, 7, 6]
    assert np.array_equal(renamed["of_known"], state["of_known"])  # as long as the catalogue by chance
    assert renamed["scale"] == 2.0
    assert state["ranking"].tolist() == [1, 3]
