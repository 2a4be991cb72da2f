"""Labels in files of other tools, read and written: CSV, JSONL, COCO instances.

CSV    columns `pair_id`, `labels` (class names with `;` between them), `answer` (labelled | cannot_tell | predicted, empty: not answered)
JSONL  `{"pair_id": 7, "labels": ["cat"], "cannot_tell": false}`; predicted labels are `{"pair_id": 7, "predicted": {"cat": 0.93}}`
COCO   `{"images": [...], "categories": [...], "annotations": [...]}`; the image's `id` is the `pair_id`, an image without annotations has no label,
       `"cannot_tell": true` on an image says so; predicted annotations have a `score`, and their image says `"predicted": true`
"""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from xmr_ray.errors import LedgerError

LabelFormat = Literal["csv", "jsonl", "coco"]
FORMATS: dict[str, LabelFormat] = {".csv": "csv", ".jsonl": "jsonl", ".json": "coco"}
SEPARATOR = ";"
_INTEGER = re.compile(r"[+-]?\d{1,19}")
_ANSWERS = ("labelled", "cannot_tell", "predicted", "")


@dataclass(frozen=True)
class LabelRow:
    """One pair in a file: names of its classes, or None for "cannot tell"; `trust` is one number for each predicted label, None for bought ones."""

    pair_id: int
    labels: tuple[str, ...] | None
    annotator: str = ""
    trust: tuple[float, ...] | None = None
    file: str = ""
    line: int = 0

    @property
    def where(self) -> str:
        """File and line, for messages."""
        return f"{self.file}:{self.line}"


Read = LabelRow | str | None
"""What a line is: an answer, a problem with its place, or nothing (not answered, or a predicted label)."""


def format_of(path: str) -> LabelFormat:
    """The format that a file's name means; raises `LedgerError` for another ending than .csv, .jsonl and .json (COCO).

    >>> format_of("answers.JSONL")
    'jsonl'
    """
    ending = "." + path.rsplit(".", 1)[-1].lower()
    if ending not in FORMATS:
        raise LedgerError(f"{path}: labels are read from .csv, .jsonl and .json (COCO instances) files; give one of these")
    return FORMATS[ending]


def read_rows(data: bytes, *, name: str) -> list[Read]:
    """Every line of a file, good or not; what cannot be read at all is one problem."""
    reader = {"csv": _csv_rows, "jsonl": _jsonl_rows, "coco": _coco_rows}[format_of(name)]
    try:
        return list(reader(data.decode("utf-8-sig"), name))
    except UnicodeDecodeError as error:
        return [f"{name}: byte {error.start} is not UTF-8; save the file as UTF-8"]


def write_rows(rows: Iterable[LabelRow], *, form: LabelFormat, class_names: Sequence[str]) -> bytes:
    """Rows as a file that `read_rows` reads back, predicted ones left out; raises `LedgerError` for what CSV cannot hold."""
    if form == "csv":
        if wrong := [name for name in class_names if SEPARATOR in name]:
            raise LedgerError(f"class name {wrong[0]!r} holds a {SEPARATOR!r}, which separates labels in CSV; use jsonl or coco")
        return _to_csv(rows)
    if form == "jsonl":
        return "".join(json.dumps(_to_json(row), ensure_ascii=False) + "\n" for row in rows).encode()
    return _to_coco(rows, class_names)


def _csv_rows(text: str, name: str) -> Iterator[Read]:
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [column.strip() for column in next(lines, [])]
        if absent := [column for column in ("pair_id", "labels") if column not in header]:
            yield f"{name}:1: no column {absent[0]!r}, found {header}; expected pair_id, labels, answer"
            return
        line = lines.line_num + 1
        for cells in lines:
            if any(cell.strip() for cell in cells):
                yield _csv_row(dict(zip(header, cells, strict=False)), name, line, whole=len(cells) == len(header))
            line = lines.line_num + 1
    except csv.Error as error:
        yield f"{name}:{lines.line_num}: not CSV ({error}); nothing after this line was read"


def _csv_row(cells: dict[str, str], name: str, line: int, *, whole: bool) -> Read:
    where = f"{name}:{line}"
    labels = tuple(part.strip() for part in cells.get("labels", "").split(SEPARATOR) if part.strip())
    answer, pair_id = cells.get("answer", "").strip(), cells.get("pair_id", "").strip()
    if not whole:
        return f"{where}: as many cells as columns are expected; quote cells that hold a comma"
    if answer not in _ANSWERS:
        return f"{where}: answer is {answer!r}, expected labelled or cannot_tell (or nothing where there is none yet)"
    if answer == "predicted" or (answer == "" and not labels):
        return None
    if not _INTEGER.fullmatch(pair_id):
        return f"{where}: pair_id is {pair_id!r}, expected a whole number"
    if answer == "cannot_tell" and labels:
        return f"{where}: pair_id {pair_id} has labels and cannot_tell; one of them is wrong"
    return LabelRow(int(pair_id), None if answer == "cannot_tell" else labels, cells.get("annotator", "").strip(), file=name, line=line)


