"""Pictures made on the spot, and stand-ins for libraries that are not installed."""

import io
import sys
from types import ModuleType

import numpy as np
import pytest
from PIL import Image


def encoded(image, kind="PNG", **options):
    out = io.BytesIO()
    image.save(out, format=kind, **options)
    return out.getvalue()


@pytest.fixture(name="encoded", scope="session")
def encoded_fixture():
    """A PIL image as the bytes of a file."""
    return encoded


@pytest.fixture(scope="session")
def picture():
    """A smooth picture of 40 x 30 pixels that no flip leaves as it is."""
    y, x = np.mgrid[:30, :40]
    return Image.fromarray(np.stack([x * 6, y * 8, (x + y) * 3], axis=2).astype(np.uint8))


@pytest.fixture
def library(monkeypatch):
    """Put a module of that name, with these contents, in the place of one that may not be installed."""

    def put(name, **contents):
        module = ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    return put


@pytest.fixture
def no_library(monkeypatch):
    """Make a module impossible to import."""
    return lambda name: monkeypatch.setitem(sys.modules, name, None)
