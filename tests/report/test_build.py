import csv
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from xmr_ray.corpus.truth import open_truth
from xmr_ray.errors import RunError
from xmr_ray.report import build as build_module
from xmr_ray.report.build import build_report
from xmr_ray.report.rankings import query_order
from xmr_ray.report.settings import ReportSettings

pytestmark = pytest.mark.slow  # pictures are drawn

TEST_IDS = np.arange(100, 130)


class Page(HTMLParser):
    """Visible text, every attribute that loads something, and the elements by name."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.words, self.tags, self._hidden = [], [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._hidden += tag == "style"
        self.loads += [value for name, value in attributes if name in ("src", "srcset", "href", "data", "action", "poster")]

    def handle_endtag(self, tag):
        self._hidden -= tag == "style"

    def handle_data(self, data):
        if not self._hidden:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def write_experiment(path, make, *, seeds=2):
    for arm, gain in (("random", 0.0), ("entropy", 0.05)):
        for seed in range(seeds):
            curve = [(4, 0.31 + gain + seed / 100, 0.33), (8, 0.41 + gain + seed / 100, 0.43)]
            run = make.run(path, arm, seed, curve)
            make.purchase(run.round(0), [3, 1, 5, 8], cannot_tell=[5])
            make.purchase(run.round(1), [12, 10, 11, 20], reasons={"entropy": np.array([1.1, 1.0, 0.9, 0.85])})
    make.embeddings(run.round(1), TEST_IDS, make.matrices(len(TEST_IDS)))
    make.run(path, "full", 0, [(40, 0.5, 0.5)])


def build(path, corpus, *, labels=True, **options):
    out = build_report(str(path), corpus=corpus, test_labels=open_truth(corpus, "test") if labels else None, **options)
    text = Path(out).read_text(encoding="utf-8")
    return text, Page(text)


@pytest.fixture(scope="module")
def written(tmp_path_factory, make, pictured):
    path = tmp_path_factory.mktemp("experiment") / "first"
    write_experiment(path, make)
    text, page = build(path, pictured, command="xmr-ray run -c configs/<first>.yaml")
    return path, text, page


def test_files(written):
    path, _, _ = written
    assert sorted(file.name for file in (path / "report").iterdir()) == [
        "curves.csv",
        "index.html",
        "map_directions.png",
        "map_mean.png",
        "summary.json",
    ]
    assert (path / "report" / "map_mean.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((path / "report" / "curves.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 2 * (2 * 2 * 2 + 1)


def test_numbers_equal_those_computed_apart(written):
    path, _, page = written
    entropy = np.mean([(0.41 + 0.05 + seed / 100 + 0.43) / 2 for seed in range(2)])
    assert f"With 8 of 40 labels, “entropy” reaches a mAP of {entropy:.3f}: {100 * entropy / 0.5:.0f} % of what" in page.text
    seeds = [(0.46 + 0.43) / 2, (0.47 + 0.43) / 2]
    half = 12.706204736 * np.std(seeds, ddof=1) / np.sqrt(2)
    assert f"{entropy:.3f} ± {half:.3f}" in page.text
    assert "+0.025" in page.text
    summary = json.loads((path / "report" / "summary.json").read_text(encoding="utf-8"))
    assert summary["arms"][1]["final"]["mean"]["mean"] == pytest.approx(entropy)


def test_the_page_loads_nothing_from_outside(written):
    _, text, page = written
    assert page.loads
    assert all(value.startswith(("data:image/", "#")) for value in page.loads)
    assert not re.search(r"url\(|@import|https?://", text)
    assert not any(tag in ("script", "link", "iframe", "object", "base") for tag, _ in page.tags)
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_markup_in_captions_classes_and_commands_is_text(written):
    _, text, page = written
    assert "<script" not in text
    assert "<b>bold</b>" not in text
    assert html.escape("<script>alert(12)</script> & picture 12") in text
    assert "<script>alert(12)</script> & picture 12" in page.text
    assert "xmr-ray run -c configs/<first>.yaml" in page.text


def test_older_experiments_have_no_section_of_the_space(written):
    path, text, _ = written
    assert 'id="where"' not in text
    assert '"#where"' not in text
    assert json.loads((path / "report" / "summary.json").read_text(encoding="utf-8"))["diagnostics"] == []


def test_a_described_purchase_is_explained_and_drawn(tmp_path, make, bare, plain_figures):
    write_experiment(tmp_path, make, seeds=1)
    run = make.run(tmp_path, "ascmr", 0, [(4, 0.31, 0.33), (8, 0.41, 0.43)])
    reasons = {"cell": [3, 1], "cell_density": [0.031, 0.2], "cell_share": [0.04, 0.1], "cell_bought": [2, 0], "cell_budget": [1, 1]}
    reasons |= {"informativeness": [1.234, -0.5], "intra": [-3.25, -4.0]}
    make.purchase(run.round(0), [30, 31])
    make.purchase(run.round(1), [22, 23], reasons={name: np.array(values, dtype=float) for name, values in reasons.items()})
    make.description(run.round(1), numbers={"z_intra": 1.5, "share_intra": 0.875})
    text, page = build(tmp_path, bare)
    assert "Cell 3 holds 3.1 % of all pairs and should hold 4.0 % of the labels; bought there: 2 before, 1 now." in page.text
    assert "informative +1.23" in page.text
    assert "intra −3.25" in page.text
    assert "informative informativeness: the weighted mean of the parts" in page.text
    assert "Both axes hold 42 % of the pool's variance." in page.text
    assert "ascmr 1 0.500 −0.0001 6 of 9 +1.50 88 % 1" in page.text
    assert "KL to all pairs how far" in page.text
    assert "label distance" not in page.text
    assert text.count("ascmr-s0 on two principal axes") == 1
    assert sorted(file.name for file in (tmp_path / "report").glob("space*")) == ["space_ascmr-s0.png"]
    assert json.loads((tmp_path / "report" / "summary.json").read_text(encoding="utf-8"))["diagnostics"][0]["numbers"]["kl"] == 0.5


def test_purchases_tell_why_and_what_came_back(written):
    _, _, page = written
    assert "Round 1 : 4 pairs, 8 labels in all" in page.text
    assert "nobody could tell" in page.text
    assert "entropy 1.10" in page.text
    assert "1 could not be told" in page.text


def test_examples_are_marked_by_sign_and_word(written, make):
    _, text, page = written
    queries = query_order(TEST_IDS)[:6]
    assert page.text.count("query image") == page.text.count("query text") == len(queries)
    relevant = page.text.count("✓") - 1
    assert relevant + page.text.count("✗") - 1 == 2 * 6 * 6
    assert relevant == text.count('class="result yes"')
    counts = [int(count) for count in re.findall(r"(\d) of 6 relevant", page.text)]
    assert (len(counts), sum(counts)) == (12, relevant)
    assert f"alert({queries[0]})" in page.text


def test_pictures_carry_alternative_text_and_both_schemes(written):
    _, text, page = written
    plots = [attributes for tag, attributes in page.tags if tag == "img" and attributes["src"].startswith("data:image/png") and attributes["alt"]]
    assert len(plots) == 2
    assert text.count("prefers-color-scheme: dark") >= 3
    assert 'name="viewport"' in text


def test_written_twice_is_the_same(written, pictured):
    path, text, _ = written
    again, _ = build(path, pictured, command="xmr-ray run -c configs/<first>.yaml")
    assert again == text


@pytest.fixture
def plain_figures(monkeypatch, make):
    """Drawing takes most of a report's time; what these tests look at is not drawn."""
    forms = dict.fromkeys(("light", "dark", "light-narrow", "dark-narrow"), make.png(0))
    monkeypatch.setattr(build_module, "figure_files", lambda figures, axis: dict.fromkeys(figures, forms))


