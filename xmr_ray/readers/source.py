"""What a reader hands over: a schema and a stream of records that can be started again."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from xmr_ray.component import Component
from xmr_ray.corpus.schema import CorpusSchema, PairRecords
from xmr_ray.storage import digest_bytes
from xmr_ray.types import Split

Shard = tuple[Split, PairRecords]


@dataclass(frozen=True)
class Source:
    """An outside dataset, ready to be written: every call of `shards` gives the same records from the start."""

    schema: CorpusSchema
    row_group_rows: int
    stream: Callable[[], Iterator[Shard]]

    def shards(self) -> Iterator[Shard]:
        """The records, batch by batch; splits may come in any order and mixed."""
        return self.stream()


def fingerprint(reader: Component, *inputs: str, ignore: tuple[str, ...] = ()) -> str:
    """Hash of a reader's settings and of the digests of what it reads; settings that only say where it lies are ignored.

    >>> fingerprint(Component(kind="npz"), "a") == fingerprint(Component(kind="npz"), "b")
    False
    """
    settings = reader.model_dump_json(exclude=set(ignore))
    return digest_bytes("\n".join([settings, *inputs]).encode())
