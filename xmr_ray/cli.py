"""Verbs for people: `xmr-ray ingest | embed | run | score | train | evaluate | report | doctor | label | tune`.

Exit codes: 0 done, 1 unexpected error, 2 configuration or usage, 3 corpus or outside data, 4 run directory, ledger or networks,
5 cluster resources, 6 storage, 7 a run waits for answers of people, 8 their server, 130 interrupted, 143 terminated.
"""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from xmr_ray import __version__, config, storage
from xmr_ray.corpus.check import check_corpus
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.truth import has_truth, open_truth
from xmr_ray.errors import ConfigError, CorpusError
from xmr_ray.label_cli import WAITING, label_app, waiting_content, waiting_lines
from xmr_ray.options import (
    ConfigOption,
    DryRunOption,
    JsonOption,
    Overrides,
    RetryOption,
    final_table,
    loaded,
    out,
    round_line,
    tell,
    tell_plan,
)
from xmr_ray.report.build import build_report
from xmr_ray.report.live import round_bar
from xmr_ray.report.progress import finished_rounds, summary_rows
from xmr_ray.report.settings import ReportSettings
from xmr_ray.step_cli import evaluate, score, train
from xmr_ray.stopping import Stopper, exit_codes
from xmr_ray.tune_cli import tune

if TYPE_CHECKING:
    from xmr_ray.config import ArmRun
    from xmr_ray.loop.state import LoopState

_stopper = Stopper()
app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)
app.add_typer(label_app, name="label")
for verb in (train, score, evaluate, tune):
    app.command()(verb)


@app.command()
def ingest(
    config_path: ConfigOption,
    overrides: Overrides = None,
    as_json: JsonOption = False,
    dry_run: DryRunOption = False,
    retry_failed: RetryOption = False,
) -> None:
    """Write the dataset of `corpus.reader`: features as a corpus, raw pairs for `embed`; only what is missing is written."""
    experiment = loaded(config_path, overrides)
    if experiment.corpus.reader is None:
        raise ConfigError(f"{config_path}: corpus.reader is not set, there is nothing to ingest; {experiment.corpus.path!r} is used as it is")
    if dry_run:
        tell_plan(experiment, {"would_write": experiment.corpus.path}, as_json=as_json)
        return
    from xmr_ray.cluster.corpora import ingest_corpus

    found = ingest_corpus(experiment, retry_failed=retry_failed)
    kind = "corpus" if isinstance(found, PairedCorpus) else "raw_pairs"
    told = {kind: found.path, "pairs": found.num_rows, "classes": found.schema.num_classes, "fingerprint": found.fingerprint}
    tell(told if kind == "corpus" else {**told, "next": " ".join(["xmr-ray embed -c", config_path, *(overrides or [])])}, as_json=as_json)


@app.command()
def embed(
    config_path: ConfigOption,
    overrides: Overrides = None,
    as_json: JsonOption = False,
    dry_run: DryRunOption = False,
    retry_failed: RetryOption = False,
) -> None:
    """Encode raw pairs with `corpus.encoders` into a corpus, ingesting them first where that was not done; only what is missing is made."""
    experiment = loaded(config_path, overrides)
    if dry_run:
        tell_plan(experiment, {"would_read": experiment.corpus.raw, "would_write": experiment.corpus.path}, as_json=as_json)
        return
    from xmr_ray.cluster.corpora import embed_corpus

    corpus = embed_corpus(experiment, retry_failed=retry_failed)
    tell({"corpus": corpus.path, "pairs": corpus.num_rows, "fingerprint": corpus.fingerprint}, as_json=as_json)


@app.command()
def run(
    config_path: ConfigOption,
    overrides: Overrides = None,
    as_json: JsonOption = False,
    dry_run: DryRunOption = False,
    accept_change: Annotated[bool, typer.Option("--accept-change", help="go on with a run under a changed configuration")] = False,
    restore_receipts: Annotated[bool, typer.Option("--restore-receipts", help="ask again for the pairs of receipts that are gone")] = False,
) -> None:
    """Run every arm and seed: buy, train, evaluate, round by round, then write the report. Started again, it goes on where it was.

    Where people give the labels it ends with code 7 when it waits for answers, and says where to give them.
    """
    experiment = loaded(config_path, overrides)
    if dry_run:
        from xmr_ray.cluster.submission import submission_id

        corpus = PairedCorpus.open(experiment.corpus.path)
        known_by = submission_id(experiment, corpus_fingerprint=corpus.fingerprint)
        tell_plan(experiment, {**_plan(experiment), "submission_id": known_by}, as_json=as_json)
        return
    from xmr_ray.cluster.runner import experiment_path, run_experiment

    folder = experiment_path(experiment)
    rounds = {run_id: len(sizes) for run_id, sizes in _plan(experiment)["purchases"].items()}
    with round_bar(Console(stderr=True) if as_json else out, rounds, {run_id: finished_rounds(folder, run_id) for run_id in rounds}) as bar:

        def on_round(arm_run: "ArmRun", state: "LoopState") -> None:
            bar.round_finished()
            if not as_json:
                out.print(round_line(arm_run.run_id, state.history[-1]))

        def on_step(arm_run: "ArmRun", index: int, step: str) -> None:
            _stopper.check()
            bar.step(arm_run.run_id, index, step)

        run_experiment(experiment, on_round=on_round, on_step=on_step, accept_change=accept_change, restore_receipts=restore_receipts)
    _tell_end(experiment, config_path, overrides, as_json=as_json)