def _jsonl_rows(text: str, name: str) -> Iterator[Read]:
    for line, content in enumerate(text.split("\n"), 1):
        if content.strip():
            try:
                found = json.loads(content)
            except (ValueError, RecursionError) as error:
                yield f"{name}:{line}: not JSON ({error})"
                continue
            yield _json_row(found, name, line)


def _json_row(found: Any, name: str, line: int) -> Read:
    where = f"{name}:{line}"
    if not isinstance(found, dict) or not _is_integer(found.get("pair_id")):
        return f'{where}: expected {{"pair_id": a whole number, "labels": [names], "cannot_tell": true or false}}'
    pair_id, labels, cannot_tell = found["pair_id"], found.get("labels"), found.get("cannot_tell", False)
    if not isinstance(cannot_tell, bool):
        return f"{where}: cannot_tell is {cannot_tell!r}, expected true or false"
    if labels is not None and not (isinstance(labels, list) and all(isinstance(label, str) for label in labels)):
        return f"{where}: labels are {labels!r}, expected a list of class names"
    if cannot_tell and labels:
        return f"{where}: pair_id {pair_id} has labels and cannot_tell; one of them is wrong"
    if labels is None and not cannot_tell:
        return None
    return LabelRow(pair_id, None if cannot_tell else tuple(labels or ()), str(found.get("annotator") or ""), file=name, line=line)


def _coco_rows(text: str, name: str) -> Iterator[Read]:
    try:
        content = json.loads(text)
        names = {category["id"]: str(category["name"]) for category in content["categories"]}
        images: dict[Any, dict[str, Any]] = {image["id"]: image for image in content["images"]}
        repeated = [image for image, times in Counter(image["id"] for image in content["images"]).items() if times > 1]
        annotations = [(annotation["image_id"], annotation["category_id"]) for annotation in content["annotations"]]
        set(annotations)  # what cannot be a key is no number either
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        yield f"{name}: not COCO instances ({type(error).__name__}: {error}); expected images, categories and annotations"
        return
    if repeated:
        yield f"{name}: image id {repeated[0]!r} is there twice; give every pair one image"
        return
    labels: dict[Any, list[str]] = {image: [] for image in images}
    for at, (image, category) in enumerate(annotations):
        if image not in labels or category not in names:
            yield f"{name}: annotation number {at}: image_id {image!r} or category_id {category!r} is not in the file"
        elif names[category] not in labels[image]:
            labels[image].append(names[category])
    for at, (image, fields) in enumerate(images.items()):
        cannot_tell = fields.get("cannot_tell") is True
        if not _is_integer(image):
            yield f"{name}: image number {at}: id is {image!r}, expected the pair_id, a whole number"
        elif cannot_tell and labels[image]:
            yield f"{name}: image {image} has annotations and cannot_tell; one of them is wrong"
        elif fields.get("predicted") is not True:
            yield LabelRow(image, None if cannot_tell else tuple(labels[image]), file=f"{name}, image number", line=at)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63


def _to_csv(rows: Iterable[LabelRow]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["pair_id", "labels", "answer", "trust"])
    for row in rows:
        answer = "predicted" if row.trust is not None else "cannot_tell" if row.labels is None else "labelled"
        writer.writerow([row.pair_id, SEPARATOR.join(row.labels or ()), answer, SEPARATOR.join(f"{value:.4f}" for value in row.trust or ())])
    return text.getvalue().encode()


def _to_json(row: LabelRow) -> dict[str, Any]:
    if row.trust is not None:
        return {"pair_id": row.pair_id, "predicted": {name: round(value, 4) for name, value in zip(row.labels or (), row.trust, strict=True)}}
    return {"pair_id": row.pair_id, "labels": list(row.labels or ()), "cannot_tell": row.labels is None}


def _to_coco(rows: Iterable[LabelRow], class_names: Sequence[str]) -> bytes:
    numbers = {name: number for number, name in enumerate(class_names, 1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for row in rows:
        said = {"predicted": True} if row.trust is not None else {"cannot_tell": True} if row.labels is None else {}
        images.append({"id": row.pair_id, **said})
        for at, label in enumerate(row.labels or ()):
            score = {} if row.trust is None else {"score": round(row.trust[at], 4)}
            annotations.append({"id": len(annotations) + 1, "image_id": row.pair_id, "category_id": numbers[label], **score})
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    return json.dumps({"images": images, "categories": categories, "annotations": annotations}, ensure_ascii=False).encode()
