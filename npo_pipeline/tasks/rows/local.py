"""Which files of this machine a dataset is made of: what the workflow watches, so that a change in them makes everything anew.

Asked whenever the workflow is planned, before anything is checked: what is wrong with a file is the prepare stage's to say.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from npo_pipeline.tasks.rows.dataset import cell
from npo_pipeline.tasks.rows.files import read_rows, resolve_path
from npo_pipeline.tasks.rows.pictures import named_files


@cache
def dataset_files(name: str | None, image_column: str | None) -> tuple[Path, ...]:
    """The file or folder that `task.train` or the like names, and the images that its rows name; () of a hub name, or None."""
    source = resolve_path(name) if name else None
    if source is None:
        return ()
    images = _named_images(source, image_column) if image_column and source.is_file() else ()  # a folder's are among its files
    return (*files_in(source), *sorted(set(images)))


def files_in(source: Path) -> list[Path]:
    return [source] if source.is_file() else sorted(file for file in source.rglob("*") if file.is_file())


def _named_images(source: Path, column: str) -> Iterator[Path]:
    for value in _cells(source, column):
        yield from named_files(value, source.parent)


def _cells(source: Path, column: str) -> Iterator[Any]:
    """The values of a column. Of a Parquet file only one that holds names: bytes are in the file itself."""
    import pyarrow.parquet as pq

    try:
        if source.suffix != ".parquet":
            yield from (cell(row, column, "task.image_column") for row in read_rows(str(source), "", None, "task.train"))
        elif column in (schema := pq.read_schema(source)).names and _holds_text(schema.field(column).type):
            yield from pq.read_table(source, columns=[column])[column].to_pylist()
    except Exception:  # a damaged file, text that is not UTF-8
        return


def _holds_text(kind: Any) -> bool:
    import pyarrow.types as t

    while t.is_dictionary(kind) or (t.is_nested(kind) and hasattr(kind, "value_type")):  # any kind of list
        kind = kind.value_type
    return bool(t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind))
