"""The images of a dataset's row: files beside the dataset, or bytes in a column.

A row holds none (null, an empty list, {bytes: null, path: null}), one, or a list of them; "data:image/png;base64,..." is its bytes.
Files are named relative to the dataset's folder and never lie outside of it: a dataset is somebody else's text, and must not read this
machine's files into a prompt.
"""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from npo_pipeline.errors import DataError
from npo_pipeline.shown import one_line
from npo_pipeline.storage.images import UnreadableImage, decode_image
from npo_pipeline.tasks.fields import PREVIEW
from npo_pipeline.tasks.raw import SourceImage
from npo_pipeline.tasks.rows.cells import Unreadable

LONGEST = 255  # characters of a name that is shown whole
URI = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)


def source_images(value: Any, folder: Path | None, place: str) -> tuple[SourceImage, ...]:
    """The images of a cell of `task.image_column`, each one decoded once to see that it is whole.

    Raises DataError naming the row (`place`) if one is missing, broken, or outside `folder` (None: there are no files, as of a hub
    dataset).
    """
    cells = value if isinstance(value, list) else [value]
    return tuple(_source_image(one, folder, place) for one in cells if not _is_empty(one))


def named_files(value: Any, folder: Path) -> Iterator[Path]:
    """The files that a cell names, as far as they are there."""
    for one in value if isinstance(value, list) else [value]:
        name = _where(one)
        if isinstance(name, str) and name:
            try:
                file = _inside(name, folder, "")
                if file.is_file():
                    yield file
            except (DataError, OSError):
                continue


def _is_empty(value: Any) -> bool:
    """No image: null, or what Arrow makes of it in a column of {bytes, path}."""
    if isinstance(value, dict):
        return bool({"bytes", "path"} & set(value)) and value.get("bytes") is None and value.get("path") is None
    return value is None


def _where(value: Any) -> Any:
    """A file's name or its bytes; the Image feature of `datasets` has both."""
    return value.get("bytes") or value.get("path") if isinstance(value, dict) and ("bytes" in value or "path" in value) else value


def _source_image(value: Any, folder: Path | None, place: str) -> SourceImage:
    found = _where(value)
    if isinstance(found, bytes) and found:
        return _whole(found, place, "its bytes")
    if not isinstance(found, str) or not found:
        shown = found.kind if isinstance(found, Unreadable) else f"a {type(found).__name__}"
        raise DataError(f"{place}: an image is {shown}, expected a file's name, bytes, or {{bytes, path}}; mend the row")
    if start := URI.match(found):
        return _whole(_decoded(found[start.end() :], found, place), place, _short(found))
    return _whole(_inside(found, folder, place), place, _short(found))


def _decoded(text: str, uri: str, place: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise DataError(f"{place}: the image {_short(uri)} is no base64 ({error}); write it again, or a file's name") from None


def _short(name: str) -> str:
    """What is no name may be a whole picture as text."""
    return repr(name if len(name) <= LONGEST else f"{name[:PREVIEW]}...")


def _inside(name: str, folder: Path | None, place: str) -> Path:
    if folder is None:
        raise DataError(f"{place}: the image {_short(name)} is a file's name, but this dataset has no folder; expected the image's bytes")
    try:
        file = (folder / name).resolve()
        is_other = file.exists() and not file.is_file()  # a folder; a pipe, which would be waited for
    except (ValueError, RuntimeError, OSError) as error:  # a NUL, half a surrogate pair, a link to itself; base64 is too long a name
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(
            f"{place}: the image {_short(name)} is no file's name that could be looked up ({reason}); expected a file beside the dataset, "
            "bytes (decode base64 as you write the table), or data:image/png;base64,..."
        ) from None
    if not file.is_relative_to(folder.resolve()):
        raise DataError(f"{place}: the image {_short(name)} lies outside of {folder}; put it beside the dataset and name it relative to it")
    if is_other:
        raise DataError(f"{place}: the image {_short(name)} is not a file; mend the row")
    return file


def _whole(where: Path | bytes, place: str, name: str) -> SourceImage:
    try:
        image = SourceImage.of(where)
        decode_image(image.read())
    except FileNotFoundError:
        raise DataError(f"{place}: no image {name} at {one_line(str(where))}; mend the row, or put the file there") from None
    except (UnreadableImage, OSError) as error:
        raise DataError(
            f"{place}: the image {name} cannot be read ({one_line(str(error))}); expected a whole PNG, JPEG or the like"
        ) from None
    return image
