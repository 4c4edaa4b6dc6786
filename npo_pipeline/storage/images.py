"""Image files of problems: read as RGB, identified by their content, kept in `prepare/images/`.

A file is stored as it came, so that its hash is the source's; what every reader sees is the same: upright (EXIF) and RGB.
"""

import hashlib
import io
import warnings
from pathlib import Path

import PIL
import PIL.Image
import PIL.ImageOps

from npo_pipeline.errors import ArtifactError
from npo_pipeline.records import Image

FOLDER = "images"
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")  # no EPS: Pillow runs Ghostscript on it
BROKEN = (OSError, ValueError, SyntaxError, EOFError, PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning)


def load_image(image: Image) -> PIL.Image.Image:
    """The image as RGB. Raises ArtifactError if the file is missing, or not the one that was prepared."""
    fix = "Delete the prepare folder and run snakemake again."
    try:
        content = image.file.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{image.file}: an image of a problem could not be read ({error.strerror}). {fix}") from None
    if hashlib.sha256(content).hexdigest() != image.sha256:
        raise ArtifactError(f"{image.file}: damaged, expected sha256 {image.sha256[:12]}.... {fix}")
    return decode_image(content)[0]


def decode_image(content: bytes) -> tuple[PIL.Image.Image, str]:
    """The RGB image, and its format's usual suffix. Raises one of BROKEN; an image of absurd size is refused before it is decoded."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
        opened = PIL.Image.open(io.BytesIO(content), formats=FORMATS)
        suffix = f".{(opened.format or 'img').lower()}"
        return PIL.ImageOps.exif_transpose(opened).convert("RGB"), suffix


def store_image(content: bytes, folder: Path) -> Image:
    """Keep an image below the prepare folder `folder`, once per content. Raises one of BROKEN, OSError.

    Not flushed one by one, which takes minutes for thousands of them: the stage's manifest, written last, vouches for each.
    """
    decoded, suffix = decode_image(content)
    digest = hashlib.sha256(content).hexdigest()
    image = Image(f"{FOLDER}/{digest}{suffix}", digest, decoded.width, decoded.height, folder)
    image.file.parent.mkdir(parents=True, exist_ok=True)
    if not image.file.exists():
        image.file.write_bytes(content)
    return image
