"""Tables as Parquet files: the numbers in full, with types that do not hang on the values."""

import types
from collections.abc import Sequence
from typing import Any, Literal, Union, get_args, get_origin

import pyarrow as pa
import pyarrow.parquet as pq

from bench.record import Record
from reports.table import Kind, Table

_TYPES: dict[Kind, pa.DataType] = {
    "number": pa.float64(),
    "whole": pa.int64(),
    "truth": pa.bool_(),
    "text": pa.string(),
}
_KINDS: dict[Any, Kind] = {float: "number", int: "whole", bool: "truth", str: "text"}


def parquet(table: Table) -> bytes:
    """The table with all its columns; the same bytes for the same table."""
    columns = {}
    for column in table.columns:
        values = [row.get(column.key) for row in table.rows]
        kind = column.kind or _of_field(column.key) or _of_values(values)
        columns[column.key] = pa.array([_plain(v, kind) for v in values], type=_TYPES[kind])
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _of_field(name: str) -> Kind | None:
    field = Record.model_fields.get(name)
    if field is None:
        return None
    kind: Any = field.annotation
    if get_origin(kind) in (Union, types.UnionType):
        (kind,) = (part for part in get_args(kind) if part is not types.NoneType)
    return "text" if get_origin(kind) is Literal else _KINDS.get(kind)


def _of_values(values: Sequence[Any]) -> Kind:
    found = {type(value) for value in values if value is not None}
    if found and found <= {int, float}:
        return "whole" if found == {int} else "number"
    return "truth" if found == {bool} else "text"


def _plain(value: Any, kind: Kind) -> Any:
    if value is None:
        return None
    if kind == "text":
        # file names need not be Unicode; Parquet's text must be
        return str(value).encode("utf-8", "replace").decode()
    return float(value) if kind == "number" else value
