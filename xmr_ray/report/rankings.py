"""Retrieval examples: a few test queries, chosen by their ids alone, against the whole gallery."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from xmr_ray import storage
from xmr_ray.corpus.columns import feature_matrix
from xmr_ray.corpus.schema import Item
from xmr_ray.report.cards import Card, make_card
from xmr_ray.runs.directory import RoundDirectory
from xmr_ray.scoring.outputs import EMBEDDINGS
from xmr_ray.scoring.spaces import SPACES, space_of
from xmr_ray.types import FeatureDtype, Floats, Ids, LabelSet, widen

Direction = Literal["i2t", "t2i"]


@dataclass(frozen=True)
class Ranking:
    """A query and the gallery's best items for it, with their cosines."""

    query: int
    retrieved_K: Ids
    similarity_K: Floats


@dataclass(frozen=True)
class RetrievedItem:
    """An item of a ranking; `relevant` is None where the labels of the query or of the item are not known."""

    card: Card
    similarity: float
    relevant: bool | None
    shared: tuple[str, ...]
    own: bool


@dataclass(frozen=True)
class Example:
    """A query with its retrieved items, ready for the page."""

    query: Card
    retrieved: tuple[RetrievedItem, ...]
    num_relevant: int | None


def query_order(pair_ids_N: Ids) -> Ids:
    """Ids in the order of a fixed hash (the finaliser of splitmix64), which knows nothing of results.

    >>> query_order(np.arange(6)).tolist() == query_order(np.arange(6)[::-1]).tolist()
    True
    """
    bits = pair_ids_N.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return pair_ids_N[np.argsort(bits ^ (bits >> np.uint64(31)), kind="stable")]


def gallery_files(directory: RoundDirectory, split: str = "test") -> list[str]:
    """Files of the round's embeddings of the split that measured; none if they were dropped."""
    folder = directory.folder("embeddings")
    return [storage.join(folder, name) for name in storage.list_names(folder) if name.startswith(f"{split}-") and name.endswith(".parquet")]


def can_rank(space: str) -> bool:
    """Whether examples can be drawn in this space."""
    return space in SPACES


def rank_examples(files: Sequence[str], *, space: str, direction: Direction, num_queries: int, num_retrieved: int) -> list[Ranking]:
    """Rankings by cosine of a few queries over the gallery, read one file at a time; equal cosines are ordered by id."""
    ids = [storage.read_table(file, ["pair_id"])["pair_id"].to_numpy() for file in files]
    queries = query_order(np.concatenate(ids))[:num_queries]
    query_ids = np.concatenate([found[np.isin(found, queries)] for found in ids])
    query_QD = np.concatenate([sides[direction][0][np.isin(found, queries)] for found, sides in _read(files, space)])
    best: dict[int, tuple[Ids, Floats]] = {int(query): (np.empty(0, np.int64), np.empty(0, np.float32)) for query in queries}
    for found, sides in _read(files, space):
        cosines_QG = query_QD @ sides[direction][1].T
        for query, cosines_G in zip(query_ids.tolist(), cosines_QG, strict=True):
            best[query] = _better(best[query], found, cosines_G, num_retrieved)
    return [Ranking(query, *best[query]) for query in best]


def _better(kept: tuple[Ids, Floats], ids_G: Ids, similarity_G: Floats, num: int) -> tuple[Ids, Floats]:
    ids = np.concatenate([kept[0], ids_G])
    similarity = np.concatenate([kept[1], similarity_G])
    order = np.lexsort((ids, -similarity))[:num]
    return ids[order], similarity[order]


def _read(files: Sequence[str], space: str) -> Iterator[tuple[Ids, dict[Direction, tuple[Floats, Floats]]]]:
    for file in files:
        table = storage.read_table(file, ["pair_id", *EMBEDDINGS])
        image_BD, text_BD = space_of({column: _matrix(table, column, file) for column in EMBEDDINGS}, space)
        yield table["pair_id"].to_numpy(), {"i2t": (image_BD, text_BD), "t2i": (text_BD, image_BD)}


def _matrix(table: pa.Table, column: str, file: str) -> Floats:
    metadata = table.schema.field(column).metadata
    dtype: FeatureDtype = metadata[b"dtype"].decode()
    return widen(feature_matrix(table[column], dtype=dtype, width=int(metadata[b"width"]), where=f"{file}, {column}"), dtype)


def view_example(ranking: Ranking, items: Mapping[int, Item], labels_of: Callable[[int], tuple[str, ...] | None]) -> Example:
    """A ranking with pictures, titles and relevance: an item is relevant if it shares a label with the query."""
    wanted = labels_of(ranking.query)
    retrieved = []
    for pair_id, similarity in zip(ranking.retrieved_K.tolist(), ranking.similarity_K.tolist(), strict=True):
        labels = labels_of(pair_id)
        shared = tuple(name for name in labels if name in wanted) if labels is not None and wanted is not None else ()
        relevant = None if labels is None or wanted is None else bool(shared)
        retrieved.append(RetrievedItem(make_card(pair_id, items.get(pair_id), labels), similarity, relevant, shared, pair_id == ranking.query))
    known = [item.relevant for item in retrieved if item.relevant is not None]
    query = make_card(ranking.query, items.get(ranking.query), wanted)
    return Example(query, tuple(retrieved), sum(known) if len(known) == len(retrieved) and known else None)


def chance_level(labels: LabelSet, *, most: int = 500) -> float:
    """Share of the gallery that is relevant to a query, mean over at most `most` hash-chosen queries: about what a random ranking gives.

    >>> chance_level(LabelSet.of([1, 2, 3, 4], [[0], [0], [1], [0, 1]]))
    0.75
    """
    num_classes = int(labels.classes.max(initial=0)) + 1
    queries_QC = labels.dense(query_order(labels.pair_ids_L)[:most], num_classes=num_classes)
    shares = []
    for start in range(0, len(labels), 8192):
        gallery_GC = labels.dense(labels.pair_ids_L[start : start + 8192], num_classes=num_classes)
        shares.append(int((queries_QC @ gallery_GC.T > 0).sum()))
    return sum(shares) / (len(queries_QC) * len(labels))
