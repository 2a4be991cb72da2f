import io

import numpy as np
import pytest

from xmr_ray.encoders.state import pack, unpack
from xmr_ray.errors import ConfigError


def test_what_is_packed_comes_back():
    terms, arrays = unpack(pack(["zebra", "été", "a\0"], {"idf_V": np.array([1.5, 2.0])}), kind="tfidf")
    assert terms == ["zebra", "été", "a\0"]
    assert list(arrays) == ["idf_V"]
    assert arrays["idf_V"].tolist() == [1.5, 2.0]


def test_equal_contents_give_equal_bytes():
    assert pack(["a"], {"x": np.ones(3)}) == pack(["a"], {"x": np.ones(3)})


def test_without_a_state_there_is_nothing_to_build():
    with pytest.raises(ConfigError, match="encoder 'tfidf' must be fitted"):
        unpack(None, kind="tfidf")


def test_foreign_bytes_and_pickles_are_refused():
    pickled, other = io.BytesIO(), io.BytesIO()
    np.savez(pickled, terms=np.array([{"a": 1}], dtype=object))
    np.savez(other, x=np.ones(1))
    for state in (b"", b"nonsense", pack(["a"], {})[:-30], pickled.getvalue(), other.getvalue()):
        with pytest.raises(ConfigError, match="cannot be read"):
            unpack(state, kind="tfidf")
