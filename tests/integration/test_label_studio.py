"""The annotator against a real Label Studio server, killed and started again in the middle of pushing and pulling.

The server is the package `label-studio` in an environment of its own: `.venv-label-studio`, or the one whose interpreter
XMR_LABEL_STUDIO_PYTHON names. It listens on loopback only and keeps its database in a temporary folder.
"""

import contextlib
import json
import os
import secrets
import socket
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from xmr_ray import storage
from xmr_ray.cluster.runner import campaign_of, experiment_path, open_corpus, run_experiment
from xmr_ray.config import expand, to_yaml, validate
from xmr_ray.corpus.source import Source
from xmr_ray.corpus.truth import open_truth
from xmr_ray.errors import AnnotatorError, ConfigError
from xmr_ray.labels.annotators import Oracle, Pending
from xmr_ray.labels.answers import read_answers
from xmr_ray.labels.label_studio import LabelStudioAnnotator, LabelStudioSettings
from xmr_ray.labels.ledger import read_receipt
from xmr_ray.labels.questions import Question
from xmr_ray.readers.ingest import ingest
from xmr_ray.readers.synthetic import SyntheticReader
from xmr_ray.runs.directory import RunDirectory
from xmr_ray.types import LabelSet, Selection

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
NAMES = ("cat", "dog", 'rock & "roll" <live>', "caf\u00e9")
PICTURE = bytes.fromhex("47494638396101000100800000ffffff00000021f90401000000002c00000000010001000002024401003b")
START_WITHIN_S = 300


class Studio:
    """A server process, ended and started by its id."""

    def __init__(self, program, folder):
        self.program, self.folder = program, folder
        self.token = secrets.token_hex(20)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        environment = {
            **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
            "HOME": str(self.folder),
            "LABEL_STUDIO_BASE_DATA_DIR": str(self.folder),
            "LABEL_STUDIO_USERNAME": "person@example.org",
            "LABEL_STUDIO_PASSWORD": secrets.token_hex(12),
            "LABEL_STUDIO_USER_TOKEN": self.token,
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
            "COLLECT_ANALYTICS": "false",
            "LATEST_VERSION_CHECK": "false",
            "SENTRY_DSN": "",
            "FRONTEND_SENTRY_DSN": "",
        }
        command = [self.program, "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(self.port)]
        command += ["--data-dir", str(self.folder), "--database", str(self.folder / "studio.sqlite3")]
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, cwd=self.folder, stdout=log, stderr=log)
        until = time.monotonic() + START_WITHIN_S
        while time.monotonic() < until:
            if self.process.poll() is not None:
                break
            try:
                if httpx.get(f"{self.url}/health", timeout=5, trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.2)
        self.kill()
        pytest.fail(f"Label Studio did not start: {(self.folder / 'log.txt').read_text(errors='replace')[-2000:]}")

    def kill(self):
        process = self.process  # another thread may start the next one
        process.kill()
        process.wait()

    def client(self):
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Token {self.token}"}, timeout=120, trust_env=False)

    def tasks(self, campaign):
        """Every task of a campaign, told by the server itself; there must be one project of that name."""
        with self.client() as client:
            found = [
                one for one in client.get("/api/projects/", params={"page_size": 100}).json()["results"] if one["title"] == f"xmr_ray {campaign}"
            ]
            assert len(found) <= 1
            return [task for one in found for task in client.get(f"/api/projects/{one['id']}/export?exportType=JSON&download_all_tasks=true").json()]

    def answer(self, campaign, said, *, round_index=0):
        """Annotate as the page of Label Studio does: pair -> class names, or None to skip."""
        with self.client() as client:
            for task in self.tasks(campaign):
                data = task["data"]
                if data["round"] == round_index and data["pair_id"] in said:
                    names = said[data["pair_id"]]
                    region = {"from_name": "classes", "to_name": "image", "type": "choices", "value": {"choices": list(names or ())}}
                    body = {"result": [region] if names else [], "was_cancelled": names is None}
                    client.post(f"/api/tasks/{task['id']}/annotations/", json=body).raise_for_status()


