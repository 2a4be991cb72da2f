"""From records to the tables that are written: every value is checked, and a bad one is named by its row and id."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmr_ray.corpus.columns import ITEM_COLUMNS, feature_array, pairs_schema, stored_as, truth_schema
from xmr_ray.corpus.raw import RawRecords, RawSchema
from xmr_ray.corpus.schema import CorpusSchema, PairRecords
from xmr_ray.errors import CorpusError
from xmr_ray.types import FeatureDtype, Ids, Split


def where(path: str, split: Split, row: int, pair_id: int | np.integer[Any]) -> str:
    """How a message names a row of a split."""
    return f"{path}: {split} row {row} (pair_id {pair_id})"


class PairTables:
    """Pairs on their way into the corpus at `path`."""

    def __init__(self, path: str, schema: CorpusSchema) -> None:
        self._path, self._schema = path, schema

    def check_shapes(self, split: Split, records: PairRecords, *, row: int) -> None:
        """Raises `CorpusError` if widths, lengths or optional columns are not those of the schema."""
        num_rows = len(records)
        place = f"{self._path}: {split} from row {row}"
        for name, width in (("image", self._schema.image_dim), ("text", self._schema.text_dim)):
            shape = getattr(records, name).shape
            if shape != (num_rows, width):
                raise CorpusError(f"{place}: {name} features have shape {shape}, expected {(num_rows, width)}")
        for name in ("labels", *(f"{column}s" for column in ITEM_COLUMNS)):
            rows = getattr(records, name)
            if rows is not None and len(rows) != num_rows:
                raise CorpusError(f"{place}: {len(rows)} {name} for {num_rows} pairs")
        for column, has in ITEM_COLUMNS.items():
            if (getattr(records, f"{column}s") is not None) != getattr(self._schema, has):
                raise CorpusError(f"{place}: the schema says {has}={getattr(self._schema, has)}, the records disagree")

    def tables(self, split: Split, records: PairRecords, *, row: int) -> tuple[pa.Table, pa.Table | None]:
        """The pairs, and their truth where there is any; `row` is the number of the first one within the split.

        Raises:
            CorpusError: labels outside the classes, or values that are not finite in the storage type.
        """
        schema = pairs_schema(self._schema)
        check_labels(self._path, split, records, row=row, num_classes=self._schema.num_classes, multi_label=self._schema.multi_label)
        columns = [pa.array(records.pair_ids, type=pa.int64())]
        for name, dtype in (("image", self._schema.image_dtype), ("text", self._schema.text_dtype)):
            columns.append(self._feature_column(split, name, dtype, records=records, row=row))
        for name in schema.names[3:]:
            columns.append(pa.array(getattr(records, f"{name}s"), type=schema.field(name).type))
        pairs = pa.table(columns, schema=schema)
        if records.labels is None:
            return pairs, None
        return pairs, pa.table([columns[0], sorted_labels(records.labels)], schema=truth_schema())

    def _feature_column(self, split: Split, name: str, dtype: FeatureDtype, *, records: PairRecords, row: int) -> pa.Array:
        features_BW = getattr(records, name)
        finite_BW = np.isfinite(features_BW)
        if not finite_BW.all():
            at = int(np.flatnonzero(~finite_BW.all(axis=1))[0])
            dim = int(np.flatnonzero(~finite_BW[at])[0])
            place = where(self._path, split, row + at, records.pair_ids[at])
            raise CorpusError(f"{place}: {name}[{dim}] is {features_BW[at, dim]}, expected finite numbers; clean the features")
        try:
            return feature_array(stored_as(features_BW, dtype), dtype)
        except CorpusError as error:
            at = _first_misfit(features_BW, dtype)
            raise CorpusError(f"{where(self._path, split, row + at, records.pair_ids[at])}: {name} {error}") from error


def raw_schema(schema: RawSchema) -> pa.Schema:
    """The Arrow schema of a file of raw pairs."""
    fields = [
        pa.field("pair_id", pa.int64(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("uri", pa.string()),
        pa.field("image", pa.binary()),
    ]
    return pa.schema([*fields, truth_schema().field("labels")] if schema.has_labels else fields)


def raw_table(path: str, schema: RawSchema, split: Split, records: RawRecords, *, row: int) -> pa.Table:
    """Raw pairs as a table.

    Raises:
        CorpusError: a pair without image and URI, without text, or with labels outside the classes; labels where the schema has none.
    """
    arrow = raw_schema(schema)
    if (records.labels is not None) != schema.has_labels:
        raise CorpusError(f"{path}: {split} from row {row}: the schema says has_labels={schema.has_labels}, the records disagree")
    check_labels(path, split, records, row=row, num_classes=schema.num_classes, multi_label=schema.multi_label)
    images: Sequence[bytes | None] = records.images or [None] * len(records)
    for at, (text, uri, image) in enumerate(zip(records.texts, records.uris, images, strict=True)):
        if text is None or (uri is None and image is None):
            lacks = "text" if text is None else "image, neither bytes nor a URI"
            raise CorpusError(f"{where(path, split, row + at, records.pair_ids[at])}: no {lacks}; leave the pair out")
    columns = [pa.array(values, type=arrow.field(at).type) for at, values in enumerate((records.pair_ids, records.texts, records.uris, images))]
    return pa.table(columns if records.labels is None else [*columns, sorted_labels(records.labels)], schema=arrow)


def sorted_labels(labels: Sequence[Sequence[int]]) -> pa.Array:
    """One ascending list of class numbers per pair."""
    return pa.array([sorted(classes) for classes in labels], type=truth_schema().field("labels").type)


def check_labels(path: str, split: Split, records: PairRecords | RawRecords, *, row: int, num_classes: int, multi_label: bool) -> None:
    """Raises `CorpusError` on labels outside the classes, named twice, or of another number than one where there must be one."""
    for at, classes in enumerate(records.labels or ()):
        outside = [c for c in classes if not 0 <= c < num_classes]
        if not outside and len(set(classes)) == len(classes) and (multi_label or len(classes) == 1):
            continue
        place = where(path, split, row + at, records.pair_ids[at])
        if outside:
            raise CorpusError(f"{place}: label {outside[0]} is outside the {num_classes} classes")
        if len(set(classes)) != len(classes):
            raise CorpusError(f"{place}: labels {list(classes)} name a class twice")
        raise CorpusError(f"{place}: {len(classes)} labels, but the corpus is single-label")


def repeated_id(path: str, split: Split, ids: Ids, at: int, *, row: int) -> CorpusError:
    """The error of a `pair_id` that was seen before."""
    return CorpusError(f"{where(path, split, row + at, ids[at])}: pair_id is repeated; every pair needs its own id, in all splits together")


def _first_misfit(features_BW: NDArray[Any], dtype: FeatureDtype) -> int:
    for at, features_W in enumerate(features_BW):
        try:
            stored_as(features_W, dtype)
        except CorpusError:
            return at
    raise AssertionError("no row misfits")
