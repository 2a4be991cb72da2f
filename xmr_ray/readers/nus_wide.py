"""NUS-WIDE as released: image lists, ground truth of 81 concepts, tags, and low-level features, in text files."""

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt, model_validator

from xmr_ray.component import Component
from xmr_ray.corpus.schema import CorpusSchema, PairRecords
from xmr_ray.corpus.source import RawSource, Source, fingerprint
from xmr_ray.errors import ReaderError
from xmr_ray.readers.lines import LineFile, bytes_of, lines_of
from xmr_ray.readers.listing import names_and_samples
from xmr_ray.readers.raw_pairs import RawPair, raw_source
from xmr_ray.readers.splits import draw_split_of
from xmr_ray.storage import absolute, digest_bytes, join, list_names
from xmr_ray.types import SPLITS, FeatureDtype, Split

logger = logging.getLogger(__name__)

BATCH_ROWS = 1024
PARTS = ("Train", "Test")
SPLIT_OF_PART: Mapping[str, Split] = {"Train": "train", "Test": "test"}


@dataclass(frozen=True)
class _Aligned:
    """A file, or one for each part, whose lines belong to images: `files[k]` line `line_N[i]` is image i, where k is `file_N[i]`."""

    files: tuple[LineFile, ...]
    file_N: NDArray[np.int64]
    line_N: NDArray[np.int64]
    width: int

    def numbers(self, images_B: NDArray[np.int64]) -> NDArray[np.float32]:
        """The numbers of some images, (B, width)."""
        found_BW = np.empty((len(images_B), self.width), dtype=np.float32)
        for k, file in enumerate(self.files):
            rows = np.flatnonzero(self.file_N[images_B] == k)
            found_BW[rows] = file.numbers(self.line_N[images_B[rows]], width=self.width)
        return found_BW


@dataclass(frozen=True)
class _Images:
    """Every line of Imagelist.txt: its name with slashes, its part (0 train, 1 test, -1 neither) and its line in the list of its part."""

    names: list[str]
    part_N: NDArray[np.int64]
    line_N: NDArray[np.int64]


