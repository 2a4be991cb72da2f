"""Inputs, corpora and runs behind `s3://`, against a server that speaks S3 (moto) on loopback."""

import importlib.util
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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
    pytest.importorskip("obstore")
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
    pytest.importorskip("obstore")
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


# ---- runs

HOLD = """
import sys, time
from xmr_ray.runs import lease
from xmr_ray.runs.lock import exclusive
lease.EXPIRY_S, lease.RENEWAL_S = 6.0, 0.5
with exclusive(sys.argv[1]) as held:
    print(held()["number"], flush=True)
    sys.stdin.read()
"""
RECEIPT = """
import sys
import numpy as np
from xmr_ray.labels.annotators import Answers
from xmr_ray.labels.ledger import write_receipt
from xmr_ray.types import LabelSet
sys.stdin.readline()
write_receipt(sys.argv[1], Answers(LabelSet.of([7], [[1]]), np.array([], np.int64)), holder={"owner": sys.argv[2], "number": "1"})
"""
WRITE = """
import sys
from xmr_ray import storage
storage.write_whole(sys.argv[1], b"whole")
print(storage.create_exclusive(sys.argv[1] + "-once", b"mine"), storage.create_exclusive(sys.argv[1] + "-once", b"yours"))
"""

INGEST = """
import sys
from dataclasses import replace
from xmr_ray.cluster.ingest import write_corpus
from xmr_ray.config import CorpusSettings, Resources
from xmr_ray.readers.synthetic import SyntheticReader
from xmr_ray.runs import lease
lease.EXPIRY_S, lease.RENEWAL_S = 6.0, 0.5
source = SyntheticReader(num_train=120, num_validation=0, num_test=30, image_dim=6, text_dim=5).read()
def read(split, start, stop):
    print(split, flush=True)
    if split == "test":
        sys.stdin.readline()
    yield from source.read(split, start, stop)
print(write_corpus(replace(source, read=read), sys.argv[1], CorpusSettings(path="unused"), Resources(num_cpus=2)).fingerprint)
"""


def start(environment, code, *arguments):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment, text=True, **pipes)


def end(processes):
    return [(process.communicate("\n", timeout=120), process.returncode) for process in processes]


def test_of_two_processes_one_has_the_run_and_a_dead_ones_is_taken_over(environment):
    pytest.importorskip("obstore")
    both = [start(environment, HOLD, "s3://bucket/runs/held") for _ in range(2)]
    deadline = time.monotonic() + 120
    while all(process.poll() is None for process in both) and time.monotonic() < deadline:
        time.sleep(0.1)
    refused, holder = sorted(both, key=lambda process: process.poll() is None)
    assert "another process" in end([refused])[0][0][1]
    assert holder.stdout.readline() == "1\n"
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    (told, _), code = end([start(environment, HOLD, "s3://bucket/runs/held")])[0]
    assert (told, code) == ("2\n", 0)


def test_a_second_ingest_is_refused_and_what_a_killed_one_began_is_finished(environment, tmp_path):
    pytest.importorskip("obstore")
    first = start(environment, INGEST, "s3://bucket/corpora/held")
    assert [first.stdout.readline() for _ in range(2)] == ["train\n", "test\n"]
    (_, told), code = end([start(environment, INGEST, "s3://bucket/corpora/held")])[0]
    assert code == 1
    assert "another process works here" in told
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    (told, errors), code = end([start(environment, INGEST, "s3://bucket/corpora/held")])[0]
    assert (told.split()[:-1], code) == (["test"], 0), errors
    reader = {"kind": "synthetic", "num_train": 120, "num_validation": 0, "num_test": 30, "image_dim": 6, "text_dim": 5}
    config = tmp_path / "held.yaml"
    for path in ("s3://bucket/corpora/held", str(tmp_path / "here")):
        config.write_text(yaml.safe_dump({"name": "held", "corpus": {"path": path, "reader": reader}}))
        assert call(environment, "ingest", "-c", str(config), "--json")["fingerprint"] == told.split()[-1]


