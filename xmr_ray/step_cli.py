"""Verbs that do one step of a run with what it has bought so far: train, score, evaluate."""

from dataclasses import asdict

from rich.table import Table

from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.truth import has_truth
from xmr_ray.options import ArmOption, ConfigOption, DryRunOption, JsonOption, Overrides, SeedOption, loaded, out, tell, tell_plan


def train(
    config_path: ConfigOption,
    overrides: Overrides = None,
    arm: ArmOption = None,
    seed: SeedOption = None,
    as_json: JsonOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Train both networks on everything that a run has bought so far, unless they are trained."""
    experiment = loaded(config_path, overrides)
    from xmr_ray.cluster.runner import pick, train_last

    if dry_run:
        tell_plan(experiment, {"run": pick(experiment, arm=arm, seed=seed).run_id}, as_json=as_json)
        return
    place = train_last(experiment, arm=arm, seed=seed)
    tell({"round": place.index, "networks": place.networks}, as_json=as_json)


def score(
    config_path: ConfigOption,
    overrides: Overrides = None,
    arm: ArmOption = None,
    seed: SeedOption = None,
    as_json: JsonOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Score every train pair with a run's newest networks: scores, embeddings and predictions as Parquet, one file a descriptor."""
    experiment = loaded(config_path, overrides)
    from xmr_ray.cluster.runner import pick, score_last

    if dry_run:
        tell_plan(experiment, {"run": pick(experiment, arm=arm, seed=seed).run_id}, as_json=as_json)
        return
    place = score_last(experiment, arm=arm, seed=seed)
    tell({"round": place.index, **{kind: place.folder(kind) for kind in ("scores", "embeddings", "predictions")}}, as_json=as_json)


def evaluate(
    config_path: ConfigOption,
    overrides: Overrides = None,
    arm: ArmOption = None,
    seed: SeedOption = None,
    as_json: JsonOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Evaluate a run's newest networks on the split that measures (the test split), in both directions and every space."""
    experiment = loaded(config_path, overrides)
    from xmr_ray.cluster.runner import evaluate_last, pick

    if dry_run:
        tell_plan(experiment, {"run": pick(experiment, arm=arm, seed=seed).run_id}, as_json=as_json)
        return
    place, spaces = evaluate_last(experiment, arm=arm, seed=seed)
    if as_json:
        tell({"round": place.index, "retrieval": {space: asdict(report) for space, report in spaces.items()}}, as_json=True)
        return
    split = experiment.evaluation.split
    measured_on = f"{split} split" if has_truth(PairedCorpus.open(experiment.corpus.path), split) else "bought pairs held out"
    table = Table("space", "mAP i2t", "mAP t2i", "mAP mean", "mAP@50 i2t", "mAP@50 t2i", title=f"round {place.index}, {measured_on}")
    for space, found in spaces.items():
        values = (found.i2t.map_all, found.t2i.map_all, found.map_mean, found.i2t.map_50, found.t2i.map_50)
        table.add_row(space, *(f"{value:.4f}" for value in values))
    out.print(table)
