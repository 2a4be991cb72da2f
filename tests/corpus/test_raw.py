import numpy as np
import pytest
from pydantic import ValidationError

from xmr_ray.corpus.raw import RawRecords, RawSchema


def test_slicing_takes_every_field():
    records = RawRecords(np.arange(4), list("abcd"), ["w", None, "y", None], [None, b"x", None, b"z"], [[0], [], [1], [0, 1]])
    part = records.slice(1, 3)
    assert (part.pair_ids.tolist(), part.texts, part.uris, part.images, part.labels) == ([1, 2], ["b", "c"], [None, "y"], [b"x", None], [[], [1]])
    assert len(part) == 2
    assert records.slice(0, 99).texts == list("abcd")
    assert RawRecords(np.arange(2), ["a", "b"], ["u", "v"]).slice(1, 2).images is None


def test_a_class_named_twice_is_refused():
    with pytest.raises(ValidationError, match="'b' is repeated"):
        RawSchema(class_names=("a", "b", "b"))
    assert RawSchema(class_names=("a", "b")).num_classes == 2
