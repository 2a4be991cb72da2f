"""Opening raw pairs on disk: any range of a split can be read, in any process."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from xmr_ray.corpus.raw import RawRecords, RawSchema
from xmr_ray.corpus.schema import RAW_MANIFEST_FILE
from xmr_ray.corpus.sinks import RawManifest
from xmr_ray.corpus.stream import open_parquet
from xmr_ray.errors import CorpusError
from xmr_ray.storage import digest_bytes, exists, join, read_bytes, size_of
from xmr_ray.types import Split

BATCH_ROWS = 256


@dataclass(frozen=True)
class RawCorpus:
    """Raw pairs as `xmr-ray ingest` wrote them."""

    path: str
    manifest: RawManifest

    @classmethod
    def open(cls, path: str) -> "RawCorpus":
        """Open the raw pairs at a local path or URI.

        Raises:
            CorpusError: there are none, or a file is missing or has another size than the manifest says.
        """
        manifest_path = join(path, RAW_MANIFEST_FILE)
        if not exists(manifest_path):
            raise CorpusError(f"{path}: no raw pairs here ({manifest_path} does not exist); run `xmr-ray ingest` or correct corpus.raw_path")
        try:
            manifest = RawManifest.model_validate_json(read_bytes(manifest_path))
        except ValidationError as error:
            raise CorpusError(f"{manifest_path}: not a manifest of raw pairs ({error.errors()[0]['msg']}); ingest them again") from error
        for entry in (entry for files in manifest.splits.values() for entry in files):
            if size_of(join(path, entry.file)) != entry.bytes:
                raise CorpusError(f"{join(path, entry.file)}: is missing or not {entry.bytes} bytes long; ingest the raw pairs again")
        return cls(path, manifest)

    @property
    def schema(self) -> RawSchema:
        """Classes and source."""
        return self.manifest.raw

    @property
    def num_rows(self) -> Mapping[Split, int]:
        """Rows of every split."""
        return {split: sum(entry.rows for entry in files) for split, files in self.manifest.splits.items()}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the manifest, and through its hashes of every file."""
        return digest_bytes(self.manifest.model_dump_json().encode())

    def texts(self, split: Split) -> Iterator[str]:
        """Every text of a split, in order."""
        for entry in self.manifest.splits.get(split, ()):
            with open_parquet(join(self.path, entry.file)) as file:
                for batch in file.iter_batches(batch_size=8192, columns=["text"], use_threads=False):
                    yield from batch.column(0).to_pylist()

    def read(self, split: Split, start: int, stop: int) -> Iterator[RawRecords]:
        """Rows `start` to `stop` of a split, in batches of at most 256; checksums are verified. Raises `CorpusError` on damage."""
        first = 0
        for entry in self.manifest.splits.get(split, ()):
            low, high = max(start, first), min(stop, first + entry.rows)
            if low < high:
                yield from self._read_file(entry.file, low - first, high - first)
            first += entry.rows

    def _read_file(self, name: str, start: int, stop: int) -> Iterator[RawRecords]:
        path, row = join(self.path, name), 0
        with open_parquet(path) as file:
            wanted = []
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if row < stop and row + rows > start:
                    wanted.append((group, row))
                row += rows
            for group, first in wanted:
                try:
                    for at, batch in enumerate(file.iter_batches(batch_size=BATCH_ROWS, row_groups=[group], use_threads=False)):
                        here = first + at * BATCH_ROWS
                        low, high = max(start - here, 0), min(stop - here, len(batch))
                        if low < high:
                            yield _records(batch.slice(low, high - low).to_pydict())
                except (OSError, pa.ArrowException) as error:
                    raise CorpusError(f"{path}: row group {group} cannot be read ({error}); ingest the raw pairs again") from error


def _records(columns: dict[str, list[Any]]) -> RawRecords:
    ids = pa.array(columns["pair_id"], pa.int64()).to_numpy()
    return RawRecords(ids, columns["text"], columns["uri"], columns["image"], columns.get("labels"))
