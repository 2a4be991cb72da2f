"""Reading row groups: open files are kept, pages are verified, features come as matrices; the next one is read ahead."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from xmr_ray.corpus.columns import feature_matrix
from xmr_ray.errors import CorpusError
from xmr_ray.storage import join, resolve
from xmr_ray.types import Descriptor, PairBatch

if TYPE_CHECKING:
    from xmr_ray.corpus.open import PairedCorpus

COLUMNS = ["pair_id", "image", "text"]


def open_parquet(path: str, *, verify: bool = True) -> pq.ParquetFile:
    """A Parquet file, memory-mapped where it is local, that verifies its page checksums unless told otherwise.

    Raises:
        CorpusError: it cannot be opened.
    """
    filesystem, inner = resolve(path)
    try:
        source = pa.memory_map(inner) if isinstance(filesystem, fs.LocalFileSystem) else filesystem.open_input_file(inner)
        return pq.ParquetFile(source, page_checksum_verification=verify, pre_buffer=False)
    except (OSError, pa.ArrowException) as error:
        raise CorpusError(f"{path}: cannot be opened as Parquet ({error}); run `xmr-ray doctor` or ingest the corpus again") from error


class RowGroupReader:
    """Reads descriptors of one corpus and keeps its files open. One thread at a time may use it.

    Page checksums of a row group are verified the first time that this reader reads it and not again: verifying costs more than
    twice as much as reading (`benchmarks/columns.py`).
    """

    def __init__(self, corpus: "PairedCorpus") -> None:
        self._root, self._schema = corpus.root, corpus.schema
        self._files: dict[tuple[str, bool], pq.ParquetFile] = {}
        self._verified: set[tuple[str, int]] = set()

    def read(self, descriptor: Descriptor) -> PairBatch:
        """The pairs of one row group, features in their storage type and without a copy where the layout allows it.

        Raises:
            CorpusError: a damaged page, another number of rows than the manifest says, or features of another width or type.
        """
        path = join(self._root, descriptor.file)
        where = f"{path}: row group {descriptor.row_group}"
        file = self._file(descriptor, path)
        try:
            table = file.read_row_group(descriptor.row_group, columns=COLUMNS, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise CorpusError(f"{where} cannot be read ({error}); run `xmr-ray doctor` or ingest the corpus again") from error
        if len(table) != descriptor.num_rows or table.num_columns != len(COLUMNS):
            raise CorpusError(f"{where} holds {len(table)} rows of {table.column_names}, the manifest says {descriptor.num_rows} of {COLUMNS}")
        schema = self._schema
        image_BI = feature_matrix(table.column("image"), dtype=schema.image_dtype, width=schema.image_dim, where=f"{where}, image")
        text_BT = feature_matrix(table.column("text"), dtype=schema.text_dtype, width=schema.text_dim, where=f"{where}, text")
        self._verified.add((descriptor.file, descriptor.row_group))
        return PairBatch(table.column("pair_id").to_numpy(), image_BI, text_BT, schema.image_dtype, schema.text_dtype)

    def close(self) -> None:
        """Close all files and forget what was verified; the reader may be used again."""
        for file in self._files.values():
            file.close(force=True)
        self._files.clear()
        self._verified.clear()

    def _file(self, descriptor: Descriptor, path: str) -> pq.ParquetFile:
        verify = (descriptor.file, descriptor.row_group) not in self._verified
        if (descriptor.file, verify) not in self._files:
            self._files[descriptor.file, verify] = open_parquet(path, verify=verify)
        return self._files[descriptor.file, verify]


def prefetch(reader: RowGroupReader, descriptors: Iterable[Descriptor]) -> Iterator[tuple[Descriptor, PairBatch]]:
    """Row groups in order, the next one being read by one background thread while the present one is used.

    What the thread raises is raised here; closing the generator ends the thread.
    """
    waiting = iter(descriptors)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as thread:

        def submit() -> tuple[Descriptor, Future[PairBatch]] | None:
            descriptor = next(waiting, None)
            return None if descriptor is None else (descriptor, thread.submit(reader.read, descriptor))

        ahead = submit()
        while ahead is not None:
            descriptor, future = ahead
            batch = future.result()
            ahead = submit()
            yield descriptor, batch
