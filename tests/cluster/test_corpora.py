import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from xmr_ray.cluster.corpora import embed_corpus, ingest_corpus
from xmr_ray.cluster.ingest import write_corpus
from xmr_ray.config import validate
from xmr_ray.corpus.check import check_corpus
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.raw_corpus import RawCorpus
from xmr_ray.corpus.truth import open_truth
from xmr_ray.errors import ConfigError, CorpusError, ReaderError, ResourceError

WORDS = ["sea", "sky", "cat", "dog"]


def picture(number, size=12):
    colours = np.random.default_rng(number).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(colours).resize((size, size), Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()


def folder_of_pictures(folder, num_pairs):
    folder.mkdir()
    rows = []
    for number in range(num_pairs):
        (folder / f"{number}.png").write_bytes(picture(number))
        split = "test" if number % 5 == 4 else "train"
        rows.append({"image": f"{number}.png", "text": f"{WORDS[number % 4]} {WORDS[number % 3]}", "labels": [WORDS[number % 4]], "split": split})
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def settings(folder, **corpus):
    reader = {"kind": "table", "path": str(folder / "pairs.jsonl"), "image": "image", "text": "text", "labels": "labels", "split_column": "split"}
    encoders = {"image": {"kind": "pixels", "grid": 2}, "text": {"kind": "tag_bow"}, "thumbnail": 8}
    content = {"path": str(folder / "corpus"), "reader": reader, "encoders": encoders, **corpus}
    return {"name": "raw", "storage_path": str(folder / "runs"), "corpus": content, "resources": {"num_cpus": 2}}


@pytest.fixture
def pictures(tmp_path):
    return folder_of_pictures(tmp_path / "p", 40)


def test_raw_pairs_are_ingested_then_encoded_and_truth_captions_and_thumbnails_come_along(pictures):
    experiment = validate(settings(pictures), where="test")
    raw = ingest_corpus(experiment)
    assert isinstance(raw, RawCorpus)
    assert raw.path == str(pictures / "corpus-raw")
    corpus = embed_corpus(experiment)
    assert (corpus.num_pairs("train"), corpus.num_pairs("test")) == (32, 8)
    assert (corpus.schema.image_dim, corpus.schema.text_dim) == (12, 4)
    assert check_corpus(corpus.path).ok
    ids = corpus.pair_ids("train")
    items = corpus.items(ids)
    batch = corpus.read(corpus.descriptors("train")[0])
    for pair_id, image in zip(batch.pair_ids_B[:10], batch.images()[:10], strict=True):
        number = int(Path(items[int(pair_id)].uri).stem)
        colours = np.random.default_rng(number).integers(0, 256, (2, 2, 3), dtype=np.uint8).transpose(2, 0, 1).reshape(-1) / 255
        np.testing.assert_allclose(image, colours, atol=2e-3)
        assert items[int(pair_id)].caption == f"{WORDS[number % 4]} {WORDS[number % 3]}"
        assert items[int(pair_id)].thumbnail[:4] == b"RIFF"
        assert corpus.schema.class_names[open_truth(corpus, "train").take([pair_id]).classes[0]] == WORDS[number % 4]


def test_one_command_does_both_and_a_second_start_does_nothing(pictures):
    experiment = validate(settings(pictures), where="test")
    first = embed_corpus(experiment)
    stamps = {path: path.stat().st_mtime_ns for path in pictures.rglob("*")}
    assert embed_corpus(experiment).fingerprint == first.fingerprint
    assert {path: path.stat().st_mtime_ns for path in pictures.rglob("*")} == stamps


def test_broken_pictures_are_told_and_the_job_goes_on_up_to_a_limit(pictures):
    (pictures / "3.png").write_bytes(b"")
    (pictures / "7.png").write_bytes(picture(7)[:-40])
    (pictures / "8.png").unlink()
    content = settings(pictures)
    with pytest.raises(CorpusError, match=r"3 pairs could not be used, max_rejects is 0; .*/rejects/"):
        embed_corpus(validate(content, where="test"))
    content["corpus"]["encoders"]["max_rejects"] = 3
    corpus = embed_corpus(validate(content, where="test"))
    assert corpus.num_pairs("train") + corpus.num_pairs("test") == 37
    told = [json.loads(line) for path in sorted((pictures / "corpus" / "rejects").iterdir()) for line in path.read_text().splitlines()]
    assert sorted(Path(reject["uri"]).name for reject in told) == ["3.png", "7.png", "8.png"]
    assert all(reject["reason"] for reject in told)


def test_mended_pictures_are_read_when_failures_are_retried(pictures):
    (pictures / "3.png").write_bytes(b"")
    experiment = validate(settings(pictures), where="test")
    with pytest.raises(CorpusError, match=r"mend them and give --retry-failed"):
        embed_corpus(experiment)
    (pictures / "3.png").write_bytes(picture(3))
    with pytest.raises(CorpusError, match="1 pairs could not be used"):
        embed_corpus(experiment)
    corpus = embed_corpus(experiment, retry_failed=True)
    assert corpus.num_pairs("train") + corpus.num_pairs("test") == 40
    assert list((pictures / "corpus" / "rejects").iterdir()) == []


def test_raw_pairs_of_other_settings_or_of_another_place_are_not_taken_for_these(pictures):
    content = settings(pictures)
    embed_corpus(validate(content, where="test"))
    reader = content["corpus"]["reader"]
    with pytest.raises(CorpusError, match="made from something else or with other settings"):
        embed_corpus(validate({**content, "corpus": {**content["corpus"], "reader": {**reader, "text": "split"}}}, where="test"))
    with pytest.raises(CorpusError, match=r"first picture at .*/p/0\.png, now it is at /elsewhere/0\.png; remove .*/corpus-raw"):
        ingest_corpus(validate({**content, "corpus": {**content["corpus"], "reader": {**reader, "images": "/elsewhere"}}}, where="test"))
    (pictures / "pairs.jsonl").unlink()
    with pytest.raises(ReaderError, match=r"no such file.*leave corpus\.reader out .* are complete"):
        embed_corpus(validate(content, where="test"))
    assert embed_corpus(validate({**content, "corpus": {**content["corpus"], "reader": None}}, where="test")).num_pairs("train") == 32


def test_a_driver_without_a_gpu_learns_the_widths_for_a_cluster_that_has_some(pictures, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    content = settings(pictures)
    content["resources"] |= {"use_gpu": True, "address": "cluster:6379"}
    content["corpus"]["encoders"]["precision"] = "bf16"
    asked = []

    def watched(source, *arguments, **options):
        asked.append(source.schema)
        return write_corpus(source, *arguments, **options)

    monkeypatch.setattr("xmr_ray.cluster.corpora.write_corpus", watched)

    def no_session(resources):
        raise ResourceError(f"no Ray at {resources.address}")

    monkeypatch.setattr("xmr_ray.cluster.ingest.open_session", no_session)
    with pytest.raises(ResourceError, match="no Ray at cluster:6379"):
        embed_corpus(validate(content, where="test"))
    assert (asked[-1].image_dim, asked[-1].text_dim) == (12, 4)


def test_what_cannot_be_done_is_said(pictures):
    content = settings(pictures)
    with pytest.raises(ConfigError, match=r"corpus\.encoders is not set"):
        embed_corpus(validate({**content, "corpus": {**content["corpus"], "encoders": None}}, where="test"))
    with pytest.raises(ConfigError, match=r"corpus\.reader is not set"):
        ingest_corpus(validate({**content, "corpus": {**content["corpus"], "reader": None}}, where="test"))
    with pytest.raises(CorpusError, match="no raw pairs here"):
        embed_corpus(validate({**content, "corpus": {**content["corpus"], "reader": None}}, where="test"))
    synthetic = {"kind": "synthetic", "num_train": 40, "num_validation": 0, "num_test": 10}
    with pytest.raises(ConfigError, match="'synthetic' gives features, which need no encoders"):
        embed_corpus(validate({**content, "corpus": {**content["corpus"], "reader": synthetic}}, where="test"))


def test_a_gpu_that_is_not_there_is_refused_before_anything_is_encoded(pictures, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    content = settings(pictures)
    content["resources"]["use_gpu"] = True
    with pytest.raises(ResourceError, match="no GPU that torch can use"):
        embed_corpus(validate(content, where="test"))
    assert not (pictures / "corpus").exists()


@pytest.mark.ray
def test_actors_encode_what_one_process_encodes(session, tmp_path):
    pictures = folder_of_pictures(tmp_path / "p", 60)
    whole = embed_corpus(validate(settings(pictures), where="test"))
    many = embed_corpus(
        validate(settings(pictures, path=str(pictures / "many"), raw_path=str(pictures / "corpus-raw"), rows_per_file=8), where="test")
    )
    assert [entry.rows for entry in many.manifest.splits["train"]] == [8] * 6
    for split in ("train", "test"):
        read = [[corpus.read(descriptor) for descriptor in corpus.descriptors(split)] for corpus in (whole, many)]
        ids, images, texts = ([np.concatenate([get(batch) for batch in batches]) for batches in read] for get in PARTS)
        np.testing.assert_array_equal(ids[0], ids[1])
        np.testing.assert_array_equal(images[0], images[1])
        np.testing.assert_array_equal(texts[0], texts[1])


@pytest.mark.ray
def test_too_many_rejects_end_the_job_and_nothing_runs_on(pictures):
    import ray

    for number in (3, 5, 7):
        (pictures / f"{number}.png").write_bytes(b"")
    experiment = validate(settings(pictures, rows_per_file=4), where="test")
    before = ray.is_initialized()  # the session that other tests share may be open
    with pytest.raises(CorpusError, match="max_rejects is 0"):
        embed_corpus(experiment)
    time.sleep(3)
    assert ray.is_initialized() == before
    for number in (3, 5, 7):
        (pictures / f"{number}.png").write_bytes(picture(number))
    assert embed_corpus(experiment, retry_failed=True).num_rows == {"train": 32, "test": 8}


PARTS = (lambda batch: batch.pair_ids_B, lambda batch: batch.images(), lambda batch: batch.texts())


def wait_for_parts(driver, parts, *, count):
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and (not parts.is_dir() or len(list(parts.glob("*-0*.json"))) < count) and driver.poll() is None:
        time.sleep(0.02)


@pytest.mark.integration  # four sessions of Ray, and kills that depend on the moment
@pytest.mark.timeout(600)
@pytest.mark.parametrize("verb", ["ingest", "embed"])
def test_a_driver_that_is_killed_goes_on_where_it_was(tmp_path, verb):
    if verb == "embed":
        content = settings(folder_of_pictures(tmp_path / "p", 400), rows_per_file=4)
    else:
        reader = {"kind": "synthetic", "num_train": 8000, "num_validation": 0, "num_test": 2000, "image_dim": 64, "text_dim": 32}
        content = {"name": "s", "corpus": {"path": str(tmp_path / "c"), "reader": reader, "rows_per_file": 100}, "resources": {"num_cpus": 2}}
    config, path = tmp_path / "job.yaml", Path(content["corpus"]["path"])
    config.write_text(yaml.safe_dump(content))
    command = [sys.executable, "-m", "xmr_ray", verb, "-c", str(config)]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    with subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
        wait_for_parts(driver, path / "parts", count=3)
        os.killpg(driver.pid, signal.SIGKILL)
    stamps = {part: part.stat().st_mtime_ns for part in (path / "parts").glob("*.json")}
    with pytest.raises(CorpusError, match="no corpus here"):
        PairedCorpus.open(str(path))
    assert 3 <= len(stamps) < 100
    subprocess.run(command, env=environment, check=True, timeout=300, stdout=subprocess.DEVNULL)
    corpus = PairedCorpus.open(str(path))
    assert check_corpus(corpus.path).ok
    assert {part: part.stat().st_mtime_ns for part in stamps} == stamps
    assert corpus.num_pairs("train") == 4 * corpus.num_pairs("test") == (8000 if verb == "ingest" else 320)
    leftover = [file for file in path.rglob("*") if ".part-" in file.name]
    assert len({int(i) for split in corpus.splits for i in corpus.pair_ids(split)}) == corpus.num_pairs("train") * 5 // 4
    assert leftover == [], "what a killed writer left behind is removed when the corpus is finished"
