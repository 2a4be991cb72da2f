"""Wikipedia (Rasiwasia et al. 2010): 2,866 featured articles' sections with an image each, ten classes, official split."""

import html
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt

from xmr_ray.component import Component
from xmr_ray.corpus.schema import CorpusSchema, PairRecords
from xmr_ray.corpus.source import RawSource, Source, fingerprint
from xmr_ray.errors import ReaderError
from xmr_ray.readers.lines import bytes_of, lines_of
from xmr_ray.readers.markup import parse_xml
from xmr_ray.readers.raw_pairs import RawPair, raw_source
from xmr_ray.readers.splits import draw_split_of
from xmr_ray.storage import digest_bytes, join
from xmr_ray.types import SPLITS, FeatureDtype, Split

BATCH_ROWS = 1024
LISTS = ("trainset_txt_img_cat.list", "testset_txt_img_cat.list")
ARRAYS = (("I_tr", "T_tr"), ("I_te", "T_te"))


class _Entry(NamedTuple):
    """One line of a list: its pair id, its split, the name of its text, of its image, and its class."""

    pair_id: int
    split: Split
    text: str
    image: str
    label: int


@dataclass(frozen=True)
class _Rows:
    """The features of a split, row by row: ids (N,), images (N, I), texts (N, T), classes (N,)."""

    ids_N: NDArray[np.int64]
    image_NI: NDArray[Any]
    text_NT: NDArray[Any]
    labels_N: NDArray[np.int64]


