import csv
import io
import json
import re
from html.parser import HTMLParser

import pytest

from xmr_ray.labels.formats import read_rows
from xmr_ray.labels.page import page, picture_of, tasks_csv, tasks_jsonl
from xmr_ray.labels.questions import Question


class Reader(HTMLParser):
    """The tags of a page, and the text inside every script."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.scripts = [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.lasttag == "script" and self.scripts:
            self.scripts[-1] += data


@pytest.fixture
def html(questions, class_names):
    return page(questions, title="<b>run</b>", key="k", file_name="answers.jsonl", class_names=class_names, multi_label=True).decode()


def test_the_page_holds_every_question_and_nothing_that_a_text_could_start(html, questions, class_names):
    found = Reader(html)
    assert len(found.scripts) == 2, "no text opened a third script"
    content = json.loads(found.scripts[0])
    assert content["classes"] == list(class_names)
    assert [(task["id"], task["text"], task["uri"]) for task in content["tasks"]] == [
        (str(question.pair_id), question.text or "", question.uri or "") for question in questions
    ]
    assert list(content["tasks"][0]["suggested"].values()) == [0.9, 0.4], "the most trusted first"
    assert content["tasks"][1]["reasons"] == {"entropy": "0.1235", "cell": "3"}
    assert [tag for tag, attributes in found.tags if "onerror" in attributes or tag == "b"] == []
    assert "<title>&lt;b&gt;run&lt;/b&gt;" in html


def test_the_page_asks_the_network_for_nothing_but_pictures_that_lie_there(html):
    assert [value for _, attributes in Reader(html).tags for name, value in attributes.items() if name in ("src", "href")] == []
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)[1]
    assert "default-src 'none'" in policy


def test_pictures_are_thumbnails_then_addresses_that_a_browser_opens(questions):
    assert picture_of(questions[0]).startswith("data:image/png;base64,iVBOR"), "the thumbnail, not the address"
    assert picture_of(questions[1]) == "https://example.invalid/7.jpg"
    assert picture_of(questions[2]) is None
    assert picture_of(Question(1, uri="javascript:alert(1)")) is None
    assert picture_of(Question(1, thumbnail=b"RIFF1234WEBPVP8 ")).startswith("data:image/webp;")


def test_the_table_is_ready_to_be_filled_in_and_imported(questions):
    rows = list(csv.DictReader(io.StringIO(tasks_csv(questions).decode(), newline="")))
    assert [int(row["pair_id"]) for row in rows] == [2**62 + 1, 7, 12]
    assert rows[1]["text"] == "'=HYPERLINK(1)", "no spreadsheet takes it for a formula"
    assert rows[0]["suggested"].endswith("(0.90);animal (0.40)")
    assert read_rows(tasks_csv(questions), name="tasks.csv") == [None] * 3, "nothing is answered yet"
    filled = tasks_csv(questions).replace(b"\n7,,,", b"\n7,animal,labelled,")
    assert read_rows(filled, name="tasks.csv")[1].labels == ("animal",)


def test_the_lines_say_what_is_asked_and_why(questions):
    lines = [json.loads(line) for line in tasks_jsonl(questions).splitlines()]
    assert lines[1] == {
        "pair_id": 7,
        "text": "=HYPERLINK(1)",
        "uri": "https://example.invalid/7.jpg",
        "suggested": {},
        "why": {"entropy": 0.123456, "cell": 3.0},
    }
    assert read_rows(tasks_jsonl(questions), name="tasks.jsonl") == [None] * 3
