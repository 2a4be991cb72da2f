"""What a run tells Prometheus, through `ray.util.metrics`: one function an event, one table of names.

Ray exports each name with the prefix `ray_`, and counters with the suffix `_total`; docs/metrics.md is the list for readers. Without a running
Ray every function does nothing.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import ray
from ray.util import metrics as ray_metrics

from xmr_ray.config import ArmRun
from xmr_ray.loop.state import LoopState

_SECONDS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)


@dataclass(frozen=True)
class Metric:
    """One name: its kind, what it says, and what it is told apart by."""

    kind: Literal["counter", "gauge", "histogram"]
    description: str
    tags: tuple[str, ...]

    def exported(self, name: str) -> str:
        """The name as Prometheus sees it.

        >>> METRICS["xmr_ray_rejects"].exported("xmr_ray_rejects")
        'ray_xmr_ray_rejects_total'
        """
        return f"ray_{name}" + ("_total" if self.kind == "counter" else "")


METRICS = {
    "xmr_ray_labels_bought": Metric("counter", "Labels bought, counted when their round is finished.", ("run", "arm")),
    "xmr_ray_map": Metric("gauge", "mAP of the newest finished round, in the space of the curves.", ("run", "arm", "direction")),
    "xmr_ray_stage_seconds": Metric("histogram", "Seconds from the beginning of a step of the loop to that of the next one.", ("run", "stage")),
    "xmr_ray_rows_scored": Metric("counter", "Pairs that a scoring actor ran through the networks and wrote.", ("split",)),
    "xmr_ray_batch_size": Metric("gauge", "Pairs in one forward pass of a scoring actor.", ("split",)),
    "xmr_ray_queue_depth": Metric("gauge", "Units of work not finished yet: descriptors to score, parts of a corpus to write.", ("work",)),
    "xmr_ray_rejects": Metric("counter", "Pairs that could not be used and were left out of a corpus.", ("corpus",)),
}


def rows_scored(rows: int, *, split: str, batch_size: int) -> None:
    """A scoring actor has written `rows` pairs of a split."""
    _add("xmr_ray_rows_scored", rows, split=split)
    _set("xmr_ray_batch_size", batch_size, split=split)


def queue_depth(waiting: int, *, work: str) -> None:
    """So many units of `work` are not finished yet."""
    _set("xmr_ray_queue_depth", waiting, work=work)


def rejects(count: int, *, corpus: str) -> None:
    """So many more pairs were left out of the corpus at a path; its last folder is its name."""
    _add("xmr_ray_rejects", count, corpus=corpus.rstrip("/").rpartition("/")[2])


@dataclass
class RunWatch:
    """Turns what the loop tells about one run into metrics, and passes it on; `clock` counts seconds."""

    run: str
    arm: str
    on_round: Callable[[LoopState], None]
    on_step: Callable[[ArmRun, int, str], None]
    clock: Callable[[], float] = time.monotonic
    _begun: tuple[str, float] | None = field(default=None, init=False)

    def step(self, arm_run: ArmRun, round_index: int, stage: str) -> None:
        """A step begins, and with it the one before ends."""
        self._end()
        self._begun = (stage, self.clock())
        self.on_step(arm_run, round_index, stage)

    def round_finished(self, state: LoopState) -> None:
        """A round is done: what it bought, and what came of it."""
        self._end()
        finished = state.history[-1]
        before = state.history[-2]["num_bought"] if len(state.history) > 1 else 0
        _add("xmr_ray_labels_bought", finished["num_bought"] - before, run=self.run, arm=self.arm)
        found = finished["retrieval"][finished["space"]]
        values = {"i2t": found["i2t"]["map_all"], "t2i": found["t2i"]["map_all"], "mean": found["map_mean"]}
        for direction, value in values.items():
            if value is not None:
                _set("xmr_ray_map", value, run=self.run, arm=self.arm, direction=direction)
        self.on_round(state)

    def _end(self) -> None:
        if self._begun is None:
            return
        stage, begun = self._begun
        self._begun = None
        if (histogram := _metric("xmr_ray_stage_seconds")) is not None:
            histogram.observe(self.clock() - begun, tags={"run": self.run, "stage": stage})


def _add(name: str, count: int, **tags: str) -> None:
    if count > 0 and (counter := _metric(name)) is not None:
        counter.inc(count, tags=tags)


def _set(name: str, value: float, **tags: str) -> None:
    if (gauge := _metric(name)) is not None:
        gauge.set(value, tags=tags)


def _metric(name: str) -> Any:
    return _created(name) if ray.is_initialized() else None


@cache
def _created(name: str) -> Any:
    metric = METRICS[name]
    if metric.kind == "histogram":
        return ray_metrics.Histogram(name, metric.description, boundaries=list(_SECONDS), tag_keys=metric.tags)
    kind = ray_metrics.Counter if metric.kind == "counter" else ray_metrics.Gauge
    return kind(name, metric.description, tag_keys=metric.tags)
