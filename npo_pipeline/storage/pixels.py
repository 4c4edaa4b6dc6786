"""A picture of any kind as upright RGB: what is transparent lies on white, and deep grey values keep their order.

Pillow's own `convert("RGB")` drops the transparency (a black line on nothing becomes all black) and cuts grey values off at 255 (a
16-bit photograph becomes white). Sixteen bits are scaled by what their file can hold, 65535. Of 32-bit numbers no file says how bright
is white, so the values do: up to 1 (floats, which may overshoot a little where they were sharpened or resized), 255 or 65535; others
are refused rather than guessed at.
"""

from typing import Any

import PIL.Image
import PIL.ImageCms

SIXTEEN, TWELVE = 65535, 4095
OVERSHOOT = 2  # up to this, floats are 0 to 1 and a little more
BITS, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # a TIFF's tags, and what the second may say
ORIENTATION = 0x0112  # the EXIF tag
TURNS = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
# A PNG names its transparent colour in its own depth, Pillow's pixels are of 8 bits: (times, by) of the raw modes that differ.
DEPTHS = {"1": (255, 1), "L;2": (85, 1), "L;4": (17, 1), "RGB;16B": (1, 256)}


def as_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """An opened image (its first frame), decoded. Raises ValueError for values without a known white, and whatever Pillow does."""
    clear, most, is_negative = _transparent_colour(image), _most(image), _tag(image, PHOTOMETRIC) == WHITE_IS_ZERO
    image.load()
    if clear is not None:
        image.info["transparency"] = clear
    image = _upright(image)
    if image.mode == "F" or image.mode.startswith("I"):
        return _from_deep(image, most, is_negative)
    if image.mode == "LAB":
        return _from_lab(image)
    return _on_white(image) if image.has_transparency_data else image.convert("RGB")


def _transparent_colour(image: PIL.Image.Image) -> int | tuple[int, ...] | None:
    """The colour that a PNG without alpha declares transparent, as its pixels will have it; None where there is nothing to mend."""
    raw = next((tile[3] for tile in getattr(image, "tile", [])), None)
    found = image.info.get("transparency")
    if image.format != "PNG" or raw not in DEPTHS or image.mode == "P" or found is None:
        return None
    times, by = DEPTHS[raw]
    return tuple(value * times // by for value in found) if isinstance(found, tuple) else found * times // by


def _tag(image: PIL.Image.Image, number: int) -> Any:
    """A tag of a TIFF, None of other files. Asked of the image as it was opened: a turned copy has none."""
    return getattr(image, "tag_v2", {}).get(number)


def _most(image: PIL.Image.Image) -> int:
    """The largest value of a file of 16-bit grey; Pillow keeps 12 bits as they are."""
    return TWELVE if _tag(image, BITS) == (12,) else SIXTEEN


def _upright(image: PIL.Image.Image) -> PIL.Image.Image:
    """Turned as the camera says. A damaged tag beside the orientation costs nothing; an orientation that cannot be read is none."""
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # a damaged block of metadata raises anything, and the pixels are whole
        return image
    return image if turn is None else image.transpose(turn)


def _on_white(image: PIL.Image.Image) -> PIL.Image.Image:
    if image.mode == "La":  # premultiplied
        image = image.convert("LA")
    image = image.convert("RGBA")
    return PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _from_lab(image: PIL.Image.Image) -> PIL.Image.Image:
    lab, rgb = PIL.ImageCms.createProfile("LAB"), PIL.ImageCms.createProfile("sRGB")
    found = PIL.ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB")
    assert found is not None  # only in place it is
    return found


def _from_deep(image: PIL.Image.Image, most: int, is_negative: bool) -> PIL.Image.Image:
    """Grey of 12, 16 or 32 bits, whole or floating. Of 8 bits Pillow itself turns a negative round."""
    import numpy as np  # not on top: the workflow reads this module whenever it is planned

    values = np.asarray(image).astype(np.float64)
    grey = np.rint(np.clip(values * (255 / _white(image, values, most)), 0, 255))
    if is_negative:
        grey = 255 - grey
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey[values == clear] = 255
    return PIL.Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def _white(image: PIL.Image.Image, values: Any, most: int) -> int:
    """The value that stands for white. Raises ValueError where there is none."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):  # Pillow scales a PPM to 16 bits
        return most
    low, high = float(values.min()), float(values.max())
    if image.mode == "F" and low >= 0 and high <= OVERSHOOT:
        return 1
    scales = (1, 255, SIXTEEN) if image.mode == "F" else (255, SIXTEEN)
    white = next((scale for scale in scales if low >= 0 and high <= scale), None)
    if white is None:
        kind = "floating-point" if image.mode == "F" else "32-bit"
        raise ValueError(
            f"a {kind} image with values from {low:g} to {high:g}, expected 0 to {' or 0 to '.join(map(str, scales))}; save it with 8 bits"
        )
    return white
