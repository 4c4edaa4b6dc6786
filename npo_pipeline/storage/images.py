"""Image files of problems: read as RGB, identified by their content, kept in `prepare/images/`.

A file is stored as it came, so that its hash is the source's; what every reader sees is the same: upright (EXIF) and RGB
(npo_pipeline.storage.pixels).
"""

import hashlib
import io
import warnings
from pathlib import Path

import PIL
import PIL.Image

from npo_pipeline.errors import ArtifactError
from npo_pipeline.records import Image
from npo_pipeline.shown import one_line
from npo_pipeline.storage.pixels import as_rgb

FOLDER = "images"
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")  # no EPS: Pillow runs Ghostscript on it


class UnreadableImage(ValueError):
    """What is no whole image of a known kind; its text says why, in one line."""


def load_image(image: Image) -> PIL.Image.Image:
    """The image as RGB. Raises ArtifactError if the file is missing, or not the one that was prepared."""
    fix = "Delete the prepare folder and run snakemake again."
    try:
        content = image.file.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{image.file}: an image of a problem could not be read ({error.strerror}). {fix}") from None
    if hashlib.sha256(content).hexdigest() != image.sha256:
        raise ArtifactError(f"{image.file}: damaged, expected sha256 {image.sha256[:12]}.... {fix}")
    try:
        return decode_image(content)[0]
    except UnreadableImage as error:  # prepared with another Pillow
        raise ArtifactError(f"{image.file}: an image of a problem could not be read ({error}). {fix}") from None


def decode_image(content: bytes) -> tuple[PIL.Image.Image, str]:
    """The RGB image, and its format's usual suffix. Raises UnreadableImage, for one of absurd size before it is decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            opened = PIL.Image.open(io.BytesIO(content), formats=FORMATS)
            suffix = f".{(opened.format or 'img').lower()}"
            return as_rgb(opened), suffix
    except PIL.UnidentifiedImageError:  # its text is an address in memory
        raise UnreadableImage(f"no image of a known kind, which are {', '.join(FORMATS)}") from None
    except Exception as error:  # a damaged file raises anything: struct.error, zlib.error, KeyError, TypeError, OverflowError ...
        raise UnreadableImage(one_line(str(error)[:200]) or type(error).__name__) from error


def store_image(content: bytes, folder: Path) -> Image:
    """Keep an image below the prepare folder `folder`, once per content. Raises UnreadableImage, OSError.

    Not flushed one by one, which takes minutes for thousands of them: the stage's manifest, written last, vouches for each.
    """
    decoded, suffix = decode_image(content)
    digest = hashlib.sha256(content).hexdigest()
    image = Image(f"{FOLDER}/{digest}{suffix}", digest, decoded.width, decoded.height, folder)
    image.file.parent.mkdir(parents=True, exist_ok=True)
    if not image.file.exists():
        image.file.write_bytes(content)
    return image
