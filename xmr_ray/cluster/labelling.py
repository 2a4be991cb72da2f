"""Labels of people come into a run and go out of it; no Ray session is needed."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from xmr_ray import storage
from xmr_ray.cluster.annotators import annotator_of
from xmr_ray.cluster.predictions import newest_predictions, predicted_labels
from xmr_ray.cluster.runner import campaign_of, check_run, experiment_path, open_corpus, others_of, pick
from xmr_ray.config import ArmRun, Experiment, expand, to_yaml
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.errors import ConfigError, LedgerError, RunError
from xmr_ray.labels.annotators import FilesSettings
from xmr_ray.labels.files import page_of
from xmr_ray.labels.formats import LabelFormat, LabelRow, write_rows
from xmr_ray.labels.label_studio_server import LabelStudioSettings
from xmr_ray.labels.ledger import LabelLedger
from xmr_ray.labels.parse import Parsed, Rules, parse_answers
from xmr_ray.loop.answering import OpenPurchase, known_answers, open_purchase, take_answers, take_seed
from xmr_ray.loop.sharing import Others
from xmr_ray.loop.state import restore
from xmr_ray.runs.directory import RunDirectory
from xmr_ray.runs.lock import Held, exclusive


@dataclass(frozen=True)
class LabelStatus:
    """Where a run stands with its labels: what is bought, and what the purchase that waits (if any) still lacks; `place` is where to answer.

    For `num_elsewhere` of the pairs that lack an answer another run asks.
    """

    run: str
    arm: str
    seed: int
    num_bought: int
    num_cannot_tell: int
    waiting_round: int | None = None
    num_answered: int = 0
    num_asked: int = 0
    num_elsewhere: int = 0
    place: str | None = None


@dataclass(frozen=True)
class Imported:
    """What became of files: how many answers are kept that are new or correct an earlier one, and every problem.

    With problems nothing is kept unless good ones were wanted.
    """

    num_new: int
    num_corrected: int
    num_same: int
    num_blank: int
    problems: tuple[str, ...]
    status: LabelStatus


def label_status(experiment: Experiment, *, arm: str | None = None, seed: int | None = None) -> list[LabelStatus]:
    """Every run of an experiment (or those of one arm or seed) that has begun."""
    runs, corpus, folder = expand(experiment), open_corpus(experiment), experiment_path(experiment)
    wanted = [run for run in runs if arm in (None, run.arm) and seed in (None, run.seed)]
    begun = [(run, directory) for run in wanted if storage.exists((directory := RunDirectory(storage.join(folder, run.run_id))).config)]
    return [_status(run, directory, others_of(run, runs, corpus, folder)) for run, directory in begun]


def import_answers(
    experiment: Experiment,
    files: Sequence[str],
    *,
    arm: str | None = None,
    seed: int | None = None,
    partial: bool = False,
    as_seed: bool = False,
    correct: bool = False,
) -> Imported:
    """Take answers into the purchase that waits, or with `as_seed` as the first purchase of a run; the receipt is written when all are there.

    With `correct` answers count instead of earlier ones to the purchase that waits; what a receipt holds is never changed.

    Raises:
        RunError: the run has not begun, is locked, or has another configuration.
        ConfigError: `correct` beside `as_seed`, or where Label Studio keeps the answers.
        LedgerError: what `as_seed` brings is not the first of its run or more than the budget; or a file has another format.
    """
    if correct:
        _check_correct(pick(experiment, arm=arm, seed=seed), as_seed=as_seed)
    data = {path: storage.read_bytes(path) for path in files}
    with _held(experiment, arm=arm, seed=seed, begin=as_seed) as (arm_run, corpus, directory, held):
        others = others_of(arm_run, expand(experiment), corpus, experiment_path(experiment))
        ledger = restore(directory).ledger
        waiting = None if as_seed else open_purchase(directory, ledger)
        if waiting:
            waiting = replace(waiting, answers=others.take_over(waiting.place.path, waiting.selection.pair_ids_n.tolist()))
        parsed = parse_answers(data, _rules(corpus, ledger, waiting, as_seed=as_seed, correct=correct))
        if parsed.problems and not partial:
            return Imported(0, 0, parsed.num_same, parsed.num_blank, parsed.problems, _status(arm_run, directory, others))
        source = ", ".join(files)
        if as_seed:
            _check_budget(arm_run, corpus, parsed)
            _begin(arm_run, corpus, directory)
            take_seed(directory, parsed.answers, source=source, held=held)
        elif take_answers(directory, parsed.answers, source=source, correct=correct, held=held) and waiting:
            _show_rest(arm_run, corpus, directory, waiting, others)
        counts = (len(parsed.answers) - parsed.num_corrected, parsed.num_corrected, parsed.num_same, parsed.num_blank)
        return Imported(*counts, parsed.problems, _status(arm_run, directory, others))


def export_labels(experiment: Experiment, path: str, *, form: LabelFormat, arm: str | None = None, seed: int | None = None) -> Mapping[str, int]:
    """Write labels that people gave (paid for or not yet), beside them the newest predicted ones of all other train pairs with their trust.

    Returns:
        How many of each.

    Raises:
        RunError: the run has not begun, or has another configuration or corpus, whose classes may be other ones.
    """
    arm_run, corpus = pick(experiment, arm=arm, seed=seed), open_corpus(experiment)
    directory = RunDirectory(storage.join(experiment_path(experiment), arm_run.run_id))
    if not storage.exists(directory.config):
        raise RunError(f"{directory.path}: this run has not begun, so it has no labels; check the name and storage_path")
    _begin(arm_run, corpus, directory)
    ledger = restore(directory).ledger
    names = corpus.schema.class_names
    bought = [
        LabelRow(pair_id, None if answer.classes is None else tuple(names[c] for c in answer.classes))
        for pair_id, answer in sorted(known_answers(ledger, open_purchase(directory, ledger)).items())
    ]
    counts = {"bought": len(bought), "predicted": 0}

    def rows() -> Iterator[LabelRow]:
        yield from bought
        place = newest_predictions(corpus, directory)
        known = {row.pair_id for row in bought}
        for pair_id, labels in predicted_labels(corpus, place) if place else ():
            if pair_id not in known:
                counts["predicted"] += 1
                yield LabelRow(pair_id, tuple(labels), trust=tuple(labels.values()))

    storage.write_whole(path, write_rows(rows(), form=form, class_names=names))
    return counts


@contextmanager
def _held(experiment: Experiment, *, arm: str | None, seed: int | None, begin: bool) -> Iterator[tuple[ArmRun, PairedCorpus, RunDirectory, Held]]:
    """A run that is locked and checked against its configuration; with `begin` it may be new, and is not begun yet."""
    arm_run, corpus = pick(experiment, arm=arm, seed=seed), open_corpus(experiment)
    check_run(arm_run, corpus)
    directory = RunDirectory(storage.join(experiment_path(experiment), arm_run.run_id))
    if not begin and not storage.exists(directory.config):
        raise RunError(f"{directory.path}: this run has not begun, so nothing is asked for; start with `xmr-ray run`, or give labels --as-seed")
    with exclusive(directory.path) as held:
        if storage.exists(directory.config):
            _begin(arm_run, corpus, directory)
        yield arm_run, corpus, directory, held


def _begin(arm_run: ArmRun, corpus: PairedCorpus, directory: RunDirectory) -> None:
    """Write the configuration of a new run, or check that an old one is the same."""
    directory.begin(to_yaml(arm_run.experiment), arm_run.fingerprint(corpus.fingerprint))


def _rules(corpus: PairedCorpus, ledger: LabelLedger, waiting: OpenPurchase | None, *, as_seed: bool, correct: bool) -> Rules:
    asked = None if as_seed else (waiting.selection.pair_ids_n if waiting else ledger.bought_ids)
    schema, earlier = corpus.schema, {} if as_seed and not ledger.sizes else known_answers(ledger, waiting)
    return Rules(schema.class_names, schema.multi_label, corpus.pair_ids("train"), asked, earlier, ledger.bought_ids, correct)


def _check_correct(arm_run: ArmRun, *, as_seed: bool) -> None:
    if as_seed:
        raise ConfigError("--replace corrects answers to a purchase that waits, --as-seed begins a run; give one of them")
    if isinstance(arm_run.experiment.annotator, LabelStudioSettings):
        raise ConfigError("--replace is for answers from files; change the annotation in Label Studio, the next `xmr-ray run` takes it")


def _show_rest(arm_run: ArmRun, corpus: PairedCorpus, directory: RunDirectory, waiting: OpenPurchase, others: Others) -> None:
    """What is answered leaves the page."""
    if isinstance(arm_run.experiment.annotator, FilesSettings):
        people = annotator_of(arm_run.experiment, corpus, directory, campaign=campaign_of(arm_run, corpus), others=others)
        people.request(waiting.selection, folder=waiting.place.path)


def _check_budget(arm_run: ArmRun, corpus: PairedCorpus, parsed: Parsed) -> None:
    total = sum(arm_run.purchases(corpus.num_pairs("train")))
    if len(parsed.answers) > total:
        raise LedgerError(f"{len(parsed.answers)} labels were brought, but budget.total is {total}; raise it to what shall be bought in all")


def _status(run: ArmRun, directory: RunDirectory, others: Others) -> LabelStatus:
    ledger = restore(directory).ledger
    waiting = open_purchase(directory, ledger)
    bought = (run.run_id, run.arm, run.seed, ledger.num_bought, len(ledger.cannot_tell_n))
    if waiting is None:
        return LabelStatus(*bought)
    pending, page = waiting.pending, page_of(waiting.place.path)
    place = page if storage.exists(page) else str(getattr(run.experiment.annotator, "url", "")) or None
    lacking = set(waiting.selection.pair_ids_n.tolist()) - waiting.answers.keys()
    num_elsewhere = len(others.asked(waiting.place, lacking))
    return LabelStatus(*bought, waiting.place.index, pending.num_answered, pending.num_asked, num_elsewhere, place)
