"""The work that gear 2 hurts: a run of two rounds, an ingest and an embedding, each uninterrupted once, then cut back to before a step."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.labels.ledger import read_receipt
from xmr_ray.runs.directory import RunDirectory

READER = {"kind": "synthetic", "num_train": 1500, "num_validation": 0, "num_test": 400, "image_dim": 24, "text_dim": 16, "num_classes": 5}
RUN = "penalised-s0"
LOCAL = {"score", "index"}
ROOT = Path(__file__).parents[2]


@dataclass
class Place:
    """Where everything lies, and what the uninterrupted work left."""

    root: Path
    whole: dict = field(default_factory=dict)
    count: int = 0

    def config(self, stem, content):
        path = self.root / f"{stem}.yaml"
        path.write_text(json.dumps({"resources": {"no_progress_timeout_s": 120, "max_failures": 3}, **content}))
        return path


def experiment(folder, corpus, *, num_workers):
    return {
        "name": "run",
        "storage_path": str(folder),
        "corpus": {"path": str(corpus)},
        "budget": {"total": 40, "seed_pairs": 20, "per_round": 20},
        "arms": {"penalised": {"strategy": {"kind": "ascmr", "variant": "penalised"}}},
        "training": {"label_predictor": {"steps": 60}, "common_space": {"steps": 60}, "num_workers": num_workers, "checkpoint_every": 1},
        "scoring": {"num_actors": 2, "neighbours": {"kind": "hnsw", "points_per_shard": 500}, "cell_space": "fused", "index_actors": 2},
    }


def pictures(folder):
    """Pairs of small pictures and words."""
    folder.mkdir()
    words, rng, rows = ("sea", "sky", "cat", "dog"), np.random.default_rng(0), []
    for number in range(240):
        Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(folder / f"{number}.png")
        split = "test" if number % 5 == 4 else "train"
        rows.append({"image": f"{number}.png", "text": f"{words[number % 4]} {words[number % 3]}", "labels": [words[number % 4]], "split": split})
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def content_of(place, step, folder):
    if step == "ingest":
        return {"corpus": {"path": f"{folder}/corpus", "reader": READER, "rows_per_file": 100}}
    if step == "embed":
        reader = {"kind": "table", "path": f"{place.root}/pictures/pairs.jsonl", "image": "image", "text": "text"}
        reader |= {"labels": "labels", "split_column": "split"}
        encoders = {"image": {"kind": "pixels", "grid": 2}, "text": {"kind": "tag_bow"}}
        raw = {"raw_path": f"{place.root}/raw", "encoders": encoders, "rows_per_file": 4}
        return {"corpus": {"path": f"{folder}/corpus", "reader": reader, **raw}}
    # where no Train worker is hurt, the driver trains by itself: the same weights, sooner
    return experiment(folder, place.root / "whole-ingest" / "corpus", num_workers=0 if step in LOCAL else 1)


def start(place, folder, step, address):
    """The driver of a step as a process of its own."""
    verb = [step] if step in {"ingest", "embed"} else ["run", "--accept-change"] if step in LOCAL else ["run"]
    config = place.config(Path(folder).name, content_of(place, step, folder))
    environment = {**os.environ, "RAY_ADDRESS": address, "XMR_RAY_LOG": "INFO", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    place.count += 1
    log = f"{place.root}/{Path(folder).name}-{place.count}.log"
    with open(log, "w") as file:
        driver = subprocess.Popen([sys.executable, "-m", "xmr_ray", *verb, "-c", str(config)], stdout=file, stderr=file, env=environment)
    driver.log = log
    return driver


def stop(driver):
    if driver.poll() is None:
        driver.kill()
    driver.wait()


def prepare(place, address, *, works=("ingest", "embed", "run")):
    """All work once without a fault, unless it lies there from an earlier start."""
    if not (place.root / "pictures").exists():
        pictures(place.root / "pictures")
    for step in works:
        folder, kept = place.root / f"whole-{step}", place.root / f"whole-{step}.json"
        if kept.exists():
            place.whole[step] = json.loads(kept.read_text())
            continue
        driver = start(place, folder, step, address)
        if driver.wait(timeout=1200):
            raise RuntimeError(f"the uninterrupted {step} failed:\n" + Path(driver.log).read_text()[-3000:])
        kept.write_text(json.dumps(results_of(folder, step)))
        place.whole[step] = json.loads(kept.read_text())
    return place


def cut(place, step):
    """A folder whose run stands right before a step."""
    folder = place.root / f"hurt-{place.count}"
    if step in {"ingest", "embed", "any"}:
        return folder
    shutil.copytree(place.root / "whole-run", folder)
    rounds = folder / "run" / RUN / "rounds"
    if step in {"score", "index"}:
        shutil.rmtree(rounds / "001")
    elif step in {"stage 1", "stage 2"}:
        shutil.rmtree(rounds / "001" / "networks")
        (rounds / "001" / "report.json").unlink()
        for kind in ("embeddings", "scores", "predictions"):
            shutil.rmtree(rounds / "001" / kind, ignore_errors=True)
    else:
        (rounds / "001" / "report.json").unlink()
        for kind in ("embeddings", "scores", "predictions"):
            shutil.rmtree(rounds / "001" / kind, ignore_errors=True)
    for kind in ("scores", "embeddings", "predictions", "cells", "density"):
        shutil.rmtree(rounds / "000" / kind, ignore_errors=True)
    return folder


def finished(folder, step):
    """Whether the step goes on: what comes before it lies on storage."""
    rounds = Path(folder, "run", RUN, "rounds")
    state = rounds / "001" / "networks" / "checkpoints" / "fit" / "state" / "state.pt"
    if step in {"ingest", "embed"}:
        return any(Path(folder, "corpus", "parts").glob("*.json"))
    if step == "any":
        return Path(folder, "run", RUN, "config.yaml").exists()
    if step == "index":
        return any((rounds / "000" / "cells").glob("train-*"))
    if step == "score":
        return any((rounds / "000" / "scores").glob("train-*"))
    if step == "stage 1":
        return state.parents[2].exists() and not state.exists()
    if step == "stage 2":
        return state.exists()
    return (rounds / "001").exists()


def results_of(folder, step):
    """What must be equal: a corpus' fingerprint, or every round's selection, labels and retrieval."""
    if step in {"ingest", "embed"}:
        return PairedCorpus.open(f"{folder}/corpus").fingerprint
    found = []
    for place in RunDirectory(f"{folder}/run/{RUN}").rounds():
        labels = read_receipt(place.receipt).labels
        bought = [labels.pair_ids_L.tolist(), labels.classes.tolist(), labels.offsets.tolist()]
        found.append([place.read_selection().pair_ids_n.tolist(), bought, place.read_report()["retrieval"]])
    return found


def compare(place, folder, step):
    """What differs from the uninterrupted work."""
    found, expected = results_of(folder, step), place.whole[step if step in {"ingest", "embed"} else "run"]
    if step in {"ingest", "embed"}:
        return [] if found == expected else [f"another corpus: {found}, expected {expected}"]
    names = ("selection", "labels", "retrieval")
    pairs = [
        (index, name, a, b)
        for index, (one, other) in enumerate(zip(found, expected, strict=True))
        for name, a, b in zip(names, one, other, strict=True)
    ]
    bought = [pair_id for _, (ids, _, _), _ in found for pair_id in ids]
    twice = len(bought) - len(set(bought))
    return [f"round {index}: {name} differs" for index, name, a, b in pairs if a != b] + ([f"{twice} labels bought twice"] if twice else [])