class NusWideReader(Component):
    """Pairs of the official release below `folder`; `pair_id` is the line in `ImageList/Imagelist.txt`, from 0 (Flickr's ids repeat).

    `text` decides what comes out: `tag_vectors` gives feature pairs, the 1,000 tags as text and the columns of `features` (files such as
    `Low_Level_Features/Normalized_CH.dat`, side by side) as image; `tag_words` gives raw pairs of all tags (`All_Tags.txt`) and
    `tag_words_1k` of those among the 1,000 (`TagList1k.txt`), with the image below `images`. Names of files are relative to `folder`; with
    `{part}` in it, a name means two files, with `Train` and `Test` there, aligned with `TrainImagelist.txt` and `TestImagelist.txt`.

    `concepts` are all 81, the 10 or 21 that most images have, counted in the data (ties by name), or names. Images without tags are left
    out unless `drop_untagged` is false, those without any chosen concept unless `drop_unlabelled` is; both are counted in the log.
    `carve_validation` draws pairs from train by a hash of (`seed`, id).
    """

    kind: Literal["nus_wide"] = "nus_wide"
    folder: str
    text: Literal["tag_vectors", "tag_words", "tag_words_1k"] = "tag_words"
    images: str | None = None
    features: tuple[str, ...] = ()
    labels: str = "Groundtruth/AllLabels/Labels_{concept}.txt"
    tags: str = "NUS_WID_Tags/AllTags1k.txt"
    tag_words: str = "NUS_WID_Tags/All_Tags.txt"
    tag_list: str = "NUS_WID_Tags/TagList1k.txt"
    concepts: Literal[10, 21, 81] | tuple[str, ...] = 81
    drop_untagged: bool = True
    drop_unlabelled: bool = True
    carve_validation: NonNegativeInt = 0
    seed: NonNegativeInt = 0
    dtype: FeatureDtype = "f32"
    encoding: str = "utf-8-sig"
    source: str = "NUS-WIDE"

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.text == "tag_vectors") != bool(self.features):
            raise ValueError("features and text: tag_vectors belong together; give both, or neither and encode images and tag words")
        if self.text != "tag_vectors" and self.images is None:
            raise ValueError(f"text: {self.text} needs `images`, the folder that holds the photographs as Imagelist.txt names them")
        if "{concept}" not in self.labels:
            raise ValueError(f"labels is {self.labels!r}; expected a name with {{concept}} in it")
        return self

    def read(self) -> Source | RawSource:
        """Read lists and labels, and find the lines of all other files.

        Raises:
            ReaderError: a file is missing or not what it should be, or files disagree on the number of images.
        """
        images = self._images()
        names, labels_NC = self._labels(images)
        if self.text == "tag_words":
            words = self._all_tags(images)
            texts: list[str] | None = words
            tagged_N = np.array([bool(text) for text in words], dtype=np.bool_)
        else:
            tags = self._aligned(self.tags, images)
            counts = [file.count("1") for file in tags.files]
            tagged_N = np.array([i >= 0 and counts[k][i] > 0 for k, i in zip(tags.file_N, tags.line_N, strict=True)], dtype=np.bool_)
            texts = self._words(tags, tagged_N) if self.text == "tag_words_1k" else None
        split_of = self._splits(images, labelled_N=np.any(labels_NC, axis=1, keepdims=True)[:, 0], tagged_N=tagged_N)
        if texts is None:
            return self._feature_source(images, names, labels_NC, tags, split_of)
        pairs = self._pairs(images, labels_NC, texts, split_of)
        paths = ("folder", "images", "tags", "tag_words", "tag_list", "labels")
        return raw_source(self, pairs, class_names=names, multi_label=True, source=self.source, paths=paths)

    def _images(self) -> _Images:
        lists = {name: [line.replace("\\", "/") for line in lines_of(self._list(name))] for name in ("", *PARTS)}
        number_of = {name: number for number, name in enumerate(lists[""])}
        if len(number_of) != len(lists[""]):
            raise ReaderError(f"{self._list('')}: an image is there twice; fetch the list again")
        part_N, line_N = np.full((2, len(number_of)), -1, dtype=np.int64)
        for part, name in enumerate(PARTS):
            for line, image in enumerate(lists[name]):
                number = number_of.get(image)
                if number is None or part_N[number] >= 0:
                    what = "is not in Imagelist.txt" if number is None else "was there before, in this list or the other"
                    raise ReaderError(f"{self._list(name)}: line {line + 1}: image {image!r} {what}; fetch the lists again")
                part_N[number], line_N[number] = part, line
        return _Images(lists[""], part_N, line_N)

    def _list(self, part: str) -> str:
        return join(self.folder, "ImageList", "Imagelist.txt" if not part else f"{part}Imagelist.txt")

    def _labels(self, images: _Images) -> tuple[tuple[str, ...], NDArray[np.bool_]]:
        """Names of the chosen concepts, and who has them, (N, C)."""
        known = self._concept_names()
        if isinstance(self.concepts, tuple):
            unknown = [name for name in self.concepts if name not in known]
            if unknown:
                raise ReaderError(f"{join(self.folder, self.labels)}: no file for concept {unknown[0]!r}; there are {', '.join(known)}")
            known = list(self.concepts)
        elif len(known) < self.concepts:
            raise ReaderError(f"{join(self.folder, self.labels)}: {len(known)} files, fewer than the {self.concepts} concepts asked for")
        labels_NC = np.stack([self._label_column(name, images) for name in known], axis=1)
        if isinstance(self.concepts, tuple) or len(known) == self.concepts:
            return tuple(known), labels_NC
        chosen = np.sort(np.argsort(-labels_NC.sum(axis=0), kind="stable")[: self.concepts])
        return tuple(known[i] for i in chosen), labels_NC[:, chosen]

    def _concept_names(self) -> list[str]:
        folder, _, name = join(self.folder, self.labels).rpartition("/")
        pattern = re.escape(name).replace(re.escape("{concept}"), "(.+)").replace(re.escape("{part}"), PARTS[0])
        return sorted(match[1] for match in (re.fullmatch(pattern, found) for found in list_names(folder)) if match)

    def _label_column(self, name: str, images: _Images) -> NDArray[np.bool_]:
        template = join(self.folder, self.labels).replace("{concept}", name)
        columns = [_zeros_and_ones(path) for path in _parts(template)]
        file_N, line_N = _positions(images, [len(column) for column in columns], template)
        found_N = np.zeros(len(file_N), dtype=np.bool_)
        for k, column in enumerate(columns):
            rows = np.flatnonzero(file_N == k)
            found_N[rows] = column[line_N[rows]]
        return found_N

    def _aligned(self, name: str, images: _Images) -> _Aligned:
        template = join(self.folder, name)
        files = tuple(LineFile.open(absolute(path)) for path in _parts(template))
        file_N, line_N = _positions(images, [file.num_lines for file in files], template)
        return _Aligned(files, file_N, line_N, len(files[0].take([0])[0].split()))

    def _all_tags(self, images: _Images) -> list[str]:
        path, texts = join(self.folder, self.tag_words), []
        lines = lines_of(path, encoding=self.encoding)
        _positions(images, [len(lines)], path)
        for number, (line, image) in enumerate(zip(lines, images.names, strict=True), start=1):
            photo, *words = line.split() or [""]
            if photo != re.sub(r".*_|\..*", "", image):
                raise ReaderError(
                    f"{path}: line {number} is of photo {photo!r}, but line {number} of Imagelist.txt is {image}; take both from one release"
                )
            texts.append(" ".join(words))
        return texts

    def _words(self, tags: _Aligned, tagged_N: NDArray[np.bool_]) -> list[str]:
        path, texts = join(self.folder, self.tag_list), [""] * len(tagged_N)
        words = lines_of(path, encoding=self.encoding)
        if len(words) != tags.width:
            raise ReaderError(f"{path}: {len(words)} tags, but {tags.files[0].path} has {tags.width} columns; take both from one release")
        tagged = np.flatnonzero(tagged_N)
        for start in range(0, len(tagged), BATCH_ROWS):
            batch = tagged[start : start + BATCH_ROWS]
            for image, row_W in zip(batch, tags.numbers(batch), strict=True):
                texts[image] = " ".join(words[i] for i in np.flatnonzero(row_W))
        return texts

    def _splits(self, images: _Images, *, labelled_N: NDArray[np.bool_], tagged_N: NDArray[np.bool_]) -> dict[int, Split]:
        """The split of every image that is kept, in the order of the list."""
        inside_N = images.part_N >= 0
        kept_N = inside_N & (tagged_N | (not self.drop_untagged)) & (labelled_N | (not self.drop_unlabelled))
        counts = [int(found.sum()) for found in (kept_N, ~inside_N, inside_N & ~tagged_N, inside_N & ~labelled_N)]
        logger.info("images read kept=%d in_no_list=%d untagged=%d unlabelled=%d", *counts)
        split_of = {int(i): SPLIT_OF_PART[PARTS[images.part_N[i]]] for i in np.flatnonzero(kept_N)}
        train = [i for i, split in split_of.items() if split == "train"]
        if self.carve_validation:
            split_of |= draw_split_of(train, {"validation": self.carve_validation}, seed=self.seed, where="carve_validation")
        return split_of

    def _feature_source(
        self, images: _Images, names: tuple[str, ...], labels_NC: NDArray[np.bool_], tags: _Aligned, split_of: Mapping[int, Split]
    ) -> Source:
        columns = [self._aligned(name, images) for name in self.features]
        rows = {split: np.array([i for i, found in split_of.items() if found == split], dtype=np.int64) for split in SPLITS}
        if not len(rows["train"]):
            raise ReaderError(f"{self.folder}: no training pair is left; loosen the settings that drop pairs, or complete the download")
        files = [file.path for column in (tags, *columns) for file in column.files]
        digests = [digest_bytes("\n".join(images.names).encode()), digest_bytes(repr(split_of).encode()), digest_bytes(labels_NC.tobytes())]
        digests.append(names_and_samples(files))
        schema = CorpusSchema(
            image_dim=sum(column.width for column in columns),
            text_dim=tags.width,
            image_dtype=self.dtype,
            text_dtype=self.dtype,
            class_names=names,
            multi_label=True,
            source=self.source,
            reader=fingerprint(self, *digests, ignore=("folder", "images", "labels", "tags", "tag_words", "tag_list", "features")),
        )
        return Source(schema, {split: len(found) for split, found in rows.items()}, partial(_read, rows, tags, tuple(columns), labels_NC))

    def _pairs(self, images: _Images, labels_NC: NDArray[np.bool_], texts: list[str], split_of: Mapping[int, Split]) -> Iterator[RawPair]:
        for i in sorted(split_of):
            yield RawPair(split_of[i], i, texts[i], self.images or "", images.names[i], tuple(np.flatnonzero(labels_NC[i]).tolist()))


