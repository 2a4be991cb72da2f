"""Pascal Sentence (Rashtchian et al. 2010): 50 images of each of the 20 Pascal classes with five sentences each."""

from collections.abc import Iterator
from typing import Literal

from pydantic import NonNegativeInt

from xmr_ray.component import Component
from xmr_ray.corpus.source import RawSource
from xmr_ray.errors import ReaderError
from xmr_ray.readers.lines import lines_of
from xmr_ray.readers.pascal_voc import CLASSES, number_of_id
from xmr_ray.readers.raw_pairs import RawPair, raw_source
from xmr_ray.readers.splits import draw_split_of
from xmr_ray.storage import join, list_names
from xmr_ray.types import Split


class PascalSentenceReader(Component):
    """Pairs of `images/<class>/<id>.jpg` and `sentences/<class>/<id>.txt`, one sentence a line, below `folder`.

    The sentences of an image are joined by line ends, or only the first is taken. `pair_id` is the number in the id (2008_000251 gives
    2008000251). There is no official split: of every class `test_per_class` and `validation_per_class` images are drawn by a hash of
    (`seed`, id); 5 and 5 leave 40, as most papers do.
    """

    kind: Literal["pascal_sentence"] = "pascal_sentence"
    folder: str
    image_folder: str = "images"
    sentence_folder: str = "sentences"
    sentences_as: Literal["first", "joined"] = "joined"
    test_per_class: NonNegativeInt = 5
    validation_per_class: NonNegativeInt = 5
    seed: NonNegativeInt = 0
    encoding: str = "utf-8-sig"
    source: str = "Pascal Sentence"

    def read(self) -> RawSource:
        """Read all sentences.

        Raises:
            ReaderError: a folder of a class or a file of sentences is missing or empty, or images and sentences disagree.
        """
        paths = ("folder", "image_folder", "sentence_folder")
        return raw_source(self, self._pairs(), class_names=CLASSES, multi_label=False, source=self.source, paths=paths)

    def _pairs(self) -> Iterator[RawPair]:
        counts: dict[Split, int] = {"test": self.test_per_class, "validation": self.validation_per_class}
        for label, name in enumerate(CLASSES):
            texts, images = join(self.folder, self.sentence_folder, name), join(self.folder, self.image_folder, name)
            stems = [_stems(folder, ending) for folder, ending in ((images, ".jpg"), (texts, ".txt"))]
            if stems[0] != stems[1]:
                raise ReaderError(f"{texts}: {min(stems[0] ^ stems[1])!r} has only one of image and sentences; complete or remove it")
            names = {number_of_id(stem, where=texts): stem for stem in stems[0]}
            split_of = draw_split_of(names, counts, seed=self.seed, where=texts)
            for number in sorted(names):
                path = join(texts, f"{names[number]}.txt")
                sentences = [line for line in lines_of(path, encoding=self.encoding) if line]
                if not sentences:
                    raise ReaderError(f"{path}: holds no sentence; complete or remove it")
                text = sentences[0] if self.sentences_as == "first" else "\n".join(sentences)
                yield RawPair(split_of[number], number, text, images, f"{names[number]}.jpg", (label,))


def _stems(folder: str, ending: str) -> set[str]:
    found = {name[: -len(ending)] for name in list_names(folder) if name.endswith(ending)}
    if not found:
        raise ReaderError(f"{folder}: holds no {ending} file; expected one folder for each of the 20 classes")
    return found
