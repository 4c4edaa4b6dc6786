"""Image files: one RGB view of whatever came, kept by content, checked when read."""

import hashlib
import io
import struct
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from npo_pipeline.errors import ArtifactError
from npo_pipeline.storage.images import UnreadableImage, decode_image, load_image, store_image
from npo_pipeline.storage.manifest import sha256_text
from npo_pipeline.storage.parquet import prompt_digest
from npo_pipeline.storage.pixels import PHOTOMETRIC


def encoded(mode: str = "RGB", size: tuple[int, int] = (6, 4), kind: str = "PNG", **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize(("mode", "kind"), [("RGB", "PNG"), ("RGBA", "PNG"), ("L", "PNG"), ("P", "GIF"), ("1", "PNG"), ("CMYK", "JPEG")])
def test_any_image_is_kept_as_it_came_and_read_as_rgb(tmp_path: Path, mode: str, kind: str):
    content = encoded(mode, kind=kind)
    image = store_image(content, tmp_path)
    assert image.file.read_bytes() == content
    assert image.path == f"images/{hashlib.sha256(content).hexdigest()}.{kind.lower()}"
    assert (image.width, image.height) == (6, 4)
    assert (load_image(image).mode, load_image(image).size) == ("RGB", (6, 4))


def test_a_photograph_stands_upright():
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # taken with the camera turned
    assert decode_image(encoded(kind="JPEG", exif=exif))[0].size == (4, 6)


def test_one_content_is_one_file(tmp_path: Path):
    assert store_image(encoded(), tmp_path) == store_image(encoded(), tmp_path)
    assert len(list((tmp_path / "images").iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"no image", encoded()[:60]])
def test_what_is_no_image_is_refused_and_leaves_nothing(tmp_path: Path, content: bytes):
    with pytest.raises(UnreadableImage):
        store_image(content, tmp_path)
    assert not list(tmp_path.rglob("*.*"))


def test_an_image_that_is_a_program_is_not_run():
    with pytest.raises(UnreadableImage):  # not: Ghostscript is missing, or worse, is not
        decode_image(encoded(kind="EPS"))


def test_an_image_that_changed_is_refused(tmp_path: Path):
    image = store_image(encoded(), tmp_path)
    image.file.write_bytes(encoded(size=(8, 8)))
    with pytest.raises(ArtifactError, match=rf"^{image.file}: damaged"):
        load_image(image)
    image.file.unlink()
    with pytest.raises(ArtifactError, match=rf"^{image.file}: .*No such file"):
        load_image(image)


def test_what_was_asked_is_the_prompt_and_its_images(tmp_path: Path):
    image, other = store_image(encoded(), tmp_path), store_image(encoded(size=(8, 8)), tmp_path)
    asked = {prompt_digest("what?", images) for images in ((), (image,), (other,), (image, other), (other, image))}
    assert len(asked) == 5
    assert prompt_digest("what?", ()) == sha256_text("what?")


def tiff(values: list[int] | list[float], kind: str, **tags: int) -> bytes:
    """One row of grey, with tags of its own: numpy's kind says the depth."""
    pixels = np.array([values], kind)
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "TIFF", tiffinfo={PHOTOMETRIC: tags.get("photometric", 1)})
    return stream.getvalue()


def twelve_bits(*values: int) -> bytes:
    """A TIFF of grey of 12 bits, which Pillow reads and does not write."""
    packed = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in zip(values[::2], values[1::2], strict=True))
    tags = ((256, 4, len(values)), (257, 4, 1), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (278, 4, 1))
    entries = [struct.pack("<HHII", number, kind, 1, value) for number, kind, value in (*tags, (279, 4, len(packed)))]
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + directory


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (tiff([0, 65535], "<u2"), [0, 255]),
        (tiff([0, 65535], "<u2", photometric=0), [255, 0]),
        (tiff([0, 255], "<u1", photometric=0), [0, 255]),  # Pillow turns 8 bits round itself, as it writes and as it reads
        (tiff([0, 0.5, 1], "<f4", photometric=0), [255, 127, 0]),
        (tiff([0, 0.5, 1.02], "<f4"), [0, 128, 255]),
        (tiff([0, 0.5, 2], "<f4"), [0, 128, 255]),
        (twelve_bits(0, 2048, 4095, 4095), [0, 128, 255, 255]),
    ],
)
def test_grey_of_any_depth_is_as_bright_as_its_file_says(content: bytes, expected: list[int]):
    assert np.asarray(decode_image(content)[0])[0, :, 0].tolist() == expected
