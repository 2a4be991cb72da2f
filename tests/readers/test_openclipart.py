import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.truth import open_truth
from xmr_ray.errors import ReaderError
from xmr_ray.readers.openclipart import CLASS_NAMES, Metadata, OpenclipartReader, labels_of, read_metadata, text_of
from xmr_ray.types import SPLITS

PUBLIC_DOMAIN = "http://web.resource.org/cc/PublicDomain"
PLAIN = '<?xml version="1.0" encoding="UTF-8"?>\n'
BOMB = f"""{PLAIN}<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/svg11.dtd" [
  <!ENTITY ns_svg "http://www.w3.org/2000/svg">
  <!ENTITY ha "hahahaha"> <!ENTITY haha "&ha;&ha;&ha;&ha;"> <!ENTITY file SYSTEM "file:///etc/passwd">
]>\n"""


def svg(*, title="", description="", keywords=(), licence=PUBLIC_DOMAIN, head=PLAIN):
    items = "".join(f"<rdf:li>{keyword}</rdf:li>" for keyword in keywords)
    return f"""{head}<svg xmlns="http://www.w3.org/2000/svg"><metadata>
    <rdf:RDF xmlns:cc="http://web.resource.org/cc/" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
      <cc:Work rdf:about="">
        <dc:title>{title}</dc:title>
        <dc:description>{description}</dc:description>
        <dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject>
        <dc:creator><cc:Agent><dc:title>the author</dc:title></cc:Agent></dc:creator>
        <cc:license rdf:resource="{licence}"/>
      </cc:Work>
    </rdf:RDF></metadata><rect/></svg>"""


@pytest.fixture
def tree(tmp_path):
    """Two folders as the packages unpack them; `add` puts a picture of its own colour into both."""

    class Tree:
        png, svg = tmp_path / "png", tmp_path / "svg"
        num_pictures = 0

        def add(self, name, *, colour=None, encoding="utf-8", **metadata):
            self.num_pictures += 1
            for folder in (self.png, self.svg):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (3, 2), colour or (self.num_pictures, 9, 9)).save(self.png / f"{name}.png")
            (self.svg / f"{name}.svg").write_text(svg(**metadata), encoding=encoding)

        def reader(self, **settings):
            drawn = {"num_validation": 0, "num_test": 0, **settings}
            return OpenclipartReader(png=str(self.png), svg=str(self.svg), **drawn)

        def rows(self, **settings):
            """Name -> (pair_id, text, label names, split) of every pair."""
            source, found = self.reader(**settings).read(), {}
            for split, records in source.shards():
                for pair_id, text, uri, labels in zip(records.pair_ids.tolist(), records.texts, records.uris, records.labels, strict=True):
                    name = Path(uri).relative_to(self.png).with_suffix("").as_posix()
                    found[name] = (pair_id, text, [source.schema.class_names[i] for i in labels], split)
            return found

    return Tree()


def test_pairs_of_a_small_tree(tree):
    tree.add("food/bread_01", title="Loaf_of  bread", description="fresh", keywords=["", "hash", "food", "carbohydrate", "Baker", "HASH(0x85a)"])
    tree.add("animals/bugs/bee", title="Bee", description="bee", keywords=["insect", "honey"])
    tree.add("signs_and_symbols/map_symbols/well", description="a well", keywords=["mapsym"])
    assert tree.rows() == {
        "animals/bugs/bee": (0, "Bee. honey", ["animal", "insect"], "train"),
        "food/bread_01": (1, "Loaf of bread. fresh. baker", ["bread", "food"], "train"),
        "signs_and_symbols/map_symbols/well": (2, ". a well", ["map symbol"], "train"),
    }


def test_what_is_left_out(tree):
    kept = {"title": "A thing", "keywords": ["animal"]}
    for name in ("animals/cat", "computer/pc", "computer/buttons/go"):
        tree.add(name, **kept)
    for name in ("unsorted/x", "special/x", "buttons/x", "computer/icons/x", "computer/icons/flat-theme/x"):
        tree.add(name, **kept)
    tree.add("animals/gpl", **kept, licence="http://creativecommons.org/licenses/GPL/2.0/")
    tree.add("animals/no_licence", **kept, licence="")
    tree.add("animals/no_text", keywords=["animal"])
    tree.add("logos/no_label", title="A thing", keywords=["sign"])
    tree.add("people/same_bytes", **kept, colour=(1, 9, 9))  # as animals/cat, the first
    tree.add("people/lonely", **kept)
    (tree.svg / "people/lonely.svg").unlink()
    (tree.png / "people/link.png").symlink_to(tree.png / "computer/pc.png")
    (tree.svg / "people/link.svg").write_text(svg(**kept))
    assert list(tree.rows()) == ["animals/cat", "computer/buttons/go", "computer/pc"]


