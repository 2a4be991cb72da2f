"""MIRFlickr-25K as published: images and tags in one archive, annotations in another."""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import NonNegativeInt

from xmr_ray.component import Component
from xmr_ray.corpus.source import RawSource
from xmr_ray.errors import ReaderError
from xmr_ray.readers.lines import lines_of
from xmr_ray.readers.raw_pairs import RawPair, raw_source
from xmr_ray.readers.splits import draw_split_of
from xmr_ray.storage import join, list_names
from xmr_ray.types import Split

logger = logging.getLogger(__name__)

RELEVANT = "_r1"
FREQUENT_TAG = 20


class MirflickrReader(Component):
    """Pairs of `im<number>.jpg` and its tags (`meta/tags/tags<number>.txt`, joined by blanks); `pair_id` is the number.

    Labels are the `annotations/*.txt` files (24), each a list of image numbers: `potential` labels, the `relevant` ones (14 files that
    end in `_r1`), or `both` (38). `convention: full` keeps all 25,000 images, those without tags with an empty text; `20015` keeps those
    that have at least one of the tags that at least 20 images have, and at least one label. There is no official split: `num_test` and
    `num_validation` pairs are drawn by a hash of (`seed`, number).
    """

    kind: Literal["mirflickr"] = "mirflickr"
    folder: str
    annotation_folder: str | None = None
    annotations: Literal["potential", "relevant", "both"] = "potential"
    convention: Literal["full", "20015"] = "20015"
    num_test: NonNegativeInt = 2000
    num_validation: NonNegativeInt = 0
    seed: NonNegativeInt = 0
    encoding: str = "utf-8-sig"
    source: str = "MIRFlickr-25K"

    def read(self) -> RawSource:
        """Read all annotations and tags.

        Raises:
            ReaderError: a folder or file is missing, an annotation names an image that is not there, or a setting does not fit.
        """
        images = _numbered(self.folder, "im", "jpg")
        names, labels = self._labels(images)
        tags = self._tags(images)
        kept = self._kept(labels, tags)
        logger.info("images read kept=%d left_out=%d without_tag=%d", len(kept), len(images) - len(kept), sum(not tags[i] for i in images))
        counts: dict[Split, int] = {"test": self.num_test, "validation": self.num_validation}
        split_of = draw_split_of(kept, counts, seed=self.seed, where=self.folder)
        pairs = self._pairs(kept, labels, tags, split_of)
        return raw_source(self, pairs, class_names=names, multi_label=True, source=self.source, paths=("folder", "annotation_folder"))

    def _labels(self, images: list[int]) -> tuple[tuple[str, ...], dict[int, list[int]]]:
        folder = self.annotation_folder or join(self.folder, "annotations")
        found = [name[: -len(".txt")] for name in list_names(folder) if name.endswith(".txt") and name.lower() != "readme.txt"]
        wanted = {"potential": (False,), "relevant": (True,), "both": (False, True)}[self.annotations]
        names = tuple(sorted(name for name in found if name.endswith(RELEVANT) in wanted))
        if not names:
            raise ReaderError(f"{folder}: no file of {self.annotations} labels; set annotation_folder to where the annotations were unpacked")
        labels: dict[int, list[int]] = {number: [] for number in images}
        for label, name in enumerate(names):
            path, seen = join(folder, f"{name}.txt"), set[int]()
            for row, line in enumerate(lines_of(path), start=1):
                number = int(line) if line.isdecimal() else -1
                if number not in labels or number in seen:
                    what = "is there twice" if number in seen else f"is not the number of an image in {self.folder}"
                    raise ReaderError(f"{path}: line {row}: {line!r} {what}; fetch annotations and images again")
                seen.add(number)
                labels[number].append(label)
        return names, labels

    def _tags(self, images: list[int]) -> dict[int, list[str]]:
        folder = join(self.folder, "meta", "tags")
        numbers = _numbered(folder, "tags", "txt")
        if numbers != images:
            number = min(set(numbers) ^ set(images))
            where = (folder, "tags", self.folder, "image") if number in set(numbers) else (self.folder, "image", folder, "tags")
            raise ReaderError(f"{where[0]}: number {number} has {where[1]}, but no {where[3]} in {where[2]}; unpack the archives again")
        return {i: [tag for tag in lines_of(join(folder, f"tags{i}.txt"), encoding=self.encoding) if tag] for i in images}

    def _kept(self, labels: Mapping[int, list[int]], tags: Mapping[int, list[str]]) -> list[int]:
        if self.convention == "full":
            return list(tags)
        num_images = Counter(tag for found in tags.values() for tag in set(found))
        frequent = {tag for tag, number in num_images.items() if number >= FREQUENT_TAG}
        logger.info("tags read tags=%d on_%d_images_or_more=%d", len(num_images), FREQUENT_TAG, len(frequent))
        return [number for number, found in tags.items() if labels[number] and not frequent.isdisjoint(found)]

    def _pairs(
        self, kept: list[int], labels: Mapping[int, list[int]], tags: Mapping[int, list[str]], split_of: Mapping[int, Split]
    ) -> Iterator[RawPair]:
        for number in kept:
            yield RawPair(split_of[number], number, " ".join(tags[number]), self.folder, f"im{number}.jpg", tuple(labels[number]))


def _numbered(folder: str, stem: str, ending: str) -> list[int]:
    """Sorted numbers of the files `<stem><number>.<ending>` of a folder."""
    matches = (re.fullmatch(rf"{stem}(\d+)\.{ending}", name) for name in list_names(folder))
    numbers = sorted(int(match[1]) for match in matches if match)
    if not numbers:
        raise ReaderError(f"{folder}: holds no {stem}1.{ending} and so on; set folder to where the images were unpacked")
    return numbers
