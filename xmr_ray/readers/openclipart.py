"""Open Clip Art 0.18 as Debian packages it: raw pairs of pictures (PNG) and texts (RDF metadata of the SVG), the embedded corpus' originals."""

import logging
import os
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np
from pydantic import NonNegativeInt

from xmr_ray.component import Component
from xmr_ray.corpus.raw import RawRecords, RawSchema
from xmr_ray.corpus.source import RawSource, fingerprint
from xmr_ray.errors import ReaderError
from xmr_ray.readers.splits import drawn_splits, split_numbers
from xmr_ray.types import SPLITS, Ids, Split

log = logging.getLogger(__name__)

BATCH_ROWS = 1024
LARGEST_SVG_HEAD = 256 * 1024  # metadata comes first: within 6 KB in every file of the packages
LONGEST_DESCRIPTION = 300
MOST_KEYWORDS = 8
NUM_POLYGONS = 60  # of the 1,375 star polygons that a program drew, this many stay: a sample with seed 0

# The definition of the dataset, found by comparing the packages with the embedded corpus: each label, and after "=" the other keywords and
# folder names that mean it (underscores read as blanks).
_LABELS = """
africa; america; animal = animals; arrow = arrows, arrowshape; asia; astronomy; australia; beverage = beverages; bird = birds; boat; bodypart;
bread = breads and carbs, carbohydrate; building = buildings; button = buttons; callout = callouts; card = cards; clock = clocks; clothing;
coastline; computer; decoration = decorations; dessert = desserts; education; electronics = electronic; entertainment; europe; flag = flags;
flowchart; flower = flowers; food; france; fruit = fruits; game = games; geography; hardware; holiday = holidays, festive;
house = houses, homes, home; insect = bugs; jigsaw; led; mammal = mammals; map symbol = map symbols, mapsym; meat = meats and eggs, protein;
music; north america; oceania; office; party; people; plant = plants; recreation; religion; roadsign = roadsigns; science;
semaphore = signalflag; shape = shapes; smiley = smilies, smilie; spain; sport = sports; star = stars; stickmen; tool = tools; toy = toys;
transportation = transport, vehicle, vehicles; united nations member; united states = unitedstates; warning = caution; weapon = weapons; weather
"""
# Keywords that are in no text of the embedded corpus and are no labels; as a folder, "shape" is one.
_SAYS_NOTHING = """
action; activities; african; animale; animali; australian; bordered; desktop; device; equipment; filesystem; hash; homem; icon; icons; magick;
map; mapa; maps; menu; mimetypes; navy; ornamental; sailing; security; shape; signs and symbols; state; states; subnational; symbol; symboll;
symbols; theme; webpage; white
"""
_NO_DESCRIPTION = "clip art for coloring book creation"  # the one description that the embedded corpus leaves out
_POLYGON = re.compile(r"shapes/stars/star_\d+pt\d+step")
_LEFT_OUT = ("unsorted/", "special/", "buttons/", "computer/icons/")
_ENTITY = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#\d+|#x[0-9a-fA-F]+);)")
_DC, _RDF = "{http://purl.org/dc/elements/1.1/}", "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_WRAPPER = "<x xmlns:svg='s' xmlns:cc='c' xmlns:rdf='{}' xmlns:dc='{}'>{}</x>"


def _listed(table: str) -> dict[str, str]:
    """Each word of a table, and the name that it stands for.

    >>> _listed("animal = animals, bestie; led")
    {'animal': 'animal', 'animals': 'animal', 'bestie': 'animal', 'led': 'led'}
    """
    entries = [entry.strip().partition(" = ") for entry in " ".join(table.split()).split(";")]
    return {word: name for name, _, others in entries for word in (name, *filter(None, others.split(", ")))}


_NAME_OF, _QUIET = _listed(_LABELS), frozenset(_listed(_SAYS_NOTHING))
CLASS_NAMES = tuple(sorted(set(_NAME_OF.values())))


@dataclass(frozen=True)
class Metadata:
    """What the RDF block of an SVG says: as written, with white space collapsed and underscores read as blanks."""

    title: str = ""
    description: str = ""
    keywords: tuple[str, ...] = ()
    licence: str = ""


@dataclass(frozen=True)
class _Picture:
    name: str  # path below the folder of PNG files, without its ending
    file: Path
    text: str
    labels: tuple[int, ...]