def test_a_duplicate_of_what_is_not_kept_stays(tree):
    tree.add("animals/gpl", title="A", licence="http://creativecommons.org/licenses/GPL/2.0/", colour=(1, 2, 3))
    tree.add("people/free", title="A", colour=(1, 2, 3))
    assert list(tree.rows()) == ["people/free"]


def test_metadata_through_links_within_the_folder_only(tree, tmp_path):
    for name in ("animals/cat", "animals/inside", "animals/outside"):
        tree.add(name, title="A cat")
    (tmp_path / "secret.svg").write_text(svg(title="Secret"))
    for name, target in (("inside", tree.svg / "animals/cat.svg"), ("outside", tmp_path / "secret.svg")):
        (tree.svg / f"animals/{name}.svg").unlink()
        (tree.svg / f"animals/{name}.svg").symlink_to(target)
    assert list(tree.rows()) == ["animals/cat", "animals/inside"]


def test_sixty_star_polygons_stay(tree):
    for i in range(70):
        tree.add(f"shapes/stars/star_{i:02}pt02step", title="gramastar")
    tree.add("shapes/stars/star", title="star")
    rows = tree.rows()
    assert len(rows) == 61
    assert "shapes/stars/star" in rows
    assert rows == tree.rows()


def test_entities_are_never_expanded():
    metadata = read_metadata(svg(title="&haha; &file; R&amp;D &lt;b&gt; &#65;", keywords=["&ns_svg;"], head=BOMB).encode())
    assert metadata == Metadata("&haha; &file; R&D <b> A", "", ("&ns svg;",), PUBLIC_DOMAIN)


def test_a_doctype_within_the_metadata_is_refused():
    inside = svg(title="x").replace("<metadata>", '<metadata><!DOCTYPE x [<!ENTITY ha "ha">]>')
    assert read_metadata(inside.encode()) == Metadata()


@pytest.mark.parametrize("broken", ["", "<svg/>", "<svg><metadata>", "<svg><metadata/></svg>", "<svg><metadata><a></metadata></svg>"])
def test_metadata_that_cannot_be_read_is_empty(broken):
    assert read_metadata(broken.encode()) == Metadata()


def test_metadata_beyond_the_head_of_the_file_is_not_looked_for():
    assert read_metadata(svg(title="x", head=PLAIN + " " * 300_000).encode()) == Metadata()


def test_encodings_and_prefixes():
    assert read_metadata(svg(title="Zoë").encode()).title == "Zoë"
    latin = svg(title="Zoë", head='<?xml version="1.0" encoding="ISO-8859-1"?>')
    assert read_metadata(latin.encode("latin-1")).title == "Zoë"
    prefixed = svg(title="x", keywords=["a"]).replace("<metadata>", "<svg:metadata>").replace("</metadata>", "</svg:metadata>")
    assert read_metadata(prefixed.encode()) == Metadata("x", "", ("a",), PUBLIC_DOMAIN)


def test_spelling_variants_are_one_label():
    def named(name, *keywords):
        return [CLASS_NAMES[i] for i in labels_of(name, keywords)]

    assert len(CLASS_NAMES) == 69
    assert named("x/y", "mapsym", "Smilie", "unitedstates", "signalflag") == ["map symbol", "semaphore", "smiley", "united states"]
    assert named("x/y", "festive", "Homes") == ["holiday", "house"]
    assert named("transportation/roadsigns/stop", "vehicle") == ["roadsign", "transportation"]
    assert named("shapes/x") == ["shape"]
    assert named("x/shape", "shape") == []


def test_texts_have_limits():
    keywords = tuple(f"word{i}" for i in range(12))
    text = text_of(Metadata("T", "d" * 400, ("animal", "menu", *keywords)))
    assert text == f"T. {'d' * 300}. {', '.join(keywords[:8])}"
    assert text_of(Metadata("T", "Clip art for coloring book creation", ())) == "T"


@pytest.fixture
def five(tree):
    for name in "abcde":
        tree.add(f"animals/{name}", title=name)
    return tree


