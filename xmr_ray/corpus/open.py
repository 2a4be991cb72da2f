"""Opening a corpus: a manifest and a path, cheap to check, cheap to send."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib import resources

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xmr_ray.corpus import statistics
from xmr_ray.corpus.columns import ITEM_COLUMNS
from xmr_ray.corpus.schema import MANIFEST_FILE, CorpusSchema, Item, Manifest
from xmr_ray.corpus.stream import RowGroupReader, open_parquet
from xmr_ray.errors import CorpusError
from xmr_ray.storage import digest_bytes, exists, join, read_bytes, size_of
from xmr_ray.types import SPLITS, Descriptor, FeatureStatistics, Ids, PairBatch, Split

EMBEDDED = "embedded"


def corpus_root(path: str) -> str:
    """Where the files of a corpus lie; the name `embedded` means the corpus inside this package, on whichever machine this runs."""
    return str(resources.files("xmr_ray.corpus").joinpath("embedded")) if path == EMBEDDED else path


@dataclass(frozen=True)
class PairedCorpus:
    """A corpus on disk. It gives pairs and what a person sees of them; labels are behind `xmr_ray.corpus.truth`."""

    path: str
    manifest: Manifest

    @classmethod
    def open(cls, path: str) -> "PairedCorpus":
        """Open the corpus at a local path, a URI or `embedded`.

        Raises:
            CorpusError: no manifest, one that cannot be used, or a file that is missing or has another size than the manifest says.
        """
        root = corpus_root(path)
        manifest_path = join(root, MANIFEST_FILE)
        if not exists(manifest_path):
            raise CorpusError(f"{path}: no corpus here ({manifest_path} does not exist); run `xmr-ray ingest` or correct the path")
        manifest = Manifest.from_bytes(read_bytes(manifest_path), path=manifest_path)
        expected = {entry.file: entry.bytes for part in (manifest.splits, manifest.truth) for files in part.values() for entry in files}
        for file, num_bytes in {**expected, manifest.statistics.file: manifest.statistics.bytes}.items():
            size = size_of(join(root, file))
            if size != num_bytes:
                found = "is missing" if size is None else f"has {size} bytes"
                mend = f"copy the file again, or remove {MANIFEST_FILE} there and ingest once more: whole parts are kept"
                raise CorpusError(f"{join(root, file)}: {found}, the manifest says {num_bytes} bytes; {mend}")
        return cls(path, manifest)

    @property
    def root(self) -> str:
        """Where the files lie."""
        return corpus_root(self.path)

    @property
    def schema(self) -> CorpusSchema:
        """Dimensions, classes and storage types."""
        return self.manifest.corpus

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the manifest, and through its hashes of every file."""
        return self.manifest.fingerprint

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that hold pairs, in the order train, validation, test."""
        return tuple(split for split in SPLITS if self.num_pairs(split))

    @property
    def num_rows(self) -> dict[Split, int]:
        """Number of pairs of every split that holds any."""
        return {split: self.num_pairs(split) for split in self.splits}

    def num_pairs(self, split: Split) -> int:
        """Number of pairs of a split; 0 if there is no such split."""
        return sum(entry.rows for entry in self.manifest.splits.get(split, ()))

    def descriptors(self, split: Split) -> tuple[Descriptor, ...]:
        """Every row group of a split in order, from the manifest alone."""
        groups = [(entry.file, group, rows) for entry in self.manifest.splits.get(split, ()) for group, rows in enumerate(entry.row_groups)]
        return tuple(Descriptor(index, split, file, group, rows) for index, (file, group, rows) in enumerate(groups))

    def pair_ids(self, split: Split) -> Ids:
        """Ids of a split in the order of its descriptors, (N,) int64."""
        found = [np.empty(0, np.int64)]
        for entry in self.manifest.splits.get(split, ()):
            path = join(self.root, entry.file)
            with open_parquet(path) as file:
                found.append(_read(file, list(range(file.num_row_groups)), ["pair_id"], path=path).column("pair_id").to_numpy())
        return np.concatenate(found)

    def read_ids(self, descriptor: Descriptor) -> Ids:
        """The ids of one row group, (B,) int64, without its features."""
        path = join(self.root, descriptor.file)
        with open_parquet(path) as file:
            return _read(file, [descriptor.row_group], ["pair_id"], path=path).column("pair_id").to_numpy()

    def read(self, descriptor: Descriptor) -> PairBatch:
        """The pairs of one row group, verified; a `RowGroupReader` keeps files open for many of them."""
        reader = RowGroupReader(self)
        try:
            return reader.read(descriptor)
        finally:
            reader.close()

    def items(self, pair_ids: Iterable[int] | Ids) -> dict[int, Item]:
        """Caption, URI and thumbnail of some pairs; reads only what holds them, and no features.

        Raises:
            CorpusError: an id that is in no split.
        """
        wanted = np.unique(np.asarray(list(pair_ids), dtype=np.int64))
        columns = [name for name, has in ITEM_COLUMNS.items() if getattr(self.schema, has)]
        found: dict[int, Item] = {}
        for entry in (entry for split in self.splits for entry in self.manifest.splits[split]):
            if len(found) == len(wanted):
                break
            path = join(self.root, entry.file)
            with open_parquet(path) as file:
                groups = [group for group in range(file.num_row_groups) if _may_hold(file, group, wanted)]
                for group in groups:
                    found |= _items_of(_read(file, [group], ["pair_id", *columns], path=path), wanted)
        if len(found) < len(wanted):
            missing = next(int(pair_id) for pair_id in wanted if int(pair_id) not in found)
            raise CorpusError(f"{self.path}: no pair with pair_id {missing} in splits {', '.join(self.splits)}")
        return found

    def statistics(self) -> FeatureStatistics:
        """Mean and standard deviation per dimension of the train split; raises `CorpusError` if the file was changed."""
        entry = self.manifest.statistics
        path = join(self.root, entry.file)
        data = read_bytes(path)
        if digest_bytes(data) != entry.sha256:
            raise CorpusError(f"{path}: the bytes differ from the manifest's hash; copy or ingest the corpus again")
        return statistics.from_bytes(data, path=path)


def _read(file: pq.ParquetFile, groups: list[int], columns: list[str], *, path: str) -> pa.Table:
    try:
        return file.read_row_groups(groups, columns=columns, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise CorpusError(f"{path}: row groups {groups[0]} to {groups[-1]} cannot be read ({error}); run `xmr-ray doctor`") from error


def _may_hold(file: pq.ParquetFile, group: int, wanted: Ids) -> bool:
    limits = file.metadata.row_group(group).column(0).statistics
    if limits is None or not limits.has_min_max:
        return True
    return bool(np.searchsorted(wanted, limits.min, "left") < np.searchsorted(wanted, limits.max, "right"))


def _items_of(table: pa.Table, wanted: Ids) -> dict[int, Item]:
    rows = np.flatnonzero(np.isin(table.column("pair_id").to_numpy(), wanted))
    return {row["pair_id"]: Item(row.get("caption"), row.get("uri"), row.get("thumbnail")) for row in table.take(pa.array(rows)).to_pylist()}
