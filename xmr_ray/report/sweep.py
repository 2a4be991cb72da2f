"""The page and the table of a search."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from xmr_ray import __version__, storage
from xmr_ray.report.headline import decimal
from xmr_ray.report.progress import SummaryRow
from xmr_ray.report.sweep_figures import both_themes, draw_curves, draw_importance, draw_parallel
from xmr_ray.tuning.objective import area, labels_to_reach
from xmr_ray.tuning.records import TrialRecord
from xmr_ray.tuning.settings import TuneSettings
from xmr_ray.tuning.standing import front, importance


@dataclass(frozen=True)
class SweepView:
    """A search that ended: trials best first, the mAP to reach if there was one, by how many trials each lagged, and the rows of the final runs."""

    settings: TuneSettings
    records: Sequence[TrialRecord]
    target: float | None
    window: int
    final: Sequence[SummaryRow]
    command: str

    @property
    def value_name(self) -> str:
        """What the objective's column is called."""
        return "area" if self.target is None else f"labels to mAP {self.target:.3f}"

    @property
    def names(self) -> dict[str, str]:
        """Short name of every path that is searched."""
        return {path: short_name(path, self.settings.space) for path in self.settings.space}

    @property
    def front(self) -> list[tuple[TrialRecord, int, float]]:
        """The Pareto front, where it was asked for."""
        return front(self.records) if self.settings.objective == "pareto" else []


def short_name(path: str, space: Mapping[str, Any]) -> str:
    """As many of a path's last parts as tell it from the others.

    >>> short_name("training.heads.steps", {"training.heads.steps": 1, "a.steps": 1, "a.b": 1}), short_name("a.b", {"a.b": 1, "a.c": 1})
    ('heads.steps', 'b')
    """
    parts = path.split(".")
    for count in range(1, len(parts)):
        name = ".".join(parts[-count:])
        if sum(("." + other).endswith("." + name) for other in space) == 1:
            return name
    return path


def told_value(record: TrialRecord, target: float | None) -> str:
    """The objective of a trial as it is shown; of a stopped one only the area up to where it came.

    >>> told_value(TrialRecord(1, {}, "finished", ((50, 0.4), (100, 0.6))), None)
    '0.3500'
    """
    if not record.curve:
        return "–"
    if target is None:
        return f"{area(record.curve):.4f}"
    reached = labels_to_reach(record.curve, target)
    return "not reached" if reached is None else f"{reached:.0f}"


def trials_tsv(view: SweepView) -> bytes:
    """All trials, best first, with their settings, their curves and what became of them; the same bytes whenever the search ends."""
    paths = list(view.settings.space)
    rows = [["place", "trial", "status", *paths, "labels", "map", view.value_name, "curve", "why"]]
    for place, record in enumerate(view.records, 1):
        values = [json.dumps(record.overrides[path]) if path in record.overrides else "default" for path in paths]
        last = f"{record.curve[-1][1]:.6f}" if record.curve else ""
        curve = " ".join(f"{labels}:{height:.6f}" for labels, height in record.curve)
        value = told_value(record, view.target)
        rows.append([str(place), str(record.index), record.status, *values, str(record.labels), last, value, curve, " ".join(record.why.split())])
    return "".join("\t".join(row) + "\n" for row in rows).encode()


def build_sweep_page(folder: str, name: str, view: SweepView) -> str:
    """Write `index.html`, the pictures and `trials.tsv` into a search's folder; returns the path of the page."""
    shares = importance(view.records, view.settings.space, target=view.target)
    pictures = {
        "curves": both_themes(partial(draw_curves, view.records, view.front)),
        "parallel": both_themes(partial(draw_parallel, view.records, view.settings.space, view.names)),
        "importance": both_themes(partial(draw_importance, shares, view.names)),
    }
    for picture, forms in pictures.items():
        storage.write_whole(storage.join(folder, f"{picture}.png"), forms["light"])
    storage.write_whole(storage.join(folder, "trials.tsv"), trials_tsv(view))
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"decimal": decimal, "short": short_value}
    default = next(record for record in view.records if record.index == 0)
    page = environment.get_template("sweep.html.j2").render(
        name=name,
        version=__version__,
        view=view,
        best=view.records[0],
        default=default,
        told={record.index: told_value(record, view.target) for record in view.records},
        num_stopped=sum(record.status == "stopped" for record in view.records),
        pictures={key: {form: _uri(data) for form, data in forms.items()} for key, forms in pictures.items()},
    )
    storage.write_whole(storage.join(folder, "index.html"), page.encode())
    return storage.join(folder, "index.html")


def short_value(value: Any) -> str:
    """A setting as people read it.

    >>> short_value(0.123456), short_value([50, 100]), short_value("kl")
    ('0.1235', '[50, 100]', 'kl')
    """
    return f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def _uri(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