def test_splits_are_drawn_or_listed(five, tmp_path):
    drawn = [row[3] for row in five.rows(num_validation=1, num_test=2).values()]
    assert sorted(drawn) == ["test", "test", "train", "train", "validation"]
    listing = tmp_path / "splits.tsv"
    listing.write_text("animals/a\ttest\nanimals/b\ttrain\nanimals/c\ttest\nanimals/d\tvalidation\nanimals/e\ttrain\n")
    rows = five.rows(splits=str(listing))
    assert [rows[f"animals/{name}"][::3] for name in "abcde"] == [(0, "test"), (1, "train"), (2, "test"), (3, "validation"), (4, "train")]


BAD_LISTS = {
    "a picture is missing": ("a b x c d e", "row 2 is animals/x, but the folder's picture is animals/c"),
    "a picture is not listed": ("a b d e", "row 2 is animals/d, but the folder's picture is animals/c"),
    "the list is too short": ("a b c d", "row 4 is nothing, but the folder's picture is animals/e"),
    "the list is too long": ("a b c d e f", "row 5 is animals/f, but the folder's picture is nothing"),
}


@pytest.mark.parametrize("case", BAD_LISTS)
def test_a_list_of_other_pictures_is_refused(five, tmp_path, case):
    names, message = BAD_LISTS[case]
    (tmp_path / "s.tsv").write_text("".join(f"animals/{name}\ttrain\n" for name in names.split()))
    with pytest.raises(ReaderError, match=message):
        five.reader(splits=str(tmp_path / "s.tsv")).read()


def test_a_list_that_cannot_be_read_is_named(five, tmp_path):
    with pytest.raises(ReaderError, match=r"nowhere\.tsv: cannot be read"):
        five.reader(splits=str(tmp_path / "nowhere.tsv")).read()
    (tmp_path / "s.tsv").write_text("animals/a\ttrain\nanimals/b\n")
    with pytest.raises(ReaderError, match=r"row 1 is \['animals/b'\]; expected a name, a tabulator and a split"):
        five.reader(splits=str(tmp_path / "s.tsv")).read()


def test_missing_and_empty_folders_are_named(tree, tmp_path):
    with pytest.raises(ReaderError, match="png: no such folder; apt-get download"):
        tree.reader().read()
    tree.add("logos/x", title="no label")
    with pytest.raises(ReaderError, match="no PNG file with public domain metadata and a label"):
        tree.reader().read()
    with pytest.raises(ReaderError, match="nowhere: no such folder"):
        OpenclipartReader(png=str(tree.png), svg=str(tmp_path / "nowhere")).read()


def test_fingerprint_follows_what_is_read_not_where_it_lies(five, tmp_path):
    first = five.reader().read().schema
    five.png, five.svg = five.png.rename(tmp_path / "moved_png"), five.svg.rename(tmp_path / "moved_svg")
    assert five.reader().read().schema == first
    assert five.reader(num_test=1).read().schema.reader != first.reader
    five.add("animals/a", title="another title", colour=(1, 9, 9))
    assert five.reader().read().schema.reader != first.reader


def unpacked():
    root = Path(os.environ.get("OPENCLIPART_ROOT", "/usr/share/openclipart"))
    if not ((root / "png").is_dir() and (root / "svg").is_dir()):
        pytest.skip(f"needs png/ and svg/ of Debian's openclipart packages in {root}; OPENCLIPART_ROOT names another folder")
    return root


@pytest.mark.integration
def test_the_embedded_corpus_comes_out_again():
    root, splits = unpacked(), Path(__file__).parents[2] / "configs" / "openclipart_splits.tsv"
    source = OpenclipartReader(png=str(root / "png"), svg=str(root / "svg"), splits=str(splits)).read()
    corpus = PairedCorpus.open("embedded")
    assert source.schema.class_names == corpus.schema.class_names
    assert source.num_rows == {split: corpus.num_pairs(split) for split in SPLITS} == {"train": 2465, "validation": 300, "test": 800}
    for split in SPLITS:
        ids = np.concatenate([corpus.read(descriptor).pair_ids_B for descriptor in corpus.descriptors(split)])
        batches = list(source.read(split, 0, len(ids)))
        assert sorted(ids.tolist()) == np.concatenate([records.pair_ids for records in batches]).tolist()
        items, truth = corpus.items(ids), open_truth(corpus, split)
        for records in batches:
            assert list(records.texts) == [items[pair_id].caption for pair_id in records.pair_ids.tolist()]
            found = truth.take(records.pair_ids)
            ends = np.cumsum([len(labels) for labels in records.labels])
            assert found.classes.tolist() == np.concatenate(records.labels).tolist()
            assert found.offsets[1:].tolist() == ends.tolist()
