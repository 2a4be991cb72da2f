"""What Label Studio is told and what it answers: labelling configuration, tasks with suggestions, annotations. Nothing here speaks HTTP."""

import base64
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from xml.sax.saxutils import quoteattr

from xmr_ray.errors import LedgerError
from xmr_ray.labels.questions import Answer, Question

log = logging.getLogger(__name__)

CLASSES = "classes"
CANNOT_TELL = "cannot_tell"
_NO_PICTURE = b'<svg xmlns="http://www.w3.org/2000/svg" width="320" height="60"><text x="12" y="36" font-size="18">no picture</text></svg>'
_SIGNATURES = {b"\xff\xd8": "image/jpeg", b"\x89PNG": "image/png", b"GIF8": "image/gif", b"RIFF": "image/webp", b"<svg": "image/svg+xml"}


@dataclass(frozen=True)
class Batch:
    """One round of one campaign: the mark by which its tasks are known again."""

    campaign: str
    round_index: int

    @property
    def model_version(self) -> str:
        """Under what name the suggestions of this round are shown."""
        return f"round {self.round_index}"

    def holds(self, task: Mapping[str, Any]) -> bool:
        """Whether a task of the server belongs to this round."""
        data = task["data"]
        return data.get("campaign") == self.campaign and data.get("round") == self.round_index and isinstance(data.get("pair_id"), int)


def label_config(class_names: Sequence[str], *, multi_label: bool) -> str:
    """The labelling configuration: picture, text, one choice for each class, and "cannot tell", which no class name can be mistaken for.

    >>> '<Choice value="rock &amp; roll"/>' in label_config(["rock & roll"], multi_label=True)
    True
    """
    choices = "".join(f"<Choice value={quoteattr(name)}/>" for name in class_names)
    return (
        '<View><Image name="image" value="$image"/><Text name="text" value="$text"/>'
        f'<Choices name="{CLASSES}" toName="image" choice="{"multiple" if multi_label else "single"}" showInline="true">{choices}</Choices>'
        f'<Choices name="{CANNOT_TELL}" toName="image" choice="multiple"><Choice value="cannot tell"/></Choices></View>'
    )


def check_classes(project: Mapping[str, Any], class_names: Sequence[str]) -> None:
    """Raise `LedgerError` if the project on the server offers other classes than the corpus has."""
    offered = project["parsed_label_config"].get(CLASSES, {}).get("labels", [])
    where = f"Label Studio project {project['id']} ({project['title']!r})"
    if different := sorted(set(offered) ^ set(class_names)):
        side = "the corpus, but not the project," if different[0] in class_names else "the project, but not the corpus,"
        raise LedgerError(
            f"{where}: {side} has the class {different[0]!r}; give both the same classes, or let another campaign begin a project of its own"
        )
    if CANNOT_TELL not in project["parsed_label_config"]:
        raise LedgerError(f"{where}: its labelling configuration has no Choices named {CANNOT_TELL!r}; put them back")


def task_of(question: Question, batch: Batch, *, multi_label: bool) -> dict[str, Any]:
    """A question as a task to import; what the networks suggest comes with it as a prediction, for a single label only the likeliest class."""
    data = {
        "pair_id": question.pair_id,
        "round": batch.round_index,
        "campaign": batch.campaign,
        "text": question.text or "",
        "image": image_of(question),
        "uri": question.uri or "",
        "why": " ".join(f"{name}={value:.4g}" for name, value in question.reasons.items()),
    }
    suggested = sorted(question.suggested, key=lambda name: -question.suggested[name])[: None if multi_label else 1]
    if not suggested:
        return {"data": data}
    region = {"from_name": CLASSES, "to_name": "image", "type": "choices", "value": {"choices": suggested}}
    score = min(question.suggested[name] for name in suggested)
    return {"data": data, "predictions": [{"model_version": batch.model_version, "score": score, "result": [region]}]}


