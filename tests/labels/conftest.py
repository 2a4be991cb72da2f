"""Questions with pictures, and with everything that could break a page."""

import struct
import zlib

import pytest

from xmr_ray.labels.questions import Question


def tiny_png(grey):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes([0, grey]))) + chunk(b"IEND", b"")


@pytest.fixture
def class_names():
    return ("animal", "</script><script>alert(1)</script>", 'a "quoted" & odd one')


@pytest.fixture
def questions(class_names):
    return [
        Question(2**62 + 1, "</script><img src=x onerror=alert(2)>", "javascript:alert(3)", tiny_png(9), {"animal": 0.4, class_names[1]: 0.9}),
        Question(7, "=HYPERLINK(1)", "https://example.invalid/7.jpg", None, {}, {"entropy": 0.123456, "cell": 3.0}),
        Question(12, None, "s3://bucket/12.jpg", b"not a picture"),
    ]
