"""Inputs and corpora behind `s3://`, against a server that speaks S3 (moto) on loopback."""

import importlib.util
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
import yaml
from PIL import Image

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
PYTHON = os.environ.get("XMR_MOTO_PYTHON", sys.executable)  # moto may lie in an environment of its own


def has_moto():
    if sys.executable == PYTHON:
        return importlib.util.find_spec("moto") is not None
    return subprocess.run([PYTHON, "-c", "import moto.server"], check=False, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def endpoint():
    if not has_moto():
        pytest.skip("no S3 server: pip install 'moto[server]', or name a Python that has it in XMR_MOTO_PYTHON; `make test-integration` does it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen(
        [PYTHON, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        url = f"http://127.0.0.1:{port}"
        try:
            for _ in range(120):
                try:
                    urllib.request.urlopen(urllib.request.Request(f"{url}/bucket", method="PUT"), timeout=60).close()
                    break
                except OSError:
                    time.sleep(0.5)
            yield url
        finally:
            server.terminate()


@pytest.fixture
def environment(endpoint):
    inherited = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    account = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
    return {**inherited, **account, "AWS_ENDPOINT_URL": endpoint}


def put(endpoint, key, data):
    kind = {"Content-Type": "application/octet-stream"}
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/bucket/{key}", data=data, headers=kind, method="PUT"), timeout=60).close()


def picture(number):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def call(environment, *arguments):
    done = subprocess.run([sys.executable, "-m", "xmr_ray", *arguments], env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_pictures_and_a_table_on_s3_become_a_corpus_on_s3(environment, endpoint, tmp_path):
    rows = ["image,text,tags,part"]
    for number in range(50):
        put(endpoint, f"pictures/{number}.png", picture(number))
        rows.append(f"{number}.png,word{number % 3} word{number % 7},t{number % 2},{'test' if number % 5 == 4 else 'train'}")
    put(endpoint, "pairs.csv", "\n".join(rows).encode())
    table = {
        "kind": "table",
        "path": "s3://bucket/pairs.csv",
        "image": "image",
        "images": "s3://bucket/pictures",
        "labels": "tags",
        "split_column": "part",
    }
    corpus = {
        "path": "s3://bucket/corpora/p",
        "reader": table,
        "rows_per_file": 8,
        "encoders": {"image": {"kind": "pixels"}, "text": {"kind": "tag_bow"}},
    }
    config = tmp_path / "s3.yaml"
    config.write_text(
        yaml.safe_dump(
            {"name": "s3", "storage_path": str(tmp_path / "runs"), "corpus": corpus, "budget": {"total": 20, "seed_pairs": 10, "per_round": 10}}
        )
    )
    told = call(environment, "embed", "-c", str(config), "--json", "resources.num_cpus=2")
    assert told["pairs"] == {"train": 40, "test": 10}
    assert call(environment, "doctor", "-c", str(config), "--json")["findings"] == []
    assert call(environment, "embed", "-c", str(config), "--json") == told


def test_a_parquet_dataset_on_s3_is_ingested_and_a_run_reads_its_corpus_there(environment, endpoint, tmp_path):
    reader = {"kind": "synthetic", "num_train": 120, "num_validation": 0, "num_test": 30, "image_dim": 6, "text_dim": 5}
    first = {"name": "a", "corpus": {"path": "s3://bucket/corpora/a", "reader": reader}}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(first))
    call(environment, "ingest", "-c", str(tmp_path / "a.yaml"), "--json")
    parquet = {"kind": "parquet", "splits": {"train": "s3://bucket/corpora/a/train", "test": "s3://bucket/corpora/a/test"}, "pair_id": "pair_id"}
    (tmp_path / "b.yaml").write_text(yaml.safe_dump({"name": "b", "corpus": {"path": "s3://bucket/corpora/b", "reader": parquet}}))
    assert call(environment, "ingest", "-c", str(tmp_path / "b.yaml"), "--json")["pairs"] == {"train": 120, "test": 30}
    steps = ["training.label_predictor.steps=40", "training.common_space.steps=40", "resources.num_cpus=2", "budget.total=20", "budget.seed_pairs=10"]
    ran = call(environment, "run", "-c", str(tmp_path / "a.yaml"), "--json", f"storage_path={tmp_path}/runs", "budget.per_round=10", *steps)
    assert [row["labels"] for row in ran["runs"]] == [20]
