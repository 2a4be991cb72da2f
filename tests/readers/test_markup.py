import pytest

from xmr_ray.errors import ReaderError
from xmr_ray.readers.markup import parse_xml

BOMB = b'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;">]><a>&lol2;</a>'
OUTSIDE = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'


def test_elements_attributes_and_text():
    root = parse_xml("<a k='v'>x<b>caf\u00e9 &lt;&#65;</b>y<b/><![CDATA[<raw>]]></a>".encode(), where="file")
    assert (root.tag, root.get("k"), root.text) == ("a", "v", "x")
    assert [(b.text, b.tail) for b in root.findall("b")] == [("café <A", "y"), (None, "<raw>")]


@pytest.mark.parametrize("data", [BOMB, OUTSIDE, b"<!DOCTYPE a><a/>", OUTSIDE.decode().encode("utf-16"), b"<a><![CDATA[<!ENTITY]]></a>"])
def test_document_types_and_entities_are_refused(data):
    with pytest.raises(ReaderError, match=r"bad.xml: holds a document type or entity declaration"):
        parse_xml(data, where="bad.xml")


@pytest.mark.parametrize(
    "data", [b"", b"<a><b></a>", b"<a>AT&T</a>", b"<a>&nbsp;</a>", b"<a>\xff</a>", b"no", b'<?xml version="1.0" encoding="no-such"?><a/>']
)
def test_what_is_no_xml(data):
    with pytest.raises(ReaderError, match=r"bad.xml: not well-formed XML \("):
        parse_xml(data, where="bad.xml")
