"""What the verbs share: their options, and how they tell what they did."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from xmr_ray import config
from xmr_ray.report.headline import decimal
from xmr_ray.report.progress import SummaryRow

out = Console(highlight=False, soft_wrap=True)

ConfigOption = Annotated[str, typer.Option("--config", "-c", help="YAML file; see configs/")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY.SUB=VALUE]...", help="overrides of the configuration")]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object for machines")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="print the resolved configuration and what would be done, and stop")]
RetryOption = Annotated[bool, typer.Option("--retry-failed", help="do parts again that failed or left pairs out")]
ArmOption = Annotated[str | None, typer.Option("--arm", help="which arm, where there are several")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="which seed, where there are several")]


def loaded(config_path: str, overrides: Sequence[str] | None) -> config.Experiment:
    """The experiment; Ray's address is set before the engine is imported."""
    experiment = config.load(config_path, overrides or [])
    if experiment.resources.address is not None:
        # Ray's environment is set when the engine is imported, and a foreign address must not be narrowed to loopback.
        os.environ["RAY_ADDRESS"] = experiment.resources.address
    return experiment


def tell(content: Mapping[str, Any], *, as_json: bool) -> None:
    """Names and values, a line each, or as one JSON object."""
    if as_json:
        typer.echo(json.dumps(_finite(content), allow_nan=False))
        return
    for key, value in content.items():
        out.print(f"{key.replace('_', ' ')}: {value}", markup=False)


def tell_plan(experiment: config.Experiment, plan: Mapping[str, Any], *, as_json: bool) -> None:
    """What `--dry-run` prints: the resolved configuration, and what would be done."""
    if as_json:
        tell({"config": experiment.model_dump(mode="json"), **plan}, as_json=True)
        return
    out.print(config.to_yaml(experiment), markup=False)
    tell(plan, as_json=False)


def _finite(content: Any) -> Any:
    """NaN, which JSON does not know, as None."""
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content


def round_line(run_id: str, finished: Mapping[str, Any]) -> str:
    """A finished round in one line; where mAP comes from bought pairs that were held out, their number is told."""
    found = finished["retrieval"][finished["space"]]
    seconds = sum(finished["seconds"].values())
    labels = finished["num_bought"] + finished["num_validation_labels"]
    mean, i2t, t2i = (decimal(value) for value in (found["map_mean"], found["i2t"]["map_all"], found["t2i"]["map_all"]))
    held_out = f" among {finished['num_held_out']} held out" if "num_held_out" in finished else ""
    return f"{run_id:<14} round {finished['round']:>2}  {labels:>6} labels  mAP {mean} (i2t {i2t}, t2i {t2i}){held_out}  {seconds:5.1f} s"


def final_table(rows: Sequence[SummaryRow]) -> Table:
    """Every arm where it stands now."""
    table = Table("arm", "seeds", "labels", "mAP i2t", "mAP t2i", "mAP mean", "of full")
    for row in rows:
        share = "" if row.share_of_full is None else f"{row.share_of_full:.1%}"
        table.add_row(row.arm, str(row.num_seeds), str(row.labels), *map(decimal, (row.map_i2t, row.map_t2i, row.map_mean)), share)
    return table
