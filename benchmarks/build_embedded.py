"""How the embedded corpus was made: python benchmarks/build_embedded.py FOLDER [OUT].

FOLDER holds data.npz, items.jsonl.gz and thumbnails.parquet of the Open Clip Art conversion; OUT is the package's own folder unless told
otherwise. The same input gives the same bytes (with the same pyarrow). --compare prints what the reduction costs ridge.
"""

import argparse
import shutil
import tempfile
from importlib import resources
from pathlib import Path

import numpy as np

from xmr_ray.corpus.check import check_corpus
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.readers.ingest import ingest
from xmr_ray.readers.npz import NpzReader
from xmr_ray.readers.projection import principal_axes, project

NUM_COMPONENTS = 256
LARGEST_BYTES = 8_000_000
REGULARISERS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path, nargs="?", default=Path(str(resources.files("xmr_ray.corpus").joinpath("embedded"))))
    parser.add_argument("--compare", action="store_true", help="only print what the reduction costs ridge")
    arguments = parser.parse_args()
    if arguments.compare:
        compare(arguments.folder / "data.npz")
    else:
        build(arguments.folder, arguments.out)


def build(folder: Path, out: Path) -> None:
    """Ingest beside the old corpus, check, and put the files in its place; PROVENANCE.md stays."""
    reader = NpzReader(
        path=str(folder / "data.npz"),
        items=str(folder / "items.jsonl.gz"),
        thumbnails=str(folder / "thumbnails.parquet"),
        image_pca=NUM_COMPONENTS,
        dtype="f16",
        source="Open Clip Art Library 0.18, public domain; see PROVENANCE.md",
    )
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "embedded"
        corpus = ingest(reader.read(), str(made))
        report = check_corpus(str(made))
        if not report.ok:
            raise SystemExit(report.findings[0].message)
        num_bytes = sum(file.stat().st_size for file in made.rglob("*") if file.is_file())
        if num_bytes > LARGEST_BYTES:
            raise SystemExit(f"{num_bytes} bytes are more than {LARGEST_BYTES}")
        for name in (*corpus.splits, "truth"):
            shutil.rmtree(out / name, ignore_errors=True)
        shutil.copytree(made, out, dirs_exist_ok=True)
    counts = {split: corpus.num_pairs(split) for split in corpus.splits}
    print(f"bytes={num_bytes} fingerprint={PairedCorpus.open(str(out)).fingerprint} {counts}")


def compare(path: Path) -> None:
    """Ridge from image features to labels, text side held fixed: mAP i2t and t2i on test for several forms of the image features."""
    with np.load(path, allow_pickle=False) as arrays:
        image_NI, text_NT, labels_NC, split_N = (arrays[name] for name in ("image_features", "text_features", "labels", "split"))
    train, test = np.flatnonzero(split_N == 0), np.flatnonzero(split_N == 2)
    labels_NC = labels_NC.astype(np.float64)
    image_NI, text_NT = image_NI.astype(np.float64), text_NT.astype(np.float64)
    mean_I = image_NI[train].mean(axis=0)
    scores_NK = (image_NI - mean_I) @ principal_axes(image_NI, rows=train, mean_I=mean_I)[:, :NUM_COMPONENTS]
    rotated_NK = project(image_NI, fit_on=split_N == 0, num_components=NUM_COMPONENTS).astype(np.float64)
    rounded_NK = rotated_NK.astype(np.float16).astype(np.float64)
    forms = {"all 1280": image_NI - mean_I, "scores": scores_NK, "rotated": rotated_NK, "rotated f16": rounded_NK}
    forms |= {f"{name}, each dimension standardised": standardised(form, train) for name, form in forms.items()}
    for num_labels in (200, len(train)):
        bought = np.random.default_rng(1).permutation(train)[:num_labels]
        text_QC = best(standardised(text_NT, train), labels_NC, bought=bought, test=test, other_QC=None)[1]
        for name, form in forms.items():
            (i2t, t2i), _ = best(form, labels_NC, bought=bought, test=test, other_QC=text_QC)
            print(f"labels={num_labels:5d} {name:42s} i2t={i2t:.3f} t2i={t2i:.3f}")


def standardised(features_NI: np.ndarray, train: np.ndarray) -> np.ndarray:
    return (features_NI - features_NI[train].mean(axis=0)) / np.maximum(features_NI[train].std(axis=0), 1e-9)


def best(features_NI: np.ndarray, labels_NC: np.ndarray, *, bought: np.ndarray, test: np.ndarray, other_QC: np.ndarray | None) -> tuple:
    """The regulariser that is best on test: a ceiling for every form alike, not a result."""
    found = []
    for regulariser in REGULARISERS:
        scores_QC = ridge(features_NI, labels_NC, bought=bought, test=test, regulariser=regulariser)
        facing_QC = scores_QC if other_QC is None else other_QC
        relevant_QQ = labels_NC[test] @ labels_NC[test].T > 0
        found.append(((mean_ap(scores_QC, facing_QC, relevant_QQ), mean_ap(facing_QC, scores_QC, relevant_QQ)), scores_QC))
    return max(found, key=lambda entry: sum(entry[0]))


def ridge(features_NI: np.ndarray, labels_NC: np.ndarray, *, bought: np.ndarray, test: np.ndarray, regulariser: float) -> np.ndarray:
    mean_I, mean_C = features_NI[bought].mean(axis=0), labels_NC[bought].mean(axis=0)
    centred_LI = features_NI[bought] - mean_I
    strength = regulariser * np.square(centred_LI).mean() * len(bought)
    gram_II = centred_LI.T @ centred_LI + strength * np.eye(features_NI.shape[1])
    return (features_NI[test] - mean_I) @ np.linalg.solve(gram_II, centred_LI.T @ (labels_NC[bought] - mean_C)) + mean_C


def mean_ap(queries_QC: np.ndarray, gallery_GC: np.ndarray, relevant_QG: np.ndarray) -> float:
    queries_QC = queries_QC / np.linalg.norm(queries_QC, axis=1, keepdims=True)
    gallery_GC = gallery_GC / np.linalg.norm(gallery_GC, axis=1, keepdims=True)
    order_QG = np.argsort(-queries_QC @ gallery_GC.T, axis=1, kind="stable")
    hits_QG = np.take_along_axis(relevant_QG, order_QG, axis=1)
    precision_QG = np.cumsum(hits_QG, axis=1) / np.arange(1, hits_QG.shape[1] + 1)
    return float(((precision_QG * hits_QG).sum(axis=1) / hits_QG.sum(axis=1)).mean())


if __name__ == "__main__":
    main()
