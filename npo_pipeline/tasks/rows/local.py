"""Which files of this machine a dataset is made of: what the workflow watches, so that a change in them makes everything anew.

Asked whenever the workflow is planned, before anything is checked: what is wrong with a file is the prepare stage's to say.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from npo_pipeline.tasks.rows.cells import table_rows
from npo_pipeline.tasks.rows.dataset import cell
from npo_pipeline.tasks.rows.files import read_rows, resolve_path
from npo_pipeline.tasks.rows.pictures import named_files
from npo_pipeline.tasks.rows.texts import Row


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
    """The values of a column; "a.b" reaches into a nested one."""
    try:
        rows = _texts_of(source, column) if source.suffix == ".parquet" else read_rows(str(source), "", None, "task.train")
        yield from (cell(row, column, "task.image_column") for row in rows)
    except Exception:  # a damaged file, text that is not UTF-8
        return


def _texts_of(source: Path, column: str) -> Iterator[Row]:
    """What names a file in a column of a Parquet file, such as the path of {bytes, path}: bytes are in the file itself."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(source)
    root = column if column in file.schema_arrow.names else column.partition(".")[0]
    leaves = [file.schema.column(i) for i in range(len(file.schema))]
    names = [leaf.path for leaf in leaves if leaf.logical_type.type == "STRING" and f"{leaf.path}.".startswith(f"{root}.")]
    if names:
        yield from (("", row) for row in table_rows(file.read(columns=names)))
