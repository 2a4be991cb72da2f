"""One self-contained page from an experiment's folder, with its figures and tables beside it."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from xmr_ray import __version__, storage
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.schema import Item
from xmr_ray.report import headline
from xmr_ray.report.arms import ArmSummary, Measure, full_supervision, mean_curve, space_rows, summarise_arms
from xmr_ray.report.cards import names_of
from xmr_ray.report.diagnostics import diagnostics_rows, used_columns
from xmr_ray.report.experiment import Experiment, Run, read_experiment
from xmr_ray.report.figures import Line, Panel, arm_colours, figure_files
from xmr_ray.report.progress import run_rows, stage_rows
from xmr_ray.report.purchases import Purchase, read_purchases, view_purchases
from xmr_ray.report.rankings import Direction, Ranking, can_rank, chance_level, gallery_files, rank_examples, view_example
from xmr_ray.report.reasons import meanings
from xmr_ray.report.settings import ReportSettings
from xmr_ray.report.space import Space, read_space, space_files
from xmr_ray.report.tables import curves_csv, summary_json
from xmr_ray.types import LabelSet, Split

_FULL_TITLE = "mAP, mean of both directions"
_DIRECTIONS: Mapping[Direction, str] = {"i2t": "image to text", "t2i": "text to image"}


@dataclass(frozen=True)
class _Examples:
    """Rankings of one run's last finished round that still has its embeddings."""

    run: Run
    round_index: int
    space: str
    rankings: Mapping[Direction, Sequence[Ranking]]


def build_report(
    experiment_path: str, *, corpus: PairedCorpus, test_labels: LabelSet | None, settings: ReportSettings | None = None, command: str | None = None
) -> str:
    """Write `<experiment>/report/` (page, figures, `curves.csv`, `summary.json`) and return the path of the page.

    Args:
        experiment_path: folder that holds the runs `<arm>-s<seed>/`; runs and rounds may be unfinished.
        corpus: gives captions and thumbnails; it may hold neither.
        test_labels: true labels of the split that measured, the test split as a rule, which mark what was retrieved rightly; None marks nothing.
        settings: what is shown; the defaults if None.
        command: the command line that made the experiment, shown as it is.

    Raises:
        RunError: the folder does not exist, or no round in it is finished.
    """
    settings = settings or ReportSettings()
    experiment = read_experiment(experiment_path)
    arms, described = summarise_arms(experiment, settings), diagnostics_rows(experiment, settings)
    purchase_spaces = _purchase_spaces(experiment, settings)
    figures = figure_files(_panels(experiment, arms, settings), axis=settings.label_axis) | space_files(purchase_spaces)
    page = _render(
        settings=settings,
        experiment=experiment,
        corpus=corpus.schema,
        command=command,
        arms=arms,
        spaces=space_rows(experiment, settings),
        sentences=headline.headline(arms, settings),
        figures={name: {form: _png(data) for form, data in forms.items()} for name, forms in figures.items()},
        colours=[arm_colours(None if arm.arm == settings.full_arm else position) for position, arm in enumerate(arms)],
        runs=run_rows(experiment, settings),
        stages=stage_rows(experiment, settings),
        described=described,
        diagnostics=used_columns(described),
        purchase_spaces=purchase_spaces,
        **_measured_on(experiment, corpus, test_labels, settings.split),
        **_galleries(experiment, arms, corpus, test_labels, settings),
    )
    tables = {"curves.csv": curves_csv(experiment), "summary.json": summary_json(experiment, arms, space_rows(experiment, settings), described)}
    return _write(storage.join(experiment.path, "report"), page, figures, tables)


def _measured_on(experiment: Experiment, corpus: PairedCorpus, test_labels: LabelSet | None, split: Split) -> dict[str, Any]:
    """On which pairs and in which spaces retrieval was measured, and what chance would reach there."""
    finished = [done for run in experiment.runs for done in run.finished]
    return {
        "chance": chance_level(test_labels) if test_labels is not None and len(test_labels) else None,
        "held_out": max((done.num_held_out for done in finished if done.num_held_out is not None), default=None),
        "has_test": corpus.num_pairs(split) > 0,
        "used_spaces": sorted({done.space for done in finished}),
    }


