"""The ledger of what was bought: append-only receipts, each a Parquet file that is created once and never changed."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xmr_ray import seals, storage
from xmr_ray.errors import LedgerError
from xmr_ray.labels.annotators import Answers
from xmr_ray.types import EMPTY_LABELS, Ids, LabelSet

HOLDER = "xmr_ray.lease"
_SCHEMA = pa.schema(
    [
        pa.field("pair_id", pa.int64(), nullable=False),
        pa.field("answer", pa.string(), nullable=False),
        pa.field("labels", pa.list_(pa.int32()), nullable=False),
    ]
)


def write_receipt(path: str, answers: Answers, *, holder: Mapping[str, str] | None = None) -> None:
    """Close a purchase: these labels are paid for. The file keeps who wrote it, where that is known by a lease.

    Raises:
        LedgerError: the purchase is closed already.
    """
    labelled = answers.labels
    rows = np.split(labelled.classes, labelled.offsets[1:-1]) if len(labelled) else []
    lists = pa.array([row.tolist() for row in rows] + [[]] * len(answers.cannot_tell_n), type=pa.list_(pa.int32()))
    ids = np.concatenate([labelled.pair_ids_L, answers.cannot_tell_n])
    kinds = ["labelled"] * len(labelled) + ["cannot_tell"] * len(answers.cannot_tell_n)
    buffer = io.BytesIO()
    schema = _SCHEMA.with_metadata({HOLDER: json.dumps(dict(holder))}) if holder else _SCHEMA
    table = seals.seal_table(pa.table([pa.array(ids), pa.array(kinds), lists], schema=schema))
    pq.write_table(table, buffer, write_page_checksum=True)
    if not storage.create_exclusive(path, buffer.getvalue()):
        raise LedgerError(f"{path}: this purchase has its receipt already; labels are never bought twice, resume the run instead")


def read_receipt(path: str) -> Answers:
    """The answers of a closed purchase; raises `StorageError` if the file is damaged."""
    table = seals.read_sealed_table(path, _SCHEMA.names)
    ids = table["pair_id"].to_numpy()
    labelled = np.asarray([answer == "labelled" for answer in table["answer"].to_pylist()], dtype=bool)
    rows = table["labels"].to_pylist()
    return Answers(LabelSet.of(ids[labelled], [row for row, known in zip(rows, labelled, strict=True) if known]), ids[~labelled])


@dataclass(frozen=True)
class LabelLedger:
    """Everything bought so far, one entry a round; a pair that was answered once can never be entered again."""

    labels: LabelSet = EMPTY_LABELS
    cannot_tell_n: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    sizes: tuple[int, ...] = ()

    @property
    def bought_ids(self) -> Ids:
        """Every bought pair, ascending, whether it could be labelled or not."""
        return np.sort(np.concatenate([self.labels.pair_ids_L, self.cannot_tell_n]))

    @property
    def num_bought(self) -> int:
        """Labels paid for."""
        return sum(self.sizes)

    def enter(self, answers: Answers) -> "LabelLedger":
        """The ledger with one more purchase; raises `LedgerError` naming a pair that was bought before."""
        new_ids = answers.pair_ids
        again = np.intersect1d(new_ids, self.bought_ids)
        if len(again):
            raise LedgerError(f"pair_id {again[0]} was bought before (and {len(again) - 1} more); a receipt of this run was changed or copied")
        cannot_tell_n = np.sort(np.concatenate([self.cannot_tell_n, answers.cannot_tell_n]))
        return LabelLedger(self.labels.merge(answers.labels), cannot_tell_n, (*self.sizes, len(new_ids)))
