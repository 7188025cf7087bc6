from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.scenario.thresholds import Threshold, parse_threshold

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True)


@given(
    st.sampled_from(["lift", "level"]),
    NAMES,
    NAMES,
    st.sampled_from(["value", "low", "high"]),
    st.sampled_from(["<=", "<", ">=", ">"]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", " ", "  "]),
)
def test_condition_reads_back_as_its_parts(
    estimand: str, subject: str, arm: str, bound: str, operator: str, value: float, space: str
) -> None:
    suffix = "" if bound == "value" else f".{bound}"
    text = f"{estimand}.{subject}[{arm}]{suffix}{space}{operator}{space}{value!r}"
    expected = Threshold(estimand, subject, arm, bound, operator, value, text)  # type: ignore[arg-type]
    assert parse_threshold(text) == expected


def test_responsiveness_is_of_topic_or_creator() -> None:
    assert parse_threshold(" responsiveness.creator[ntr] <= -0.3 ").text == "responsiveness.creator[ntr] <= -0.3"
    with pytest.raises(ValueError, match="responsiveness of one of topic, creator"):
        parse_threshold("responsiveness.dislike_rate[ntr] < 0")


@pytest.mark.parametrize("value", ["nan", "inf", "-", "1e9999", "0x1", "٣", "1 2"])
def test_only_decimal_numbers_are_compared_with(value: str) -> None:
    with pytest.raises(ValueError, match="and a number"):
        parse_threshold(f"lift.skip_rate[ntr] < {value}")


@given(st.text(max_size=60))
def test_any_text_is_a_condition_or_a_value_error(text: str) -> None:
    try:
        assert parse_threshold(text).text == text.strip()
    except ValueError as error:
        assert str(error)  # noqa: PT017  (either outcome is right)
