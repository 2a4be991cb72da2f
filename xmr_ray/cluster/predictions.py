"""Predicted labels of train pairs, from the files that scoring left in a round."""

from collections.abc import Iterator

import numpy as np

from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.loop.state import networks_of
from xmr_ray.runs.directory import RoundDirectory, RunDirectory
from xmr_ray.scoring.outputs import is_current, read_matrices
from xmr_ray.types import Ids

LIKELY = 0.5
"""From this probability on a label is predicted, where a pair may have several; else the likeliest one is."""


def newest_predictions(corpus: PairedCorpus, directory: RunDirectory) -> RoundDirectory | None:
    """The newest round whose networks' predictions for the whole train split are on disk."""
    for place in reversed(directory.rounds()):
        networks = networks_of(place)
        if networks and all(is_current(place.path, "predictions", one, version=networks.digest) for one in corpus.descriptors("train")):
            return place
    return None


def predicted_labels(corpus: PairedCorpus, place: RoundDirectory, wanted: Ids | None = None) -> Iterator[tuple[int, dict[str, float]]]:
    """Each train pair (or each of those wanted) with its predicted labels and their probabilities, the likeliest first."""
    names = corpus.schema.class_names
    for descriptor in corpus.descriptors("train"):
        if wanted is not None and not np.isin(corpus.read_ids(descriptor), wanted).any():
            continue
        ids_B, found = read_matrices(place.path, "predictions", descriptor, ["probability"])
        probability_BC = found["probability"]
        likely_BC = probability_BC >= LIKELY
        if not corpus.schema.multi_label:
            likely_BC = np.arange(len(names)) == probability_BC.argmax(axis=1)[:, None]
        for row in np.arange(len(ids_B)) if wanted is None else np.flatnonzero(np.isin(ids_B, wanted)):
            classes = np.flatnonzero(likely_BC[row])
            ordered = classes[np.argsort(-probability_BC[row, classes], kind="stable")]
            yield int(ids_B[row]), {names[c]: float(probability_BC[row, c]) for c in ordered}
