"""Retrieval of finished runs beside ridge regression on the very same bought labels.

    python benchmarks/against_ridge.py -c configs/coco18.yaml

Ridge regresses each modality (standardised on train) on the bought label rows and ranks by cosine of its outputs; the strength is the number of
feature dimensions. Prints one row a budget: mean and standard deviation over seeds of the mean mAP of both directions on the test split.
"""

import argparse

import numpy as np

from xmr_ray import storage
from xmr_ray.config import expand, load
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.truth import open_truth
from xmr_ray.labels.ledger import LabelLedger, read_receipt
from xmr_ray.retrieval import evaluate
from xmr_ray.runs.directory import RunDirectory


def features_of(corpus, split):
    """Ids and standardised features, float64, with a constant column."""
    batches = [corpus.read(descriptor) for descriptor in corpus.descriptors(split)]
    statistics = corpus.statistics()
    ids = np.concatenate([batch.pair_ids_B for batch in batches])
    image = (np.concatenate([batch.images() for batch in batches]) - statistics.image_mean_I) / statistics.image_std_I
    text = (np.concatenate([batch.texts() for batch in batches]) - statistics.text_mean_T) / statistics.text_std_T
    ones = np.ones((len(ids), 1))
    return ids, np.hstack([image, ones]).astype(np.float64), np.hstack([text, ones]).astype(np.float64)


def ridge(x, y, strength):
    """Weights (D, C) of the regularised least squares solution."""
    return np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ y)


def ridge_map(train, test, labels, test_labels, bought):
    """Mean mAP of both directions of ridge on the bought pairs."""
    rows = np.flatnonzero(np.isin(train[0], bought))
    y = labels.dense(train[0][rows], num_classes=test_labels.shape[1])
    spaces = [(test[side] @ ridge(train[side][rows], y, train[side].shape[1] - 1)).astype(np.float32) for side in (1, 2)]
    return evaluate(spaces[0], spaces[1], pair_ids=test[0], labels_NC=test_labels).map_mean


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-c", "--config", required=True)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    experiment = load(arguments.config, arguments.overrides)
    corpus = PairedCorpus.open(experiment.corpus.path)
    train, test = features_of(corpus, "train"), features_of(corpus, "test")
    labels = open_truth(corpus, "train")
    test_labels = open_truth(corpus, "test").dense(test[0], num_classes=corpus.schema.num_classes)
    found, ridges = {}, {}
    for arm_run in expand(experiment):
        directory, ledger = RunDirectory(storage.join(experiment.storage_path, experiment.name, arm_run.run_id)), LabelLedger()
        for place in directory.rounds():
            report = place.read_report()
            if report is None:
                break
            ledger = ledger.enter(read_receipt(place.receipt))
            for space in report["retrieval"]:
                found.setdefault((report["num_bought"], arm_run.arm, space), []).append(report["retrieval"][space]["map_mean"])
            key = (report["num_bought"], ledger.bought_ids.tobytes())
            if key not in ridges:
                ridges[key] = ridge_map(train, test, labels, test_labels, ledger.bought_ids)
                found.setdefault((report["num_bought"], "ridge", "ridge"), []).append(ridges[key])
    columns = sorted({key[1:] for key in found}, key=lambda column: (column[0] != "ridge", column))
    print(f"{'labels':>7} " + " ".join(f"{arm + '/' + space:>22}" for arm, space in columns))
    for n in sorted({key[0] for key in found}):
        cells = [found.get((n, *column)) for column in columns]
        shown = [f"{np.mean(values):.3f} ± {np.std(values, ddof=min(1, len(values) - 1)):.3f} ({len(values)})" if values else "" for values in cells]
        print(f"{n:>7} " + " ".join(f"{cell:>22}" for cell in shown))


if __name__ == "__main__":
    main()
