"""People who answer with files: their questions lie in the round's folder, their answers come in by `xmr-ray label import`."""

from collections.abc import Callable, Collection, Sequence

import numpy as np

from xmr_ray import storage
from xmr_ray.labels.annotators import Answers, Pending
from xmr_ray.labels.answers import closing, read_answers
from xmr_ray.labels.page import page, tasks_csv, tasks_jsonl
from xmr_ray.labels.questions import Question
from xmr_ray.types import Ids, Selection


def page_of(folder: str) -> str:
    """Where the page of a round's folder lies."""
    return storage.join(folder, "to_label", "index.html")


class FilesAnnotator:
    """Writes what is to be labelled and reads what was answered; pairs that have their answer are not asked again.

    Args:
        ask: builds the questions of a selection, in its order.
        class_names: what may be ticked.
        multi_label: whether a pair may have any number of classes, or exactly one.
    """

    def __init__(self, ask: Callable[[Selection], Sequence[Question]], class_names: tuple[str, ...], multi_label: bool) -> None:
        self._ask, self._class_names, self._multi_label = ask, class_names, multi_label
        self._asked: Ids = np.empty(0, np.int64)
        self._folder = ""

    def request(self, selection: Selection, *, folder: str, elsewhere: Collection[int] = ()) -> None:
        """Write `to_label/` (tasks.csv, tasks.jsonl, then index.html) for the pairs without an answer; the same again changes nothing.

        For pairs `elsewhere` another run asks. Where nothing is left to ask, there is no `to_label/`.
        """
        self._asked, self._folder = selection.pair_ids_n, folder
        open_n = ~np.isin(selection.pair_ids_n, np.array([*read_answers(folder), *elsewhere], dtype=np.int64))
        if not open_n.any():
            storage.remove_folder(storage.join(folder, "to_label"))
            return
        reasons = {name: values[open_n] for name, values in selection.reasons.items()}
        questions = self._ask(Selection(selection.pair_ids_n[open_n], selection.utility_n[open_n], reasons))
        parts = folder.rstrip("/").split("/")
        run, number = (parts[-3] if len(parts) > 2 else ""), parts[-1]
        html = page(
            questions,
            title=f"{run}, round {int(number)}" if number.isdigit() else number,
            key=self._key(selection, folder),
            file_name=f"answers-{run}-{number}.jsonl",
            class_names=self._class_names,
            multi_label=self._multi_label,
        )
        for path, data in (("tasks.csv", tasks_csv(questions)), ("tasks.jsonl", tasks_jsonl(questions)), ("index.html", html)):
            storage.write_whole(storage.join(folder, "to_label", path), data)

    def _key(self, selection: Selection, folder: str) -> str:
        """Under what the browser keeps answers: it outlives a partial import, but not another question in the same folder."""
        asked = repr((storage.absolute(folder), selection.pair_ids_n.tolist(), self._class_names))
        return f"xmr-ray:{storage.digest_bytes(asked.encode())[:16]}"

    def collect(self) -> Answers | Pending:
        """All answers to the last request, or how many there are so far."""
        return closing(read_answers(self._folder), self._asked)
