"""The verb `tune`: search for settings, measure the best once on the test split, and say so."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from xmr_ray import config, storage
from xmr_ray.options import ConfigOption, DryRunOption, JsonOption, Overrides, final_table, loaded, out, tell
from xmr_ray.report.progress import summary_rows
from xmr_ray.report.sweep import SweepView, build_sweep_page, short_value, told_value
from xmr_ray.tuning.drawing import count_trials, draw
from xmr_ray.tuning.records import TrialRecord

if TYPE_CHECKING:
    from xmr_ray.cluster.search import SearchResult


def tune(config_path: ConfigOption, overrides: Overrides = None, as_json: JsonOption = False, dry_run: DryRunOption = False) -> None:
    """Search for settings (`tune:` in the configuration): every trial is a whole run, measured on the validation split.

    Started again, it goes on where it was. After the search the best configuration and the default are run once with the test split as measure.
    """
    experiment = loaded(config_path, overrides)
    from xmr_ray.cluster.runner import experiment_path, open_corpus
    from xmr_ray.cluster.search import best_experiment, check_search, final_experiment, run_final, run_search

    if dry_run:
        corpus = open_corpus(experiment)
        check_search(experiment, corpus)
        _tell_plan(experiment, num_pairs=corpus.num_pairs("train"), as_json=as_json)
        return

    def on_trial(record: TrialRecord) -> None:
        if not as_json:
            out.print(trial_line(record), markup=False)

    result = run_search(experiment, on_trial=on_trial)
    folder = storage.join(experiment_path(experiment), "tune")
    storage.write_whole(storage.join(folder, "best.yaml"), _best_yaml(result, config.to_yaml(best_experiment(result)), folder))
    run_final(result)
    final = final_experiment(result)
    rows = summary_rows(storage.join(final.storage_path, final.name))
    view = SweepView(result.sweep.settings, result.records, result.target, result.sweep.window, rows, " ".join(_command(config_path, overrides)))
    page = build_sweep_page(folder, experiment.name, view)
    if as_json:
        trials = [asdict(record) | {"value": told_value(record, result.target)} for record in result.records]
        tell({"best": result.best.index, "trials": trials, "test": [asdict(row) for row in rows], "folder": folder, "report": page}, as_json=True)
        return
    out.print(trial_table(view))
    out.print("test split, measured once, after the search:")
    out.print(final_table(rows))
    out.print(f"best configuration: {storage.join(folder, 'best.yaml')}\nreport: {page}")


def trial_line(record: TrialRecord) -> str:
    """A trial that ended, in one line.

    >>> trial_line(TrialRecord(3, {"strategy.lambda_": 2.5}, "stopped", ((50, 0.41), (100, 0.5))))
    'trial   3  stopped at 100 labels, mAP 0.500  strategy.lambda_=2.5'
    """
    settings = " ".join(f"{path}={short_value(value)}" for path, value in record.overrides.items()) or "(the default)"
    ended = f"{record.status} at {record.labels} labels, mAP {record.curve[-1][1]:.3f}" if record.curve else f"{record.status}: {record.why}"
    return f"trial {record.index:>3}  {ended}  {settings}"


def trial_table(view: SweepView) -> Table:
    """All trials, best first."""
    table = Table("trial", *view.names.values(), "labels", "mAP", view.value_name, "", title="trials, validation split")
    for record in view.records:
        values = [short_value(record.overrides[path]) if path in record.overrides else "–" for path in view.settings.space]
        height = f"{record.curve[-1][1]:.4f}" if record.curve else "–"
        table.add_row(
            str(record.index),
            *values,
            str(record.labels),
            height,
            told_value(record, view.target),
            "" if record.status == "finished" else record.status,
        )
    return table


def _best_yaml(result: "SearchResult", content: str, folder: str) -> bytes:
    changes = (
        ", ".join(f"{path}={short_value(value)}" for path, value in result.best.overrides.items()) or "nothing: no trial was better than the default"
    )
    head = f"# xmr-ray run -c {storage.join(folder, 'best.yaml')}\n#\n# Found by a search on the validation split; it changes {changes}.\n"
    return (head + content).encode()


def _tell_plan(experiment: config.Experiment, *, num_pairs: int, as_json: bool) -> None:
    """What a search would do; proposals of Optuna depend on results, so only those of others are known before."""
    settings = experiment.tune
    assert settings is not None
    known = settings.algorithm != "optuna"
    drawn = [draw(settings, i, earlier=(), default={}, target=None) for i in range(count_trials(settings))] if known else []
    plan: dict[str, Any] = {
        "trials": count_trials(settings),
        "labels_of_a_whole_trial": sum(config.expand(experiment)[0].purchases(num_pairs)),
        "reserved_by_a_trial": f"{settings.cpus_per_trial:g} CPU, and its scoring actors",
        **({"configurations": drawn} if known else {}),
    }
    if as_json:
        tell({"config": experiment.model_dump(mode="json"), **plan}, as_json=True)
        return
    out.print(config.to_yaml(experiment), markup=False)
    tell(plan, as_json=False)


def _command(config_path: str, overrides: list[str] | None) -> list[str]:
    return ["xmr-ray tune -c", config_path, *(overrides or [])]
