from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.scenario.durations import MAX_TICKS, TICKS_PER_DAY, format_duration, parse_duration


@given(st.integers(0, MAX_TICKS))
def test_text_of_a_duration_reads_back_as_the_same_ticks(ticks: int) -> None:
    assert parse_duration(format_duration(ticks)) == ticks


@given(
    st.one_of(
        st.text(max_size=30), st.none(), st.integers(), st.floats(), st.from_regex(r"[0-9.]+(d|h|x)", fullmatch=True)
    )
)
def test_anything_is_a_duration_or_a_value_error(value: object) -> None:
    try:
        ticks = parse_duration(value)
    except ValueError as error:
        assert str(error).startswith("expected a duration")  # noqa: PT017  (either outcome is right)
    else:
        assert 0 <= ticks <= MAX_TICKS


@pytest.mark.parametrize(
    ("text", "ticks"), [("1.5d", TICKS_PER_DAY * 3 // 2), ("1h30m", 5_400_000), (" 5 ", None), ("", None)]
)
def test_examples(text: str, ticks: int | None) -> None:
    if ticks is None:
        with pytest.raises(ValueError, match="expected a duration"):
            parse_duration(text)
    else:
        assert parse_duration(text) == ticks
