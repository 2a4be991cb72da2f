"""Raw pairs of a dataset whose texts fit in memory, as a source."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from xmr_ray.component import Component
from xmr_ray.corpus.raw import RawRecords, RawSchema
from xmr_ray.corpus.source import RawSource, fingerprint
from xmr_ray.errors import ReaderError
from xmr_ray.storage import absolute, exists, join
from xmr_ray.types import SPLITS, Split

BATCH_ROWS = 1024
COLUMNS = pa.schema([("pair_id", pa.int64()), ("text", pa.large_string()), ("uri", pa.large_string()), ("labels", pa.large_list(pa.int32()))])


class RawPair(NamedTuple):
    """One pair: its image is the file `name` in `folder`; `labels` are ascending class numbers, None without truth."""

    split: Split
    pair_id: int
    text: str
    folder: str
    name: str
    labels: tuple[int, ...] | None


@dataclass
class _Columns:
    """What was gathered for a split, column by column: full tables, and rows that wait."""

    tables: list[pa.Table] = field(default_factory=list)
    rows: list[tuple[int, str, str, tuple[int, ...] | None]] = field(default_factory=list)

    def pack(self) -> None:
        columns = zip(*self.rows, strict=True) if self.rows else ((), (), (), ())
        self.tables.append(pa.table([pa.array(column, type=kind.type) for column, kind in zip(columns, COLUMNS, strict=True)], schema=COLUMNS))
        self.rows.clear()


def raw_source(
    reader: Component, pairs: Iterable[RawPair], *, class_names: tuple[str, ...], multi_label: bool, source: str, paths: tuple[str, ...]
) -> RawSource:
    """A source of these pairs, in their order; `paths` are the settings of `reader` that only say where things lie.

    The reader's fingerprint covers ids, texts, image names and labels, not the images themselves.

    Raises:
        ReaderError: no pair, an id that is there twice, or a folder without its first image.
    """
    columns: dict[Split, _Columns] = {split: _Columns() for split in SPLITS}
    digest, seen, folders, has_labels = sha256(), set[int](), dict[str, str](), False
    for pair in pairs:
        if pair.pair_id in seen:
            raise ReaderError(f"pair {pair.pair_id} ({pair.folder}/{pair.name}) is there twice; remove one from the dataset's lists")
        seen.add(pair.pair_id)
        _check_text(pair)
        uri = join(folders.get(pair.folder) or absolute(pair.folder), pair.name)
        if pair.folder not in folders and not exists(uri):
            raise ReaderError(f"{uri}: no such image; correct the path of the images in the reader's settings")
        folders.setdefault(pair.folder, absolute(pair.folder))
        has_labels |= pair.labels is not None
        digest.update(repr((pair.split, pair.pair_id, pair.text, pair.name, pair.labels)).encode("utf-8", "surrogatepass"))
        columns[pair.split].rows.append((pair.pair_id, pair.text, uri, pair.labels))
        if len(columns[pair.split].rows) >= BATCH_ROWS:
            columns[pair.split].pack()
    if not seen:
        raise ReaderError(f"{source}: no pair is left; loosen the settings that drop pairs, or complete the download")
    schema = RawSchema(
        class_names=class_names,
        multi_label=multi_label,
        has_labels=has_labels,
        source=source,
        reader=fingerprint(reader, digest.hexdigest(), ignore=paths),
    )
    tables = {split: _joined(found) for split, found in columns.items()}
    return RawSource(schema, {split: table.num_rows for split, table in tables.items()}, partial(_read, tables, has_labels))


def _check_text(pair: RawPair) -> None:
    try:
        pair.text.encode()
    except UnicodeEncodeError as error:  # JSON can write half a pair of surrogates
        raise ReaderError(f"pair {pair.pair_id} ({pair.folder}/{pair.name}): its text is no Unicode ({error}); correct or remove it") from error


def _joined(columns: _Columns) -> pa.Table:
    columns.pack()
    return pa.concat_tables(columns.tables).combine_chunks()


def _read(tables: Mapping[Split, pa.Table], has_labels: bool, split: Split, start: int, stop: int) -> Iterator[RawRecords]:
    for first in range(start, stop, BATCH_ROWS):
        part = tables[split].slice(first, min(BATCH_ROWS, stop - first))
        labels = part.column("labels").to_pylist() if has_labels else None
        ids_B = part.column("pair_id").to_numpy().astype(np.int64)
        yield RawRecords(ids_B, part.column("text").to_pylist(), part.column("uri").to_pylist(), None, labels)