class WikipediaReader(Component):
    """The release's lists, with `raw_features.mat` (128 SIFT words, 10 LDA topics), or with `texts` and `images` (`features: false`).

    `pair_id` is the line in the training list (from 0), for test pairs the number of training pairs more. `carve_validation` draws pairs
    from train by a hash of (`seed`, id). The text of a pair is the `text` element of `texts/<name>.xml`; some copies of the release hold
    files that are not well-formed XML: `malformed: extract` takes what stands between `<text>` and `</text>` there.
    """

    kind: Literal["wikipedia"] = "wikipedia"
    folder: str
    features: bool = True
    dtype: FeatureDtype = "f32"
    malformed: Literal["refuse", "extract"] = "refuse"
    carve_validation: NonNegativeInt = 0
    seed: NonNegativeInt = 0
    source: str = "Wikipedia (Rasiwasia et al. 2010)"

    def read(self) -> Source | RawSource:
        """Read the lists, and the features or all texts.

        Raises:
            ReaderError: a file is missing or not what it should be, or files disagree on the number of pairs.
        """
        names = tuple(line.split()[-1] for line in lines_of(join(self.folder, "categories.list")) if line)
        lists: list[tuple[Split, str]] = [("train", LISTS[0]), ("test", LISTS[1])]
        rows = [(split, row) for split, name in lists for row in self._entries(name, names)]
        entries = self._carved([_Entry(number, split, *row) for number, (split, row) in enumerate(rows)])
        if self.features:
            return self._feature_source(entries, names)
        pairs = self._pairs(entries, names)
        return raw_source(self, pairs, class_names=names, multi_label=False, source=self.source, paths=("folder",))

    def _entries(self, name: str, names: tuple[str, ...]) -> list[tuple[str, str, int]]:
        path, found = join(self.folder, name), []
        for row, line in enumerate(lines_of(path), start=1):
            parts = line.split()
            if len(parts) != 3 or not parts[2].isdecimal() or not 1 <= int(parts[2]) <= len(names):
                raise ReaderError(f"{path}: line {row} is {line!r}; expected text, image and a class from 1 to {len(names)}")
            found.append((parts[0], parts[1], int(parts[2]) - 1))
        return found

    def _carved(self, entries: list[_Entry]) -> list[_Entry]:
        if not self.carve_validation:
            return entries
        train = [entry.pair_id for entry in entries if entry.split == "train"]
        drawn = draw_split_of(train, {"validation": self.carve_validation}, seed=self.seed, where="carve_validation")
        return [entry._replace(split=drawn.get(entry.pair_id, entry.split)) for entry in entries]

    def _feature_source(self, entries: list[_Entry], names: tuple[str, ...]) -> Source:
        path = join(self.folder, "raw_features.mat")
        data = bytes_of(path)
        arrays = _load_mat(data, path=path)
        sizes = [sum(entry.split != "test" for entry in entries), sum(entry.split == "test" for entry in entries)]
        for size, name, pair in zip(sizes, LISTS, ARRAYS, strict=True):
            for array in pair:
                if len(arrays[array]) != size:
                    raise ReaderError(f"{path}: {array} has {len(arrays[array])} rows, but {name} {size} lines; take both from one release")
        image_NI, text_NT = (np.concatenate([arrays[train], arrays[test]]) for train, test in zip(*ARRAYS, strict=True))
        rows: dict[Split, _Rows] = {}
        for split in SPLITS:
            ids_N = np.array([entry.pair_id for entry in entries if entry.split == split], dtype=np.int64)
            labels_N = np.array([entry.label for entry in entries if entry.split == split], dtype=np.int64)
            rows[split] = _Rows(ids_N, image_NI[ids_N], text_NT[ids_N], labels_N)
        schema = CorpusSchema(
            image_dim=image_NI.shape[1],
            text_dim=text_NT.shape[1],
            image_dtype=self.dtype,
            text_dtype=self.dtype,
            class_names=names,
            multi_label=False,
            source=self.source,
            reader=fingerprint(self, digest_bytes(data), digest_bytes(repr(entries).encode()), ignore=("folder",)),
        )
        return Source(schema, {split: len(found.ids_N) for split, found in rows.items()}, partial(_read, rows))

    def _pairs(self, entries: list[_Entry], names: tuple[str, ...]) -> Iterator[RawPair]:
        for entry in entries:
            text = self._text(join(self.folder, "texts", f"{entry.text}.xml"))
            folder = join(self.folder, "images", names[entry.label])
            yield RawPair(entry.split, entry.pair_id, text, folder, f"{entry.image}.jpg", (entry.label,))

    def _text(self, path: str) -> str:
        data = bytes_of(path)
        if self.malformed == "extract":
            found = re.search(r"<text>(.*)</text>", data.decode(errors="replace"), flags=re.DOTALL)
            text = html.unescape(found[1]) if found else ""
        else:
            try:
                text = "".join(part for element in parse_xml(data, where=path).iter("text") for part in element.itertext())
            except ReaderError as error:
                raise ReaderError(f"{error}, or set malformed: extract") from error
        if not text.strip():
            raise ReaderError(f"{path}: no words between <text> and </text>; fetch the file again")
        return " ".join(text.split())


def _load_mat(data: bytes, *, path: str) -> dict[str, NDArray[Any]]:
    wanted = [array for pair in ARRAYS for array in pair]
    import scipy.io  # here, not above: every worker process would pay a second for it

    try:
        found = scipy.io.loadmat(io.BytesIO(data), variable_names=wanted)
    except (ValueError, TypeError, OSError, NotImplementedError, scipy.io.matlab.MatReadError) as error:
        raise ReaderError(f"{path}: not a MATLAB 5 file ({error}); fetch it again, or use the reader `feature_mat`") from error
    for name in wanted:
        array = found.get(name)
        if array is None or array.ndim != 2 or array.dtype.kind not in "fiu":
            raise ReaderError(f"{path}: {name} is {'missing' if array is None else array.dtype}; expected a matrix of numbers")
    return found


def _read(rows: Mapping[Split, _Rows], split: Split, start: int, stop: int) -> Iterator[PairRecords]:
    found = rows[split]
    for first in range(start, stop, BATCH_ROWS):
        part = slice(first, min(stop, first + BATCH_ROWS))
        labels = [[label] for label in found.labels_N[part].tolist()]
        yield PairRecords(found.ids_N[part], found.image_NI[part], found.text_NT[part], labels)
