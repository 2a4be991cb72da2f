import importlib
import os
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pyarrow import fs

from xmr_ray import object_store, storage
from xmr_ray.cluster import ingest
from xmr_ray.cluster.ingest import PartWriter, write_corpus, write_outcome
from xmr_ray.config import CorpusSettings, Resources
from xmr_ray.corpus import shards, stream
from xmr_ray.corpus.check import check_corpus
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.parts import plan_parts
from xmr_ray.corpus.raw import RawRecords, RawSchema, Reject
from xmr_ray.corpus.raw_corpus import RawCorpus
from xmr_ray.corpus.source import RawSource
from xmr_ray.errors import CorpusError, ReaderError, RunError
from xmr_ray.readers.ingest import ingest as write_here
from xmr_ray.readers.ingest import write
from xmr_ray.readers.synthetic import SyntheticReader
from xmr_ray.runs import lease
from xmr_ray.runs.lease import Term
from xmr_ray.runs.lock import exclusive

READER = SyntheticReader(num_train=900, num_validation=40, num_test=100, image_dim=6, text_dim=5)
SETTINGS = CorpusSettings(path="unused", rows_per_file=100)
FEW = CorpusSettings(path="unused", rows_per_file=1000)
RESOURCES = Resources(num_cpus=2)


def first_time(marker):
    """Whether this is the first call with this file, over all processes."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def dies_once(read, marker, split, start, stop):
    if start == 300 and first_time(marker):
        os._exit(1)
    yield from read(split, start, stop)


def fails_once(read, marker, split, start, stop):
    if split == "train" and start in {300, 500} and first_time(f"{marker}{start}"):
        raise ReaderError(f"rows from {start} cannot be read")
    yield from read(split, start, stop)


def leaves_out(read, split, start, stop):
    for records in read(split, start, stop):
        yield records.slice(0, len(records) - 2)
        for pair_id in records.pair_ids[-2:]:
            yield Reject(int(pair_id), None, "broken on purpose")


@pytest.mark.ray
def test_actors_write_what_one_process_writes(session, tmp_path):
    here = write_here(READER.read(), str(tmp_path / "here"), rows_per_file=100)
    there = write_corpus(READER.read(), str(tmp_path / "there"), SETTINGS, RESOURCES)
    assert there.fingerprint == here.fingerprint
    assert check_corpus(there.path).ok
    assert [entry.rows for entry in there.manifest.splits["train"]] == [100] * 9


@pytest.mark.ray
def test_a_worker_that_dies_costs_nothing(session, tmp_path):
    source = READER.read()
    dying = replace(source, read=partial(dies_once, source.read, str(tmp_path / "died")))
    corpus = write_corpus(dying, str(tmp_path / "c"), SETTINGS, RESOURCES)
    assert (tmp_path / "died").exists()
    assert corpus.fingerprint == write_here(source, str(tmp_path / "here"), rows_per_file=100).fingerprint


@pytest.mark.ray
def test_parts_that_fail_are_told_and_only_they_are_done_again(session, tmp_path):
    source = READER.read()
    failing = replace(source, read=partial(fails_once, source.read, str(tmp_path / "failed")))
    path = str(tmp_path / "c")
    with pytest.raises(CorpusError, match="2 of 11 parts failed, the first is train-00003: ReaderError: rows from 300 cannot be read"):
        write_corpus(failing, path, SETTINGS, RESOURCES)
    kept = {file: file.stat().st_mtime_ns for file in Path(path, "train").iterdir()}
    assert len(kept) == 7
    with pytest.raises(CorpusError, match=r"2 parts failed before, the first is train-00003: .*--retry-failed"):
        write_corpus(failing, path, SETTINGS, RESOURCES)
    corpus = write_corpus(failing, path, SETTINGS, RESOURCES, retry_failed=True)
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert corpus.num_pairs("train") == 900
    assert write_corpus(failing, path, SETTINGS, RESOURCES).fingerprint == corpus.fingerprint


def test_few_parts_need_no_ray(tmp_path, monkeypatch):
    monkeypatch.setattr(ingest, "open_session", None)
    assert write_corpus(READER.read(), str(tmp_path / "c"), FEW, RESOURCES).num_pairs("train") == 900


def test_pairs_left_out_are_counted_over_all_starts(tmp_path):
    source = READER.read()
    short = replace(source, read=partial(leaves_out, source.read))
    path = str(tmp_path / "c")
    with pytest.raises(CorpusError, match=r"4 pairs could not be used, max_rejects is 3; .*/rejects/ says which and why"):
        write_corpus(short, path, FEW, RESOURCES, max_rejects=3)
    with pytest.raises(CorpusError, match="max_rejects is 5"):
        write_corpus(short, path, FEW, RESOURCES, max_rejects=5)
    corpus = write_corpus(short, path, FEW, RESOURCES, max_rejects=6)
    assert [corpus.num_pairs(split) for split in corpus.splits] == [898, 38, 98]
    assert len(Path(path, "rejects", "train-00000.jsonl").read_text().splitlines()) == 2


def raw_rows(split, start, stop):
    ids = np.arange(start, stop) + (0 if split == "train" else 1000)
    yield RawRecords(ids, [f"t{i}" for i in ids], [f"/{i}.jpg" for i in ids])


def test_raw_pairs_become_a_raw_corpus(tmp_path):
    source = RawSource(RawSchema(class_names=("a",)), {"train": 30, "test": 5}, raw_rows)
    found = write_corpus(source, str(tmp_path / "r"), FEW, RESOURCES)
    assert isinstance(found, RawCorpus)
    assert found.num_rows == {"train": 30, "test": 5}
    assert write_corpus(source, str(tmp_path / "r"), FEW, RESOURCES) == found


def test_another_source_does_not_replace_what_is_finished(tmp_path):
    write_corpus(READER.read(), str(tmp_path / "c"), FEW, RESOURCES)
    with pytest.raises(CorpusError, match="a finished corpus lies here"):
        write_corpus(READER.model_copy(update={"seed": 4}).read(), str(tmp_path / "c"), FEW, RESOURCES)


def test_an_outcome_is_told_and_remembered(tmp_path):
    source = READER.read()
    (part, *_) = plan_parts(source.num_rows, rows_per_file=1000)
    assert write_outcome(source, str(tmp_path / "c"), part) == (0, "")
    broken = replace(source, read=partial(fails_once, source.read, str(tmp_path / "x")))
    (_, _, _, part, *_) = plan_parts(source.num_rows, rows_per_file=100)
    assert write_outcome(broken, str(tmp_path / "c"), part) == (0, "ReaderError: rows from 300 cannot be read")
    assert (tmp_path / "c" / "parts" / "train-00003.failed.json").exists()


@pytest.mark.ray
def test_a_writer_tells_of_every_part_of_its_block(session, tmp_path):
    import ray

    source = READER.read()
    parts = plan_parts(source.num_rows, rows_per_file=450)
    writer = PartWriter(str(tmp_path / "c"), [ray.put(source)], parts, threads=1)
    told = writer({"index": np.array([1, 3])})
    assert (told["index"].tolist(), told["rejected"].tolist(), told["error"].tolist()) == ([1, 3], [0, 0], ["", ""])
    assert sorted(path.name for path in (tmp_path / "c" / "parts").iterdir()) == ["test-00000.json", "train-00001.json"]


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """A stand-in for an object store: a folder that is no LocalFileSystem, conditional writes in obstore's store in memory, leases of 1.5 s."""
    pytest.importorskip("obstore")
    memory, real = importlib.import_module("obstore.store").MemoryStore(), storage.resolve
    inside = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())

    def resolve(path):
        return (inside, path.removeprefix("s3://")) if path.startswith("s3://") else real(path)

    for module in (storage, shards, stream):
        monkeypatch.setattr(module, "resolve", resolve)
    monkeypatch.setattr(object_store, "_bucket", lambda root: memory)
    monkeypatch.setattr(lease, "EXPIRY_S", 1.5)
    monkeypatch.setattr(lease, "RENEWAL_S", 0.1)
    return "s3://bucket"


