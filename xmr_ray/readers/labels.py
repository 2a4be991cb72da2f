"""A label column of an outside dataset: lists or single values, class numbers or names, as sparse class numbers."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa

from xmr_ray.errors import ReaderError


class LabelColumn:
    """Learns in a first pass (`survey`, `finish`) what a label column holds, and turns it into class numbers in a second (`numbers`).

    Names that are not given are the distinct ones that occur, sorted; for class numbers `class-0` to the largest that occurs.
    """

    def __init__(self, class_names: Sequence[str] | None, *, multi_label: Literal["auto"] | bool) -> None:
        self.class_names: tuple[str, ...] = tuple(class_names or ())
        self.multi_label = multi_label is True
        self._given, self._wanted = class_names is not None, multi_label
        self._seen: set[str] = set()
        self._largest = -1
        self._number_of: dict[str, int] = {}

    def survey(self, column: pa.Array, *, where: str) -> None:
        """Take note of what a part of the column holds; raises `ReaderError` for a null or another type."""
        values, lengths_B = _flat(column, where=where)
        if self._wanted == "auto":
            self.multi_label |= bool((lengths_B != 1).any())
        if pa.types.is_integer(values.type):
            self._largest = max(self._largest, int(values.to_numpy(zero_copy_only=False).max(initial=-1)))
        else:
            self._seen.update(values.unique().to_pylist())

    def finish(self, *, where: str) -> None:
        """Settle the class names; raises `ReaderError` if names and numbers are mixed or a name is not among the given ones."""
        if self._seen and self._largest >= 0:
            raise ReaderError(f"{where}: labels are names in some files and numbers in others")
        if not self._given:
            width = len(str(max(self._largest, 0)))
            self.class_names = tuple(sorted(self._seen)) or tuple(f"class-{i:0{width}d}" for i in range(self._largest + 1))
        unknown = sorted(self._seen - set(self.class_names))
        if unknown:
            raise ReaderError(f"{where}: label {unknown[0]!r} is not among class_names ({', '.join(self.class_names[:20])})")
        self._number_of = {name: i for i, name in enumerate(self.class_names)}

    def numbers(self, column: pa.Array, *, where: str) -> list[list[int]]:
        """Class numbers of every row; their range is for the corpus to check, which knows the ids."""
        values, lengths_B = _flat(column, where=where)
        flat = values.to_pylist()
        if not pa.types.is_integer(values.type):
            flat = [self._number_of[name] for name in flat]
        ends = np.cumsum(lengths_B).tolist()
        return [flat[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)] if ends else []


def _flat(column: pa.Array, *, where: str) -> tuple[pa.Array, np.ndarray]:
    """All values one after the other, and how many each row has."""
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise ReaderError(f"{where}: null label in row {row}; use an empty list for a pair without a class, or leave `labels` out")
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        values, lengths_B = column.flatten(), np.diff(column.offsets.to_numpy(zero_copy_only=False))
    else:
        values, lengths_B = column, np.ones(len(column), dtype=np.int64)
    if values.null_count or not (pa.types.is_integer(values.type) or pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        raise ReaderError(f"{where}: labels are {column.type} with {values.null_count} null elements; expected class numbers or names")
    return values, lengths_B
