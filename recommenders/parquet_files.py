"""Columns of a Parquet file that came from elsewhere, of which a few bytes can claim any number of rows."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recommenders.files import most_bytes

_CELL_BYTES = 4
"""The least that a cell takes in memory: a number, or the place of a text in a dictionary."""
_TEXT = "BYTE_ARRAY"


def read_parquet(file: IO[bytes], columns: Sequence[str]) -> pa.Table:
    """Columns of a Parquet file.

    Args:
        file: open for reading.
        columns: names; one that the file lacks is left out.

    Returns:
        The columns in the order of the file; texts as dictionaries, since one long text may stand in every row.

    Raises:
        OSError, pa.ArrowException: it is damaged, or becomes more than its size allows.
    """
    most = most_bytes(os.fstat(file.fileno()).st_size)
    metadata = pq.read_metadata(file)
    leaves = [metadata.schema.column(i) for i in range(metadata.num_columns)]
    wanted = [leaf for leaf in leaves if leaf.path in columns or leaf.path.partition(".")[0] in columns]
    # By rows: to ask for a column's own count of cells can end the process, where that part of the file is damaged.
    n_cells = metadata.num_rows * len(wanted)
    if n_cells * _CELL_BYTES > most:
        raise OSError(errno.EFBIG, f"{n_cells:,} cells, which become more than the {most:,} bytes that its size allows")
    texts = [leaf.path for leaf in wanted if leaf.physical_type == _TEXT]
    table = pq.ParquetFile(file, read_dictionary=texts).read(columns=list(columns))
    if sum(_text_bytes(column) for column in table.columns) > most:
        raise OSError(errno.EFBIG, f"texts that become more than the {most:,} bytes that its size allows")
    return table


def _text_bytes(column: pa.ChunkedArray) -> int:
    """The length of all texts of a column together, were each written out."""
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        column = pc.list_flatten(column)
    if not pa.types.is_dictionary(column.type):
        return 0
    total = 0
    for chunk in column.chunks:
        length = pc.fill_null(pc.binary_length(chunk.dictionary), 0).cast(pa.int64())
        total += pc.sum(length.take(chunk.indices)).as_py() or 0
    return total
