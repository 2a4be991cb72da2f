"""Who holds a run in an object store, against obstore's store in memory."""

import importlib
import json
import threading
import time

import pytest

from xmr_ray import object_store
from xmr_ray.errors import RunError, StorageError
from xmr_ray.runs import lease
from xmr_ray.runs.lease import Term, leased

obstore = pytest.importorskip("obstore")
RUN, URL = "s3://bucket/run", "s3://bucket/run/lease.json"


@pytest.fixture(autouse=True)
def store(monkeypatch):
    memory = importlib.import_module("obstore.store").MemoryStore()
    monkeypatch.setattr(object_store, "_bucket", lambda root: memory)
    monkeypatch.setattr(lease, "EXPIRY_S", 1.5)
    monkeypatch.setattr(lease, "RENEWAL_S", 0.1)
    return memory


def lying():
    return Term.from_json(URL, object_store.read(URL).data)


def put(term):
    found = object_store.read(URL)
    assert object_store.replace(URL, term.to_json(), found.tag) if found else object_store.create(URL, term.to_json())


def test_an_owner_keeps_it_beyond_its_expiry_and_others_are_refused():
    with leased(RUN) as mine:
        first = lying()
        with pytest.raises(RunError, match=rf"another process works here \({first.owner}"), leased(RUN):
            pass
        time.sleep(1.6)
        assert mine.held() == {"owner": first.owner, "number": "1"}
        assert lying().expires > first.expires


def test_a_released_one_goes_to_the_next_at_once_with_the_next_number():
    with leased(RUN) as mine:
        owner = mine.held()["owner"]
    assert lying() == Term(owner, 1, 0.0)
    started = time.monotonic()
    with leased(RUN) as mine:
        assert mine.held()["number"] == "2"
    assert time.monotonic() - started < 1


def test_one_that_has_run_out_is_taken_at_once_and_a_silent_one_after_its_time():
    put(Term("dead", 4, time.time() - 0.01))
    started = time.monotonic()
    with leased(RUN) as mine:
        assert mine.held()["number"] == "5"
    assert time.monotonic() - started < 1
    put(Term("dead, with a clock far ahead", 8, time.time() + 1e6))
    started = time.monotonic()
    with leased(RUN) as mine:
        assert mine.held()["number"] == "9"
    assert time.monotonic() - started >= 1.5


def test_of_many_who_want_a_dead_ones_run_one_gets_it():
    put(Term("dead", 1, time.time() - 1))
    barrier, end, got, refused = threading.Barrier(8), threading.Event(), [], []

    def want():
        barrier.wait()
        try:
            with leased(RUN) as mine:
                got.append(mine.held()["number"])
                end.wait(30)
        except RunError as error:
            refused.append(error)
            if len(refused) == 7:
                end.set()

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (got, len(refused)) == (["2"], 7)


def test_who_was_overtaken_is_told_and_leaves_the_new_owner_alone():
    with leased(RUN) as mine:
        put(Term("another", 2, time.time() + 1000))
        deadline = time.monotonic() + 10
        while not mine._lost and time.monotonic() < deadline:
            time.sleep(0.02)
        with pytest.raises(RunError, match=r"lost \(another process has taken it over"):
            mine.held()
    assert lying().owner == "another"
    assert lying().expires > 0


def test_who_cannot_renew_stops_by_its_own_clock(monkeypatch):
    def fail(*_):
        raise StorageError("the store is away")

    with leased(RUN) as mine:
        monkeypatch.setattr(object_store, "replace", fail)
        mine.held()
        time.sleep(1.7)
        with pytest.raises(RunError, match=r"could not be renewed for 1\.5 s"):
            mine.held()


def test_a_store_that_overwrites_what_exists_is_refused(monkeypatch, store):
    monkeypatch.setattr(object_store, "create", lambda url, data: bool(obstore.put(store, "run/lease.json", data, mode="overwrite")))
    with pytest.raises(StorageError, match="overwrites where a conditional write must be refused"), leased(RUN):
        pass


@pytest.mark.parametrize("data", [b"", b"{}", json.dumps({"owner": "a", "number": "x", "expires": 0}).encode()])
def test_a_damaged_lease_is_named(data):
    object_store.create(URL, data)
    with pytest.raises(RunError, match=f"{URL}: is no lease"), leased(RUN):
        pass