class Killing(httpx.HTTPTransport):
    """Kills the server within the request of this number, after `share` of what the one before it took; 1: once it is done. Its answer is lost."""

    def __init__(self, studio, path, *, number, share):
        super().__init__()
        self.studio, self.path, self.left, self.share, self.took_s = studio, path, number, share, 0.0

    def handle_request(self, request):
        if not request.url.path.endswith(self.path):
            return super().handle_request(request)
        self.left -= 1
        if self.left == 0:
            return self.die(request)
        began = time.monotonic()
        answer = super().handle_request(request)
        answer.read()
        self.took_s = time.monotonic() - began
        return answer

    def die(self, request):
        end = threading.Timer(self.share * self.took_s, self.studio.kill)
        if self.share < 1:
            end.start()
        with contextlib.suppress(httpx.TransportError):
            super().handle_request(request).read()
        if self.share == 1:
            end.start()
        end.join()
        raise httpx.ReadError("killed", request=request)


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    named = os.environ.get("XMR_LABEL_STUDIO_PYTHON")
    python = str(Path(named).absolute()) if named else str(ROOT / ".venv-label-studio" / "bin" / "python")
    program = Path(python).with_name("label-studio")
    if not program.exists():
        pytest.skip(f"no Label Studio: {program} is not there; `make test-integration` installs it, or set XMR_LABEL_STUDIO_PYTHON")
    made = Studio(str(program), tmp_path_factory.mktemp("studio"))
    made.start()
    yield made
    made.kill()


@pytest.fixture(autouse=True)
def _key(studio, monkeypatch):
    for name in [name for name in os.environ if "proxy" in name.lower()]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", studio.token)


def ask(selection):
    return [Question(int(pair_id), f"<b>text</b> {pair_id}", None, PICTURE, {NAMES[2]: 0.9, "cat": 0.6}) for pair_id in selection.pair_ids_n]


def annotator(studio, campaign, *, transport=None, multi_label=True, names=NAMES, **settings):
    made = LabelStudioSettings(url=studio.url, **{"retries": 2, "wait_s": 0.1, **settings})
    return LabelStudioAnnotator(made, ask, names, multi_label, campaign, transport=transport)


def select(pair_ids):
    return Selection(np.asarray(pair_ids), np.linspace(1, 0, len(pair_ids)))


def folder_of(tmp_path, index):
    return str(tmp_path / "rounds" / f"{index:03d}")


def names_of(truth, pair_ids):
    return {
        int(pair): [NAMES[k] for k in np.flatnonzero(row)] for pair, row in zip(pair_ids, truth.dense(pair_ids, num_classes=len(NAMES)), strict=True)
    }


def test_three_rounds_answered_by_a_person_are_what_the_oracle_says(studio, tmp_path):
    rng = np.random.default_rng(0)
    ids = np.arange(60) + 2**60
    truth = LabelSet.of(ids.tolist(), [sorted(np.flatnonzero(rng.random(len(NAMES)) < 0.4).tolist()) for _ in ids])
    people, oracle = annotator(studio, "three rounds"), Oracle(truth.take)
    for index in range(3):
        folder, selection = folder_of(tmp_path, index), select(rng.permutation(ids[index * 20 : index * 20 + 20]))
        for _ in range(2):
            people.request(selection, folder=folder)
        assert len(studio.tasks("three rounds")) == 20 * (index + 1), "pushed twice, there once"
        assert people.collect() == Pending(0, 20)
        said = names_of(truth, np.sort(selection.pair_ids_n))
        studio.answer("three rounds", dict(list(said.items())[:13]), round_index=index)
        assert people.collect() == Pending(13, 20)
        assert len(read_answers(folder)) == 13
        studio.answer("three rounds", dict(list(said.items())[13:]), round_index=index)
        oracle.request(selection, folder=folder)
        assert people.collect().labels.dense(np.sort(selection.pair_ids_n), num_classes=4).tolist() == (
            oracle.collect().labels.dense(np.sort(selection.pair_ids_n), num_classes=4).tolist()
        )
        assert len(people.collect().cannot_tell_n) == 0


def test_suggestions_of_the_newest_round_stand_beside_the_task_that_comes_next(studio, tmp_path):
    people = annotator(studio, "suggestions")
    for index in range(2):
        people.request(select([index]), folder=folder_of(tmp_path, index))
        studio.answer("suggestions", {0: ["cat"]})
    with studio.client() as client:
        shown = client.get(f"/api/projects/{studio.tasks('suggestions')[0]['project']}/next").json()
    assert shown["data"]["pair_id"] == 1
    assert shown["data"]["text"] == "<b>text</b> 1"
    assert shown["data"]["image"].startswith("data:image/gif;base64,")
    suggested = [(one["model_version"], one["score"], one["result"][0]["value"]["choices"]) for one in shown["predictions"]]
    assert suggested == [("round 1", 0.6, [NAMES[2], "cat"])]


