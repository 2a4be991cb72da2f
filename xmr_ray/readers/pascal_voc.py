"""Pascal VOC (2007 and later years of the same layout) with texts, such as tags, in one file per image."""

import logging
from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import NonNegativeInt

from xmr_ray.component import Component
from xmr_ray.corpus.source import RawSource
from xmr_ray.errors import ReaderError
from xmr_ray.readers.lines import bytes_of, lines_of, text_of
from xmr_ray.readers.markup import parse_xml
from xmr_ray.readers.raw_pairs import RawPair, raw_source
from xmr_ray.readers.splits import draw_split_of
from xmr_ray.storage import join
from xmr_ray.types import SPLITS, Split

logger = logging.getLogger(__name__)

CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


def number_of_id(name: str, *, where: str) -> int:
    """The pair id of an image name; raises `ReaderError` if it has other signs than digits and underscores.

    >>> number_of_id("000012", where="x"), number_of_id("2008_000251", where="x")
    (12, 2008000251)
    """
    digits = name.replace("_", "")
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > 18:
        raise ReaderError(f"{where}: image id {name!r}; expected digits such as 000012 or 2008_000251")
    return int(digits)


class PascalVocReader(Component):
    """Pairs of `JPEGImages/<id>.jpg` and the words of `<id>.txt` in `texts`, below `folder` (`VOCdevkit/VOC2007`).

    `splits` names the lists of `ImageSets/Main`; by default the official `trainval` for train and `test`; `{train: train, validation: val,
    test: test}` is the finer one. `carve_validation` draws pairs from train by a hash of (`seed`, id). A class holds if an object of
    `Annotations/<id>.xml` has it; objects marked `difficult` do not count unless `difficult` is `keep`, so an image may have no label.
    `pair_id` is the number in the id; images whose text is empty are left out with `drop_untagged`.
    """

    kind: Literal["pascal_voc"] = "pascal_voc"
    folder: str
    texts: str
    splits: Mapping[Split, str] = {"train": "trainval", "test": "test"}
    carve_validation: NonNegativeInt = 0
    difficult: Literal["drop", "keep"] = "drop"
    drop_untagged: bool = False
    seed: NonNegativeInt = 0
    encoding: str = "utf-8-sig"
    source: str = "Pascal VOC"

    def read(self) -> RawSource:
        """Read all lists, annotations and texts.

        Raises:
            ReaderError: a file is missing or not what it should be, or an image is in two splits.
        """
        split_of: dict[str, Split] = {}
        for split in SPLITS:
            if split in self.splits:
                self._add_list(split_of, split)
        texts = {name: self._text(name) for name in split_of}
        num_untagged = sum(not text for text in texts.values())
        if self.drop_untagged:
            split_of = {name: split for name, split in split_of.items() if texts[name]}
        logger.info("images read kept=%d without_text=%d", len(split_of), num_untagged)
        ids = {number_of_id(name, where=self.folder): name for name, split in split_of.items() if split == "train"}
        if self.carve_validation:
            drawn = draw_split_of(ids, {"validation": self.carve_validation}, seed=self.seed, where="carve_validation")
            split_of |= {ids[key]: split for key, split in drawn.items()}
        pairs = self._pairs(split_of, texts)
        return raw_source(self, pairs, class_names=CLASSES, multi_label=True, source=self.source, paths=("folder", "texts"))

    def _add_list(self, split_of: dict[str, Split], split: Split) -> None:
        path = join(self.folder, "ImageSets", "Main", f"{self.splits[split]}.txt")
        for row, name in enumerate(lines_of(path), start=1):
            if name in split_of:
                other = self.splits[split_of[name]]
                raise ReaderError(f"{path}: line {row}: image {name} is also in {other}.txt; choose lists that do not overlap in `splits`")
            number_of_id(name, where=f"{path}: line {row}")
            split_of[name] = split

    def _text(self, name: str) -> str:
        return " ".join(text_of(join(self.texts, f"{name}.txt"), encoding=self.encoding).split())

    def _pairs(self, split_of: Mapping[str, Split], texts: Mapping[str, str]) -> Iterator[RawPair]:
        images = join(self.folder, "JPEGImages")
        for name, split in split_of.items():
            yield RawPair(split, number_of_id(name, where=self.folder), texts[name], images, f"{name}.jpg", self._labels(name))

    def _labels(self, name: str) -> tuple[int, ...]:
        path = join(self.folder, "Annotations", f"{name}.xml")
        found = set()
        for number, entry in enumerate(parse_xml(bytes_of(path), where=path).findall("object")):
            label = (entry.findtext("name") or "").strip()
            if label not in CLASSES:
                raise ReaderError(f"{path}: object {number} is {label!r}; expected one of {', '.join(CLASSES)}")
            if self.difficult == "keep" or (entry.findtext("difficult") or "0").strip() != "1":
                found.add(CLASSES.index(label))
        return tuple(sorted(found))
