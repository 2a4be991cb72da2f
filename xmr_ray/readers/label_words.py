"""Labels as people write them into tables: lists, single values, JSON lists, or words with a separator between them."""

import json
from collections.abc import Sequence
from typing import Any, Literal

import pyarrow as pa

from xmr_ray.errors import ReaderError
from xmr_ray.readers.labels import LabelColumn


class LabelWords:
    """Learns in a first pass (`survey`, `finish`) which labels occur, and turns them into class numbers in a second (`numbers`).

    Words that are all digits are class numbers, unless all of them are among the given class names. An empty cell has no label.
    """

    def __init__(self, class_names: Sequence[str] | None, *, multi_label: Literal["auto"] | bool, separator: str | None = None) -> None:
        self._names, self._wanted, self._separator = class_names, multi_label, separator
        self._seen: set[str | int] = set()
        self._several = self._digits = False
        self._column = LabelColumn(class_names, multi_label=multi_label)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of all classes, in the order of their numbers."""
        return self._column.class_names

    @property
    def multi_label(self) -> bool:
        """Whether a pair may have several labels, or none."""
        return self._column.multi_label

    def survey(self, cells: Sequence[Any], *, where: str, first_row: int = 0) -> None:
        """Take note of the labels in some cells; raises `ReaderError` for a cell that holds something else."""
        for row, cell in enumerate(cells, first_row):
            labels = self._parse(cell, where=where, row=row)
            self._seen.update(labels)
            if len(labels) != 1:
                self._several = True
                if self._wanted is False:
                    raise ReaderError(f"{where}: row {row} has {len(labels)} labels, but multi_label is false; set multi_label: auto")

    def finish(self, *, where: str) -> None:
        """Settle the class names; raises `ReaderError` if names and numbers are mixed or a label is not among the given classes."""
        words = {label for label in self._seen if isinstance(label, str)}
        self._digits = all(word.isdecimal() for word in words) and not words <= set(self._names or ())
        seen = sorted(int(label) for label in self._seen) if self._digits or not words else sorted(self._seen, key=str)
        if any(isinstance(label, int) for label in seen) and any(isinstance(label, str) for label in seen):
            raise ReaderError(f"{where}: labels are names in some rows and numbers in others")
        limit = float("inf") if self._names is None else len(self._names)
        wrong = [label for label in seen if isinstance(label, int) and not 0 <= label < limit]
        if wrong:
            raise ReaderError(f"{where}: label {wrong[0]} is not the number of a class; expected 0 to the number of class_names less one")
        self._column = LabelColumn(self._names, multi_label=self._several if self._wanted == "auto" else self._wanted)
        self._column.survey(_array([seen]), where=where)
        self._column.finish(where=where)

    def numbers(self, cells: Sequence[Any], *, where: str, rows: Sequence[int]) -> list[list[int]]:
        """Distinct class numbers of each cell, ascending; `rows` are named in messages."""
        parsed = [self._parse(cell, where=where, row=row) for row, cell in zip(rows, cells, strict=True)]
        if self._digits:
            parsed = [[int(label) for label in labels] for labels in parsed]
        return [sorted(set(labels)) for labels in self._column.numbers(_array(parsed), where=where)]

    def _parse(self, cell: Any, *, where: str, row: int) -> list[Any]:
        labels = cell
        if isinstance(cell, str) and cell.strip().startswith("["):
            try:
                labels = json.loads(cell)
            except ValueError as error:
                raise ReaderError(f"{where}: row {row}: {cell[:40]!r} begins like a JSON list and is none ({error})") from error
        elif isinstance(cell, str):
            words = cell.split(self._separator) if self._separator else [cell]
            labels = [word.strip() for word in words if word.strip()]
        elif isinstance(cell, int):
            labels = [cell]
        if not isinstance(labels, list) or not all(isinstance(label, str | int) and not isinstance(label, bool) for label in labels):
            advice = "leave it empty for a pair without a class, or leave `labels` out"
            raise ReaderError(f"{where}: row {row} holds {cell!r}; expected class names or numbers ({advice})")
        return labels


def _array(lists: Sequence[Sequence[Any]]) -> pa.Array:
    words = any(isinstance(label, str) for labels in lists for label in labels)
    return pa.array(lists, type=pa.list_(pa.string() if words else pa.int64()))