class OpenclipartReader(Component):
    """Pictures from the unpacked Debian packages `openclipart-png` and `openclipart-svg`, version 1:0.18+dfsg-19.

    Public domain only; links, `unsorted`, `special`, icon themes, buttons, most star polygons and byte-identical duplicates are left out.
    Kept is what has a title or description and a label. `pair_id` is the place in the order of names. `splits` names a file with a line
    `name<TAB>split` for each picture that is kept, and no other; without it validation and test pairs are drawn by a hash of (`seed`, row).
    """

    kind: Literal["openclipart"] = "openclipart"
    png: str = "/usr/share/openclipart/png"
    svg: str = "/usr/share/openclipart/svg"
    splits: str | None = None
    num_validation: NonNegativeInt = 300
    num_test: NonNegativeInt = 800
    seed: NonNegativeInt = 0
    source: str = "Open Clip Art Library 0.18, public domain"

    def read(self) -> RawSource:
        """Find the pictures and read the metadata of all of them; the pictures themselves stay where they are.

        Raises:
            ReaderError: a folder is missing or holds no picture that is kept, or `splits` does not list exactly those that are.
        """
        pictures = _kept(_folder(self.png), _folder(self.svg))
        if not pictures:
            raise ReaderError(f"{self.png}: no PNG file with public domain metadata and a label in {self.svg}; unpack both packages and set both")
        if self.splits:
            rows = _listed_splits(self.splits, [picture.name for picture in pictures])
        else:
            rows = drawn_splits(len(pictures), num_validation=self.num_validation, num_test=self.num_test, seed=self.seed, where=self.png)
        schema = RawSchema(
            class_names=CLASS_NAMES,
            has_labels=True,
            source=self.source,
            reader=fingerprint(self, _digest(pictures, rows), ignore=("png", "svg", "splits")),
        )
        num_rows = {split: len(rows[split]) for split in SPLITS}
        return RawSource(schema, num_rows, partial(_records, pictures=tuple(pictures), rows=rows))


def read_metadata(svg: bytes) -> Metadata:
    """Title, description, keywords and licence from the metadata block of an SVG; empty where there is none that can be read.

    Only that block is parsed, without the DOCTYPE before it: no entity is ever expanded, and `&anything;` stays as it is written.

    >>> read_metadata(b"<svg xmlns:dc='http://purl.org/dc/elements/1.1/'><metadata><Work><dc:title>a_cat</dc:title></Work></metadata></svg>").title
    'a cat'
    """
    head = svg[:LARGEST_SVG_HEAD]
    latin = re.search(rb"encoding=[\"']iso-8859-1[\"']", head[:200], re.IGNORECASE)
    content = head.decode("latin-1" if latin else "utf-8", errors="replace")
    block = re.search(r"<(svg:)?metadata[\s>]", content)
    end = content.find(f"</{block[1] or ''}metadata>", block.start()) if block else -1
    if block is None or end < 0:
        return Metadata()
    inside = _ENTITY.sub("&amp;", content[block.start() : end]) + f"</{block[1] or ''}metadata>"
    try:
        root = ElementTree.fromstring(_WRAPPER.format(_RDF[1:-1], _DC[1:-1], inside))
    except ElementTree.ParseError:
        return Metadata()
    work = next((element for element in root.iter() if element.tag.rpartition("}")[2] == "Work"), None)
    if work is None:
        return Metadata()
    licences = [element.get(f"{_RDF}resource", "") for element in work if element.tag.rpartition("}")[2] == "license"]
    keywords = tuple(_clean(item.text) for item in work.findall(f"{_DC}subject//{_RDF}li"))
    return Metadata(_clean(work.findtext(f"{_DC}title")), _clean(work.findtext(f"{_DC}description")), keywords, "".join(licences[:1]))


def labels_of(name: str, keywords: Iterable[str]) -> tuple[int, ...]:
    """Class numbers, ascending, of the folders in a picture's name and of its keywords.

    >>> [CLASS_NAMES[i] for i in labels_of("animals/bugs/bee_01", ["mapsym", "shape", "honey"])]
    ['animal', 'insect', 'map symbol']
    """
    folders = {_clean(folder).lower() for folder in name.split("/")[:-1]}
    words = folders | ({word.lower() for word in keywords} - _QUIET)
    return tuple(sorted({CLASS_NAMES.index(_NAME_OF[word]) for word in words if word in _NAME_OF}))


def text_of(metadata: Metadata) -> str:
    """Title, description unless it repeats the title, and the first keywords that are not labels.

    >>> text_of(Metadata("Bee", "bee", ("insect", "Honey", "honey", "hash(0x85e)")))
    'Bee. honey'
    """
    text = metadata.title
    description = metadata.description[:LONGEST_DESCRIPTION]
    if description and description.lower() not in (metadata.title.lower(), _NO_DESCRIPTION):
        text += f". {description}"  # with an empty title too: so are the texts of the embedded corpus
    words = dict.fromkeys(word.lower() for word in metadata.keywords)
    telling = [word for word in words if word and word not in _NAME_OF and word not in _QUIET and not word.startswith("hash(")]
    return f"{text}. {', '.join(telling[:MOST_KEYWORDS])}" if telling else text


