"""Rows of text files, JSON lines and CSV, with every value as it is written.

`datasets` reads them through Arrow and pandas, which take a text for what it looks like: "2026-01-31" becomes a moment, 007 seven, NA
nothing, 9007199254740993 beside 1.5 another number. A file of a folder says here what it says when it is named alone.
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from npo_pipeline.errors import DataError
from npo_pipeline.shown import short_repr

Row = tuple[str, dict[str, Any]]  # "train.jsonl, line 7" or "train.parquet, row 7", counted from 1; column -> value

LINES = (".jsonl", ".ndjson")
DESCRIBING = ("metadata.csv", "metadata.jsonl")  # what a folder of images has beside them


def read_lines(path: Path) -> Iterator[Row]:
    """The rows of a file of JSON lines. Raises DataError naming the line of what is wrong."""
    offset = 0
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            place = f"{path}, line {number}"
            if (text := _utf8(line, place, offset)).strip():
                yield place, _object(text, place)
            offset += len(line)


def read_csv(path: Path, settings: dict[str, Any]) -> Iterator[Row]:
    """The rows of a CSV file, each cell as text, an empty one as null. `settings` are pandas' own, such as a separator."""
    import pandas as pd  # `datasets` brings it

    kept = {key: value for key, value in settings.items() if key not in ("chunksize", "index_col")}
    table = pd.read_csv(path, **kept | {"dtype": str, "na_filter": False})
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes the first cell for a name of the row, and shifts the others
        raise DataError(f"{path}: its rows have more cells than its first line names, expected as many; mend that line, or the rows")
    for number, row in enumerate(table.to_dict("records"), 1):
        yield f"{path}, row {number}", {str(key): value or None for key, value in row.items()}


def text_rows(builder: Any, kind: str, split: str) -> list[Row] | None:
    """The rows of a builder's split where its files are texts that this module reads; None where `datasets` is to read them.

    That is what README.md declares labels, pictures or another form for, and what is neither CSV, JSON lines, nor a folder of images.
    """
    import datasets

    config, declared = builder.config, builder.config.features or builder.info.features or {}
    named = {str(name): files for name, files in (config.data_files or {}).items()}
    files = [Path(file) for file in named.get(split, ())]
    if not files or not all(isinstance(feature, datasets.Value) for feature in declared.values()):
        return None
    if kind == "csv":
        return _filled([row for file in files for row in read_csv(file, config.pd_read_csv_kwargs)])
    if kind == "json" and config.field is None and config.encoding == "utf-8" and all(map(_is_lines, files)):
        return _filled([row for file in files for row in read_lines(file)])
    if kind == "imagefolder" and not (config.drop_metadata or config.metadata_filenames or config.filters):
        return _described(files)
    return None


def _filled(rows: list[Row]) -> list[Row]:
    """Each with all the columns of the split, null where its line does not say: the parts of a dataset make one table."""
    names = dict.fromkeys(name for _, values in rows for name in values)
    return [(place, dict.fromkeys(names) | values) for place, values in rows]


def _is_lines(file: Path) -> bool:
    """JSON lines by their name, or by a first line that is a whole object; a .json file may also be one list of rows."""
    if file.suffix != ".json":
        return file.suffix in LINES
    with open(file, "rb") as stream:
        first = next((line for line in stream if line.strip()), b"")
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _described(files: list[Path]) -> list[Row] | None:
    """A row for each one of a metadata file of images, whose file_name is the column `image`; None of other layouts."""
    found = [file for file in files if file.name in DESCRIBING]
    rows = [(file, row) for file in found for row in (read_csv(file, {}) if file.suffix == ".csv" else read_lines(file))]
    if any(file.suffix == ".zip" for file in files) or not all(_names_one_image(values) for _, (_, values) in rows):
        return None
    return _filled([(place, _with_image(values, file.parent)) for file, (place, values) in rows]) or None


def _names_one_image(values: dict[str, Any]) -> bool:
    """`datasets` also knows file_names, and left_file_name beside right_file_name."""
    return [key for key in values if key.endswith(("file_name", "file_names"))] == ["file_name"] and isinstance(values["file_name"], str)


def _with_image(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    rest = {key: value for key, value in values.items() if key != "file_name"}
    return rest | {"image": {"bytes": None, "path": str(folder / values["file_name"])}}


def _utf8(line: bytes, place: str, offset: int) -> str:
    try:
        return line.decode("utf-8-sig" if offset == 0 else "utf-8")
    except UnicodeDecodeError as error:
        byte = offset + error.start
        raise DataError(
            f"{place}: byte {byte} of the file (0x{error.object[error.start]:02x}) is not UTF-8; convert the file: iconv -t UTF-8"
        ) from None


def _object(text: str, place: str) -> dict[str, Any]:
    try:
        value = json.loads(text, object_pairs_hook=partial(_once, place))
    except (ValueError, RecursionError) as error:  # also a number of more digits than Python reads
        raise DataError(
            f'{place}: not valid JSON ({error}); expected one whole object per line, such as {{"question": ..., "answer": ...}}'
        ) from None
    if not isinstance(value, dict):
        raise DataError(
            f'{place}: found a JSON {type(value).__name__}, expected one object per line, such as {{"question": ..., "answer": ...}}'
        )
    return value


def _once(place: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, in which no key stands twice: of two answers Python would take the second without a word."""
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{place}: the key {short_repr(twice)} stands twice in one object, expected once; remove one of them")
    return value
