"""Who answers in a run: built from its settings, the corpus and what the run directory holds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xmr_ray.cluster.predictions import newest_predictions, predicted_labels
from xmr_ray.config import Experiment
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.truth import open_truth
from xmr_ray.labels.annotators import Annotator, Oracle, OracleSettings
from xmr_ray.labels.files import FilesAnnotator
from xmr_ray.labels.label_studio import LabelStudioAnnotator
from xmr_ray.labels.label_studio_server import LabelStudioSettings
from xmr_ray.labels.questions import Question
from xmr_ray.loop.sharing import Others, Sharing
from xmr_ray.runs.directory import RunDirectory
from xmr_ray.types import Selection


@dataclass(frozen=True)
class Questioner:
    """Builds the questions of a selection: what the corpus shows of a pair, what the newest predictions on disk suggest, why it was chosen."""

    corpus: PairedCorpus
    directory: RunDirectory

    def __call__(self, selection: Selection) -> Sequence[Question]:
        """One question a pair, best first."""
        items = self.corpus.items(selection.pair_ids_n)
        place = newest_predictions(self.corpus, self.directory)
        suggested = dict(predicted_labels(self.corpus, place, selection.pair_ids_n)) if place else {}
        columns = {"utility": selection.utility_n, **selection.reasons}
        return [
            Question(
                pair_id,
                items[pair_id].caption,
                items[pair_id].uri,
                items[pair_id].thumbnail,
                suggested.get(pair_id, {}),
                {name: float(values[row]) for name, values in columns.items() if np.isfinite(values[row])},
            )
            for row, pair_id in enumerate(selection.pair_ids_n.tolist())
        ]


def annotator_of(config: Experiment, corpus: PairedCorpus, directory: RunDirectory, *, campaign: str, others: Others) -> Annotator:
    """The annotator that a configuration asks for; truth is opened for the oracle alone, people answer for other runs too."""
    if isinstance(config.annotator, OracleSettings):
        return Oracle(open_truth(corpus, "train").take)
    ask, schema = Questioner(corpus, directory), corpus.schema
    if isinstance(config.annotator, LabelStudioSettings):
        return Sharing(LabelStudioAnnotator(config.annotator, ask, schema.class_names, schema.multi_label, campaign=campaign), others)
    return Sharing(FilesAnnotator(ask, schema.class_names, schema.multi_label), others)
