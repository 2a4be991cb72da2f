import json
import sys

import pytest

from xmr_ray.encoders.imports import required
from xmr_ray.errors import ConfigError


def test_a_module_that_is_there():
    assert required("json", kind="any", extra="offline") is json


def test_a_missing_module_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"^encoder 'timm' needs timm, which cannot be imported.*pip install 'xmr-ray\[timm\]'"):
        required("timm", kind="timm", extra="timm")


def test_a_library_of_another_torch_counts_as_missing(tmp_path, monkeypatch):
    (tmp_path / "planted_library.py").write_text("raise RuntimeError('operator planted::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="operator planted::nms does not exist"):
        required("planted_library", kind="torchvision", extra="torchvision")
