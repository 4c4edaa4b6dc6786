"""Rows of a dataset: a JSONL or Parquet file, a folder that `datasets` saved, or a hub name.

Every row comes with the place it stands at, for errors to name. Nothing is unpickled.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from npo_pipeline.errors import DataError

Row = tuple[str, dict[str, Any]]  # "train.jsonl, line 7" or "train.parquet, row 7", counted from 1; column -> value

JSONL = (".jsonl", ".json")
SUFFIXES = (*JSONL, ".parquet")


def resolve_path(path: str) -> Path | None:
    """The local file or folder that `task.train` or `task.eval` names: from the working directory, else from the project's root.

    None if there is no such file: then it may be a hub name.
    """
    from npo_pipeline.compose import PROJECT  # not on top: compose itself may check tasks

    given = Path(path).expanduser()
    return next((place for place in (given, PROJECT / given) if place.exists()), None)


def looks_like_path(name: str) -> bool:
    """A local file or folder rather than a hub name, as "data/train.jsonl", "./saved", "~/saved" and "/data/saved" do."""
    return name.startswith(("/", ".", "~")) or Path(name).suffix in SUFFIXES


def read_rows(name: str, split: str, revision: str | None, key: str) -> list[Row]:
    """All rows of a source. `key` is the configuration key that names it ("task.train"). Raises DataError."""
    path = resolve_path(name)
    if path is None and looks_like_path(name):
        raise DataError(f"{key}={name}: no such file or folder; expected a .jsonl or .parquet file, or a folder that `datasets` saved")
    if path is None:
        rows = _from_hub(name, split, revision, key)
    elif path.is_dir():
        rows = _from_folder(path, split, key)
    elif path.suffix in JSONL:
        rows = list(_from_jsonl(path))
    elif path.suffix == ".parquet":
        rows = _from_parquet(path)
    else:
        raise DataError(f"{key}={name}: a file of kind {path.suffix or 'unknown'!r}, expected .jsonl or .parquet; convert it")
    if not rows:
        raise DataError(f"{key}={name}: holds no row, expected at least one; check that the right file or split is named")
    return rows


def _from_jsonl(path: Path) -> Iterator[Row]:
    offset = 0
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            place = f"{path}, line {number}"
            if (text := _utf8(line, place, offset)).strip():
                yield place, _object(text, place)
            offset += len(line)


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
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f'{place}: not valid JSON ({error}); expected one whole object per line, such as {{"question": ..., "answer": ...}}'
        ) from None
    if not isinstance(value, dict):
        raise DataError(
            f'{place}: found a JSON {type(value).__name__}, expected one object per line, such as {{"question": ..., "answer": ...}}'
        )
    return value


def _from_parquet(path: Path) -> list[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.ParquetFile(path).read().to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: damaged, or not a Parquet file ({_line(error)}); write or download it again") from None
    return _numbered(str(path), rows)


def _from_folder(path: Path, split: str, key: str) -> list[Row]:
    import datasets

    try:
        saved = datasets.load_from_disk(str(path))
    except Exception as error:  # datasets raises many kinds for a folder that it did not save
        raise DataError(
            f"{key}={path}: not a folder that `Dataset.save_to_disk` wrote, or damaged ({_line(error)}); "
            "save it again, or name a .jsonl or .parquet file"
        ) from None
    if isinstance(saved, datasets.DatasetDict):
        if split not in saved:
            raise DataError(f"{key}={path}: has no split {split!r}, it has {', '.join(sorted(saved))}; set {key}_split")
        saved = saved[split]
    return _numbered(str(path), saved)


def _from_hub(name: str, split: str, revision: str | None, key: str) -> list[Row]:
    import datasets

    repository, _, configuration = name.partition(":")  # "openai/gsm8k:main": a dataset with several configurations
    try:
        rows = datasets.load_dataset(repository, configuration or None, split=split, revision=revision)
    except Exception as error:  # the network, the hub, a wrong name, split or revision: each raises its own kind
        raise DataError(
            f"{key}={name}: no such local file, and not loaded from the hub as split {split!r}, revision {revision!r} ({_line(error)}); "
            f"mend {key}, {key}_split or task.revision, write NAME:CONFIGURATION where it has several, or check the network"
        ) from None
    return _numbered(name, rows)


def _numbered(name: str, rows: Any) -> list[Row]:
    return [(f"{name}, row {number}", dict(row)) for number, row in enumerate(rows, 1)]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
