"""Events become metrics: in this process with stand-ins for Ray's classes, and once in the Prometheus export of a running session."""

import re
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from xmr_ray.cluster import metrics
from xmr_ray.cluster.ingest import _gather
from xmr_ray.cluster.place import Placement
from xmr_ray.cluster.score import ScoringJob, collect, score_split

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


@pytest.fixture
def seen(monkeypatch):
    """What was told: (name, what was done, value, tags), with a Ray that says it runs."""
    told = []

    class Fake:
        def __init__(self, name, description, tag_keys, boundaries=()):
            assert description
            self.name, self.tag_keys = name, tag_keys

        def _tell(self, what, value, tags):
            assert set(tags) == set(self.tag_keys), "Ray raises for a tag that is missing"
            told.append((self.name, what, value, tags))

        def inc(self, value, tags):
            self._tell("inc", value, tags)

        def set(self, value, tags):
            self._tell("set", value, tags)

        def observe(self, value, tags):
            self._tell("observe", value, tags)

    monkeypatch.setattr(metrics, "ray_metrics", SimpleNamespace(Counter=Fake, Gauge=Fake, Histogram=Fake))
    monkeypatch.setattr(metrics.ray, "is_initialized", lambda: True)
    metrics._created.cache_clear()
    yield told
    metrics._created.cache_clear()


def state_of(*bought, i2t=0.25, t2i=0.75):
    found = {"i2t": {"map_all": i2t}, "t2i": {"map_all": t2i}, "map_mean": 0.5}
    return SimpleNamespace(history=[{"num_bought": total, "space": "overlap", "retrieval": {"overlap": found}} for total in bought])


def test_a_run_tells_its_steps_labels_and_map(seen):
    clock = iter([0.0, 2.0, 2.0, 5.0])
    passed = []
    on_step = lambda arm_run, index, stage: passed.append((arm_run, index, stage))
    watch = metrics.RunWatch("exp/random-s0", "random", on_round=passed.append, on_step=on_step, clock=lambda: next(clock))
    state = state_of(50, 80)
    watch.step("arm run", 1, "select")
    watch.step("arm run", 1, "train")
    watch.round_finished(state)
    run = {"run": "exp/random-s0"}
    of_arm = run | {"arm": "random"}
    assert seen == [
        ("xmr_ray_stage_seconds", "observe", 2.0, run | {"stage": "select"}),
        ("xmr_ray_stage_seconds", "observe", 3.0, run | {"stage": "train"}),
        ("xmr_ray_labels_bought", "inc", 30, of_arm),
        ("xmr_ray_map", "set", 0.25, of_arm | {"direction": "i2t"}),
        ("xmr_ray_map", "set", 0.75, of_arm | {"direction": "t2i"}),
        ("xmr_ray_map", "set", 0.5, of_arm | {"direction": "mean"}),
    ]
    assert passed == [("arm run", 1, "select"), ("arm run", 1, "train"), state]


def test_map_that_nothing_could_measure_is_not_told(seen):
    watch = metrics.RunWatch("exp/random-s0", "random", on_round=lambda state: None, on_step=lambda *step: None)
    watch.round_finished(state_of(50, i2t=None))
    assert [tags["direction"] for name, _, _, tags in seen if name == "xmr_ray_map"] == ["t2i", "mean"]


def test_what_waits_shrinks_with_every_descriptor(seen):
    rows = [{"index": np.int64(4), "rows": np.int64(10)}, {"index": np.int64(7), "rows": np.int64(5)}]
    assert collect(SimpleNamespace(iter_rows=lambda: iter(rows)), num_waiting=2) == {4: 10, 7: 5}
    assert [(what, value) for _, what, value, _ in seen] == [("set", 2), ("set", 1), ("set", 0)]


def test_parts_that_wait_and_pairs_left_out_are_told(seen):
    part = SimpleNamespace(name="train/pairs-00000")
    _gather(iter([(part, 3, ""), (part, 0, "")]), "/data/mine/", dict, 0, num_parts=2, max_rejects=5)
    assert [(name, value) for name, _, value, _ in seen] == [
        ("xmr_ray_queue_depth", 2),
        ("xmr_ray_rejects", 3),
        ("xmr_ray_queue_depth", 1),
        ("xmr_ray_queue_depth", 0),
    ]
    assert seen[1][3] == {"corpus": "mine"}


def test_without_ray_nothing_is_told_and_nothing_breaks(seen, monkeypatch):
    monkeypatch.setattr(metrics.ray, "is_initialized", lambda: False)
    metrics.rows_scored(5, split="train", batch_size=3)
    metrics.RunWatch("r", "a", on_round=lambda state: None, on_step=lambda *step: None).round_finished(state_of(5))
    assert seen == []


def test_the_documented_names_are_the_names():
    documented = set(re.findall(r"`(ray_xmr_ray_\w+)`", DOCS.read_text()))
    assert documented == {metric.exported(name) for name, metric in metrics.METRICS.items()}


@pytest.mark.ray
def test_actors_and_driver_are_seen_in_the_export_of_a_running_session(session, tiny_corpus, raw_networks, tmp_path):
    import ray

    metrics._created.cache_clear()
    job = ScoringJob(tiny_corpus.path, "test", raw_networks, str(tmp_path / "out"), 64, "f16", 1, use_gpu=False)
    assert score_split(job, tiny_corpus.descriptors("test"), Placement(count=1, cpus=0.5, gpus=0.0, threads=1)) == 160
    watch = metrics.RunWatch("exp/seen-s0", "seen", on_round=lambda state: None, on_step=lambda *step: None)
    watch.step(None, 0, "train")
    watch.round_finished(state_of(17))
    metrics.rejects(2, corpus="/data/mine")
    lines = {
        "ray_xmr_ray_labels_bought_total": ('run="exp/seen-s0"', " 17.0"),
        "ray_xmr_ray_map": ('direction="mean"', " 0.5"),
        "ray_xmr_ray_stage_seconds_count": ('stage="train"', " 1.0"),
        "ray_xmr_ray_rows_scored_total": ('split="test"', ""),
        "ray_xmr_ray_batch_size": ('split="test"', " 64.0"),
        "ray_xmr_ray_queue_depth": ('work="score"', " 0.0"),
        "ray_xmr_ray_rejects_total": ('corpus="mine"', " 2.0"),
    }
    url = f"http://127.0.0.1:{ray.nodes()[0]['MetricsExportPort']}/metrics"
    missing = dict(lines)
    until = time.monotonic() + 60
    while missing and time.monotonic() < until:
        time.sleep(1)
        with urllib.request.urlopen(url, timeout=10) as answer:
            told = answer.read().decode().splitlines()
        missing = {name: want for name, want in lines.items() if not any(is_told(line, name, *want) for line in told)}
    assert missing == {}


def is_told(line, name, tag, value):
    return line.startswith(name + "{") and tag in line and line.endswith(value)
