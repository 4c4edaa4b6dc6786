"""Pictures of every mode, and damaged in every way: read right, or refused in one line that names the row."""

import io
import json
import random
import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from npo_pipeline.configuration.compose import load_root
from npo_pipeline.errors import DataError
from npo_pipeline.storage.images import FORMATS, UnreadableImage, decode_image
from npo_pipeline.tasks.rows.dataset import load_problems

DATA = Path(__file__).parents[1] / "data"
MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "F")
DEEP = ("I;16", "I;16L", "I;16B", "I;16N")


def drawn(mode: str) -> PIL.Image.Image:
    """A dark square on a light ground (clear, where the mode can be)."""
    grey = PIL.Image.new("L", (16, 16), 250)
    grey.paste(10, (4, 4, 12, 12))
    if mode in DEEP:
        values = (np.asarray(grey).astype(np.uint16) * 257).astype(">u2" if mode == "I;16B" else "<u2")
        return PIL.Image.frombytes(mode, grey.size, values.tobytes())
    if mode == "I":
        return PIL.Image.fromarray(np.asarray(grey).astype(np.int32) * 257)
    if mode == "LAB":
        from PIL import ImageCms

        found = ImageCms.profileToProfile(
            grey.convert("RGB"), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
        assert found
        return found
    if mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        clear = PIL.Image.merge("LA", (PIL.Image.new("L", grey.size, 10), grey.point(lambda value: 255 if value < 99 else 0)))
        if mode == "PA":
            palette = clear.getchannel(0).convert("P")
            palette.putalpha(clear.getchannel(1))
            return palette
        return clear if mode == "LA" else clear.convert("RGBA" if mode.startswith("RGB") else mode).convert(mode)
    return grey.convert("RGB").convert(mode) if mode in ("CMYK", "YCbCr", "HSV", "RGBX") else grey.convert(mode)


def saved(image: PIL.Image.Image, kind: str) -> bytes | None:
    stream = io.BytesIO()
    try:
        image.save(stream, kind, **{"lossless": True} if kind == "WEBP" else {})
    except (OSError, KeyError, ValueError):  # a kind that does not hold the mode
        return None
    return stream.getvalue()


def cannot_hold(content: bytes, mode: str) -> bool:
    """What Pillow loses as it saves, so that no reader can know it: alpha, or depth."""
    deep, clear = mode in DEEP or mode in ("I", "F"), "A" in mode.removeprefix("LAB") or "a" in mode
    file = PIL.Image.open(io.BytesIO(content))
    return (deep and file.format in ("GIF", "WEBP")) or (clear and not file.has_transparency_data)


def on_white(content: bytes) -> tuple[int, int]:
    """The brightness of the square and of the ground."""
    grey = decode_image(content)[0].convert("L")
    return int(grey.getpixel((8, 8))), int(grey.getpixel((1, 1)))  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", [*MODES, *DEEP])
def test_every_mode_shows_the_dark_square_on_its_light_ground(mode: str):
    shown = 0
    for kind in FORMATS:
        content = saved(drawn(mode), kind)
        if content is None or cannot_hold(content, mode):
            continue
        dark, light = on_white(content)
        assert (dark < 40, light > 200) == (True, True), (kind, dark, light)
        shown += 1
    assert shown or mode in ("La", "HSV", "I;16N")


def test_the_cases():
    line, _ = decode_image((DATA / "line_rgba.png").read_bytes())
    assert sorted(line.getcolors() or []) == [(153, (0, 0, 0)), (1447, (255, 255, 255))]
    ramp = np.asarray(decode_image((DATA / "ramp16.png").read_bytes())[0])
    assert ramp.shape == (40, 40, 3)
    assert len(np.unique(ramp)) >= 200
    assert abs(ramp.mean() - 127) < 2
    assert decode_image((DATA / "exif_text_resolution.jpg").read_bytes())[0].size == (20, 40)


def floats(*values: float) -> bytes:
    return saved(PIL.Image.fromarray(np.array([values], dtype=np.float32)), "TIFF") or b""


def whole(*values: int) -> bytes:
    return saved(PIL.Image.fromarray(np.array([values], dtype=np.int32)), "TIFF") or b""


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (floats(0, 0.5, 1), [0, 128, 255]),
        (floats(0, 100, 255), [0, 100, 255]),
        (floats(0, 65535), [0, 255]),
        (whole(0, 7, 255), [0, 7, 255]),
        (whole(0, 257, 65535), [0, 1, 255]),
    ],
)
def test_deep_values_are_scaled_by_what_they_can_hold(content: bytes, expected: list[int]):
    assert np.asarray(decode_image(content)[0])[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    "content", [floats(-1, 1), floats(0, 1e9), floats(0, float("nan")), floats(0, float("inf")), whole(-5, 9), whole(0, 10**6)]
)
def test_values_without_a_known_white_are_refused_by_name(content: bytes):
    with pytest.raises(UnreadableImage, match=r"^a (floating-point|32-bit) image with values from .*; save it with 8 bits$"):
        decode_image(content)


def test_a_transparent_colour_of_a_palette_and_of_grey_is_white():
    for mode, clear in (("P", 0), ("L", 10), ("RGB", (10, 10, 10))):
        image = drawn("L").convert(mode) if mode != "P" else drawn("L").quantize(2)
        stream = io.BytesIO()
        image.save(stream, "PNG", transparency=image.getpixel((8, 8)) if mode == "P" else clear)
        assert on_white(stream.getvalue())[0] == 255, mode


def test_the_first_frame_of_a_moving_picture():
    frames = [PIL.Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        stream = io.BytesIO()
        frames[0].save(stream, kind, save_all=True, append_images=frames[1:])
        red, _, blue = decode_image(stream.getvalue())[0].getpixel((3, 3))  # type: ignore[misc]
        assert (red > 200, blue < 50) == (True, True), kind


def test_200_damaged_files_are_read_or_are_one_line(tmp_path: Path):
    """Cut, with bytes turned over, filled with others: the metadata's too. Whatever is raised names row and file."""
    turned = PIL.Image.Exif()
    turned[0x0112], turned[0x011A], turned[0x010E] = 6, (72, 1), "a description" * 9
    stream = io.BytesIO()
    drawn("RGB").save(stream, "JPEG", exif=turned)
    sources = [stream.getvalue(), (DATA / "exif_text_resolution.jpg").read_bytes()]
    sources += [content for kind in FORMATS for mode in ("RGBA", "P", "CMYK", "I;16") if (content := saved(drawn(mode), kind))]
    task = load_root("default", ["task=dataset", f"task.train={tmp_path}/rows.jsonl", "task.image_column=image"]).task
    dice, refused = random.Random(0), list[str]()
    for _ in range(400):
        content = bytearray(dice.choice(sources))
        if dice.random() < 0.3:
            content = content[: dice.randrange(len(content))]
        for _ in range(dice.choice((0, 1, 4, 30)) if content else 0):
            content[dice.randrange(len(content))] = dice.randrange(256)
        (tmp_path / "damaged.png").write_bytes(content)
        rows = [{"question": f"q{n}", "answer": "1", "image": image} for n, image in enumerate((None, "damaged.png", None))]
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        try:
            load_problems(task)
        except DataError as error:
            refused.append(str(error))
    assert len(refused) > 50
    assert all(
        re.fullmatch(r".*rows\.jsonl, line 2: the image 'damaged\.png' cannot be read \(.+\).*", said) for said in refused
    )  # no new line
    assert not [said for said in refused if "object at 0x" in said]