def _parts(template: str) -> list[str]:
    """The paths that a template stands for: one, or one for each part."""
    return [template.replace("{part}", part) for part in PARTS] if "{part}" in template else [template]


def _positions(images: _Images, num_lines: list[int], template: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """File and line of every image, -1 where it has none; raises `ReaderError` if files and lists have different numbers of lines."""
    whole = len(num_lines) == 1
    expected = [len(images.names)] if whole else [int((images.part_N == part).sum()) for part in range(len(PARTS))]
    for part, (found, wanted) in enumerate(zip(num_lines, expected, strict=True)):
        if found != wanted:
            name = "Imagelist.txt" if whole else f"{PARTS[part]}Imagelist.txt"
            raise ReaderError(f"{_parts(template)[part]}: {found} lines, but {name} has {wanted}; fetch the file again, take both from one release")
    if whole:
        return np.zeros(expected[0], dtype=np.int64), np.arange(expected[0])
    return images.part_N, images.line_N


def _zeros_and_ones(path: str) -> NDArray[np.bool_]:
    values = bytes_of(path).split()
    wrong = next((i for i, value in enumerate(values) if value not in (b"0", b"1")), None)
    if wrong is not None:
        hint = "known copies of the files by part are damaged: use Groundtruth/AllLabels, or correct the line"
        raise ReaderError(f"{path}: line {wrong + 1} is {values[wrong].decode(errors='replace')!r}, expected 0 or 1; {hint}")
    return np.frombuffer(b"".join(values), dtype=np.uint8) == ord("1")


def _read(
    rows: Mapping[Split, NDArray[np.int64]],
    tags: _Aligned,
    columns: tuple[_Aligned, ...],
    labels_NC: NDArray[np.bool_],
    split: Split,
    start: int,
    stop: int,
) -> Iterator[PairRecords]:
    for first in range(start, stop, BATCH_ROWS):
        images_B = rows[split][first : min(stop, first + BATCH_ROWS)]
        image_BI = np.concatenate([column.numbers(images_B) for column in columns], axis=1)
        labels = [np.flatnonzero(row_C).tolist() for row_C in labels_NC[images_B]]
        yield PairRecords(images_B, image_BI, tags.numbers(images_B), labels)
