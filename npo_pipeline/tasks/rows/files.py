"""Rows of a dataset: a JSONL or Parquet file, a folder, or a hub name.

A folder is one that `save_to_disk` wrote, or a dataset repository as the hub has them: Parquet or JSONL files per split
(train.parquet, train/part-0.jsonl, data/train-00000-of-00002.parquet, or as its README.md says). NAME:CONFIGURATION picks one
configuration of a repository that has several, here and on the hub.

Every row comes with the place it stands at, for errors to name. Nothing is unpickled, and a repository's README.md cannot have
files read that lie outside of it.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from npo_pipeline.errors import DataError
from npo_pipeline.shown import one_line
from npo_pipeline.storage.hub import hub_commit
from npo_pipeline.tasks.rows.cells import table_rows
from npo_pipeline.tasks.rows.labels import features_of, with_names
from npo_pipeline.tasks.rows.texts import Row, read_lines, text_rows

JSONL = (".jsonl", ".json")
SUFFIXES = (*JSONL, ".parquet")
KINDS = ("parquet", "json", "csv", "arrow", "imagefolder")  # readers of `datasets` that a repository may ask for
SAVED = ("dataset_info.json", "dataset_dict.json")  # what save_to_disk leaves in a folder


def resolve_path(path: str) -> Path | None:
    """The local file or folder that `task.train` or `task.eval` names: from the working directory, else from the project's root.

    None if there is no such file: then it may be a hub name. A folder may be followed by the name of a configuration.
    """
    from npo_pipeline.configuration.compose import PROJECT  # not on top: compose itself may check tasks

    names = [Path(name).expanduser() for name in dict.fromkeys((path, path.partition(":")[0])) if name]
    return next((place for given in names for place in (given, PROJECT / given) if place.exists()), None)


def looks_like_path(name: str) -> bool:
    """A local file or folder rather than a hub name, as "data/train.jsonl", "./saved", "~/saved" and "/data/saved" do."""
    return name.startswith(("/", ".", "~")) or Path(name).suffix in SUFFIXES


def read_rows(name: str, split: str, revision: str | None, key: str) -> list[Row]:
    """All rows of a source. `key` is the configuration key that names it ("task.train"). Raises DataError."""
    path = resolve_path(name)
    if path is None and looks_like_path(name):
        raise DataError(f"{key}={name}: no such file or folder; expected a .jsonl or .parquet file, or a folder of a dataset")
    if path is None:
        rows = _from_hub(name, split, revision, key)
    elif path.is_dir():
        rows = _from_saved(path, split, key) if any((path / file).is_file() for file in SAVED) else _from_repository(path, name, split, key)
    elif path.suffix in JSONL:
        rows = list(read_lines(path))
    elif path.suffix == ".parquet":
        rows = _from_parquet(path)
    else:
        raise DataError(f"{key}={name}: a file of kind {path.suffix or 'unknown'!r}, expected .jsonl or .parquet; convert it")
    if not rows:
        raise DataError(f"{key}={name}: holds no row, expected at least one; check that the right file or split is named")
    return rows


def _from_parquet(path: Path) -> list[Row]:
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
    except Exception as error:  # mostly one of Arrow's own, but a damaged file raises anything
        raise DataError(f"{path}: damaged, or not a Parquet file ({_line(error)}); write or download it again") from None
    return _numbered(str(path), with_names(table_rows(table), features_of(table.schema)))


def _from_saved(path: Path, split: str, key: str) -> list[Row]:
    import datasets

    try:
        saved = datasets.load_from_disk(str(path))
    except Exception as error:  # datasets raises many kinds for a damaged folder
        raise DataError(
            f"{key}={path}: a folder that `Dataset.save_to_disk` wrote, but damaged ({_line(error)}); "
            "save it again, or name a .jsonl or .parquet file"
        ) from None
    if isinstance(saved, datasets.DatasetDict):
        if split not in saved:
            raise DataError(f"{key}={path}: has no split {split!r}, it has {', '.join(sorted(saved))}; set {key}_split")
        saved = saved[split]
    try:
        return _numbered(str(path), _as_rows(saved))
    except Exception as error:
        raise DataError(f"{key}={path}: damaged ({_line(error)}); save it again, or name a .jsonl or .parquet file") from None


def _from_repository(path: Path, name: str, split: str, key: str) -> list[Row]:
    """A folder laid out as a dataset repository. Texts are read here, the rest as a stream: nothing is copied into a cache."""
    import datasets

    configuration = "" if path.name == Path(name).name else name.rpartition(":")[2]
    folder = path.resolve()  # its files are compared with it as text: a link among them may lead elsewhere, as a hub cache's do
    try:
        builder = datasets.load_dataset_builder(str(folder), configuration or None)
        kind = _check_builder(builder, lambda file: Path(os.path.abspath(file)).is_relative_to(folder))
        if (texts := text_rows(builder, kind, split)) is not None:
            return texts
        rows = list(_as_rows(builder.as_streaming_dataset(split=split)))
    except DataError:  # names its line
        raise
    except Exception as error:  # no data files, a split or configuration that is not there, a damaged file: each raises its own kind
        raise DataError(
            f"{key}={name}: a folder from which split {split!r} could not be read ({_line(error)}); expected Parquet or JSONL files "
            f"whose names say the split, such as {split}.parquet or {split}/part-0.jsonl, or what `save_to_disk` wrote; or set {key}_split"
        ) from None
    return _numbered(f"{path}, split {split}", rows)


def _from_hub(name: str, split: str, revision: str | None, key: str) -> list[Row]:
    import datasets

    repository, _, configuration = name.partition(":")  # "openai/gsm8k:main": a dataset with several configurations
    commit = hub_commit(repository, revision, "dataset")
    try:
        builder = datasets.load_dataset_builder(repository, configuration or None, revision=commit or revision)
        _check_builder(builder, lambda file: file.startswith("hf://"))
        rows = datasets.load_dataset(repository, configuration or None, split=split, revision=commit or revision)
    except Exception as error:  # the network, the hub, a wrong name, split or revision: each raises its own kind
        raise DataError(
            f"{key}={name}: no such local file, and not loaded from the hub as split {split!r}, revision {revision!r} ({_line(error)}); "
            f"mend {key}, {key}_split or task.revision, write NAME:CONFIGURATION where it has several, or check the network"
        ) from None
    return _numbered(name, _as_rows(rows))


def _check_builder(builder: Any, is_own: Callable[[str], bool]) -> str:
    """Which of `KINDS` a repository's files are. Raises ValueError if it asks for another reader, or for files that are not its own."""
    kind = type(builder).__module__.rpartition(".")[2]
    if kind not in KINDS:
        raise ValueError(f"its files are to be read as {kind}, expected one of {', '.join(KINDS)}")
    for file in [file for files in (builder.config.data_files or {}).values() for file in files]:
        if not is_own(str(file)):
            raise ValueError(f"its README.md names {file!r}, which is no file of this dataset")
    return kind


def _as_rows(rows: Any) -> Iterator[dict[str, Any]]:
    """The rows of a dataset, or of a stream of one."""
    for table in _encoded(rows).with_format("arrow").iter(1000):
        yield from with_names(table_rows(table), rows.features)


def _encoded(rows: Any) -> Any:
    """The dataset with its images as they are stored, {bytes, path}, not decoded: a problem keeps the file that its source has."""
    import datasets

    stored = datasets.Image(decode=False)
    for name, feature in (rows.features or {}).items():  # a stream of JSON lines has none
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(name, stored)
        elif isinstance(getattr(feature, "feature", None), datasets.Image):
            rows = rows.cast_column(name, datasets.List(stored))
    return rows


def _numbered(name: str, rows: Any) -> list[Row]:
    return [(f"{name}, row {number}", dict(row)) for number, row in enumerate(rows, 1)]


def _line(error: Exception) -> str:
    return one_line(str(error)[:300]) or type(error).__name__
