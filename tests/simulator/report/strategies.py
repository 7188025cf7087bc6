"""Any plain data of the report's types, for property-based tests."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

ANY_NUMBER = st.floats()
PLAUSIBLE = st.sampled_from([float("nan"), float("inf"), float("-inf"), 0.0, -0.0]) | st.floats(-1e6, 1e6)
"""What estimates can come to, degenerate ones included."""


def anything(
    kind: Any, text: st.SearchStrategy[str], number: st.SearchStrategy[float] = ANY_NUMBER
) -> st.SearchStrategy[Any]:
    """Values of a dataclass or of a field's type; sequences stay short."""
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return st.builds(kind, **{f.name: anything(hints[f.name], text, number) for f in fields(kind)})
    if get_origin(kind) is tuple:
        return st.lists(anything(get_args(kind)[0], text, number), max_size=2).map(tuple)
    if get_origin(kind) is dict:
        return st.dictionaries(text, anything(get_args(kind)[1], text, number), max_size=2)
    return {str: text, int: st.integers(-(2**70), 2**70), float: number, bool: st.booleans()}[kind]
