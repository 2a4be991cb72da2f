"""People answer in Label Studio: one project for a campaign, one task for a pair, pushed twice and there once, pulled as often as one likes."""

import hashlib
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from xmr_ray.errors import AnnotatorError
from xmr_ray.labels.annotators import Answers, Pending
from xmr_ray.labels.answers import append_answers, closing, read_answers
from xmr_ray.labels.label_studio_server import LabelStudioServer, LabelStudioSettings, import_httpx, read_key
from xmr_ray.labels.label_studio_tasks import Batch, answers_of, check_classes, label_config, surplus, task_of
from xmr_ray.labels.questions import Question
from xmr_ray.types import Ids, Selection

if TYPE_CHECKING:
    import httpx

__all__ = ["LabelStudioAnnotator", "LabelStudioSettings"]

log = logging.getLogger(__name__)

_LONGEST_TITLE = 50  # of Label Studio
_PROJECTS_A_PAGE = 100


class LabelStudioAnnotator:
    """The annotator whose answers come from a Label Studio server.

    Args:
        settings: where the server is.
        ask: the questions of a selection, in its order; asked only for pairs that the server does not have.
        class_names: class number -> name, as the project offers them.
        multi_label: whether a pair may have several classes, or none.
        campaign: what the project is known by; every run, arm and seed that buys labels needs its own.
        transport: for tests.

    Raises:
        ConfigError: httpx is not installed, or there is no key.
    """

    def __init__(
        self,
        settings: LabelStudioSettings,
        ask: Callable[[Selection], Sequence[Question]],
        class_names: Sequence[str],
        multi_label: bool,
        campaign: str,
        *,
        transport: "httpx.BaseTransport | None" = None,
    ) -> None:
        import_httpx(), read_key()
        self._settings = settings
        self._ask = ask
        self._class_names = tuple(class_names)
        self._multi_label = multi_label
        self._campaign = campaign
        self._transport = transport
        self._folder = ""
        self._asked: Ids = np.empty(0, np.int64)

    def request(self, selection: Selection, *, folder: str, elsewhere: Collection[int] = ()) -> None:
        """Have a task for each pair that has no answer yet; what is there already is not pushed again, nor what is asked for `elsewhere`.

        Raises:
            AnnotatorError: the server cannot be reached, or refuses.
            ConfigError: the key is not accepted, or may not do this.
            LedgerError: the project offers other classes than the corpus has.
        """
        self._folder, self._asked = folder, selection.pair_ids_n
        settled = {*read_answers(folder), *elsewhere}
        wanted = [pair_id for pair_id in selection.pair_ids_n.tolist() if pair_id not in settled]
        with self._server() as server:
            project = self._have_project(server)
            tasks: list[Mapping[str, Any]] = []

            def lacking() -> list[int]:
                tasks[:] = self._export(server, project, download_all_tasks="true")
                there = {task["data"]["pair_id"] for task in tasks if self._batch.holds(task)}
                return [pair_id for pair_id in wanted if pair_id not in there]

            server.supply(lacking, lambda pair_ids: self._push(server, project, selection, pair_ids))
            for task_id in surplus(tasks, self._batch):
                log.warning("step=push round=%d task=%d deleted: another task asks the same", self._batch.round_index, task_id)
                server.supply(lambda: self._still_there(server, project, task_id), lambda ids: server.once("DELETE", f"/api/tasks/{ids[0]}/"))  # noqa: B023
            self._show_suggestions(server, project, tasks)

    def collect(self) -> Answers | Pending:
        """The answers to the last request, or how many there are; those that are new or were changed are kept in the round's folder first.

        A person may change an annotation until its purchase is closed: the last one counts. One that is deleted there stays answered here.
        """
        with self._server() as server:
            project = self._find_project(server)
            if project is None:
                raise AnnotatorError(
                    f"{self._settings.url}: project {self._title!r} is gone; start the run again, it asks anew for what has no answer"
                )
            tasks = self._export(server, project)
        pulled = answers_of(tasks, self._batch, self._class_names, multi_label=self._multi_label)
        kept = read_answers(self._folder)
        if told := [answer for pair_id, answer in pulled.items() if pair_id not in kept or answer.classes != kept[pair_id].classes]:
            append_answers(self._folder, told, source=f"{self._settings.url} project {project['id']}", correct=True)
        num_new = len(pulled.keys() - kept.keys())
        log.info(
            "step=pull round=%d asked=%d answered=%d new=%d changed=%d",
            *(self._batch.round_index, len(self._asked), len(kept) + num_new, num_new, len(told) - num_new),
        )
        return closing(read_answers(self._folder), self._asked)

    @property
    def _batch(self) -> Batch:
        return Batch(self._campaign, int(PurePosixPath(self._folder).name))

    @property
    def _title(self) -> str:
        return project_title(self._settings.title_prefix, self._campaign)

    def _server(self) -> LabelStudioServer:
        return LabelStudioServer(self._settings, self._transport)

    def _have_project(self, server: LabelStudioServer) -> Mapping[str, Any]:
        body = {
            "title": self._title,
            "description": f"xmr_ray asks for the labels of campaign {self._campaign}",
            "label_config": label_config(self._class_names, multi_label=self._multi_label),
            "enable_empty_annotation": self._multi_label,
        }
        found: list[Mapping[str, Any] | None] = [None]

        def lacking() -> list[str]:
            found[0] = self._find_project(server)
            return [] if found[0] else [self._title]

        server.supply(lacking, lambda _: server.once("POST", "/api/projects/", body=body))
        project = found[0]
        assert project is not None
        check_classes(project, self._class_names)
        return project

    def _find_project(self, server: LabelStudioServer) -> Mapping[str, Any] | None:
        """The project of this title; of several the oldest, which every process agrees on."""
        found, page = [], 1
        while True:
            answer = server.get("/api/projects/", title=self._title, page_size=_PROJECTS_A_PAGE, page=page)
            found += [project for project in answer["results"] if project["title"] == self._title]
            if not answer["next"]:
                break
            page += 1
        found.sort(key=lambda project: project["id"])
        for other in found[1:]:
            log.warning("step=push project=%d title=%r is not used: project %d has the same title", other["id"], self._title, found[0]["id"])
        return found[0] if found else None

    def _export(self, server: LabelStudioServer, project: Mapping[str, Any], **params: str | int) -> list[Mapping[str, Any]]:
        return list(server.get(f"/api/projects/{project['id']}/export", exportType="JSON", **params))

    def _push(self, server: LabelStudioServer, project: Mapping[str, Any], selection: Selection, pair_ids: Sequence[int]) -> None:
        chosen = np.isin(selection.pair_ids_n, np.asarray(pair_ids, dtype=np.int64))
        reasons = {name: values[chosen] for name, values in selection.reasons.items()}
        questions = self._ask(Selection(selection.pair_ids_n[chosen], selection.utility_n[chosen], reasons))
        tasks = [task_of(question, self._batch, multi_label=self._multi_label) for question in questions]
        for start in range(0, len(tasks), self._settings.tasks_per_import):
            server.once("POST", f"/api/projects/{project['id']}/import", body=tasks[start : start + self._settings.tasks_per_import])
        log.info("step=push round=%d project=%d pushed=%d", self._batch.round_index, project["id"], len(tasks))

    def _still_there(self, server: LabelStudioServer, project: Mapping[str, Any], task_id: int) -> list[int]:
        """The task, if it is there and nobody has worked on it in the meantime."""
        tasks = self._export(server, project, download_all_tasks="true")
        return [task["id"] for task in tasks if task["id"] == task_id and not task["annotations"] and not task.get("drafts")]

    def _show_suggestions(self, server: LabelStudioServer, project: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]]) -> None:
        """Label Studio shows the suggestions of one model version: let it be this round's."""
        version = self._batch.model_version
        if not any(task["predictions"] for task in tasks if self._batch.holds(task)):
            return
        path = f"/api/projects/{project['id']}/"
        server.supply(
            lambda: [] if server.get(path)["model_version"] == version else [version],
            lambda _: server.once("PATCH", path, body={"model_version": version}),
        )


def project_title(prefix: str, campaign: str) -> str:
    """The title of a campaign's project; what Label Studio would find too long ends in a digest.

    >>> project_title("xmr_ray", "demo-7")
    'xmr_ray demo-7'
    >>> project_title("xmr_ray", "demo-" + "7" * 60)
    'xmr_ray demo-777777777777777777777777 33097f5d0f7a'
    """
    title = f"{prefix} {campaign}"
    if len(title) <= _LONGEST_TITLE:
        return title
    return f"{title[: _LONGEST_TITLE - 13]} {hashlib.sha256(title.encode()).hexdigest()[:12]}"
