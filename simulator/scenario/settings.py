"""The types that settings are made of: sections, spans of time, names and numbers with a range."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, PlainSerializer, WithJsonSchema

from simulator.scenario.durations import format_duration, parse_duration

Duration = Annotated[
    int,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\s*(\d+(\.\d+)?(ms|s|m|h|d|w)\s*)+$"}),
]
"""A span of simulated time, in ticks (milliseconds); written as people write it: `15m`, `1h 30m`, `30d`."""

NAME_PATTERN = r"^[a-z][a-z0-9_]*$"
MAX_NAME_LENGTH = 40
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=MAX_NAME_LENGTH)]
Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
PositiveDuration = Annotated[Duration, Field(gt=0)]


class Section(BaseModel):
    """A part of a scenario: frozen, documented, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


UNKNOWN_CHOICE = "unknown_choice"
"""Type of the error where a section's `chosen_by` key has none of its values; its message names key and values."""


def chosen_by(key: str, default: str, *others: str) -> Discriminator:
    """Chooses among sections by the value of one key, which may be left out for the default.

    Each section has the tag `key=value`. It cannot be taken for a key of a scenario, which the parts of an error's
    location otherwise are.

    Args:
        key: the key that all sections have.
        default: its value where it is not written.
        others: its other values.
    """

    def tag(data: object) -> str:
        value = data.get(key, default) if isinstance(data, dict) else getattr(data, key, default)
        return f"{key}={value}"

    return Discriminator(
        tag,
        custom_error_type=UNKNOWN_CHOICE,
        custom_error_message=f"{key}: {' '.join((default, *others))}",  # a context would make it unhashable
    )
