"""Image files: one RGB view of whatever came, kept by content, checked when read."""

import hashlib
import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from npo_pipeline.errors import ArtifactError
from npo_pipeline.storage.images import UnreadableImage, decode_image, load_image, store_image
from npo_pipeline.storage.manifest import sha256_text
from npo_pipeline.storage.parquet import prompt_digest


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