def test_skipping_changing_ones_mind_and_a_single_label(studio, tmp_path):
    people, folder = annotator(studio, "single", multi_label=False), folder_of(tmp_path, 0)
    people.request(select([1, 2, 3]), folder=folder)
    studio.answer("single", {1: None, 2: ["dog"]})
    assert people.collect() == Pending(2, 3)
    studio.answer("single", {2: ["caf\u00e9"], 3: ["cat"]})
    answers = people.collect()
    assert answers.cannot_tell_n.tolist() == [1]
    assert answers.labels.dense([2, 3], num_classes=4).tolist() == [[0, 0, 0, 1], [1, 0, 0, 0]]
    assert {pair_id: answer.classes for pair_id, answer in read_answers(folder).items()} == {1: None, 2: (3,), 3: (0,)}


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 1])
def test_a_server_killed_in_the_middle_of_a_push(studio, tmp_path, share):
    campaign, folder, wanted = f"killed push {share}", folder_of(tmp_path, 0), list(range(300))
    dying = annotator(studio, campaign, transport=Killing(studio, "/import", number=2, share=share), tasks_per_import=60)
    try:
        with pytest.raises(AnnotatorError, match="start again"):
            dying.request(select(wanted), folder=folder)
    finally:
        studio.start()
    half_way = len(studio.tasks(campaign))
    assert 60 <= half_way < 300, "the server died half-way"
    assert half_way == 120 or share < 1, "work that was done counts, though its answer was lost"
    people = annotator(studio, campaign)
    people.request(select(wanted), folder=folder)
    tasks = studio.tasks(campaign)
    assert sorted(task["data"]["pair_id"] for task in tasks) == wanted, "nothing twice, nothing lost"
    assert {task["total_predictions"] for task in tasks} == {1}


def test_a_server_that_comes_back_in_time_is_waited_for(studio, tmp_path):
    people = annotator(studio, "comes back", transport=Killing(studio, "/import", number=2, share=0.5), retries=12, wait_s=0.5)
    again = threading.Thread(target=lambda: (until(lambda: studio.process.poll() is not None), studio.start()))
    again.start()
    people.request(select(range(300)), folder=folder_of(tmp_path, 0))
    again.join()
    assert sorted(task["data"]["pair_id"] for task in studio.tasks("comes back")) == list(range(300))


@pytest.mark.parametrize("share", [0.2, 1])
def test_a_server_killed_in_the_middle_of_a_pull(studio, tmp_path, share):
    campaign, folder, said = f"killed pull {share}", folder_of(tmp_path, 0), {pair: ["dog"] for pair in range(24)}
    people = annotator(studio, campaign)
    people.request(select(range(24)), folder=folder)
    studio.answer(campaign, {pair: said[pair] for pair in range(9)})
    assert people.collect() == Pending(9, 24)
    studio.answer(campaign, {pair: said[pair] for pair in range(9, 18)})
    broken = annotator(studio, campaign, transport=Killing(studio, "/export", number=2, share=share))
    broken.request(select(range(24)), folder=folder)
    try:
        with pytest.raises(AnnotatorError, match="nothing is lost"):
            broken.collect()
    finally:
        studio.start()
    assert len(read_answers(folder)) == 9, "what was fetched before is kept"
    assert people.collect() == Pending(18, 24)
    studio.answer(campaign, {pair: said[pair] for pair in range(18, 24)})
    assert people.collect().labels.dense(range(24), num_classes=4).tolist() == [[0, 1, 0, 0]] * 24
    assert len(read_answers(folder)) == 24
    assert len(studio.tasks(campaign)) == 24


