"""The types that settings are made of: sections, spans of time, names and numbers with a range."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

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
