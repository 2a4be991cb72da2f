"""Feature sets in `.mat` and HDF5 files, as this field passes them around; known names are found, others are given in `mapping`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt

from xmr_ray.component import Component, Settings
from xmr_ray.corpus.schema import CorpusSchema, PairRecords
from xmr_ray.corpus.source import Source, fingerprint
from xmr_ray.errors import ReaderError
from xmr_ray.readers.listing import files_at, names_and_samples
from xmr_ray.readers.matrices import Matrix, matrices_in
from xmr_ray.readers.splits import drawn_splits
from xmr_ray.types import SPLITS, FeatureDtype, Ids, Split

BATCH_ROWS = 1024
SUFFIXES = (".mat", ".h5", ".hdf5", ".h5py")
Part = Literal["train", "validation", "test", "all"]
# {s} stands for a word of the split, * for what a name may end in; all in lower case
SPLIT_NAMES: dict[Part, tuple[str, ...]] = {
    "train": ("train", "tr"),
    "validation": ("validation", "valid", "val", "va"),
    "test": ("test", "te", "query"),
    "all": ("all",),
}
NAMES = {
    "image": ("i_{s}", "{s}_img", "{s}_imgs", "{s}_image", "{s}_images", "{s}_imgs_deep", "i_{s}_cnn", "img{s}", "{s}_data[0]"),
    "text": ("t_{s}", "{s}_txt", "{s}_text", "{s}_texts", "{s}_texts_doc", "t_{s}_bow", "tag{s}", "{s}_data[1]"),
    "labels": ("l_{s}", "{s}_lab", "{s}_label", "{s}_labels", "{s}_img_lab", "{s}_imgs_labels", "lab{s}", "{s}_labels[0]"),
}
ALL_NAMES = {"image": ("xall",), "text": ("yall",), "labels": ("lall",)}


class ArrayNames(Settings):
    """Arrays of a split: `name`, or `file.mat:name` where several files have the same; `name[0]` is an element of a cell array."""

    image: str
    text: str
    labels: str | None = None


class FeatureMatReader(Component):
    """Pairs from one file, or from a folder of files that hold an array each or several.

    Found by name (in any case): `I_tr/T_tr/L_tr` with `I_te/...`, `train_img/train_txt/train_lab` with `test_...` and `val_...` or
    `valid_...`, `train_imgs_deep/train_texts/train_imgs_labels`, `ImgTrain/TagTrain/LabTrain` with `ImgQuery/...`, and `XAll/YAll/LAll`.
    `mapping` names arrays by split instead, or one set of them under `all`. What is under `all` is split by a hash of (`seed`, row);
    beside named splits `num_validation` is drawn from train in the same way. Rows are pairs; `transposed` says that columns are ("auto":
    they are where only the numbers of columns of image and text agree). MATLAB v7.3 files are turned as MATLAB would show them first.

    Labels are multi-hot (N, C), or class numbers (N, 1) or (1, N); (C, N) is understood where only that fits. Class numbers count from
    `first_class`; "auto": from 1 if no pair of any split has class 0, else from 0. Without labels the corpus has no truth.
    """

    kind: Literal["feature_mat"] = "feature_mat"
    path: str
    mapping: Mapping[Part, ArrayNames] = Field(default_factory=dict)
    transposed: Literal["auto"] | bool = "auto"
    first_class: Literal["auto", 0, 1] = "auto"
    num_validation: NonNegativeInt = 0
    num_test: NonNegativeInt = 0
    seed: NonNegativeInt = 0
    class_names: tuple[str, ...] | None = None
    multi_label: Literal["auto"] | bool = "auto"
    dtype: Literal["auto"] | FeatureDtype = "auto"
    source: str = ""

    def read(self) -> Source:
        """Find the arrays, check their shapes and read the labels.

        Raises:
            ReaderError: files are missing or damaged, arrays are not found or disagree, or labels cannot be understood.
        """
        files = files_at(self.path, suffixes=SUFFIXES)
        blocks = self._blocks(_inventory(files))
        labels, class_names = self._labels(blocks)
        splits = self._splits(blocks)
        some = next(iter(blocks.values()))
        schema = CorpusSchema(
            image_dim=self._width(blocks, "image"),
            text_dim=self._width(blocks, "text"),
            image_dtype=_stored(some["image"]) if self.dtype == "auto" else self.dtype,
            text_dtype=_stored(some["text"]) if self.dtype == "auto" else self.dtype,
            class_names=class_names,
            multi_label=self._multi_label(labels),
            source=self.source or self.path.rstrip("/").rsplit("/", 1)[-1],
            reader=fingerprint(self, names_and_samples(files), ignore=("path",)),
        )
        starts = np.cumsum([0, *(part["image"].shape[0] for part in blocks.values())]).tolist()
        first_ids = dict(zip(blocks, starts, strict=False))
        rows = {split: len(chosen) for split, (_, chosen) in splits.items()}
        return Source(schema, rows, _Pairs(blocks, labels, splits, first_ids).read)

    def _blocks(self, found: Mapping[str, Matrix]) -> dict[Part, dict[str, Matrix]]:
        """Matrices by part and role, rows being pairs."""
        blocks: dict[Part, dict[str, Matrix]] = {}
        for part in SPLIT_NAMES:
            names = self._given(part, found) if self.mapping else _recognised(part, found)
            if names:
                blocks[part] = self._oriented({role: found[name] for role, name in names.items()})
        if not self.mapping and len(blocks) > 1:
            blocks.pop("all", None)
        if not blocks.keys() & {"train", "all"}:
            raise ReaderError(f"{self.path}: no training features among {_listed(found)}; name them in mapping, by split or under 'all'")
        if "all" in blocks and len(blocks) > 1:
            raise ReaderError(f"{self.path}: mapping has 'all' and other splits; give one or the other")
        return blocks

    def _given(self, part: Part, found: Mapping[str, Matrix]) -> dict[str, str]:
        names = {role: name.lower() for role, name in self.mapping[part].model_dump().items() if name} if part in self.mapping else {}
        for role, name in names.items():
            if name not in found:
                raise ReaderError(f"{self.path}: mapping.{part}.{role}: no array {name!r} among {_listed(found)}")
        return names

    def _oriented(self, block: dict[str, Matrix]) -> dict[str, Matrix]:
        for matrix in block.values():
            if len(matrix.shape) > 2:
                raise ReaderError(f"{matrix.where} has shape {matrix.shape}; expected one row of features for each pair, not pictures")
        image, text = block["image"], block["text"]
        if self.transposed is True or (self.transposed == "auto" and image.shape[0] != text.shape[0] and image.shape[-1] == text.shape[-1]):
            image, text = image.turned(), text.turned()
        if image.shape[0] != text.shape[0]:
            shapes = f"{image.where} has shape {image.shape}, {text.where} {text.shape}"
            raise ReaderError(f"{shapes}; expected the same number of rows, one for each pair: correct mapping or transposed")
        return {**block, "image": image, "text": text}

    def _width(self, blocks: Mapping[Part, Mapping[str, Matrix]], role: str) -> int:
        widths = {block[role].width: block[role] for block in blocks.values()}
        if len(widths) > 1:
            one, other = list(widths.values())[:2]
            raise ReaderError(f"{one.where} has {one.width} columns, {other.where} has {other.width}; all splits must agree")
        return next(iter(widths))

    def _splits(self, blocks: Mapping[Part, Mapping[str, Matrix]]) -> dict[Split, tuple[Part, Ids]]:
        sizes = {part: block["image"].shape[0] for part, block in blocks.items()}
        whole: Part = "all" if "all" in blocks else "train"
        for split, number in (("validation", self.num_validation), ("test", self.num_test)):
            if number and split in blocks:
                raise ReaderError(f"{self.path}: num_{split}={number}, but the files have a {split} split; leave it out")
        drawn = drawn_splits(sizes[whole], num_validation=self.num_validation, num_test=self.num_test, seed=self.seed, where=self.path)
        named: dict[Split, tuple[Part, Ids]] = {split: (split, np.arange(sizes[split])) for split in SPLITS if split in sizes and split != "train"}
        return {**{split: (whole, rows) for split, rows in drawn.items()}, **named}

    def _labels(self, blocks: Mapping[Part, Mapping[str, Matrix]]) -> tuple[dict[Part, list[list[int]]] | None, tuple[str, ...]]:
        """Class numbers of every row of every part, and the class names."""
        without = [part for part, block in blocks.items() if "labels" not in block]
        if len(without) == len(blocks):
            return None, self.class_names or ()
        if without:
            raise ReaderError(f"{self.path}: no labels for split {without[0]!r}, but for others; name them in mapping, or no labels at all")
        arrays = {part: _label_array(block["labels"], num_rows=block["image"].shape[0]) for part, block in blocks.items()}
        widths = sorted({array.shape[1] for array in arrays.values()})
        if len(widths) > 1:
            raise ReaderError(f"{self.path}: labels have {widths[0]} columns in one split and {widths[1]} in another; all must agree")
        if widths[0] > 1:
            return {part: _from_hot(array, blocks[part]["labels"]) for part, array in arrays.items()}, self._names(widths[0])
        from_one = all((array >= 1).all() for array in arrays.values())
        first = int(from_one) if self.first_class == "auto" else self.first_class
        numbers = {part: _from_numbers(array[:, 0], blocks[part]["labels"], first=first) for part, array in arrays.items()}
        return numbers, self._names(1 + max(row[0] for rows in numbers.values() for row in rows))

    def _names(self, needed: int) -> tuple[str, ...]:
        if self.class_names is None:
            return tuple(f"class-{i:0{len(str(needed - 1))}d}" for i in range(needed))
        if len(self.class_names) < needed:
            raise ReaderError(
                f"{self.path}: labels need {needed} classes, class_names has {len(self.class_names)}; correct class_names or first_class"
            )
        return self.class_names

    def _multi_label(self, labels: Mapping[Part, list[list[int]]] | None) -> bool:
        counted = ((part, row, len(classes)) for part, rows in (labels or {}).items() for row, classes in enumerate(rows))
        several = next((found for found in counted if found[2] != 1), None)
        if self.multi_label is False and several:
            part, row, number = several
            raise ReaderError(f"{self.path}: row {row} of {part} has {number} labels, but multi_label is false; set multi_label: auto")
        return (several is not None or labels is None) if self.multi_label == "auto" else self.multi_label


@dataclass(frozen=True)
class _Pairs:
    """Any range of a split, from the part of the files that holds it."""

    blocks: Mapping[Part, Mapping[str, Matrix]]
    labels: Mapping[Part, list[list[int]]] | None
    splits: Mapping[Split, tuple[Part, Ids]]
    first_ids: Mapping[Part, int]

    def read(self, split: Split, start: int, stop: int) -> Iterator[PairRecords]:
        part, chosen = self.splits[split]
        for first in range(start, stop, BATCH_ROWS):
            rows_B = chosen[first : min(first + BATCH_ROWS, stop)]
            features = [_as_float(self.blocks[part][role].rows(rows_B)) for role in ("image", "text")]
            labels = None if self.labels is None else [self.labels[part][row] for row in rows_B]
            yield PairRecords(self.first_ids[part] + rows_B, features[0], features[1], labels)


def _inventory(files: list[str]) -> dict[str, Matrix]:
    """All matrices by name in lower case; names that several files have only with their file, a file's only matrix also by the file's name."""
    found: dict[str, Matrix] = {}
    bare: dict[str, list[Matrix]] = {}
    for path in files:
        matrices = matrices_in(path)
        stem = path.rsplit("/", 1)[-1].lower()
        for name, matrix in matrices.items():
            found[f"{stem}:{name.lower()}"] = matrix
            bare.setdefault(name.lower(), []).append(matrix)
        if len(matrices) == 1 and (alias := stem.rsplit(".", 1)[0]) not in (name.lower() for name in matrices):
            bare.setdefault(alias, []).extend(matrices.values())
    return found | {name: matrices[0] for name, matrices in bare.items() if len(matrices) == 1}


def _recognised(part: Part, found: Mapping[str, Matrix]) -> dict[str, str]:
    """Names of the arrays of a part by role; empty if it has no image or no text."""
    names: dict[str, str] = {}
    for role, patterns in (ALL_NAMES if part == "all" else NAMES).items():
        wanted = {pattern.format(s=word) for pattern in patterns for word in SPLIT_NAMES[part]}
        matches = {found[name].where: name for name in sorted(wanted & found.keys())}
        if len(matches) > 1:
            raise ReaderError(f"{' and '.join(matches)} may both be {role} features of split {part!r}; say which in mapping")
        if matches:
            names[role] = next(iter(matches.values()))
    return names if names.keys() >= {"image", "text"} else {}


def _listed(found: Mapping[str, Matrix]) -> str:
    return ", ".join(f"{name} {matrix.shape}" for name, matrix in list(found.items())[:20]) or "no numeric arrays"


def _stored(matrix: Matrix) -> FeatureDtype:
    return "f16" if np.dtype(matrix.dtype) == np.float16 else "f32"


def _as_float(values_BW: NDArray[Any]) -> NDArray[Any]:
    return values_BW if values_BW.dtype.kind == "f" else values_BW.astype(np.float32)


def _label_array(matrix: Matrix, *, num_rows: int) -> NDArray[Any]:
    """Labels (N, C) or (N, 1), turned if only that fits."""
    if matrix.shape[0] != num_rows and matrix.shape[-1] == num_rows:
        matrix = matrix.turned()
    if matrix.shape[0] != num_rows:
        raise ReaderError(f"{matrix.where} has shape {matrix.shape}; expected {num_rows} rows of labels, as many as there are pairs")
    return matrix.rows(np.arange(num_rows))


def _from_hot(labels_NC: NDArray[Any], matrix: Matrix) -> list[list[int]]:
    wrong = np.flatnonzero(~((labels_NC == 0) | (labels_NC == 1)).all(axis=1))
    if len(wrong):
        raise ReaderError(f"{matrix.where}: labels of row {wrong[0]} are {labels_NC[wrong[0]].tolist()}; expected 0 and 1")
    return [np.flatnonzero(row_C).tolist() for row_C in labels_NC]


def _from_numbers(numbers_N: NDArray[Any], matrix: Matrix, *, first: int) -> list[list[int]]:
    wrong = np.flatnonzero((numbers_N < first) | (numbers_N != np.floor(numbers_N)))
    if len(wrong):
        raise ReaderError(f"{matrix.where}: class of row {wrong[0]} is {numbers_N[wrong[0]]}; expected a whole number from {first}")
    return [[int(number) - first] for number in numbers_N]
