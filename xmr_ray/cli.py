"""Verbs for people: `xmr-ray ingest | run | score | train | evaluate | report | doctor`.

Exit codes: 0 done, 1 unexpected error, 2 configuration or usage, 3 corpus or outside data, 4 run directory, ledger or networks,
5 cluster resources, 6 storage, 130 interrupted, 143 terminated.
"""

import json
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from xmr_ray import __version__, config, storage
from xmr_ray.corpus.check import check_corpus
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.truth import has_truth, open_truth
from xmr_ray.errors import ConfigError, CorpusError, LedgerError, ResourceError, RunError, StorageError, XmrError
from xmr_ray.readers.ingest import ingest as write_corpus
from xmr_ray.report.build import build_report
from xmr_ray.report.live import round_bar
from xmr_ray.report.progress import SummaryRow, finished_rounds, summary_rows
from xmr_ray.report.settings import ReportSettings

if TYPE_CHECKING:
    from xmr_ray.config import ArmRun
    from xmr_ray.loop.state import LoopState

EXIT_CODES: tuple[tuple[type[XmrError], int], ...] = (
    (ConfigError, 2),
    (CorpusError, 3),
    (RunError, 4),
    (LedgerError, 4),
    (ResourceError, 5),
    (StorageError, 6),
    (XmrError, 1),
)

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)
out = Console(highlight=False, soft_wrap=True)

ConfigOption = Annotated[str, typer.Option("--config", "-c", help="YAML file; see configs/")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY.SUB=VALUE]...", help="overrides of the configuration")]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object for machines")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="print the resolved configuration and what would be done, and stop")]
ArmOption = Annotated[str | None, typer.Option("--arm", help="which arm, where there are several")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="which seed, where there are several")]


@app.command()
def ingest(config_path: ConfigOption, overrides: Overrides = None, as_json: JsonOption = False, dry_run: DryRunOption = False) -> None:
    """Write the outside dataset of `corpus.reader` as a canonical corpus at `corpus.path`; a finished one is left as it is."""
    experiment = config.load(config_path, overrides or [])
    reader = experiment.corpus.reader
    if reader is None:
        raise ConfigError(f"{config_path}: corpus.reader is not set, there is nothing to ingest; corpus {experiment.corpus.path!r} is used as it is")
    if dry_run:
        _dry_run(experiment, {"would_write": experiment.corpus.path}, as_json=as_json)
        return
    corpus = write_corpus(reader.read(), experiment.corpus.path)
    counts = {split: corpus.num_pairs(split) for split in corpus.splits}
    _tell({"corpus": corpus.path, "pairs": counts, "classes": corpus.schema.num_classes, "fingerprint": corpus.fingerprint}, as_json=as_json)


@app.command()
def run(
    config_path: ConfigOption,
    overrides: Overrides = None,
    as_json: JsonOption = False,
    dry_run: DryRunOption = False,
    accept_change: Annotated[bool, typer.Option("--accept-change", help="go on with a run under a changed configuration")] = False,
) -> None:
    """Run every arm and seed: buy, train, evaluate, round by round, then write the report. Started again, it goes on where it was."""
    experiment = _loaded(config_path, overrides)
    if dry_run:
        _dry_run(experiment, _plan(experiment), as_json=as_json)
        return
    from xmr_ray.cluster.runner import experiment_path, run_experiment

    folder = experiment_path(experiment)
    rounds = {run_id: len(sizes) for run_id, sizes in _plan(experiment)["purchases"].items()}
    with round_bar(Console(stderr=True) if as_json else out, rounds, {run_id: finished_rounds(folder, run_id) for run_id in rounds}) as bar:

        def on_round(arm_run: "ArmRun", state: "LoopState") -> None:
            bar.round_finished()
            if not as_json:
                out.print(_round_line(arm_run.run_id, state.history[-1]))

        def on_step(arm_run: "ArmRun", index: int, step: str) -> None:
            bar.step(arm_run.run_id, index, step)

        run_experiment(experiment, on_round=on_round, on_step=on_step, accept_change=accept_change)
    page = _write_report(experiment, folder, command=_command(config_path, overrides))
    rows = summary_rows(folder)
    if as_json:
        _tell({"runs": [asdict(row) for row in rows], "report": page}, as_json=True)
        return
    out.print(_final_table(rows))
    out.print(f"report: {page}")


