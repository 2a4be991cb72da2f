"""Verbs for labels that people give: `xmr-ray label import | export | status`."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from xmr_ray.errors import ConfigError, LedgerError
from xmr_ray.labels.formats import LabelFormat, format_of
from xmr_ray.options import ArmOption, ConfigOption, JsonOption, Overrides, SeedOption, loaded, out, tell

if TYPE_CHECKING:
    from xmr_ray.cluster.labelling import LabelStatus

WAITING = 7
"""Exit code of a run that waits for answers."""

label_app = typer.Typer(no_args_is_help=True, help="Labels that people give: what is waited for, answers in, labels out.")

Files = Annotated[
    list[str], typer.Argument(metavar="FILES... [KEY.SUB=VALUE]...", help=".csv, .jsonl or .json (COCO instances) with answers, then overrides")
]
PartialOption = Annotated[bool, typer.Option("--partial", help="keep what is good of files that have problems")]
ReplaceOption = Annotated[
    bool, typer.Option("--replace", help="an answer that contradicts an earlier one counts instead of it, until it is paid for")
]
AsSeedOption = Annotated[bool, typer.Option("--as-seed", help="labels bought elsewhere: they are the first purchase of a run that has bought none")]


@label_app.command("import")
def import_(
    config_path: ConfigOption,
    files: Files,
    arm: ArmOption = None,
    seed: SeedOption = None,
    partial: PartialOption = False,
    as_seed: AsSeedOption = False,
    replace: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take answers into the purchase that waits; when all are there it is paid for, and `xmr-ray run` goes on."""
    overrides = [item for item in files if "=" in item and not Path(item).exists()]
    paths = [item for item in files if item not in overrides]
    if not paths:
        raise ConfigError("no file with answers was given; name at least one .csv, .jsonl or .json file")
    experiment = loaded(config_path, overrides)
    from xmr_ray.cluster.labelling import import_answers

    found = import_answers(experiment, paths, arm=arm, seed=seed, partial=partial, as_seed=as_seed, correct=replace)
    if as_json:
        tell(asdict(found), as_json=True)
    else:
        for problem in found.problems:
            out.print(problem, markup=False)
    if found.problems and not partial:
        raise LedgerError(f"{len(found.problems)} problems, nothing was imported; correct them, or take what is good with --partial")
    if not as_json:
        corrected = f"{found.num_corrected} correct earlier ones, " if found.num_corrected else ""
        out.print(f"{found.num_new} answers are new, {corrected}{found.num_same} were known, {found.num_blank} lines hold none", markup=False)
        out.print(_where(found.status), markup=False)


@label_app.command("export")
def export(
    config_path: ConfigOption,
    path: Annotated[str, typer.Argument(metavar="OUT", help="file to write")],
    overrides: Overrides = None,
    form: Annotated[LabelFormat | None, typer.Option("--format", help="what to write; else what the file's ending says")] = None,
    arm: ArmOption = None,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a run's bought labels, and its newest predicted ones (trust beside them) of all other train pairs."""
    experiment = loaded(config_path, overrides)
    from xmr_ray.cluster.labelling import export_labels

    counts = export_labels(experiment, path, form=form or format_of(path), arm=arm, seed=seed)
    tell({"file": path, **counts}, as_json=as_json)
    if not counts["predicted"] and not as_json:
        out.print("no predictions are on disk; `xmr-ray score` makes them")


@label_app.command("status")
def status(
    config_path: ConfigOption, overrides: Overrides = None, arm: ArmOption = None, seed: SeedOption = None, as_json: JsonOption = False
) -> None:
    """What every run has bought, and what it waits for."""
    experiment = loaded(config_path, overrides)
    from xmr_ray.cluster.labelling import label_status

    rows = label_status(experiment, arm=arm, seed=seed)
    if as_json:
        tell({"runs": [asdict(row) for row in rows]}, as_json=True)
        return
    table = Table("run", "bought", "cannot tell", "waits in round", "answered", "asked", "elsewhere")
    for row in rows:
        waits = (row.waiting_round, row.num_answered, row.num_asked, row.num_elsewhere)
        told = ["–" if row.waiting_round is None else str(number) for number in waits]
        table.add_row(row.run, str(row.num_bought), str(row.num_cannot_tell), *told)
    out.print(table)
    for row in rows:
        if row.place is not None:
            out.print(f"{row.run}: {row.place}", markup=False)


def waiting_lines(waiting: Sequence["LabelStatus"], config_path: str, overrides: Sequence[str] | None) -> list[str]:
    """What is waited for, where to answer it, and the commands to go on with."""
    lines = []
    config, more = shlex.quote(config_path), "".join(f" {shlex.quote(item)}" for item in overrides or [])
    for row in waiting:
        lines.append(_where(row))
        if row.place is not None and row.place.endswith(".html"):
            lines.append(f"  then: xmr-ray label import -c {config} ANSWERS.jsonl{more} --arm {row.arm} --seed {row.seed}")
    return [*lines, f"when answers are in: xmr-ray run -c {config}{more}"]


def waiting_content(waiting: Sequence["LabelStatus"]) -> list[Mapping[str, Any]]:
    """The same for machines."""
    return [asdict(row) for row in waiting]


def _where(row: "LabelStatus") -> str:
    if row.waiting_round is None:
        return f"{row.run}: {row.num_bought} labels are bought, nothing is waited for; `xmr-ray run` goes on"
    place = f": {row.place}" if row.place else ""
    elsewhere = f", for {row.num_elsewhere} another run asks" if row.num_elsewhere else ""
    return f"{row.run} waits for answers to round {row.waiting_round}, {row.num_answered} of {row.num_asked} have come{elsewhere}{place}"
