"""The annotator against a small Label Studio in memory that fails where it is told to."""

import json
import re
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

from xmr_ray.errors import AnnotatorError, ConfigError, LedgerError
from xmr_ray.labels.annotators import Answers, Pending
from xmr_ray.labels.answers import append_answers, read_answers
from xmr_ray.labels.label_studio import LabelStudioAnnotator, LabelStudioSettings, project_title
from xmr_ray.labels.questions import Answer, Question
from xmr_ray.types import Selection

NAMES = ("cat", "dog", "bird")
SETTINGS = LabelStudioSettings(url="http://127.0.0.1:9", retries=3, wait_s=0.0, tasks_per_import=4)
CLOCK = "2026-01-02T03:{:02d}:{:02d}.000000Z"


class FakeLabelStudio:
    """Projects, tasks and annotations with the answers that version 1.23.2 gives; `faults` are used up one a request."""

    def __init__(self):
        self.projects, self.tasks, self.log, self.faults = [], [], [], []
        self.ticks = 0

    def __call__(self, request):
        path, method = request.url.path, request.method
        self.log.append(f"{method} {path}")
        fault = next((fault for fault in self.faults if re.fullmatch(fault.on, self.log[-1])), None)
        if fault:
            self.faults.remove(fault)
        if fault and fault.kind == "500":
            return httpx.Response(500, text="out of order")
        if fault and fault.kind == "refused":
            raise httpx.ConnectError("refused", request=request)
        answer = self.answer(method, path, request)
        if fault and fault.kind == "late":  # the work is done, but nobody hears of it
            raise httpx.ReadTimeout("too late", request=request)
        if fault and fault.kind == "doubled":  # an earlier request, given up by its sender, lands as well
            self.answer(method, path, request)
        return answer

    def fail(self, on, *kinds):
        self.faults += [SimpleNamespace(on=on, kind=kind) for kind in kinds]

    def answer(self, method, path, request):
        if path == "/api/projects/" and method == "GET":
            page, size = int(request.url.params["page"]), 2
            hits = [project for project in self.projects[::-1] if request.url.params["title"].lower() in project["title"].lower()]
            more = "http://next" if len(hits) > page * size else None
            return httpx.Response(200, json={"results": hits[(page - 1) * size : page * size], "next": more})
        if path == "/api/projects/":
            return httpx.Response(201, json=self.add_project(**json.loads(request.content)))
        number = int(path.split("/")[3])
        if path == f"/api/tasks/{number}/" and method == "DELETE":
            self.tasks = [task for task in self.tasks if task["id"] != number]
            return httpx.Response(204)
        project = self.projects[number - 1]
        if path.endswith("/import"):
            return httpx.Response(201, json=self.add_tasks(number, json.loads(request.content)))
        if path.endswith("/export"):
            every = request.url.params.get("download_all_tasks") == "true"
            return httpx.Response(200, json=[task for task in self.tasks if task["project"] == number and (every or task["annotations"])])
        if method == "PATCH":
            project |= json.loads(request.content)
        return httpx.Response(200, json=project)

    def add_project(self, **body):
        labels = {"classes": re.findall(r'Choice value="(.*?)"', body["label_config"])[:-1], "cannot_tell": ["cannot tell"]}
        config = {name: {"labels": values} for name, values in labels.items()}
        self.projects.append({"id": len(self.projects) + 1, "model_version": "", "parsed_label_config": config, **body})
        return self.projects[-1]

    def add_tasks(self, number, bodies):
        for body in bodies:
            made = {"id": len(self.tasks) + 1, "project": number, "annotations": [], "drafts": [], "predictions": [], **body}
            self.tasks.append(made)
        return {"task_count": len(bodies)}

    def annotate(self, pair_id, *names, skipped=False, by=1, which=0):
        self.ticks += 1
        task = [task for task in self.tasks if task["data"]["pair_id"] == pair_id][which]
        regions = [{"from_name": "classes", "type": "choices", "value": {"choices": list(names)}}] if names else []
        when = CLOCK.format(*divmod(self.ticks, 60))
        task["annotations"].append({"id": self.ticks, "result": regions, "was_cancelled": skipped, "updated_at": when, "completed_by": by})

    @property
    def pair_ids(self):
        return [task["data"]["pair_id"] for task in self.tasks]


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "not-a-real-key")


