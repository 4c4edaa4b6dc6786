"""Cells of a table as plain values, whatever Arrow type their column has, and as the text of a question or an answer.

A value keeps what it says and not how it is stored: a `float32` 0.1 is 0.1 and not 0.10000000149, a whole number is 1 and not 1.0 (a
column of whole numbers with a gap becomes floating point on many a way), bytes are their UTF-8 text.
"""

import datetime
import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from npo_pipeline.shown import one_line

TIMES = (datetime.date, datetime.time, datetime.timedelta)  # a datetime is a date


@dataclass(frozen=True)
class Unreadable:
    """A value that cannot be had: harmless where nobody asks for it. Example: Unreadable("string that is not UTF-8 (...)")."""

    kind: str


def table_rows(table: Any) -> Iterator[dict[str, Any]]:
    """The rows of a pyarrow table. What Python cannot hold of it, and a name that two columns have, is Unreadable."""
    twice = {name for name in table.column_names if table.column_names.count(name) > 1}
    columns = {name: _column(table[name]) for name in table.column_names if name not in twice}
    columns |= {name: [Unreadable("a value of one of two columns of this name")] * table.num_rows for name in twice}
    for i in range(table.num_rows):
        yield {name: columns[name][i] for name in table.column_names}


def _column(column: Any) -> list[Any]:
    try:
        values = column.to_pylist()
    except Exception:  # text that is not UTF-8, a time of nanoseconds, a year that Python does not count: each raises its own kind
        values = [_value(scalar) for scalar in column]
    return [_exact(value, column.type) for value in values] if _is_rounded(column.type) else values


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except Exception as error:
        return Unreadable(f"a {scalar.type} that cannot be read ({one_line(str(error)[:200])})")


def _is_rounded(kind: Any) -> bool:
    """Whether a float of less than 64 bits is in it."""
    import pyarrow.types as t

    return bool(t.is_float16(kind) or t.is_float32(kind)) or any(_is_rounded(inner) for inner in _inner(kind))


def _inner(kind: Any) -> list[Any]:
    import pyarrow.types as t

    if t.is_dictionary(kind):
        return [kind.value_type]
    return [kind.field(i).type for i in range(kind.num_fields)]


def _exact(value: Any, kind: Any) -> Any:
    """The value with its short floats as the shortest decimals that stand for them."""
    import numpy as np
    import pyarrow.types as t

    if isinstance(value, float):
        return float(str(np.float16(value) if t.is_float16(kind) else np.float32(value) if not t.is_float64(kind) else value))
    if isinstance(value, list) and t.is_map(kind):
        return [(key, _exact(one, kind.item_type)) for key, one in value]
    if isinstance(value, list):
        return [_exact(one, kind.value_type) for one in value]
    if isinstance(value, dict):
        return {kind.field(i).name: _exact(value[kind.field(i).name], kind.field(i).type) for i in range(kind.num_fields)}
    return value


def as_text(value: Any) -> str:
    """A value as text, "" for null and NaN. Raises ValueError, saying what it is, for one that is no text and no number.

    Example: b"1", 1, 1.0 and Decimal("1.00") are all "1"; 0.5 is "0.5".
    """
    if value is None or value != value:  # NaN is unequal to itself
        return ""
    if isinstance(value, Unreadable):
        raise ValueError(value.kind)
    if isinstance(value, (dict, list, tuple, set)):
        raise ValueError(f"a {type(value).__name__}")
    if isinstance(value, bytes):
        return _decoded(value)
    if isinstance(value, (float, Decimal)) and not math.isfinite(value):
        raise ValueError(f"the number {value}")
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return _positive_zero(text.rstrip("0").rstrip(".") if "." in text else text)
    return _positive_zero(str(value).removesuffix(".0")) if isinstance(value, float) else str(value)


def _positive_zero(text: str) -> str:
    return "0" if text == "-0" else text


def _decoded(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = value[error.start]
        raise ValueError(f"binary that is not UTF-8 (byte {error.start} is 0x{byte:02x})") from None


def odd_kind(value: Any) -> str | None:
    """The name of a kind whose text is a matter of taste, such as True or 2026-01-31; None of a text or a number."""
    return type(value).__name__ if isinstance(value, (bool, *TIMES)) else None