def test_a_personal_access_token_works_and_a_wrong_key_is_explained(studio, tmp_path, monkeypatch):
    with studio.client() as client:
        client.post("/api/jwt/settings", json={"api_tokens_enabled": True, "legacy_api_tokens_enabled": True}).raise_for_status()
        personal = client.post("/api/token/").json()["token"]
    for key in (personal[:-1] + ("a" if personal[-1] != "a" else "b"), "0" * 40):
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", key)
        with pytest.raises(ConfigError, match=r"is not accepted .*Access Token Settings"):
            annotator(studio, "personal").request(select([1]), folder=folder_of(tmp_path, 0))
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", personal)
    people = annotator(studio, "personal")
    people.request(select([1]), folder=folder_of(tmp_path, 0))
    studio.answer("personal", {1: ["cat"]})
    assert people.collect().labels.dense([1], num_classes=4).tolist() == [[1, 0, 0, 0]]


def write_corpus(path, *, truth):
    """300 train pairs of four classes whose names are awkward, with or without truth; no test split."""
    reader = SyntheticReader(num_train=300, num_validation=0, num_test=0, image_dim=24, text_dim=16, num_classes=len(NAMES), latent_dim=6, seed=1)
    source = reader.read()
    schema = source.schema.model_copy(update={"class_names": NAMES})
    shards = ((split, records if truth else replace(records, labels=None)) for split, records in source.shards())
    ingest(Source.of(schema, shards), str(path), rows_per_file=200, row_group_rows=64)
    return {"path": str(path)}


def rounds_of(experiment):
    return RunDirectory(storage.join(experiment_path(experiment), "entropy-s0")).rounds()


@pytest.mark.ray
def test_run_by_run_without_any_truth_it_ends_as_the_oracle_on_the_same_answers(session, quick, studio, tmp_path, capsys, call):
    def experiment_of(name, **content):
        changes = {"arms": {}, "strategy": {"kind": "entropy"}, "budget": {"total": 60, "seed_pairs": 30, "per_round": 15}}
        training = {"label_predictor": {"steps": 20}, "common_space": {"steps": 20}}
        return validate({**quick, **changes, "training": training, "name": name, "storage_path": str(tmp_path), **content}, where="test")

    oracle = experiment_of("oracle", corpus=write_corpus(tmp_path / "known", truth=True))
    run_experiment(oracle, on_round=lambda run, state: None)
    truth = open_truth(open_corpus(oracle), "train")

    asked = {"kind": "label_studio", "url": studio.url, "wait_s": 0.1}
    people = experiment_of("people", corpus=write_corpus(tmp_path / "unknown", truth=False), annotator=asked)
    config = tmp_path / "c.yaml"
    config.write_text(to_yaml(people))
    campaign = campaign_of(expand(people)[0], open_corpus(people))
    for index, size in enumerate((30, 15, 15)):
        assert call("run", "-c", str(config), "--json") == 7
        waiting = json.loads(capsys.readouterr().out)["waiting"]
        assert [(row["waiting_round"], row["num_answered"], row["num_asked"], row["place"]) for row in waiting] == [(index, 0, size, studio.url)]
        said = names_of(truth, np.sort(rounds_of(people)[index].read_selection().pair_ids_n))
        tasks = [task for task in studio.tasks(campaign) if task["data"]["round"] == index]
        assert sorted(task["data"]["pair_id"] for task in tasks) == sorted(said)
        assert index == 0 or any(task["total_predictions"] for task in tasks), "from the second round on the networks suggest"
        studio.answer(campaign, dict(list(said.items())[:4]), round_index=index)
        assert call("run", "-c", str(config)) == 7
        assert f"4 of {size} have come" in capsys.readouterr().out
        studio.answer(campaign, dict(list(said.items())[4:]), round_index=index)
    assert call("run", "-c", str(config)) == 0
    assert "held out" in capsys.readouterr().out
    for mine, theirs in zip(rounds_of(people), rounds_of(oracle), strict=True):
        assert mine.read_selection().pair_ids_n.tolist() == theirs.read_selection().pair_ids_n.tolist()
        paid, known = read_receipt(mine.receipt), read_receipt(theirs.receipt)
        assert paid.labels.dense(known.pair_ids, num_classes=4).tolist() == known.labels.dense(known.pair_ids, num_classes=4).tolist()
        assert mine.read_report()["retrieval"] == theirs.read_report()["retrieval"]
    assert len(studio.tasks(campaign)) == 60
    assert all(studio.token.encode() not in path.read_bytes() for path in (tmp_path / "people").rglob("*") if path.is_file()), (
        "the key is kept nowhere"
    )


def until(happened, within_s=60.0):
    end = time.monotonic() + within_s
    while not happened() and time.monotonic() < end:
        time.sleep(0.05)
    assert happened()