def _write(folder: str, page: str, figures: Mapping[str, Mapping[str, bytes]], tables: Mapping[str, bytes]) -> str:
    for name, forms in figures.items():
        storage.write_whole(storage.join(folder, f"{name}.png"), forms["light"])
    for name, data in tables.items():
        storage.write_whole(storage.join(folder, name), data)
    storage.write_whole(storage.join(folder, "index.html"), page.encode())
    return storage.join(folder, "index.html")


def _panels(experiment: Experiment, arms: Sequence[ArmSummary], settings: ReportSettings) -> dict[str, list[Panel]]:
    buying = [(position, arm.arm) for position, arm in enumerate(arms) if arm.arm != settings.full_arm]

    def panel(title: str, measure: Measure, shares: tuple[float, ...]) -> Panel:
        lines = [Line(arm, position, mean_curve(experiment.of_arm(arm), measure, confidence=settings.confidence)) for position, arm in buying]
        return Panel(title, lines, full_supervision(experiment, settings, measure), shares)

    directions = [panel(f"mAP, {title}", direction, ()) for direction, title in _DIRECTIONS.items()]
    return {"map_mean": [panel(_FULL_TITLE, "mean", settings.shares)], "map_directions": directions}


def _galleries(
    experiment: Experiment, arms: Sequence[ArmSummary], corpus: PairedCorpus, test_labels: LabelSet | None, settings: ReportSettings
) -> dict[str, object]:
    purchases = {run.name: read_purchases(run) for run in _first_seeds(experiment, settings)}
    examples = _examples(experiment, arms, settings)
    items = corpus.items(_shown_ids(purchases, examples, settings))
    class_names = corpus.schema.class_names
    names = names_of(test_labels, class_names) if test_labels is not None else {}
    return {
        "purchases": {
            name: list(view_purchases(bought, items, class_names=class_names, num_pairs=settings.bought_per_round))
            for name, bought in purchases.items()
        },
        "meanings": meanings([bought.selection for rounds in purchases.values() for bought in rounds]),
        "examples": examples,
        "directions": _example_views(examples, items, names.get) if examples else [],
    }


def _first_seeds(experiment: Experiment, settings: ReportSettings) -> list[Run]:
    arms = experiment.arms(first=settings.baseline, last=settings.full_arm)
    return [experiment.of_arm(arm)[0] for arm in arms if arm != settings.full_arm]


def _purchase_spaces(experiment: Experiment, settings: ReportSettings) -> list[Space]:
    found = [read_space(run) for run in _first_seeds(experiment, settings)]
    return [space for space in found if space is not None]


def _examples(experiment: Experiment, arms: Sequence[ArmSummary], settings: ReportSettings) -> _Examples | None:
    ordered = sorted(arms, key=lambda arm: (arm.arm == settings.full_arm, -arm.final["mean"].mean))
    candidates = [(run, finished) for arm in ordered for run in experiment.of_arm(arm.arm) for finished in reversed(run.finished)]
    for run, finished in candidates if settings.num_queries else []:
        files = gallery_files(finished.directory, settings.split)
        if files and can_rank(finished.space):
            limits = {"num_queries": settings.num_queries, "num_retrieved": settings.num_retrieved}
            rankings = {direction: rank_examples(files, space=finished.space, direction=direction, **limits) for direction in _DIRECTIONS}
            return _Examples(run, finished.index, finished.space, rankings)
    return None


def _shown_ids(purchases: Mapping[str, Sequence[Purchase]], examples: _Examples | None, settings: ReportSettings) -> list[int]:
    ids = {pair_id for bought in purchases.values() for purchase in bought for pair_id in purchase.shown_ids(settings.bought_per_round)}
    for rankings in examples.rankings.values() if examples else []:
        ids |= {pair_id for ranking in rankings for pair_id in [ranking.query, *ranking.retrieved_K.tolist()]}
    return sorted(ids)


def _example_views(examples: _Examples, items: Mapping[int, Item], labels_of: Callable[[int], tuple[str, ...] | None]) -> list[dict[str, object]]:
    return [
        {"name": direction, "title": _DIRECTIONS[direction], "examples": [view_example(ranking, items, labels_of) for ranking in rankings]}
        for direction, rankings in examples.rankings.items()
    ]


def _png(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _render(**content: object) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {name: getattr(headline, name) for name in ("decimal", "percent", "with_interval", "difference", "labels_needed")}
    return environment.get_template("index.html.j2").render(version=__version__, space_names=headline.SPACES, **content)
