"""Answers as they come in: append-only files in a round's folder, read back whole, never lost."""

import io
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xmr_ray import seals, storage
from xmr_ray.errors import LedgerError
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
    ]
)


def append_answers(folder: str, answers: Sequence[Answer], *, source: str) -> str:
    """Keep these answers in `<folder>/answers/`, in a file named by what it holds: appended twice, they are there once.

    Args:
        folder: the round's folder.
        answers: at least one; their order does not matter.
        source: where they came from, kept beside them.

    Returns:
        Path of the file.

    Raises:
        LedgerError: no answers, or one that contradicts another, here or in the folder; nothing is written then.
    """
    if not answers:
        raise LedgerError(f"{folder}: there are no answers to keep")
    together(answers, read_answers(folder), where=folder)
    ordered = sorted(set(answers), key=lambda answer: (answer.pair_id, answer.annotator))
    name = storage.digest_bytes(repr([(answer.pair_id, answer.classes, answer.annotator) for answer in ordered]).encode())[:16]
    path = storage.join(_folder(folder), f"{name}.parquet")
    columns = [
        pa.array([answer.pair_id for answer in ordered], pa.int64()),
        pa.array(["cannot_tell" if answer.classes is None else "labelled" for answer in ordered]),
        pa.array([list(answer.classes or ()) for answer in ordered], pa.list_(pa.int32())),
        pa.array([answer.annotator for answer in ordered]),
        pa.array([source] * len(ordered)),
    ]
    buffer = io.BytesIO()
    pq.write_table(seals.seal_table(pa.table(columns, schema=_SCHEMA)), buffer, write_page_checksum=True)
    storage.create_exclusive(path, buffer.getvalue())
    return path


def read_answers(folder: str) -> dict[int, Answer]:
    """Every answer in `<folder>/answers/`, by pair; of equal ones the first file's.

    Raises:
        LedgerError: two answers to one pair contradict each other.
        StorageError: a file is damaged.
    """
    found: dict[int, Answer] = {}
    for name in storage.list_names(_folder(folder)):
        table = seals.read_sealed_table(storage.join(_folder(folder), name), _SCHEMA.names)
        rows = [
            Answer(row["pair_id"], None if row["answer"] == "cannot_tell" else tuple(row["labels"]), row["annotator"]) for row in table.to_pylist()
        ]
        found = together(rows, found, where=storage.join(_folder(folder), name))
    return found


def together(answers: Iterable[Answer], earlier: Mapping[int, Answer], *, where: str) -> dict[int, Answer]:
    """Earlier answers and further ones; raises `LedgerError` naming the first pair that is answered in two ways.

    >>> together([Answer(7, (1,), "ann")], {7: Answer(7, (1,), "bob")}, where="here")
    {7: Answer(pair_id=7, classes=(1,), annotator='bob')}
    """
    found = dict(earlier)
    for answer in answers:
        known = found.setdefault(answer.pair_id, answer)
        if known.classes != answer.classes:
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


def _folder(folder: str) -> str:
    return storage.join(folder, "answers")
