"""What a person is handed: one page to tick, usable offline in any browser, and the same questions as CSV and JSONL."""

import base64
import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from xmr_ray.labels.questions import Question

_SIGNATURES = ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def picture_of(question: Question) -> str | None:
    """Address of a pair's picture: its thumbnail as a `data:` address, else its URI if a browser can open it.

    >>> picture_of(Question(1, uri="/data/a b.jpg")), picture_of(Question(1, uri="s3://bucket/a.jpg"))
    ('file:///data/a%20b.jpg', None)
    """
    image = question.thumbnail or b""
    webp = "image/webp" if image[:4] == b"RIFF" and image[8:12] == b"WEBP" else None
    if kind := webp or next((kind for start, kind in _SIGNATURES if image.startswith(start)), None):
        return f"data:{kind};base64,{base64.b64encode(image).decode()}"
    uri = question.uri or ""
    if uri.startswith("/"):
        return Path(uri).as_uri()
    return uri if uri.lower().startswith(("http://", "https://", "file:///")) else None


def page(questions: Sequence[Question], *, title: str, key: str, file_name: str, class_names: Sequence[str], multi_label: bool) -> bytes:
    """The page as self-contained HTML; `key` is under which the browser keeps what was ticked, `file_name` what the saved file is called."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    tasks = [
        {
            # a pair_id may have more digits than a number in JavaScript
            "id": str(question.pair_id),
            "text": question.text or "",
            "uri": question.uri or "",
            "picture": picture_of(question),
            "suggested": _by_trust(question),
            "reasons": {name: _short(value) for name, value in question.reasons.items()},
        }
        for question in questions
    ]
    content = {"key": key, "file": file_name, "classes": list(class_names), "several": multi_label, "tasks": tasks}
    return environment.get_template("page.html.j2").render(title=title, content=content, num_tasks=len(tasks)).encode()


def tasks_csv(questions: Sequence[Question]) -> bytes:
    """The questions as a table whose empty columns `labels` and `answer` are to be filled."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["pair_id", "labels", "answer", "text", "uri", "suggested", "why"])
    for question in questions:
        suggested = ";".join(f"{name} ({trust:.2f})" for name, trust in _by_trust(question).items())
        why = "; ".join(f"{name} {_short(value)}" for name, value in question.reasons.items())
        shown = [_as_text(value) for value in (question.text or "", question.uri or "", suggested, why)]
        writer.writerow([question.pair_id, "", "", *shown])
    return text.getvalue().encode()


def tasks_jsonl(questions: Sequence[Question]) -> bytes:
    """The questions, one JSON object a line."""
    lines = [
        {
            "pair_id": question.pair_id,
            "text": question.text,
            "uri": question.uri,
            "suggested": _by_trust(question),
            "why": {name: float(value) for name, value in question.reasons.items()},
        }
        for question in questions
    ]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


def _by_trust(question: Question) -> dict[str, float]:
    return {name: round(float(trust), 4) for name, trust in sorted(question.suggested.items(), key=lambda item: -item[1])}


def _short(value: float) -> str:
    return f"{value:.4g}"


def _as_text(value: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{value}" if value.startswith(_FORMULA) else value