@app.command()
def report(config_path: ConfigOption, overrides: Overrides = None, as_json: JsonOption = False, dry_run: DryRunOption = False) -> None:
    """Write `report/index.html` and its figures from the run directories of an experiment, finished or not."""
    experiment = config.load(config_path, overrides or [])
    folder = storage.join(experiment.storage_path, experiment.name)
    if dry_run:
        tell_plan(experiment, {"would_write": storage.join(folder, "report")}, as_json=as_json)
        return
    page = _write_report(experiment, folder, command=_command(config_path, overrides))
    tell({"report": page}, as_json=as_json)


@app.command()
def doctor(config_path: ConfigOption, overrides: Overrides = None, as_json: JsonOption = False, dry_run: DryRunOption = False) -> None:
    """Check the configuration and the whole corpus: every page, id, label and split. Findings name file, row and id."""
    experiment = config.load(config_path, overrides or [])
    if dry_run:
        tell_plan(experiment, {"would_check": experiment.corpus.path}, as_json=as_json)
        return
    found = check_corpus(experiment.corpus.path)
    findings = [asdict(finding) for finding in found.findings]
    if as_json:
        tell({"corpus": experiment.corpus.path, "findings": findings}, as_json=True)
    for finding in () if as_json else found.findings:
        out.print(str(finding), markup=False)
    if found.findings:
        raise CorpusError(f"{experiment.corpus.path}: {len(findings)} findings, the first is: {found.findings[0]}")
    for arm_run in config.expand(experiment):
        arm_run.purchases(PairedCorpus.open(experiment.corpus.path).num_pairs("train"))
    if not as_json:
        out.print(f"{experiment.corpus.path}: sound; configuration: sound")


@app.command()
def version() -> None:
    """Print the version."""
    out.print(__version__)


def _tell_end(experiment: config.Experiment, config_path: str, overrides: Sequence[str] | None, *, as_json: bool) -> None:
    """Write the report, tell where every arm stands, and leave with code 7 where people have to answer first."""
    from xmr_ray.cluster.labelling import label_status
    from xmr_ray.cluster.runner import experiment_path

    folder = experiment_path(experiment)
    waiting = [row for row in label_status(experiment) if row.waiting_round is not None]
    begun = any(finished_rounds(folder, arm_run.run_id) for arm_run in config.expand(experiment))
    page = _write_report(experiment, folder, command=_command(config_path, overrides)) if begun else None
    rows = summary_rows(folder) if begun else []
    if as_json:
        waits = {"waiting": waiting_content(waiting)} if waiting else {}
        tell({"runs": [asdict(row) for row in rows], "report": page, **waits}, as_json=True)
    elif page is not None:
        out.print(final_table(rows))
        out.print(f"report: {page}")
    if waiting:
        for line in () if as_json else waiting_lines(waiting, config_path, overrides):
            out.print(line, markup=False)
        raise typer.Exit(WAITING)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a verb and exit with its documented code."""
    _set_up_logging()
    signal.signal(signal.SIGTERM, _stopper)
    with exit_codes(_stopper):
        app(args=list(arguments) if arguments is not None else None, standalone_mode=True)


def _set_up_logging() -> None:
    level = os.environ.get("XMR_RAY_LOG", "WARNING" if sys.stderr.isatty() else "INFO")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    logging.getLogger("xmr_ray").setLevel(level.upper())


def _plan(experiment: config.Experiment) -> dict[str, Any]:
    num_pairs = PairedCorpus.open(experiment.corpus.path).num_pairs("train")
    purchases = {arm_run.run_id: arm_run.purchases(num_pairs) for arm_run in config.expand(experiment)}
    return {"purchases": purchases, "labels_bought": {run_id: sum(sizes) for run_id, sizes in purchases.items()}, "train_pairs": num_pairs}


def _write_report(experiment: config.Experiment, folder: str, *, command: str) -> str:
    corpus = PairedCorpus.open(experiment.corpus.path)
    split = experiment.evaluation.split
    labels = open_truth(corpus, split) if has_truth(corpus, split) else None
    settings = ReportSettings(**experiment.report.model_dump(), split=split)
    return build_report(folder, corpus=corpus, test_labels=labels, settings=settings, command=command)


def _command(config_path: str, overrides: Sequence[str] | None) -> str:
    return " ".join(["xmr-ray run -c", config_path, *(overrides or [])])