def _clean(text: str | None) -> str:
    return " ".join((text or "").replace("_", " ").split())


def _folder(path: str) -> Path:
    folder = Path(path).expanduser().absolute()
    if not folder.is_dir():
        raise ReaderError(
            f"{path}: no such folder; apt-get download openclipart-png openclipart-svg, unpack both with dpkg -x, and set the reader's png and svg"
        )
    return folder


def _kept(png: Path, svg: Path) -> list[_Picture]:
    """Pictures of the dataset in the order of their names."""
    names = sorted(name for name in _names(png) if not name.startswith(_LEFT_OUT))
    polygons = [name for name in names if _POLYGON.fullmatch(name)]
    dropped = set(polygons) - set(random.Random(0).sample(polygons, min(NUM_POLYGONS, len(polygons))))
    found = []
    for name in names:
        metadata = _metadata_at(svg / f"{name}.svg", below=svg) if name not in dropped else Metadata()
        labels = labels_of(name, metadata.keywords)
        if "publicdomain" in metadata.licence.lower() and (metadata.title or metadata.description) and labels:
            found.append(_Picture(name, png / f"{name}.png", text_of(metadata), labels))
    kept = _distinct(found)
    log.info("%s: %d names, %d polygons left out, %d duplicates, %d pictures kept", png, len(names), len(dropped), len(found) - len(kept), len(kept))
    return kept


def _names(png: Path) -> Iterator[str]:
    for folder, _, files in os.walk(png):
        for file in files:
            path = Path(folder, file)
            if path.suffix == ".png" and not path.is_symlink():
                yield path.relative_to(png).with_suffix("").as_posix()


def _metadata_at(path: Path, *, below: Path) -> Metadata:
    if not path.resolve().is_relative_to(below.resolve()):  # a link out of the folder
        return Metadata()
    try:
        with path.open("rb") as file:
            return read_metadata(file.read(LARGEST_SVG_HEAD))
    except FileNotFoundError:
        return Metadata()
    except OSError as error:
        raise ReaderError(f"{path}: cannot be read ({error})") from error


def _distinct(pictures: list[_Picture]) -> list[_Picture]:
    """The first of each set of byte-identical files; only files of equal size are read."""
    sizes = [picture.file.stat().st_size for picture in pictures]
    count = Counter(sizes)
    first: dict[object, _Picture] = {}
    for picture, size in zip(pictures, sizes, strict=True):
        first.setdefault(size if count[size] == 1 else sha256(picture.file.read_bytes()).digest(), picture)
    return list(first.values())


def _listed_splits(path: str, names: list[str]) -> dict[Split, Ids]:
    try:
        lines = [line.split("\t") for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ReaderError(f"{path}: cannot be read ({error}); correct splits, or leave it out to have them drawn") from error
    row = next((i for i, line in enumerate(lines) if len(line) != 2), None)
    if row is not None:
        raise ReaderError(f"{path}: row {row} is {lines[row]}; expected a name, a tabulator and a split")
    wrong = next((i for i, (line, name) in enumerate(zip(lines, names, strict=False)) if line[0] != name), min(len(lines), len(names)))
    if wrong < max(len(lines), len(names)):
        listed, found = (table[wrong] if wrong < len(table) else "nothing" for table in ([line[0] for line in lines], names))
        raise ReaderError(f"{path}: row {wrong} is {listed}, but the folder's picture is {found}; use version 1:0.18+dfsg-19, or leave splits out")
    numbers_N = split_numbers([line[1] for line in lines], where=path)
    return {split: np.flatnonzero(numbers_N == number) for number, split in enumerate(SPLITS)}


def _digest(pictures: list[_Picture], rows: Mapping[Split, Ids]) -> str:
    lines = [f"{picture.name}\t{picture.file.stat().st_size}\t{picture.text}\t{picture.labels}" for picture in pictures]
    return sha256("\n".join([*lines, *(str(rows[split].tolist()) for split in SPLITS)]).encode()).hexdigest()


def _records(split: Split, start: int, stop: int, *, pictures: tuple[_Picture, ...], rows: Mapping[Split, Ids]) -> Iterator[RawRecords]:
    for first in range(start, stop, BATCH_ROWS):
        ids = rows[split][first : min(first + BATCH_ROWS, stop)]
        batch = [pictures[i] for i in ids]
        yield RawRecords(ids, [item.text for item in batch], [str(item.file) for item in batch], labels=[item.labels for item in batch])
