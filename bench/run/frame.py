"""A run's records as a table: one row per record, one column per field."""

import json
import types
from typing import Any, Literal, Union, get_args, get_origin

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.record import Record
from bench.run.records import words_for_non_finite


def frame_of(records: list[Record]) -> pd.DataFrame:
    """One row per record and one column per field of the record, also where all are absent.

    Numbers are ``float64`` (absent: NaN), ``Int64`` and ``boolean`` (absent: NA); text, lists and
    dictionaries are Python objects (absent: None).
    """
    dtypes = {int: "Int64", float: "float64", bool: "boolean"}
    return pd.DataFrame(
        {
            name: pd.Series(
                [getattr(record, name) for record in records], dtype=dtypes.get(kind, "object")
            )
            for name, kind in _field_types().items()
        }
    )


def parquet_of(records: list[Record]) -> bytes:
    """The records as a Parquet file, whose column types never depend on the values.

    Lists of numbers and of text are Parquet lists, dictionaries and lists of them JSON text.
    """
    columns = {
        name: pa.array(
            [_parquet_value(getattr(record, name), kind) for record in records], type=kind
        )
        for name, kind in _parquet_types().items()
    }
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _field_types() -> dict[str, Any]:
    """Type of each record field, less the None; a choice of words counts as text."""
    types_ = {}
    for name, field in Record.model_fields.items():
        kind = field.annotation
        if get_origin(kind) in (Union, types.UnionType):
            (kind,) = (part for part in get_args(kind) if part is not types.NoneType)
        types_[name] = str if get_origin(kind) is Literal else kind
    return types_


def _parquet_types() -> dict[str, pa.DataType]:
    scalar = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}
    return {
        name: pa.list_(scalar[get_args(kind)[0]])
        if get_origin(kind) is list and get_args(kind)[0] in scalar
        else scalar.get(kind, pa.string())
        for name, kind in _field_types().items()
    }


def _parquet_value(value: Any, kind: pa.DataType) -> Any:
    if kind == pa.string() and isinstance(value, dict | list):
        return _unicode(json.dumps(words_for_non_finite(value), ensure_ascii=False))
    if isinstance(value, list):
        return [_unicode(item) for item in value]
    return _unicode(value)


def _unicode(value: Any) -> Any:
    # File names need not be Unicode; Parquet's text must be.
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
