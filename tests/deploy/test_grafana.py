"""The dashboard asks for names that exist, and only those."""

import copy
import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BOARD = json.loads((ROOT / "deploy" / "grafana" / "xmr_ray.json").read_text())
DOCS = (ROOT / "docs" / "metrics.md").read_text()
WORDS = {"sum", "max", "by", "rate"}


def documented():
    """Exported names of docs/metrics.md, ours and Ray's, with what histograms add."""
    ours = set(re.findall(r"^\| `(ray_xmr_ray_\w+)` \| (\w+) \|", DOCS, re.MULTILINE))
    names = {name for name, kind in ours if kind != "histogram"}
    names |= {name + end for name, kind in ours if kind == "histogram" for end in ("_bucket", "_sum", "_count")}
    theirs = re.search(r"## Ray's own metrics.*", DOCS, re.DOTALL)[0]
    return names | set(re.findall(r"\bray_\w+", theirs))


def names_in(expression):
    """Metric names of a PromQL expression: identifiers outside braces, brackets, `by (...)`, that are no functions."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\bby \([^)]*\)", " ", expression)
    return set(re.findall(r"[A-Za-z_]\w*", bare)) - WORDS


def expressions(board):
    found = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            found.append(re.fullmatch(r"label_values\((\w+), \w+\)", variable["query"]["query"])[1])
    return found


def problems(board):
    panels = board["panels"]
    ids = [panel["id"] for panel in panels]
    found = [f"id {number} twice" for number in sorted({number for number in ids if ids.count(number) > 1})]
    unknown = set().union(*(names_in(expression) for expression in expressions(board))) - documented()
    found += [f"unknown metric {name}" for name in sorted(unknown)]
    variables = {variable["name"] for variable in board["templating"]["list"]}
    asked = {name for expression in expressions(board) for name in re.findall(r"\$(\w+)", expression)}
    found += [f"unknown variable {name}" for name in sorted(asked - variables)]
    found += [f"panel {panel['id']} leaves the grid" for panel in panels if panel["gridPos"]["x"] + panel["gridPos"]["w"] > 24]
    cells = [(x, y) for panel in panels for x in span(panel, "x", "w") for y in span(panel, "y", "h")]
    return found + (["panels overlap"] if len(cells) != len(set(cells)) else [])


def span(panel, start, length):
    return range(panel["gridPos"][start], panel["gridPos"][start] + panel["gridPos"][length])


def test_the_dashboard_is_sound():
    assert problems(BOARD) == []


def test_every_metric_of_ours_is_on_the_dashboard():
    shown = set().union(*(names_in(expression) for expression in expressions(BOARD)))
    ours = {name.removesuffix("_sum") for name in shown if name.startswith("ray_xmr_ray_")}
    assert set(re.findall(r"^\| `(ray_xmr_ray_\w+)`", DOCS, re.MULTILINE)) <= ours


def test_rays_own_names_are_those_of_rays_own_dashboards():
    folder = Path(find_spec("ray").origin).parent / "dashboard" / "modules" / "metrics" / "dashboards"
    known = set().union(*(re.findall(r"\bray_\w+", path.read_text()) for path in folder.glob("*.py")))
    theirs = {name for name in documented() if not name.startswith("ray_xmr_ray_")}
    assert len(theirs) > 5
    assert theirs <= known


def test_names_are_found_in_an_expression():
    expression = 'sum by (stage) (rate(ray_a_sum{run=~"$run", x="rate"}[15m])) / max(ray_b)'
    assert names_in(expression) == {"ray_a_sum", "ray_b"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda board: board["panels"][1].update(id=3), "id 3 twice"),
        (lambda board: board["panels"][1]["targets"][0].update(expr="ray_xmr_ray_mapp"), "unknown metric ray_xmr_ray_mapp"),
        (lambda board: board["panels"][1]["targets"][0].update(expr='ray_xmr_ray_map{run="$rnu"}'), "unknown variable rnu"),
        (lambda board: board["panels"][1]["gridPos"].update(w=30), "panel 2 leaves the grid"),
        (lambda board: board["panels"][1]["gridPos"].update(h=12), "panels overlap"),
    ],
)
def test_mistakes_are_caught(change, told):
    board = copy.deepcopy(BOARD)
    change(board)
    assert told in problems(board)
