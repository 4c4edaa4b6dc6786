"""Cells of a table as plain values, whatever Arrow type their column has, and as the text of a question or an answer.

A value keeps what it says and not how it is stored: a `float32` 0.1 is 0.1 and not 0.10000000149, a whole number is 1 and not 1.0 (a
column of whole numbers with a gap becomes floating point on many a way), bytes are their UTF-8 text.
"""

import datetime
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from npo_pipeline.shown import one_line

TIMES = (datetime.date, datetime.time, datetime.timedelta)  # a datetime is a date
BLANK = re.compile(r"[\s\u200b-\u200d\u2060\ufeff]*")  # white space, also of no width: a byte order mark, a joiner
SPELT_OUT = (1e-12, 1e21)  # between these a number is written without an exponent: nobody answers 1e-05 for 0.00001


@dataclass(frozen=True)
class Unreadable:
    """A value that cannot be had: harmless where nobody asks for it. Example: Unreadable("string that is not UTF-8 (...)").

    `stored` is what the table has in its place, where Python can hold that.
    """

    kind: str
    stored: float | None = None


def table_rows(table: Any) -> Iterator[dict[str, Any]]:
    """The rows of a pyarrow table. What Python cannot hold of it, and a name that two columns have, is Unreadable."""
    twice = {name for name in table.column_names if table.column_names.count(name) > 1}
    columns = {name: _column(table[name]) for name in table.column_names if name not in twice}
    columns |= {name: [Unreadable("a value of one of two columns of this name")] * table.num_rows for name in twice}
    for i in range(table.num_rows):
        yield {name: columns[name][i] for name in table.column_names}


def _column(column: Any) -> list[Any]:
    import pyarrow as pa

    try:
        values = column.to_pylist()
    except Exception:  # text that is not UTF-8, a time of nanoseconds, a year that Python does not count: each raises its own kind
        values = [_value(scalar) for scalar in column]
    if pa.types.is_fixed_size_binary(column.type):  # a shorter text is filled up to the size, as numpy's S8 is
        return [value.rstrip(b"\0") if isinstance(value, bytes) else value for value in values]
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
    import pyarrow.types as t

    if isinstance(value, float):
        return value if t.is_float64(kind) else _shortest(value, t.is_float16(kind))
    if isinstance(value, list) and t.is_map(kind):
        return [(key, _exact(one, kind.item_type)) for key, one in value]
    if isinstance(value, list):
        return [_exact(one, kind.value_type) for one in value]
    if isinstance(value, dict):
        return {kind.field(i).name: _exact(value[kind.field(i).name], kind.field(i).type) for i in range(kind.num_fields)}
    return value


def _shortest(value: float, is_half: bool) -> float | Unreadable:
    """Of whole numbers that have more digits than their type holds, the shortest decimal is another number."""
    import numpy as np

    short = np.float16(value) if is_half else np.float32(value)
    shown = float(str(short))
    if value.is_integer() and shown != value:
        return Unreadable(f"a whole number of more digits than {short.dtype} keeps ({value:.0f}; write it as text or float64)", value)
    return shown


def as_text(value: Any) -> str:
    """A value as text, "" for null and NaN. Raises ValueError, saying what it is, for one that is no text and no number.

    Example: b"1", 1, 1.0 and Decimal("1.00") are all "1"; 0.00001 is "0.00001"; a datetime at midnight is its date.
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
    if isinstance(value, float) and SPELT_OUT[0] <= abs(value) < SPELT_OUT[1]:
        value = Decimal(repr(value))
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return _positive_zero(text.rstrip("0").rstrip(".") if "." in text else text)
    if isinstance(value, datetime.datetime):  # a column of dates that pandas made; with a time zone it is a moment
        return str(value).removesuffix(" 00:00:00")
    return _positive_zero(str(value).removesuffix(".0")) if isinstance(value, float) else str(value)


def is_blank(text: str) -> bool:
    """Whether nothing is to be seen of it."""
    return BLANK.fullmatch(text) is not None


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
