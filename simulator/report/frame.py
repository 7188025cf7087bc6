"""Data frames as a run gives them: Arrow tables that a notebook shows, and that every data frame library takes over.

A frame does not depend on what else is installed: pandas, polars and DuckDB read it by the Arrow C stream interface.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import escape

from simulator.scenario.faults import one_of

_SHOWN_ROWS = 20


@dataclass(frozen=True, eq=False)
class Frame:
    """A table with named columns.

    Attributes:
        arrow: the table itself.

    >>> frame = Frame(pa.table({"arm": ["a", "b"], "value": [0.25, 1.0]}))
    >>> frame.where(arm="b")["value"].tolist(), len(frame)
    ([1.0], 2)
    """

    arrow: pa.Table

    @classmethod
    def of(cls, columns: Mapping[str, pa.DataType], rows: Iterable[Sequence[object]]) -> Frame:
        """A frame of rows.

        Args:
            columns: name -> type.
            rows: one value a column, in the order of the columns.
        """
        kept = list(rows)
        arrays = [pa.array([row[i] for row in kept], kind) for i, kind in enumerate(columns.values())]
        return cls(pa.Table.from_arrays(arrays, names=list(columns)))

    def __len__(self) -> int:
        return int(self.arrow.num_rows)

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self.arrow.column_names)

    def __getitem__(self, column: str) -> npt.NDArray[Any]:
        """A column as a numpy array; text as objects.

        Raises:
            KeyError: there is no such column; the message names those that there are.
        """
        if column not in self.columns:
            raise KeyError(f"column: got {column!r}, expected {one_of(self.columns, column)}")
        return np.asarray(self.arrow[column].to_numpy())

    def where(self, **values: object) -> Frame:
        """The rows in which each named column has the given value.

        Raises:
            KeyError: there is no such column; the message names those that there are.
        """
        table = self.arrow
        for column, value in values.items():
            if column not in self.columns:
                raise KeyError(f"column: got {column!r}, expected {one_of(self.columns, column)}")
            table = table.filter(pc.equal(table[column], pa.scalar(value)))
        return Frame(table)

    def rows(self) -> list[dict[str, Any]]:
        """All rows, each as column -> value."""
        return list(self.arrow.to_pylist())

    def to_pandas(self) -> Any:
        """The same as a pandas data frame.

        Raises:
            ImportError: pandas is not installed.
        """
        return self.arrow.to_pandas()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The Arrow C stream interface, by which other libraries take the frame over without a copy."""
        return self.arrow.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        cells = [self.columns, *self._shown()]
        width = [max(len(row[i]) for row in cells) for i in range(len(self.columns))]
        lines = ["  ".join(cell.ljust(width[i]) for i, cell in enumerate(row)).rstrip() for row in cells]
        return "\n".join([*lines, *self._left_out()])

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        head = "".join(f"<th>{escape(name)}</th>" for name in self.columns)
        body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in self._shown())
        more = "".join(f"<p>{escape(line)}</p>" for line in self._left_out())
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"

    def _shown(self) -> list[list[str]]:
        return [[_text(value) for value in row.values()] for row in self.arrow.slice(0, _SHOWN_ROWS).to_pylist()]

    def _left_out(self) -> list[str]:
        return [f"... {len(self):,} rows"] if len(self) > _SHOWN_ROWS else []


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
