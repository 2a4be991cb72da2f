import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from xmr_ray.encoders.images import ORIENTATION_TAG, Rejected, decode, thumbnail

LIMIT = 64_000_000


def read(data, max_pixels=LIMIT):
    return np.asarray(decode(data, max_pixels=max_pixels)).astype(int)


def png_header(width, height):
    """The first bytes of a PNG of that size, with no pixels behind them."""
    content = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 10)
    chunks = b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (content, data, b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "PPM"])
def test_lossless_kinds_come_back_as_they_were(kind, picture, encoded):
    image = picture.quantize(64) if kind == "GIF" else picture
    assert (read(encoded(image, kind)) == np.asarray(image.convert("RGB"))).all()


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 95}), ("JPEG", {"quality": 95, "progressive": True}), ("WEBP", {"quality": 95})])
def test_lossy_kinds_come_back_nearly(kind, options, picture, encoded):
    assert np.abs(read(encoded(picture, kind, **options)) - np.asarray(picture)).mean() < 3


def test_cmyk_jpeg_is_read(picture, encoded):
    assert np.abs(read(encoded(picture.convert("CMYK"), "JPEG", quality=95)) - np.asarray(picture)).mean() < 4


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_modes_without_alpha(mode, picture, encoded):
    image = picture.convert(mode)
    assert (read(encoded(image)) == np.asarray(image.convert("RGB"))).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_lies_on_white(mode, encoded):
    pixels_HWC = np.zeros((1, 3, 2 if mode == "LA" else 4), np.uint8)
    pixels_HWC[0, :, -1] = [0, 255, 51]
    black_under_alpha = Image.fromarray(pixels_HWC, mode=None)
    assert read(encoded(black_under_alpha))[0].tolist() == [[255] * 3, [0] * 3, [204] * 3]


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"])
def test_transparent_palette_lies_on_white(transparency, encoded):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    assert read(encoded(image, transparency=transparency))[0].tolist() == [[255] * 3, [40, 50, 60]]


def test_transparent_colour_lies_on_white(encoded):
    image = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    assert read(encoded(image, transparency=(1, 2, 3)))[0].tolist() == [[255] * 3, [4, 5, 6]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_keep_their_upper_eight(kind, encoded):
    image = Image.fromarray(np.array([[0, 255, 256, 0x8000, 0xFFFF]], np.uint16))
    assert read(encoded(image, kind))[0, :, 0].tolist() == [0, 0, 1, 128, 255]


@pytest.mark.parametrize(("values", "reason"), [(np.array([[0, 70_000]], np.int32), "do not fit 16 bits"), (np.ones((1, 2), np.float32), "floating")])
def test_ranges_that_nothing_tells_are_rejected(values, reason, encoded):
    with pytest.raises(Rejected, match=reason):
        read(encoded(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind, orientation, picture, encoded):
    # stored[r, c] for each orientation: which row and column of the upright picture it shows (EXIF 2.3, tag 274)
    upright = np.asarray(picture)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    found = read(encoded(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, **options))
    assert found.shape == upright.shape
    assert np.abs(found - upright).mean() < 3


def test_damaged_exif_leaves_the_picture_as_it_is(picture, encoded):
    data = encoded(picture, "JPEG", exif=b"Exif\0\0nonsense nonsense")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own
        assert read(data).shape == (30, 40, 3)


def test_size_is_refused_from_the_header_alone():
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Rejected, match=r"^PNG of 30000 x 30000 pixels, allowed are 1 to 64000000 \(max_pixels\)$"):
            read(png_header(30_000, 30_000))
    assert before == Image.MAX_IMAGE_PIXELS


def test_only_the_local_limit_counts(picture, encoded, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow would refuse more than twice as many
    assert read(encoded(picture)).shape == (30, 40, 3)
    with pytest.raises(Rejected, match="40 x 30"):
        read(encoded(picture), max_pixels=1199)
    assert read(encoded(picture), max_pixels=1200).shape == (30, 40, 3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", r"^zero bytes$"),
        (b"just some text", r"^not a picture of a known kind \(JPEG.*begins with b'just some text'$"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "known kind"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 40, "^JPEG that cannot be decoded"),
        (png_header(20, 20), "^PNG that cannot be decoded"),
    ],
)
def test_reasons(data, reason):
    with pytest.raises(Rejected, match=reason):
        read(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.8])
def test_truncated_pictures_are_rejected(kind, kept, encoded):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own
        with pytest.raises(Rejected):
            read(data[: int(len(data) * kept)])


def test_flipped_bytes_give_a_picture_or_a_reason(picture, encoded):
    rng = np.random.default_rng(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own
        for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF"):
            whole = np.frombuffer(encoded(picture, kind), np.uint8)
            for _ in range(60):
                broken = whole.copy()
                broken[rng.integers(len(whole), size=4)] = rng.integers(256, size=4)
                try:
                    image = decode(broken.tobytes(), max_pixels=10_000)
                except Rejected:
                    continue
                assert image.mode == "RGB"
                assert image.width * image.height <= 10_000


def test_thumbnail_keeps_shape_and_is_small(picture):
    wide = picture.resize((400, 100))
    small = Image.open(io.BytesIO(thumbnail(wide, size=72)))
    assert (small.format, small.size, small.mode) == ("WEBP", (72, 18), "RGB")
    assert np.abs(np.asarray(small).astype(int) - np.asarray(wide.resize((72, 18))).astype(int)).mean() < 6
    assert Image.open(io.BytesIO(thumbnail(picture))).size == (40, 30)  # never enlarged
    assert Image.open(io.BytesIO(thumbnail(Image.new("RGB", (5000, 1))))).size == (72, 1)


def test_thumbnail_lies_on_white():
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert Image.open(io.BytesIO(thumbnail(clear))).convert("RGB").getpixel((1, 1)) == (255, 255, 255)
    assert clear.mode == "RGBA"