@pytest.fixture
def studio():
    return FakeLabelStudio()


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "rounds" / "001")


def ask(selection):
    return [
        Question(int(pair_id), f"text {pair_id}", suggested={"dog": 0.8, "cat": 0.6}, reasons={"utility": float(utility)})
        for pair_id, utility in zip(selection.pair_ids_n, selection.utility_n, strict=True)
    ]


def annotator(studio, *, ask=ask, names=NAMES, multi_label=True, campaign="demo", settings=SETTINGS):
    return LabelStudioAnnotator(settings, ask, names, multi_label, campaign, transport=httpx.MockTransport(studio))


def select(*pair_ids):
    return Selection(np.array(pair_ids), np.linspace(1, 0.5, len(pair_ids)), {"novelty": np.arange(len(pair_ids)) / 10})


TEN = select(*range(109, 99, -1))


def test_a_round_is_pushed_answered_in_parts_and_closed(studio, folder):
    people = annotator(studio)
    people.request(TEN, folder=folder)
    assert studio.pair_ids == list(range(109, 99, -1)), "best first, as selected"
    assert studio.log.count("POST /api/projects/1/import") == 3, "ten tasks by four"
    assert studio.projects[0]["title"] == "xmr_ray demo"
    assert studio.projects[0]["model_version"] == "round 1"
    assert people.collect() == Pending(0, 10)
    studio.annotate(109, "dog", "cat")
    studio.annotate(100, skipped=True)
    studio.annotate(101)
    assert people.collect() == Pending(3, 10)
    assert {pair_id: answer.classes for pair_id, answer in read_answers(folder).items()} == {109: (0, 1), 100: None, 101: ()}
    for pair_id in range(102, 109):
        studio.annotate(pair_id, "bird")
    answers = people.collect()
    assert isinstance(answers, Answers)
    assert answers.cannot_tell_n.tolist() == [100]
    assert answers.labels.pair_ids_L.tolist() == list(range(101, 110))
    assert answers.labels.dense([109, 101, 102], num_classes=3).tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert len(read_answers(folder)) == 10


def test_pushed_twice_is_there_once_and_nothing_is_asked_of_the_engine_again(studio, folder):
    annotator(studio).request(TEN, folder=folder)

    def nobody(_):
        raise AssertionError("no question is lacking")

    before = len(studio.log)
    annotator(studio, ask=nobody).request(TEN, folder=folder)
    assert sorted(studio.pair_ids) == list(range(100, 110))
    assert len(studio.projects) == 1
    assert not [line for line in studio.log[before:] if not line.startswith("GET")], "the second push changes nothing"


def test_only_what_lacks_is_asked_and_pushed_with_its_own_reasons(studio, folder):
    people, asked = annotator(studio), []
    people.request(select(100, 101), folder=folder)
    people = annotator(studio, ask=lambda selection: asked.append(selection) or ask(selection))
    people.request(select(103, 101, 102), folder=folder)
    assert asked[0].pair_ids_n.tolist() == [103, 102]
    assert asked[0].utility_n.tolist() == [1.0, 0.5]
    assert asked[0].reasons["novelty"].tolist() == [0.0, 0.2]
    assert studio.pair_ids == [100, 101, 103, 102]


def test_what_another_run_asks_for_is_not_pushed_and_its_answers_close_the_purchase(studio, folder):
    people = annotator(studio)
    people.request(select(100, 101, 102), folder=folder, elsewhere={101, 102})
    assert studio.pair_ids == [100]
    studio.annotate(100, "dog")
    assert people.collect() == Pending(1, 3)
    append_answers(folder, [Answer(101, (2,)), Answer(102, None)], source="run other")
    people.request(select(100, 101, 102), folder=folder)
    assert studio.pair_ids == [100]
    assert people.collect().pair_ids.tolist() == [100, 101, 102]


