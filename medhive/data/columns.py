"""Columns of any type as the few types that the checks read: text, numbers, true and false."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from medhive.errors import DataError, Place


def plain_column(name: str, values: pa.Array, place: Place) -> pa.Array:
    """Return a typed column as text, int64, float64 or boolean.

    Raises
    ------
    DataError
        If its values are neither numbers nor texts nor dates.
    """
    kind = values.type
    if pt.is_dictionary(kind):
        return plain_column(name, values.dictionary_decode(), place)
    if pt.is_boolean(kind) or kind in (pa.string(), pa.int64(), pa.float64()):
        return values
    if pt.is_uint64(kind) or pt.is_floating(kind) or pt.is_decimal(kind):
        return pc.cast(values, pa.float64(), safe=False)
    if pt.is_integer(kind):
        return pc.cast(values, pa.int64())
    if (
        pt.is_large_string(kind)
        or pt.is_string_view(kind)
        or pt.is_null(kind)
        or pt.is_temporal(kind)
    ):
        return pc.cast(values, pa.string())
    raise _unreadable(name, str(kind), place)


def column_of(name: str, values: Sequence[Any], place: Place) -> pa.Array:
    """Return one column of a query's rows, whose values may be of several types.

    Raises
    ------
    DataError
        If a value is neither a number nor a text nor a date.
    """
    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds == {int}:
        try:
            return pa.array(values, pa.int64())
        except (OverflowError, pa.ArrowInvalid):
            return pa.array([None if v is None else str(v) for v in values], pa.string())
    if kinds and kinds <= {int, float, Decimal}:
        return pa.array([None if v is None else float(v) for v in values], pa.float64())
    for value in values:
        if isinstance(value, bytes | bytearray | memoryview | list | dict | tuple):
            raise _unreadable(name, type(value).__name__, place)
    return pa.array([None if v is None else str(v) for v in values], pa.string())


def _unreadable(name: str, kind: str, place: Place) -> DataError:
    return DataError(
        f"the column holds values of the type {kind}",
        place=Place(file=place.file, column=name),
        next_step="give numbers, texts, dates, or true and false",
    )