@pytest.mark.usefixtures("plain_figures")
def test_without_thumbnails_captions_and_labels(tmp_path, make, bare):
    write_experiment(tmp_path, make, seeds=1)
    text, page = build(tmp_path, bare, labels=False)
    assert "pair 12" in page.text
    assert "relevance is not marked" in page.text
    assert "✓" not in page.text.replace("✓ relevant", "")
    assert 'class="thumb"' not in text
    assert "by chance" not in page.text


@pytest.mark.usefixtures("plain_figures")
def test_one_seed_is_said_and_has_no_interval(tmp_path, make, bare):
    write_experiment(tmp_path, make, seeds=1)
    _, page = build(tmp_path, bare)
    assert "One seed gives no interval: random, entropy, full." in page.text
    assert "Student" not in page.text
    assert " ± " not in page.text


@pytest.mark.usefixtures("plain_figures")
def test_unreached_unfinished_and_dropped(tmp_path, make, bare):
    run = make.run(tmp_path, "random", 0, [(4, 0.2, 0.2), (8, 0.25, 0.25)])
    make.purchase(run.round(2), [1, 2], answered=False)
    make.run(tmp_path, "full", 0, [(40, 0.5, 0.5)])
    _, page = build(tmp_path, bare)
    assert page.text.count("not reached") == 4
    assert "round 2 unfinished: labels asked for" in page.text
    assert "no answer yet" in page.text
    assert "No finished round holds test embeddings any more" in page.text


def test_full_supervision_alone(tmp_path, make, bare):
    make.run(tmp_path, "full", 0, [(40, 0.5, 0.5)])
    _, page = build(tmp_path, bare)
    assert "With every label (40), mAP is 0.500" in page.text
    assert "No arm that buys labels has finished a round yet." in page.text


@pytest.mark.usefixtures("plain_figures")
def test_galleries_can_be_left_out(tmp_path, make, pictured):
    write_experiment(tmp_path, make, seeds=1)
    text, page = build(tmp_path, pictured, settings=ReportSettings(bought_per_round=0, num_queries=0))
    assert 'class="thumb"' not in text
    assert "query image" not in page.text


def test_nothing_finished_is_refused_and_writes_nothing(tmp_path, bare):
    with pytest.raises(RunError, match=r"no finished round"):
        build_report(str(tmp_path), corpus=bare, test_labels=None)
    assert list(tmp_path.iterdir()) == []


def test_a_corpus_without_map_still_has_its_page(tmp_path, make, bare):
    for arm in ("random", "full"):
        run = make.run(tmp_path, arm, 0, [(4, 0.2, 0.2), (8, 0.25, 0.25)])
        for place in run.rounds():
            report = place.read_report()
            for space in report["retrieval"].values():
                space["i2t"]["map_all"] = space["t2i"]["map_all"] = None
            place.write_report(report)
    _, page = build(tmp_path, bare, labels=False)
    assert "reaches a mAP of –" in page.text
    assert "0.050" in page.text


def test_where_bought_pairs_measure_the_page_says_so(tmp_path, make, bare):
    run = make.run(tmp_path, "random", 0, [(40, 0.2, 0.2), (80, 0.25, 0.25)])
    for index, num_held_out in enumerate((7, 15)):
        run.round(index).write_report(run.round(index).read_report() | {"num_held_out": num_held_out})
    text = build(tmp_path, bare, labels=False)[1].text
    assert "The test split of this corpus has no truth . mAP is measured among bought pairs that were held out" in text
    assert "at most 15 in a round" in text
    assert "Every test image is a query" not in text