def test_of_processes_that_close_one_purchase_one_succeeds(environment, monkeypatch):
    pytest.importorskip("obstore")
    path = "s3://bucket/runs/raced/labels.parquet"
    racing = [start(environment, RECEIPT, path, f"process {number}") for number in range(4)]
    for process in racing:
        process.stdin.write("\n")
        process.stdin.flush()
    ended = end(racing)
    assert sorted(code for _, code in ended) == [0, 1, 1, 1]
    assert all("has its receipt already" in errors for (_, errors), code in ended if code)
    found = subprocess.run(
        [sys.executable, "-c", "import sys; from xmr_ray import storage; print(storage.read_table(sys.argv[1]).schema.metadata)", path],
        env=environment, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert f"process {[code for _, code in ended].index(0)}" in found


@pytest.fixture
def unwell(endpoint):
    """The server behind one that answers the first three writes of every object with 500; what it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self):
            data = self.body()
            asked.append((self.command, self.path))
            if self.command == "PUT" and asked.count((self.command, self.path)) <= 3:
                return self.answer(500, {}, b"<Error><Code>InternalError</Code></Error>")
            kept = {name: value for name, value in self.headers.items() if name.lower() not in {"expect", "connection", "transfer-encoding"}}
            request = urllib.request.Request(endpoint + self.path, data=data, headers=kept, method=self.command)
            try:
                with urllib.request.urlopen(request, timeout=60) as found:
                    return self.answer(found.status, found.headers, found.read())
            except urllib.error.HTTPError as error:
                return self.answer(error.code, error.headers, error.read())

        def body(self):
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)

        def answer(self, status, headers, data):
            self.send_response(status)
            for name in ("ETag", "Last-Modified", "Content-Type", "Content-Range"):
                if name in headers:
                    self.send_header(name, headers[name])
            self.send_header("Content-Length", headers.get("Content-Length", str(len(data))) if self.command == "HEAD" else str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = forward

        def log_message(self, *_):
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_that_fails_three_times_is_asked_again(environment, unwell):
    pytest.importorskip("obstore")
    url, asked = unwell
    (told, errors), code = end([start({**environment, "AWS_ENDPOINT_URL": url}, WRITE, "s3://bucket/unwell/file")])[0]
    assert (told, code) == ("True False\n", 0), errors
    assert asked.count(("PUT", "/bucket/unwell/file-once")) >= 4


def test_a_run_lies_on_s3_goes_on_after_a_kill_and_its_receipts_name_its_owners(environment, tmp_path):
    pytest.importorskip("obstore")
    reader = {"kind": "synthetic", "num_train": 120, "num_validation": 0, "num_test": 30, "image_dim": 6, "text_dim": 5}
    small = {"label_predictor": {"steps": 40}, "common_space": {"steps": 40}}
    content = {"name": "far", "storage_path": "s3://bucket/runs", "corpus": {"path": "s3://bucket/corpora/far", "reader": reader}}
    content |= {"budget": {"total": 20, "seed_pairs": 10, "per_round": 10}, "training": small, "resources": {"num_cpus": 2}}
    config = tmp_path / "far.yaml"
    config.write_text(yaml.safe_dump(content))
    call(environment, "ingest", "-c", str(config), "--json")
    command = [sys.executable, "-m", "xmr_ray", "run", "-c", str(config), "--json"]
    with subprocess.Popen(command, env={**environment, "XMR_RAY_LOG": "INFO"}, stderr=subprocess.PIPE, text=True, start_new_session=True) as first:
        for line in first.stderr:
            if "step=acquire" in line:
                break
        os.killpg(first.pid, signal.SIGKILL)
    ran = call(environment, "run", "-c", str(config), "--json")
    assert [row["labels"] for row in ran["runs"]] == [20]
    assert ran["report"] == "s3://bucket/runs/far/report/index.html"
    names = "import json; from xmr_ray import storage; " + "".join(
        f"print(json.loads(storage.read_table('s3://bucket/runs/far/random-s0/rounds/{index:03d}/labels.parquet').schema.metadata[b'xmr_ray.lease'])['number']);"
        for index in range(2)
    )
    told = subprocess.run([sys.executable, "-c", names], env=environment, capture_output=True, text=True, check=True).stdout
    assert told.split() == ["1", "2"]