@app.command()
def train(
    config_path: ConfigOption,
    overrides: Overrides = None,
    arm: ArmOption = None,
    seed: SeedOption = None,
    as_json: JsonOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Train both networks on everything that a run has bought so far, unless they are trained."""
    experiment = _loaded(config_path, overrides)
    from xmr_ray.cluster.runner import pick, train_last

    if dry_run:
        _dry_run(experiment, {"run": pick(experiment, arm=arm, seed=seed).run_id}, as_json=as_json)
        return
    place = train_last(experiment, arm=arm, seed=seed)
    _tell({"round": place.index, "networks": place.networks}, as_json=as_json)


@app.command()
def score(
    config_path: ConfigOption,
    overrides: Overrides = None,
    arm: ArmOption = None,
    seed: SeedOption = None,
    as_json: JsonOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Score every train pair with a run's newest networks: scores, embeddings and predictions as Parquet, one file a descriptor."""
    experiment = _loaded(config_path, overrides)
    from xmr_ray.cluster.runner import pick, score_last

    if dry_run:
        _dry_run(experiment, {"run": pick(experiment, arm=arm, seed=seed).run_id}, as_json=as_json)
        return
    place = score_last(experiment, arm=arm, seed=seed)
    _tell({"round": place.index, **{kind: place.folder(kind) for kind in ("scores", "embeddings", "predictions")}}, as_json=as_json)


@app.command()
def evaluate(
    config_path: ConfigOption,
    overrides: Overrides = None,
    arm: ArmOption = None,
    seed: SeedOption = None,
    as_json: JsonOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Evaluate a run's newest networks on the test split, in both directions and every space."""
    experiment = _loaded(config_path, overrides)
    from xmr_ray.cluster.runner import evaluate_last, pick

    if dry_run:
        _dry_run(experiment, {"run": pick(experiment, arm=arm, seed=seed).run_id}, as_json=as_json)
        return
    place, spaces = evaluate_last(experiment, arm=arm, seed=seed)
    if as_json:
        _tell({"round": place.index, "retrieval": {space: asdict(report) for space, report in spaces.items()}}, as_json=True)
        return
    table = Table("space", "mAP i2t", "mAP t2i", "mAP mean", "mAP@50 i2t", "mAP@50 t2i", title=f"round {place.index}, test split")
    for space, found in spaces.items():
        values = (found.i2t.map_all, found.t2i.map_all, found.map_mean, found.i2t.map_50, found.t2i.map_50)
        table.add_row(space, *(f"{value:.4f}" for value in values))
    out.print(table)


@app.command()
def report(config_path: ConfigOption, overrides: Overrides = None, as_json: JsonOption = False, dry_run: DryRunOption = False) -> None:
    """Write `report/index.html` and its figures from the run directories of an experiment, finished or not."""
    experiment = config.load(config_path, overrides or [])
    folder = storage.join(experiment.storage_path, experiment.name)
    if dry_run:
        _dry_run(experiment, {"would_write": storage.join(folder, "report")}, as_json=as_json)
        return
    page = _write_report(experiment, folder, command=_command(config_path, overrides))
    _tell({"report": page}, as_json=as_json)


@app.command()
def doctor(config_path: ConfigOption, overrides: Overrides = None, as_json: JsonOption = False, dry_run: DryRunOption = False) -> None:
    """Check the configuration and the whole corpus: every page, id, label and split. Findings name file, row and id."""
    experiment = config.load(config_path, overrides or [])
    if dry_run:
        _dry_run(experiment, {"would_check": experiment.corpus.path}, as_json=as_json)
        return
    found = check_corpus(experiment.corpus.path)
    findings = [asdict(finding) for finding in found.findings]
    if as_json:
        _tell({"corpus": experiment.corpus.path, "findings": findings}, as_json=True)
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a verb and exit with its documented code."""
    _set_up_logging()
    signal.signal(signal.SIGTERM, _terminate)
    with _exit_codes():
        app(args=list(arguments) if arguments is not None else None, standalone_mode=True)


@contextmanager
def _exit_codes() -> Iterator[None]:
    try:
        yield
    except XmrError as error:
        Console(stderr=True, soft_wrap=True).print(f"error: {error}", markup=False, highlight=False)
        sys.exit(next(code for kind, code in EXIT_CODES if isinstance(error, kind)))


def _terminate(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def _set_up_logging() -> None:
    level = os.environ.get("XMR_RAY_LOG", "WARNING" if sys.stderr.isatty() else "INFO")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    logging.getLogger("xmr_ray").setLevel(level.upper())


def _loaded(config_path: str, overrides: Sequence[str] | None) -> config.Experiment:
    experiment = config.load(config_path, overrides or [])
    if experiment.resources.address is not None:
        # Ray's environment is set when the engine is imported, and a foreign address must not be narrowed to loopback.
        os.environ["RAY_ADDRESS"] = experiment.resources.address
    return experiment


def _plan(experiment: config.Experiment) -> dict[str, Any]:
    num_pairs = PairedCorpus.open(experiment.corpus.path).num_pairs("train")
    purchases = {arm_run.run_id: arm_run.purchases(num_pairs) for arm_run in config.expand(experiment)}
    return {"purchases": purchases, "labels_bought": {run_id: sum(sizes) for run_id, sizes in purchases.items()}, "train_pairs": num_pairs}


def _dry_run(experiment: config.Experiment, plan: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        _tell({"config": experiment.model_dump(mode="json"), **plan}, as_json=True)
        return
    out.print(config.to_yaml(experiment), markup=False)
    _tell(plan, as_json=False)


def _tell(content: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(content))
        return
    for key, value in content.items():
        out.print(f"{key.replace('_', ' ')}: {value}", markup=False)


def _write_report(experiment: config.Experiment, folder: str, *, command: str) -> str:
    corpus = PairedCorpus.open(experiment.corpus.path)
    labels = open_truth(corpus, "test") if has_truth(corpus, "test") else None
    settings = ReportSettings(**experiment.report.model_dump())
    return build_report(folder, corpus=corpus, test_labels=labels, settings=settings, command=command)


def _command(config_path: str, overrides: Sequence[str] | None) -> str:
    return " ".join(["xmr-ray run -c", config_path, *(overrides or [])])


def _round_line(run_id: str, finished: Mapping[str, Any]) -> str:
    found = finished["retrieval"][finished["space"]]
    seconds = sum(finished["seconds"].values())
    labels = finished["num_bought"] + finished["num_validation_labels"]
    directions = f"i2t {found['i2t']['map_all']:.3f}, t2i {found['t2i']['map_all']:.3f}"
    return f"{run_id:<14} round {finished['round']:>2}  {labels:>6} labels  mAP {found['map_mean']:.3f} ({directions})  {seconds:5.1f} s"


def _final_table(rows: Sequence[SummaryRow]) -> Table:
    table = Table("arm", "seeds", "labels", "mAP i2t", "mAP t2i", "mAP mean", "of full")
    for row in rows:
        share = "" if row.share_of_full is None else f"{row.share_of_full:.1%}"
        table.add_row(row.arm, str(row.num_seeds), str(row.labels), f"{row.map_i2t:.3f}", f"{row.map_t2i:.3f}", f"{row.map_mean:.3f}", share)
    return table
