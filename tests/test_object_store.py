"""Conditional writes, against obstore's store in memory; tests/integration/test_s3.py does the same against a server."""

import importlib
import threading

import pytest

from xmr_ray import object_store
from xmr_ray.errors import StorageError

obstore = pytest.importorskip("obstore")
URL = "s3://bucket/run/receipt"


@pytest.fixture(autouse=True)
def store(monkeypatch):
    memory = importlib.import_module("obstore.store").MemoryStore()
    monkeypatch.setattr(object_store, "_bucket", lambda root: memory)
    return memory


def test_what_exists_is_not_created_again_and_the_same_bytes_are_the_same_creation(store):
    assert object_store.read(URL) is None
    assert object_store.create(URL, b"mine")
    assert not object_store.create(URL, b"yours")
    assert object_store.create(URL, b"mine"), "an answer that was lost: the object is the one that was to be created"
    assert bytes(obstore.get(store, "run/receipt").bytes()) == b"mine"


def test_of_many_creators_one_wins():
    num_threads = 16
    barrier, won = threading.Barrier(num_threads), []

    def create(number):
        barrier.wait()
        if object_store.create(URL, str(number).encode()):
            won.append(str(number).encode())

    threads = [threading.Thread(target=create, args=(number,)) for number in range(num_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [object_store.read(URL).data] == won


def test_only_what_nobody_replaced_is_replaced(store):
    object_store.create(URL, b"one")
    read = object_store.read(URL)
    tag = object_store.replace(URL, b"two", read.tag)
    assert tag == object_store.read(URL).tag != read.tag
    assert object_store.replace(URL, b"three", read.tag) is None
    assert object_store.read(URL).data == b"two"
    assert object_store.replace(URL, b"two", read.tag) == tag, "an answer that was lost"
    obstore.delete(store, "run/receipt")
    assert object_store.replace(URL, b"three", tag) is None


@pytest.mark.parametrize("call", [lambda: object_store.read(URL), lambda: object_store.create(URL, b"x")])
def test_a_store_that_fails_is_named_in_one_line(monkeypatch, call):
    def fail(*_, **__):
        raise obstore.exceptions.GenericError("the server is unwell\nDebug source: ...")

    monkeypatch.setattr(obstore, "get", fail)
    monkeypatch.setattr(obstore, "put", fail)
    with pytest.raises(StorageError, match=rf"^{URL}: .*\(the server is unwell\)") as told:
        call()
    assert "Debug" not in str(told.value)


def test_other_addresses_and_a_missing_extra_are_told(monkeypatch):
    monkeypatch.undo()
    with pytest.raises(StorageError, match="hdfs://a/b: no conditional writes at this address"):
        object_store.read("hdfs://a/b")

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(object_store.importlib, "import_module", missing)
    with pytest.raises(StorageError, match=r"pip install 'xmr-ray\[object-store\]'"):
        object_store.create(URL, b"x")
