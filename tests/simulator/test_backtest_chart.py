"""The labels of the backtest's chart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from simulator.commands.backtest_report import label_places

POINTS = st.lists(st.tuples(st.floats(0, 300), st.floats(0, 200)), min_size=1, max_size=26)


@given(points=POINTS)
def test_labels_never_lie_on_each_other(points: list[tuple[float, float]]) -> None:
    texts = [str(i) for i in range(1, len(points) + 1)]
    boxes = [(x, y - 10, x + 7 * len(t), y + 1) for (x, y), t in zip(label_places(points, texts), texts, strict=True)]
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            assert not (a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3])


def test_a_lonely_label_stands_to_the_right() -> None:
    assert label_places([(10.0, 20.0)], ["1"]) == [(17.0, 24.0)]
