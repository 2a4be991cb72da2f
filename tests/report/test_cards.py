import base64

import pytest

from xmr_ray.corpus.schema import Item
from xmr_ray.errors import CorpusError
from xmr_ray.report.cards import data_uri, make_card, names_of
from xmr_ray.types import LabelSet


@pytest.mark.parametrize(
    ("image", "kind"),
    [(b"RIFF\x10\x00\x00\x00WEBPrest", "webp"), (b"\x89PNG\r\n\x1a\nrest", "png"), (b"\xff\xd8\xff\xe0rest", "jpeg"), (b"GIF89a", "gif")],
)
def test_type_is_told_from_the_bytes(image, kind):
    assert data_uri(image, pair_id=1) == f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


@pytest.mark.parametrize("image", [b"<svg onload='x()'>", b"RIFF\x10\x00\x00\x00WAVE"])
def test_another_type_is_refused_by_pair(image):
    with pytest.raises(CorpusError, match="thumbnail of pair_id 17"):
        data_uri(image, pair_id=17)


def test_title_falls_back_to_uri_and_id(make):
    png = make.png(7)
    assert make_card(4, Item("a  caption", "file:x", png), ("tool",)).title == "a caption"
    assert make_card(4, Item(None, "file:x", None), None).title == "file:x"
    assert make_card(4, Item(None, None, None), None).title == "pair 4"
    assert make_card(4, None, None).image is None
    assert make_card(4, Item("", None, b""), None).image is None


def test_long_titles_are_cut_at_a_word():
    card = make_card(1, Item("word " * 40, None, None), None)
    assert len(card.title) <= 91
    assert card.title.endswith("word…")


def test_names_of_labels():
    labels = LabelSet.of([9, 2, 5], [[1, 3], [], [0]])
    assert names_of(labels, ("a", "b")) == {2: (), 5: ("a",), 9: ("b", "class 3")}