@pytest.mark.parametrize("kind", ["500", "refused", "late"])
@pytest.mark.parametrize("on", [r"POST .*/import", r"POST /api/projects/", r"GET .*/export", r"GET /api/projects/", r"PATCH .*"])
@pytest.mark.parametrize("times", [1, 3])
def test_faults_lead_to_nothing_twice_and_nothing_lost(studio, folder, on, kind, times):
    studio.fail(on, *[kind] * times)
    annotator(studio).request(TEN, folder=folder)
    assert not studio.faults or on.startswith(("PATCH", "POST /api/projects/")), "done at the first attempt, if late"
    assert sorted(studio.pair_ids) == list(range(100, 110))
    assert len(studio.projects) == 1
    assert studio.projects[0]["model_version"] == "round 1"


@pytest.mark.parametrize("kind", ["500", "late"])
def test_a_server_that_stays_down_is_an_error_and_the_next_start_goes_on(studio, folder, kind):
    small = SETTINGS.model_copy(update={"tasks_per_import": 1})
    studio.fail(r"POST .*/import", *[kind] * 4)
    studio.fail(r"GET .*/export", *["ok"] * 4, *["500"] * 4)
    with pytest.raises(AnnotatorError, match="start again"):
        annotator(studio, settings=small).request(TEN, folder=folder)
    assert len(studio.pair_ids) == (4 if kind == "late" else 0), "half-way"
    studio.faults.clear()
    annotator(studio).request(TEN, folder=folder)
    assert sorted(studio.pair_ids) == list(range(100, 110))


def test_a_push_that_lands_twice_after_all_is_mended_without_touching_what_people_did(studio, folder):
    studio.fail(r"POST .*/import", "doubled")
    people = annotator(studio)
    people.request(TEN, folder=folder)
    assert sorted(studio.pair_ids) == list(range(100, 110)), "nobody had worked on them yet"
    studio.add_tasks(1, [{"data": dict(task["data"])} for task in studio.tasks[:3]])
    studio.annotate(109, "dog", which=1)
    studio.annotate(108, "dog", which=0)
    studio.annotate(108, "cat", which=1)
    people.request(TEN, folder=folder)
    kept = {task["id"]: task["data"]["pair_id"] for task in studio.tasks if task["data"]["pair_id"] >= 107}
    assert sorted(kept.values()) == [107, 108, 108, 109]
    people.collect()
    assert {pair_id: answer.classes for pair_id, answer in read_answers(folder).items()} == {109: (1,), 108: (0,)}


@pytest.mark.parametrize("kind", ["500", "refused", "late"])
def test_a_pull_that_breaks_off_loses_nothing(studio, folder, kind):
    people = annotator(studio)
    people.request(select(1, 2), folder=folder)
    studio.annotate(1, "dog")
    studio.fail(r"GET .*/export", *[kind] * 4)
    with pytest.raises(AnnotatorError, match="nothing is lost"):
        people.collect()
    assert read_answers(folder) == {}
    assert people.collect() == Pending(1, 2)
    studio.annotate(2, "cat")
    studio.fail(r"GET .*/export", kind)
    assert people.collect().pair_ids.tolist() == [1, 2]


def test_until_the_purchase_is_closed_a_person_may_think_again_and_the_last_word_counts(studio, folder, caplog):
    people = annotator(studio)
    people.request(select(1, 2), folder=folder)
    studio.annotate(1, "dog")
    assert people.collect() == Pending(1, 2)
    studio.annotate(1, "cat", by=2)
    studio.annotate(2, "bird")
    assert people.collect().labels.dense([1, 2], num_classes=3).tolist() == [[1, 0, 0], [0, 0, 1]]
    assert read_answers(folder) == {1: Answer(1, (0,), "user 2", 1), 2: Answer(2, (2,), "user 1")}, "what is kept is what was paid for"
    assert "pair_id=1 annotation=1 by='user 1' classes=(1,) overruled_by='user 2' classes_now=(0,)" in caplog.text


