"""Encoded pictures -> RGB: a limit on pixels read from the header before anything is decoded, and a plain reason where it cannot be done."""

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, PpmImagePlugin, TiffImagePlugin, WebPImagePlugin

from xmr_ray.errors import XmrError

ORIENTATION_TAG = 0x0112
WHITE = (255, 255, 255)
_KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
_PLUGINS = (JpegImagePlugin, PngImagePlugin, WebPImagePlugin, GifImagePlugin, BmpImagePlugin, TiffImagePlugin, PpmImagePlugin)  # they register
_UPRIGHT: Mapping[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Rejected(XmrError):  # noqa: N818 not a failure of the job: one picture, with the reason why it is left out
    """One picture that cannot be used; the message is the reason, without the picture's name."""


def decode(data: bytes, *, max_pixels: int) -> Image.Image:
    """The picture as RGB, upright: alpha on white, CMYK and palettes converted, 16 bits brought to 8, EXIF orientation applied.

    Raises:
        Rejected: zero bytes, no known kind of picture, more than `max_pixels` (nothing was allocated then), or damaged.
    """
    if not data:
        raise Rejected("zero bytes")
    kind, factory = _recognise(data[:16])
    try:
        picture = factory(io.BytesIO(data), "")
        width, height = picture.size
        if not 0 < width * height <= max_pixels:
            raise Rejected(f"{kind} of {width} x {height} pixels, allowed are 1 to {max_pixels} (max_pixels)")
        picture.load()
        return _on_white(_eight_bits(_upright(picture)))
    except (Rejected, MemoryError):
        raise
    except Exception as error:  # the decoders raise anything on damaged bytes
        raise Rejected(f"{kind} that cannot be decoded ({str(error) or type(error).__name__})") from error


def thumbnail(image: Image.Image, *, size: int = 72) -> bytes:
    """A small copy as WebP, longest side at most `size`, never enlarged; alpha on white."""
    small = _on_white(image).copy()
    small.thumbnail((size, size), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, format="WEBP", quality=80)
    return out.getvalue()


def _recognise(prefix: bytes) -> tuple[str, Callable[[io.BytesIO, str], Image.Image]]:
    """The kind of picture that the first bytes announce, and what opens it.

    Not `Image.open`: it checks the size against one limit for the whole process, and warns beside it.
    """
    for kind in _KINDS:
        factory, accept = Image.OPEN[kind]
        if accept is not None and accept(prefix) is True:
            return kind, factory
    raise Rejected(f"not a picture of a known kind ({', '.join(_KINDS)}): begins with {prefix!r}")


def _upright(picture: Image.Image) -> Image.Image:
    try:
        orientation = picture.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # damaged EXIF: it says nothing about the picture
        orientation = 1
    return picture.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else picture


def _eight_bits(picture: Image.Image) -> Image.Image:
    if picture.mode == "F":
        raise Rejected("floating-point pixels, whose range no header tells; convert the picture to 8 or 16 bits")
    if not picture.mode.startswith("I"):
        return picture
    pixels_HW: np.ndarray[Any, Any] = np.asarray(picture)
    if pixels_HW.min() < 0 or pixels_HW.max() > 0xFFFF:
        raise Rejected(f"pixels from {pixels_HW.min()} to {pixels_HW.max()} do not fit 16 bits; convert the picture to 8 or 16 bits")
    return Image.fromarray((pixels_HW >> 8).astype(np.uint8))


def _on_white(picture: Image.Image) -> Image.Image:
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    seen = picture.convert("RGBA")
    canvas = Image.new("RGBA", seen.size, (*WHITE, 255))
    canvas.alpha_composite(seen)
    return canvas.convert("RGB")