@pytest.fixture(params=["local", "object store"])
def path(request, tmp_path):
    return str(tmp_path / "c") if request.param == "local" else request.getfixturevalue("bucket") + "/c"


def test_two_processes_do_not_write_one_corpus(path):
    with exclusive(f"{path}/parts"), pytest.raises(RunError, match="another process works here"):
        write_corpus(READER.read(), path, FEW, RESOURCES)
    with exclusive(f"{path}/parts"), pytest.raises(RunError, match="another process works here"):
        write_here(READER.read(), path)
    assert storage.list_names(path) == ["parts"] * storage.exists(f"{path}/parts")
    assert write_corpus(READER.read(), path, FEW, RESOURCES).num_pairs("train") == 900


def test_what_another_finished_meanwhile_is_not_written_over(tmp_path, monkeypatch):
    @contextmanager
    def after_another(folder):
        write_here(READER.read(), str(Path(folder).parent))
        yield dict

    monkeypatch.setattr(ingest, "exclusive", after_another)
    first = write_here(READER.read(), str(tmp_path / "here"))
    assert write_corpus(READER.read(), str(tmp_path / "same"), FEW, RESOURCES).fingerprint == first.fingerprint
    with pytest.raises(CorpusError, match="a finished corpus lies here"):
        write_corpus(READER.model_copy(update={"seed": 4}).read(), str(tmp_path / "other"), FEW, RESOURCES)
    assert PairedCorpus.open(str(tmp_path / "other")).fingerprint == first.fingerprint