def test_a_change_is_fetched_before_the_purchase_is_closed_and_an_annotation_that_is_deleted_stays_answered(studio, folder):
    people = annotator(studio)
    people.request(select(1, 2), folder=folder)
    for said in (["dog"], ["cat"], ["cat"], []):
        studio.annotate(1, *said)
        assert people.collect() == Pending(1, 2)
    assert read_answers(folder) == {1: Answer(1, (), "user 1", 2)}
    studio.tasks[0]["annotations"].clear()
    people.request(select(1, 2), folder=folder)
    assert people.collect() == Pending(1, 2)
    assert read_answers(folder) == {1: Answer(1, (), "user 1", 2)}


def test_answers_that_were_fetched_outlive_the_project(studio, folder):
    annotator(studio).request(select(1, 2), folder=folder)
    studio.annotate(1, "dog")
    annotator_before = annotator(studio)
    annotator_before.request(select(1, 2), folder=folder)
    assert annotator_before.collect() == Pending(1, 2)
    empty = FakeLabelStudio()
    people = annotator(empty)
    people.request(select(1, 2), folder=folder)
    assert empty.pair_ids == [2], "what was answered is not asked again"
    empty.annotate(2, "cat")
    assert people.collect().pair_ids.tolist() == [1, 2]


def test_a_project_that_is_deleted_meanwhile_is_named(studio, folder):
    people = annotator(studio)
    people.request(select(1), folder=folder)
    studio.projects.clear()
    with pytest.raises(AnnotatorError, match="project 'xmr_ray demo' is gone; start the run again"):
        people.collect()


def test_rounds_and_campaigns_are_kept_apart(studio, folder):
    later = folder.replace("001", "002")
    people = annotator(studio)
    people.request(select(1), folder=folder)
    people.request(select(2), folder=later)
    other = annotator(studio, campaign="demo 2")
    other.request(select(1), folder=folder)
    assert [project["title"] for project in studio.projects] == ["xmr_ray demo", "xmr_ray demo 2"]
    assert studio.projects[0]["model_version"] == "round 2"
    studio.annotate(1, "dog")
    assert people.collect() == Pending(0, 1), "pair 1 belongs to the round before"
    studio.annotate(2, "dog")
    assert people.collect().pair_ids.tolist() == [2]


def test_the_exact_title_counts_and_of_several_the_oldest(studio, folder):
    body = {"label_config": "".join(f'<Choice value="{name}"/>' for name in (*NAMES, "cannot tell"))}
    for title in ("xmr_ray demo 9", "XMR_RAY DEMO", "xmr_ray demo", "xmr_ray demo", "my xmr_ray demo"):
        studio.add_project(title=title, **body)
    annotator(studio).request(select(1), folder=folder)
    assert [task["project"] for task in studio.tasks] == [3]
    assert len(studio.projects) == 5


def test_other_classes_in_the_project_are_an_error_before_anything_is_pushed(studio, folder):
    annotator(studio).request(select(1), folder=folder)
    with pytest.raises(LedgerError, match=r"project 1 \('xmr_ray demo'\).*'bird'"):
        annotator(studio, names=NAMES[:2]).request(select(2), folder=folder)
    assert studio.pair_ids == [1]


def test_without_suggestions_no_model_version_is_asked_for(studio, folder):
    annotator(studio, ask=lambda selection: [Question(int(pair_id)) for pair_id in selection.pair_ids_n]).request(TEN, folder=folder)
    assert not [line for line in studio.log if line.startswith("PATCH")]


def test_the_key_is_asked_for_before_any_work_and_is_never_written(studio, folder, monkeypatch, tmp_path, caplog):
    caplog.set_level("DEBUG")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "marmalade")
    people = annotator(studio)
    people.request(select(1), folder=folder)
    studio.annotate(1, "dog")
    people.collect()
    assert "marmalade" not in caplog.text
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"marmalade" in path.read_bytes()]
    monkeypatch.delenv("LABEL_STUDIO_API_KEY")
    with pytest.raises(ConfigError, match="LABEL_STUDIO_API_KEY"):
        annotator(studio)


def test_titles_fit_and_long_campaigns_stay_apart():
    titles = {project_title("xmr_ray", f"{'x' * 60}{number}") for number in range(3)}
    assert len(titles) == 3
    assert {len(title) for title in titles} == {50}
    assert project_title("p" * 24, "x" * 25) == f"{'p' * 24} {'x' * 25}"
