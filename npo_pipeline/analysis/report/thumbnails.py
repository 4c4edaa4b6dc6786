"""Small copies of the images that a prompt shows, inside the page itself: as JPEG in the address of an image.

However large the images are and however many, the page stays one that opens: each copy has at most SIDE pixels along a side (about
10 kB), a sample shows MOST_PER_SAMPLE of them, a page MOST_PER_PAGE.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import PIL.Image

from npo_pipeline.errors import ArtifactError
from npo_pipeline.records import Image
from npo_pipeline.storage.images import load_image

SIDE = 192  # pixels
QUALITY = 85  # of the JPEG
MOST_PER_SAMPLE, MOST_PER_PAGE = 4, 200


@dataclass(frozen=True)
class Thumbnail:
    """`address` is a data URI; None where the file could not be read, which is no reason to have no report. Sizes are the image's own."""

    address: str | None
    width: int
    height: int


class Thumbnails:
    """Makes each image's copy once, and counts what the page holds."""

    def __init__(self) -> None:
        self.left = MOST_PER_PAGE
        self._made: dict[str, str | None] = {}

    def of(self, images: Sequence[Image]) -> tuple[Thumbnail, ...]:
        """As many of a sample's images as its share and the page's allow, in their order."""
        shown = images[: min(MOST_PER_SAMPLE, self.left)]
        self.left -= len(shown)
        return tuple(Thumbnail(self._address(image), image.width, image.height) for image in shown)

    def _address(self, image: Image) -> str | None:
        if image.sha256 not in self._made:
            try:
                self._made[image.sha256] = jpeg_address(load_image(image))
            except ArtifactError:
                self._made[image.sha256] = None
        return self._made[image.sha256]


def jpeg_address(picture: PIL.Image.Image) -> str:
    """The address of a copy of at most SIDE pixels along a side. As an image it can run no script and load nothing."""
    small, stream = picture.copy(), io.BytesIO()
    small.thumbnail((SIDE, SIDE))
    small.save(stream, format="JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