def test_in_an_object_store_a_dead_writers_lease_runs_out_and_its_parts_are_kept(bucket, tmp_path):
    source, path = READER.read(), f"{bucket}/c"
    (part, *_) = plan_parts(source.num_rows, rows_per_file=1000)
    write(source, path, part)
    written = (tmp_path / "bucket/c/train/pairs-00000.parquet").stat().st_mtime_ns
    object_store.create(f"{path}/parts/lease.json", Term("dead", 4, time.time() + 1e6).to_json())
    started = time.monotonic()
    corpus = write_corpus(source, path, FEW, RESOURCES)
    assert time.monotonic() - started >= 1.5
    assert (tmp_path / "bucket/c/train/pairs-00000.parquet").stat().st_mtime_ns == written
    assert corpus.fingerprint == write_here(source, str(tmp_path / "here"), rows_per_file=1000).fingerprint
    term = Term.from_json(path, object_store.read(f"{path}/parts/lease.json").data)
    assert (term.number, term.expires) == (5, 0.0)


def overtaken(read, url, split, start, stop):
    if split == "validation":
        found = object_store.read(url)
        assert object_store.replace(url, Term("another", 2, time.time() + 1e6).to_json(), found.tag)
        time.sleep(0.5)
    yield from read(split, start, stop)


def test_a_writer_who_lost_its_lease_finishes_nothing(bucket):
    source, path = READER.read(), f"{bucket}/c"
    slow = replace(source, read=partial(overtaken, source.read, f"{path}/parts/lease.json"))
    with pytest.raises(RunError, match=r"the lease is lost \(another process has taken it over"):
        write_corpus(slow, path, FEW, RESOURCES)
    assert sorted(storage.list_names(f"{path}/parts")) == ["train-00000.json", "validation-00000.json"]
    assert not storage.exists(f"{path}/corpus.json")
    assert Term.from_json(path, object_store.read(f"{path}/parts/lease.json").data).owner == "another"


def test_a_finished_corpus_that_lost_a_file_is_mended_part_by_part(tmp_path):
    path = tmp_path / "c"
    first = write_here(READER.read(), str(path), rows_per_file=400)
    (path / "train" / "pairs-00001.parquet").unlink()
    with pytest.raises(CorpusError, match=r"is missing, .* remove corpus\.json there and ingest once more"):
        write_here(READER.read(), str(path), rows_per_file=400)
    (path / "corpus.json").unlink()
    kept = (path / "train" / "pairs-00000.parquet").stat().st_mtime_ns
    assert write_here(READER.read(), str(path), rows_per_file=400).fingerprint == first.fingerprint
    assert (path / "train" / "pairs-00000.parquet").stat().st_mtime_ns == kept
