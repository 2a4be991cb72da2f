"""XML from strangers: no document types, no entities of their own, nothing fetched."""

from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from xmr_ray.errors import ReaderError


class _RefusedError(Exception):
    """A document says what no plain document needs to say."""


def parse_xml(data: bytes, *, where: str) -> Element:
    """The root of a document that is elements and text only.

    Raises:
        ReaderError: there is a document type or an entity declaration (refused before anything in it is looked at), or it is no XML.

    >>> parse_xml(b"<a><b>x &amp; y</b></a>", where="file").findtext("b")
    'x & y'
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.ExternalEntityRefHandler = _refuse
    try:
        if any(sign in data for sign in (b"<!DOCTYPE", b"<!ENTITY")):
            _refuse()
        parser.Parse(data, True)
    except _RefusedError as error:
        raise ReaderError(f"{where}: holds a document type or entity declaration, which is not read from outside data; remove it") from error
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise ReaderError(f"{where}: not well-formed XML ({error}); correct or remove this file") from error
    return builder.close()


def _refuse(*_: object) -> NoReturn:
    raise _RefusedError