def image_of(question: Question) -> str:
    """What the browser shows: the picture's own address if it is on the web, else the thumbnail itself, else the words "no picture".

    >>> image_of(Question(1, uri="https://example.org/1.jpg", thumbnail=b"..."))
    'https://example.org/1.jpg'
    >>> image_of(Question(1, uri="/data/1.png", thumbnail=b"GIF89a"))
    'data:image/gif;base64,R0lGODlh'
    """
    if question.uri and question.uri.startswith(("http://", "https://")):
        return question.uri
    data = question.thumbnail or _NO_PICTURE
    kind = next((kind for start, kind in _SIGNATURES.items() if data.startswith(start)), "application/octet-stream")
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def answers_of(tasks: Iterable[Mapping[str, Any]], batch: Batch, class_names: Sequence[str], *, multi_label: bool) -> dict[int, Answer]:
    """The answers of a round by pair. Of several annotations the one changed last counts; those that it overrules are logged.

    Args:
        tasks: exported tasks with their annotations; those of other rounds are left out.
        batch: the round.
        class_names: class number -> name.
        multi_label: whether a pair may have several classes, or none.

    Raises:
        LedgerError: an annotation names a class that the corpus does not have, or several for a single label.
    """
    numbers = {name: number for number, name in enumerate(class_names)}
    found: dict[int, list[tuple[datetime, int, Answer]]] = {}
    for task in tasks:
        if batch.holds(task):
            entries = found.setdefault(task["data"]["pair_id"], [])
            for annotation in task["annotations"]:
                changed = datetime.fromisoformat(annotation["updated_at"])
                entries.append((changed, annotation["id"], _answer(task, annotation, numbers, multi_label=multi_label)))
    latest = {}
    for pair_id, entries in found.items():
        if entries:
            entries.sort(key=lambda entry: entry[:2])
            latest[pair_id] = entries[-1][2]
            _tell_overruled(pair_id, entries)
    return latest


def surplus(tasks: Iterable[Mapping[str, Any]], batch: Batch) -> list[int]:
    """Tasks of the round that ask again what another task asks, and that nobody has worked on: they can be deleted without loss."""
    found: dict[int, list[Mapping[str, Any]]] = {}
    for task in tasks:
        if batch.holds(task):
            found.setdefault(task["data"]["pair_id"], []).append(task)
    spare = []
    for same in found.values():
        worked_on = [bool(task["annotations"] or task.get("drafts")) for task in same]
        keep = worked_on.index(True) if any(worked_on) else 0
        spare += [task["id"] for place, task in enumerate(same) if place != keep and not worked_on[place]]
    return spare


def _answer(task: Mapping[str, Any], annotation: Mapping[str, Any], numbers: Mapping[str, int], *, multi_label: bool) -> Answer:
    pair_id, person = task["data"]["pair_id"], _person(annotation)
    chosen: dict[str, set[str]] = {CLASSES: set(), CANNOT_TELL: set()}
    for region in annotation["result"]:
        if region.get("from_name") in chosen:
            chosen[region["from_name"]] |= set(region["value"]["choices"])
    names = chosen[CLASSES]
    if annotation["was_cancelled"] or chosen[CANNOT_TELL] or not (names or multi_label):
        return Answer(pair_id, None, person)
    where = f"Label Studio task {task['id']} (pair_id {pair_id})"
    if unknown := sorted(names - numbers.keys()):
        raise LedgerError(f"{where}: annotation {annotation['id']} says {unknown[0]!r}, which is no class of the corpus; correct it there")
    if len(names) > 1 and not multi_label:
        raise LedgerError(f"{where}: annotation {annotation['id']} says {sorted(names)}, but a pair has one label here; correct it there")
    return Answer(pair_id, tuple(sorted(numbers[name] for name in names)), person)


def _person(annotation: Mapping[str, Any]) -> str:
    who = annotation.get("completed_by")
    return str(who.get("email") or who.get("id")) if isinstance(who, dict) else f"user {who}"


def _tell_overruled(pair_id: int, entries: Sequence[tuple[datetime, int, Answer]]) -> None:
    last = entries[-1][2]
    for _, annotation_id, answer in entries[:-1]:
        if answer.classes != last.classes:
            log.warning(
                "step=pull pair_id=%d annotation=%d by=%r classes=%s overruled_by=%r classes_now=%s",
                *(pair_id, annotation_id, answer.annotator, answer.classes, last.annotator, last.classes),
            )
