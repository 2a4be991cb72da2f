"""A small corpus with pictures, one without, and experiment folders written as the loop writes them."""

import json
import struct
import zlib
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pytest

from xmr_ray import storage
from xmr_ray.corpus.columns import feature_array, feature_field
from xmr_ray.corpus.schema import CorpusSchema, PairRecords
from xmr_ray.corpus.source import Source
from xmr_ray.labels.annotators import Answers
from xmr_ray.labels.ledger import write_receipt
from xmr_ray.readers.ingest import ingest
from xmr_ray.runs.directory import RunDirectory
from xmr_ray.types import DirectionReport, LabelSet, RetrievalReport, Selection, narrow

CLASSES = ("animal", "plant", "tool", "<b>bold</b>")


def tiny_png(grey):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes([0, grey]))) + chunk(b"IEND", b"")


def labels_of(pair_id):
    return sorted({pair_id % 4, (pair_id // 4) % 4})


def write_corpus(path, *, pictured):
    schema = CorpusSchema(image_dim=3, text_dim=2, class_names=CLASSES, source="a test", has_captions=pictured, has_thumbnails=pictured)
    rng = np.random.default_rng(0)
    shards = []
    for split, ids in (("train", range(40)), ("test", range(100, 130))):
        captions = [f"<script>alert({i})</script> & picture {i}" for i in ids] if pictured else None
        thumbnails = [None if i == 3 else tiny_png(i) for i in ids] if pictured else None
        records = PairRecords(
            pair_ids=np.array(ids, dtype=np.int64),
            image=rng.normal(size=(len(ids), 3)),
            text=rng.normal(size=(len(ids), 2)),
            labels=[labels_of(i) for i in ids],
            captions=captions,
            thumbnails=thumbnails,
        )
        shards.append((split, records))
    return ingest(Source.of(schema, shards), str(path))


def retrieval(i2t, t2i):
    def direction(value):
        return DirectionReport(value, value + 0.1, {1: value / 10, 5: value / 5, 10: value / 2}, num_queries=30, num_without_relevant=0)

    return RetrievalReport(direction(i2t), direction(t2i))


def round_report(index, arm, seed, *, labels, space="prob", num_validation_labels=0, **spaces):
    """`spaces` maps a space to its (i2t, t2i) mAP."""
    found = {name: retrieval(*pair) for name, pair in spaces.items()}
    return {
        "round": index,
        "arm": arm,
        "seed": seed,
        "num_bought": labels - num_validation_labels,
        "num_cannot_tell": 0,
        "num_validation_labels": num_validation_labels,
        "space": space,
        "retrieval": {name: asdict(report) | {"map_mean": report.map_mean} for name, report in found.items()},
        "training": {"temperature": 1.5},
        "seconds": {"train": 10.0 + seed, "evaluate": 2.0},
    }


def write_run(experiment, arm, seed, curve, *, space="prob", num_validation_labels=0):
    """A run whose round k has `curve[k]` = (labels, i2t, t2i); the other space lies .02 below."""
    run = RunDirectory(storage.join(str(experiment), f"{arm}-s{seed}"))
    run.begin("name: test\n", f"{arm}{seed}" + "0" * 60)
    for index, (labels, i2t, t2i) in enumerate(curve):
        spaces = {space: (i2t, t2i), "feature" if space == "prob" else "prob": (i2t - 0.02, t2i - 0.02)}
        report = round_report(index, arm, seed, labels=labels, space=space, num_validation_labels=num_validation_labels, **spaces)
        run.round(index).write_report(report)
    return run


def write_purchase(place, pair_ids, *, answered=True, cannot_tell=(), reasons=None):
    ids = np.array(pair_ids, dtype=np.int64)
    place.write_selection(Selection(ids, np.linspace(0.9, 0.1, len(ids)), reasons or {}))
    if answered:
        known = [i for i in pair_ids if i not in cannot_tell]
        write_receipt(place.receipt, Answers(LabelSet.of(known, [labels_of(i) for i in known]), np.array(cannot_tell, dtype=np.int64)))


def write_description(place, *, numbers=None, num_pool=30, bought=(5, 4)):
    """Diagnostics and the picture of a purchase; `bought[k]` pairs of round k are on it. Points of round k lie around (k, 2k)."""
    content = {"kl": 0.5, "mmd_squared": -0.00012, "cells_touched": 6, "num_cells": 9, "variance_shown": 0.42, "space": "fused"}
    storage.write_whole(place.diagnostics, json.dumps(content | (numbers or {})).encode())
    rounds = np.repeat([-1, *range(len(bought))], [num_pool, *bought])
    noise = np.random.default_rng(0).normal(size=(2, len(rounds))) * np.where(rounds < 0, 1.0, 0.1)
    columns = {"pair_id": np.arange(len(rounds)), "x": rounds + noise[0], "y": 2 * rounds + noise[1], "round": rounds}
    storage.write_table(place.space, pa.table(columns))


def write_embeddings(place, pair_ids, matrices, *, dtype="f32", rows_per_file=16):
    """`matrices` maps image_embedding, text_embedding, image_probability, text_probability to (N, D)."""
    for index, start in enumerate(range(0, len(pair_ids), rows_per_file)):
        rows = slice(start, start + rows_per_file)
        fields = [
            pa.field("pair_id", pa.int64(), nullable=False),
            *(feature_field(name, dtype, values.shape[1]) for name, values in matrices.items()),
        ]
        arrays = [feature_array(narrow(np.ascontiguousarray(values[rows], dtype=np.float32), dtype), dtype) for values in matrices.values()]
        table = pa.Table.from_arrays([pa.array(pair_ids[rows]), *arrays], schema=pa.schema(fields))
        storage.write_table(storage.join(place.folder("embeddings"), f"test-{index:06d}.parquet"), table)


def random_matrices(num, seed=0):
    rng = np.random.default_rng(seed)
    widths = {"image_embedding": 6, "text_embedding": 6, "image_probability": 4, "text_probability": 4}
    return {name: rng.random((num, width)).astype(np.float32) for name, width in widths.items()}


@pytest.fixture(scope="session")
def pictured(tmp_path_factory):
    """40 train and 30 test pairs with captions that hold markup; pair 3 has no thumbnail."""
    return write_corpus(tmp_path_factory.mktemp("report") / "pictured", pictured=True)


@pytest.fixture(scope="session")
def bare(tmp_path_factory):
    """The same pairs without captions and thumbnails."""
    return write_corpus(tmp_path_factory.mktemp("report") / "bare", pictured=False)


@pytest.fixture(scope="session")
def make():
    """The writers of this file, for tests to call."""

    class Writers:
        run = staticmethod(write_run)
        purchase = staticmethod(write_purchase)
        description = staticmethod(write_description)
        embeddings = staticmethod(write_embeddings)
        matrices = staticmethod(random_matrices)
        report = staticmethod(round_report)
        labels_of = staticmethod(labels_of)
        png = staticmethod(tiny_png)

    return Writers
