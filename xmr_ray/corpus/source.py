"""What a reader hands over: a schema, the number of rows of every split, and a function that reads any range of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from xmr_ray.component import Component
from xmr_ray.corpus.raw import RawRecords, RawSchema, Reject
from xmr_ray.corpus.schema import CorpusSchema, PairRecords
from xmr_ray.storage import digest_bytes
from xmr_ray.types import SPLITS, Split

Shard = tuple[Split, PairRecords]
RawShard = tuple[Split, RawRecords]


@dataclass(frozen=True)
class Source:
    """An outside dataset of features, ready to be written.

    `read(split, start, stop)` gives rows `start` to `stop` of a split in order, in batches of any size: always the same records, in any
    process (it travels to workers, so it holds paths and small tables, or arrays that were in memory anyway). Rows that it leaves out
    are told as rejects between the batches.
    """

    schema: CorpusSchema
    num_rows: Mapping[Split, int]
    read: Callable[[Split, int, int], Iterator[PairRecords | Reject]]

    @classmethod
    def of(cls, schema: CorpusSchema, shards: Iterable[Shard]) -> "Source":
        """Records that are in memory already, in batches of any size, splits mixed as they come."""
        held = _Held({split: [] for split in SPLITS})
        for split, records in shards:
            held.batches[split].append(records)
        return cls(schema, {split: sum(len(records) for records in batches) for split, batches in held.batches.items()}, held)

    def shards(self) -> Iterator[Shard]:
        """All records, split by split."""
        for split in SPLITS:
            for records in self.read(split, 0, self.num_rows[split]) if self.num_rows.get(split) else ():
                if not isinstance(records, Reject):
                    yield split, records


@dataclass(frozen=True)
class _Held:
    """Reads ranges of records in memory."""

    batches: Mapping[Split, list[PairRecords]]

    def __call__(self, split: Split, start: int, stop: int) -> Iterator[PairRecords]:
        first = 0
        for records in self.batches[split]:
            low, high = max(start - first, 0), min(stop - first, len(records))
            if low < high:
                yield records.slice(low, high)
            first += len(records)


@dataclass(frozen=True)
class RawSource:
    """As `Source`, of images and texts that no encoder has seen yet."""

    schema: RawSchema
    num_rows: Mapping[Split, int]
    read: Callable[[Split, int, int], Iterator[RawRecords]]

    def shards(self) -> Iterator[RawShard]:
        """All records, split by split."""
        for split in SPLITS:
            for records in self.read(split, 0, self.num_rows[split]) if self.num_rows.get(split) else ():
                yield split, records


def fingerprint(component: Component, *inputs: str, ignore: tuple[str, ...] = ()) -> str:
    """Hash of a component's settings and of the digests of what it reads; settings that only say where it lies are ignored.

    >>> fingerprint(Component(kind="npz"), "a") == fingerprint(Component(kind="npz"), "b")
    False
    """
    settings = component.model_dump_json(exclude=set(ignore))
    return digest_bytes("\n".join([settings, *inputs]).encode())
