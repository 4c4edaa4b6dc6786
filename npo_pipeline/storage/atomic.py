"""Atomic files and folders: a reader sees the whole of it or nothing.

Everything is written beside its place under a temporary name, flushed, and renamed. A full disk, a missing permission or a
kill leaves no file that a later call takes for whole.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from npo_pipeline.errors import StorageError

PARTIAL = ".partial"
RUST_OS_ERROR = re.compile(r"\(os error (\d+)\)")  # how safetensors and tokenizers, written in Rust, report the system's no


def partial_of(path: Path) -> Path:
    """Where it is while it is written."""
    return path.with_name(f".{path.name}{PARTIAL}")


def write_file(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file, then move it to `path`. Raises StorageError if the disk refuses."""
    partial = partial_of(path)
    with _storage_errors(path, partial):
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        flush(partial)
        os.replace(partial, path)
        flush(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_file(path, lambda partial: _write_text(partial, text))


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` (replacing it) when the block ends well, and vanishes when it does not."""
    partial = partial_of(path)
    with _storage_errors(path, partial):
        _remove(partial)
        partial.mkdir(parents=True)
        yield partial
        for file in sorted(partial.rglob("*")):
            flush(file)
        _remove(path)
        os.replace(partial, path)
        flush(path.parent)


@contextmanager
def _storage_errors(path: Path, partial: Path) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        with suppress(OSError):
            _remove(partial)
        if reason := _refusal(error):
            raise StorageError(
                f"{path}: could not be written: {reason}. Nothing half-written was left; "
                "free space or mend the permissions, then run the same command again."
            ) from error
        raise


def _refusal(error: BaseException) -> str | None:
    """Why the disk refused, as the system says it, whichever library wrote; None for an error of another kind."""
    if isinstance(error, OSError):
        return error.strerror or " ".join(str(error).split())
    found = RUST_OS_ERROR.search(str(error))
    return os.strerror(int(found[1])) if found else None


def _write_text(path: Path, text: str) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as stream:
        stream.write(text)


def flush(path: Path) -> None:
    """A file's or folder's content is on disk after this."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
