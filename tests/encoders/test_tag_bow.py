import pytest
import torch

from xmr_ray.encoders.tag_bow import TagBow
from xmr_ray.errors import CorpusError

TEXTS = ["sky sea sun", "Sea, sand", "", "sky;sea  sea sea", "dog sand"]  # sea 3, sky 2, sand 2, sun 1, dog 1


def build(encoder, texts=TEXTS):
    return encoder.build(torch.device("cpu"), encoder.fit(iter(texts)))


def test_the_most_frequent_tags_by_hand():
    built = build(TagBow(num_tags=4))
    assert list(built.columns) == ["sea", "sand", "sky", "dog"]  # by texts that hold them, then by alphabet
    assert built.dim == 4
    assert built.encode(TEXTS).tolist() == [[1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1]]
    assert built.encode(["unknown SKY"]).tolist() == [[0, 0, 1, 0]]


def test_fewer_tags_than_asked_for():
    assert build(TagBow(num_tags=100)).dim == 5


def test_separator():
    built = build(TagBow(separator=r"\|"), ["new york|sea", "new york"])
    assert list(built.columns) == ["new york", "sea"]


def test_no_tag_at_all_is_an_error():
    with pytest.raises(CorpusError, match="no train text holds a tag"):
        TagBow().fit(["", " , "])
