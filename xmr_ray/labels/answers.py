"""Answers as they come in: append-only files in a round's folder, read back whole, never lost. A correction is one more, of a higher revision."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xmr_ray import seals, storage
from xmr_ray.errors import LedgerError, StorageError
from xmr_ray.labels.annotators import Answers, Pending
from xmr_ray.labels.questions import Answer
from xmr_ray.types import Ids, LabelSet

_SCHEMA = pa.schema(
    [
        pa.field("pair_id", pa.int64(), nullable=False),
        pa.field("answer", pa.string(), nullable=False),
        pa.field("labels", pa.list_(pa.int32()), nullable=False),
        pa.field("annotator", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("revision", pa.int32(), nullable=False),
    ]
)
_REQUIRED = set(_SCHEMA.names) - {"revision"}  # files that are older than corrections lack it


def append_answers(folder: str, answers: Sequence[Answer], *, source: str, correct: bool = False) -> str:
    """Keep these answers in `<folder>/answers/`, in a file named by what it holds: appended twice, they are there once.

    Args:
        folder: the round's folder.
        answers: at least one; their order does not matter.
        source: where they came from, kept beside them.
        correct: whether an answer may contradict one in the folder, and then counts instead of it; the earlier one stays on disk.

    Returns:
        Path of the file.

    Raises:
        LedgerError: no answers, or one that contradicts another, here or (without `correct`) in the folder; nothing is written then.
    """
    if not answers:
        raise LedgerError(f"{folder}: there are no answers to keep")
    kept, given = read_answers(folder), together(answers, {}, where=folder)
    ordered = [_revised(given[pair_id], kept.get(pair_id), correct=correct) for pair_id in sorted(given)]
    together(ordered, kept, where=folder)
    name = storage.digest_bytes(repr(ordered).encode())[:16]
    path = storage.join(_folder(folder), f"{name}.parquet")
    columns = [
        pa.array([answer.pair_id for answer in ordered], pa.int64()),
        pa.array(["cannot_tell" if answer.classes is None else "labelled" for answer in ordered]),
        pa.array([list(answer.classes or ()) for answer in ordered], pa.list_(pa.int32())),
        pa.array([answer.annotator for answer in ordered]),
        pa.array([source] * len(ordered)),
        pa.array([answer.revision for answer in ordered], pa.int32()),
    ]
    buffer = io.BytesIO()
    pq.write_table(seals.seal_table(pa.table(columns, schema=_SCHEMA)), buffer, write_page_checksum=True)
    storage.create_exclusive(path, buffer.getvalue())
    return path


def read_answers(folder: str) -> dict[int, Answer]:
    """Every answer in `<folder>/answers/`, by pair, corrected ones as they are now; of equal ones the first file's.

    Raises:
        LedgerError: two answers to one pair contradict each other, and neither corrects the other.
        StorageError: a file is damaged.
    """
    found: dict[int, Answer] = {}
    for name in storage.list_names(_folder(folder)):
        path = storage.join(_folder(folder), name)
        found = together(_read_file(path), found, where=path)
    return found


def together(answers: Iterable[Answer], earlier: Mapping[int, Answer], *, where: str) -> dict[int, Answer]:
    """Earlier answers and further ones, of each pair the highest revision; raises `LedgerError` naming the first pair with two answers of the same.

    >>> together([Answer(7, (1,), "ann"), Answer(8, (), revision=1)], {7: Answer(7, (1,), "bob"), 8: Answer(8, (2,))}, where="here")
    {7: Answer(pair_id=7, classes=(1,), annotator='bob', revision=0), 8: Answer(pair_id=8, classes=(), annotator='', revision=1)}
    """
    found = dict(earlier)
    for answer in answers:
        known = found.setdefault(answer.pair_id, answer)
        if answer.revision > known.revision:
            found[answer.pair_id] = answer
        elif answer.revision == known.revision and answer.classes != known.classes:
            raise LedgerError(
                f"{where}: pair_id {answer.pair_id} is answered twice, {told(known)} and {told(answer)}; settle which is right and give one answer"
            )
    return found


def told(answer: Answer) -> str:
    """An answer in words, for messages.

    >>> told(Answer(7, (1, 4))), told(Answer(7, ())), told(Answer(7, None, "ann"))
    ('classes 1, 4', 'no class', 'cannot tell (by ann)')
    """
    words = "cannot tell" if answer.classes is None else "no class" if not answer.classes else f"classes {', '.join(map(str, answer.classes))}"
    return f"{words} (by {answer.annotator})" if answer.annotator else words


def closing(answers: Mapping[int, Answer], asked: Ids) -> Answers | Pending:
    """What closes a purchase, once every pair that was asked for has its answer; answers to other pairs are left out."""
    known = [answers[int(pair_id)] for pair_id in np.sort(asked) if int(pair_id) in answers]
    if len(known) < len(asked):
        return Pending(num_answered=len(known), num_asked=len(asked))
    labelled = [(answer.pair_id, answer.classes) for answer in known if answer.classes is not None]
    labels = LabelSet.of([pair_id for pair_id, _ in labelled], [classes for _, classes in labelled])
    return Answers(labels, np.array([answer.pair_id for answer in known if answer.classes is None], dtype=np.int64))


def _revised(answer: Answer, known: Answer | None, *, correct: bool) -> Answer:
    """The answer with the number under which it stands beside what is known: a correction comes after it, anything else beside it."""
    if known is None:
        return answer
    corrects = correct and answer.classes != known.classes
    return replace(answer, revision=max(answer.revision, known.revision + corrects))


def _read_file(path: str) -> list[Answer]:
    table = seals.read_sealed_table(path)
    if absent := sorted(_REQUIRED - set(table.column_names)):
        raise StorageError(f"{path}: has no column {absent[0]!r}; it holds {table.column_names}")
    return [
        Answer(row["pair_id"], None if row["answer"] == "cannot_tell" else tuple(row["labels"]), row["annotator"], row.get("revision", 0))
        for row in table.to_pylist()
    ]


def _folder(folder: str) -> str:
    return storage.join(folder, "answers")
